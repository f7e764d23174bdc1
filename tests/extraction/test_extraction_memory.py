"""What a second run remembers: bad pictures with their reason, content digests of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.extraction.test_extraction_loop import FakeEngine, grey
from tlfeatures.classification._controls import pixel_codes
from tlfeatures.cli._app import run as run_cli
from tlfeatures.errors import CodesMismatchError, ImageReadError, StoreError
from tlfeatures.extraction import _look_up, extract_codes
from tlfeatures.extraction.chunks import _chunk
from tlfeatures.pictures import DecodeOptions, Pictures
from tlfeatures.pictures.decoding import _decode, _open
from tlfeatures.store import CodeCache
from tlfeatures.store.memory import _file_memo


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Three pictures, the middle one a text."""
    for i in range(3):
        grey(10 * i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"a text, no picture")
    return [str(tmp_path / f"{i}.png") for i in range(3)]


def run(paths: list[str], cache: Path, **more: Any) -> Any:
    engine = FakeEngine()
    return extract_codes(Pictures(paths), engine.specs, lambda _: engine, cache=cache, **more)[0]


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    seen: list[object] = []
    decode = _chunk.prepare_item
    monkeypatch.setattr(
        _chunk, "prepare_item", lambda e, item, o: (seen.append(item), decode(e, item, o))[1]
    )
    return seen


def test_a_bad_picture_is_remembered_with_its_reason_and_not_tried_again(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(paths, tmp_path / "c")
    seen = count_decodes(monkeypatch)
    second = run(paths, tmp_path / "c")
    assert seen == []
    assert first.bad == second.bad == [(paths[1], "not a picture in a known format")]
    assert (first.remembered, second.remembered) == (0, 1)
    assert second.given == second.computed + second.cached + len(second.bad)


def test_a_copy_under_another_name_is_known_too(paths: list[str], tmp_path: Path) -> None:
    run(paths, tmp_path / "c")
    (tmp_path / "copy.jpg").write_bytes(Path(paths[1]).read_bytes())
    done = run([str(tmp_path / "copy.jpg")], tmp_path / "c")
    assert (done.remembered, done.bad[0][0]) == (1, str(tmp_path / "copy.jpg"))


def test_retry_bad_tries_again(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(paths, tmp_path / "c")
    seen = count_decodes(monkeypatch)
    done = run(paths, tmp_path / "c", retry_bad=True)
    assert seen == [b"a text, no picture"]
    assert done.remembered == 0


def test_another_decoder_or_limit_tries_again(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(paths, tmp_path / "c", options=DecodeOptions(max_pixels=10))
    seen = count_decodes(monkeypatch)
    again = run(paths, tmp_path / "c", options=DecodeOptions(max_pixels=10))
    assert (seen, again.remembered) == ([], 3)
    assert len(run(paths, tmp_path / "c", options=DecodeOptions(max_pixels=100)).bad) == 1
    assert len(seen) == 3
    monkeypatch.setattr(_decode.PIL, "__version__", "99.0")
    _decode.decoder_versions.cache_clear()
    try:
        run(paths, tmp_path / "c", options=DecodeOptions(max_pixels=10))
        assert len(seen) == 4  # the text; the two others are stored by now
    finally:
        _decode.decoder_versions.cache_clear()


def test_errors_of_the_system_are_never_remembered(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise ImageReadError("cannot be decoded: Too many open files", is_lasting=False)

    with monkeypatch.context() as patch:
        patch.setattr(_chunk, "prepare_item", refuse)
        assert len(run(paths, tmp_path / "c").bad) == 3
    done = run(paths, tmp_path / "c")
    assert (done.computed, len(done.bad), done.remembered) == (2, 1, 0)
    Path(paths[0]).unlink()
    assert "No such file" in run(paths, tmp_path / "c").bad[0][1]
    grey(0).save(paths[0])
    assert len(run(paths, tmp_path / "c").bad) == 1


def test_a_lack_of_memory_costs_one_picture_and_is_not_remembered(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = _chunk.prepare_item

    def starve(engine: Any, item: Any, options: Any) -> Any:
        if item == Path(paths[2]).read_bytes():
            raise MemoryError
        return decode(engine, item, options)

    with monkeypatch.context() as patch:
        patch.setattr(_chunk, "prepare_item", starve)
        assert "not enough memory" in dict(run(paths, tmp_path / "c").bad)[paths[2]]
    assert len(run(paths, tmp_path / "c").bad) == 1


def test_the_command_line_says_what_it_remembers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p").mkdir()
    Image.new("RGB", (30, 30)).save(tmp_path / "p/a.png")
    (tmp_path / "p/b.png").write_bytes(b"text")
    words = ["extract", tmp_path / "p", "--backbone", "embedded", "--cache", tmp_path / "c"]
    for n_remembered in (0, 1):
        assert run_cli([*map(str, words), "--json"]) == 0
        answer = capsys.readouterr()
        data = json.loads(answer.out)
        assert data["remembered"] == n_remembered
        assert data["bad"][0]["reason"] == "not a picture in a known format"
        assert ("--retry-bad tries them" in answer.err) == bool(n_remembered)


def test_a_second_run_over_unchanged_files_reads_none_of_them(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_memo, "_FRESH_NS", -(10**18))
    first = run(paths, tmp_path / "c")
    read: list[object] = []
    digest = _look_up.content_digest
    monkeypatch.setattr(
        _look_up, "content_digest", lambda item: (read.append(item), digest(item))[1]
    )
    monkeypatch.setattr(_chunk, "content_digest", _look_up.content_digest)
    second = run(paths, tmp_path / "c")
    assert read == []
    np.testing.assert_array_equal(np.asarray(first.codes), np.asarray(second.codes))
    grey(77).save(paths[0])
    third = run(paths, tmp_path / "c")
    assert read[0] == paths[0]
    assert read[1:] == [Path(paths[0]).read_bytes()]  # once more, just before it is decoded
    assert np.asarray(third.codes)[0, 0] == 77


def test_a_file_that_changes_between_hashing_and_decoding_is_not_stored(
    paths: list[str], tmp_path: Path
) -> None:
    before = Path(paths[0]).read_bytes()

    def change(_: object) -> FakeEngine:
        grey(200).save(paths[0])
        return FakeEngine()

    specs = FakeEngine().specs
    done = extract_codes(Pictures(paths), specs, change, cache=tmp_path / "c")[0]
    assert dict(done.bad)[paths[0]] == "changed while it was read; run again"
    Path(paths[0]).write_bytes(before)
    again = run(paths, tmp_path / "c")
    assert np.asarray(again.codes)[0, 0] == 0
    assert [path for path, _ in again.bad] == [paths[1]]


def test_a_picture_that_was_tried_again_with_success_stays_good(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise ImageReadError("cannot be decoded: encoder is missing")

    with monkeypatch.context() as patch:
        patch.setattr(_chunk, "prepare_item", refuse)
        assert len(run(paths, tmp_path / "c").bad) == 3
    assert run(paths, tmp_path / "c").remembered == 3
    assert len(run(paths, tmp_path / "c", retry_bad=True).bad) == 1
    done = run(paths, tmp_path / "c")
    assert (done.cached, len(done.bad)) == (2, 1)


def test_bad_pictures_are_remembered_though_the_run_is_stopped(
    paths: list[str], tmp_path: Path
) -> None:
    engine = FakeEngine(stop_at=2)  # after the probes
    with pytest.raises(KeyboardInterrupt):
        extract_codes(Pictures(paths), engine.specs, lambda _: engine, cache=tmp_path / "c")
    assert run(paths, tmp_path / "c").remembered == 1


def test_a_list_that_cannot_be_written_ends_no_run(
    paths: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*given: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(CodeCache, "remember_bad", refuse)
    done = run(paths, tmp_path / "c")
    assert (done.computed, len(done.bad)) == (2, 1)
    assert "bad pictures were not remembered: the disk is full" in caplog.text


def test_pillows_lack_of_memory_is_not_the_pictures_fault() -> None:
    from PIL import ImageFile

    with pytest.raises(ImageReadError) as caught, _open.reasons():
        raise ImageFile._get_oserror(-9, encoder=False)
    assert not caught.value.is_lasting


def test_rows_without_probes_are_said_to_be_unchecked(
    paths: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(paths[:1], tmp_path / "c")
    (probes,) = (tmp_path / "c").rglob("probes.json")
    probes.unlink()
    run(paths, tmp_path / "c")
    assert "cannot be told whether the numbers are still the same" in caplog.text
    assert probes.exists()


def test_of_two_first_runs_the_second_is_compared_with_the_first(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found no probes; the quicker one's stay."""

    class Other(FakeEngine):
        def codes(self, batch: Any) -> Any:
            return [codes * 1.5 for codes in super().codes(batch)]

    read, first = CodeCache.read_probes, []

    def late(self: CodeCache) -> Any:
        if not first:
            first.append(True)
            run(paths, tmp_path / "c")
            return None
        return read(self)

    monkeypatch.setattr(CodeCache, "read_probes", late)
    engine = Other()
    with pytest.raises(CodesMismatchError):
        extract_codes(Pictures(paths), engine.specs, lambda _: engine, cache=tmp_path / "c")


def jpeg_cut_and_closed(path: Path) -> None:
    texture = Image.effect_noise((120, 90), 60)
    texture.save(path, "JPEG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")


def test_a_damaged_jpeg_is_bad_by_its_reason_and_remembered(tmp_path: Path) -> None:
    jpeg_cut_and_closed(tmp_path / "cut.jpg")
    paths = [str(tmp_path / "cut.jpg")]
    first, second = run(paths, tmp_path / "c"), run(paths, tmp_path / "c")
    assert first.bad == [(paths[0], "damaged JPEG data: premature end of data segment")]
    assert second.bad == first.bad
    assert (first.remembered, second.remembered) == (0, 1)


def test_what_may_be_damage_is_noted_with_the_first_such_picture(tmp_path: Path) -> None:
    texture = Image.effect_noise((40, 40), 60).point(lambda value: value or 1)
    texture.save(tmp_path / "a.bmp")
    data = (tmp_path / "a.bmp").read_bytes()
    (tmp_path / "b.bmp").write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    done = run([str(tmp_path / "a.bmp"), str(tmp_path / "b.bmp")], tmp_path / "c")
    (note,) = done.notes
    assert "perhaps damaged" in note.words
    assert (note.n_pictures, note.first) == (1, str(tmp_path / "b.bmp"))
    assert done.computed == 2


def test_a_damaged_picture_stored_by_an_earlier_version_stays_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpeg_cut_and_closed(tmp_path / "cut.jpg")
    paths = [str(tmp_path / "cut.jpg")]
    with monkeypatch.context() as patch:
        patch.setattr(_decode, "find_damage", lambda *_: frozenset())
        assert run(paths, tmp_path / "c").computed == 1
    again = run(paths, tmp_path / "c")
    assert (again.cached, again.bad) == (1, [])
    assert pixel_codes(Pictures(paths)).shape == (1, 768)
