"""What a second run remembers: bad pictures with their reason, content digests of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.extraction.test_extraction_loop import FakeEngine, grey
from tlfeatures.cli._app import run as run_cli
from tlfeatures.errors import ImageReadError
from tlfeatures.extraction import _extract, extract_codes
from tlfeatures.pictures import DecodeOptions, Pictures, _decode
from tlfeatures.store import _file_memo


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
    decode = _extract.decode_with_notes
    monkeypatch.setattr(
        _extract, "decode_with_notes", lambda item, o: (seen.append(item), decode(item, o))[1]
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
    assert seen == [paths[1]]
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
    def refuse(item: object, options: object) -> None:
        raise ImageReadError("cannot be decoded: Too many open files", is_lasting=False)

    with monkeypatch.context() as patch:
        patch.setattr(_extract, "decode_with_notes", refuse)
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
    decode = _extract.decode_with_notes

    def starve(item: Any, options: Any) -> Any:
        if str(item).endswith("2.png"):
            raise MemoryError
        return decode(item, options)

    with monkeypatch.context() as patch:
        patch.setattr(_extract, "decode_with_notes", starve)
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
        assert ("--retry-bad" in answer.err) == bool(n_remembered)


def test_a_second_run_over_unchanged_files_reads_none_of_them(
    paths: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_memo, "_FRESH_NS", -(10**18))
    first = run(paths, tmp_path / "c")
    read: list[object] = []
    digest = _extract.content_digest
    monkeypatch.setattr(
        _extract, "content_digest", lambda item: (read.append(item), digest(item))[1]
    )
    second = run(paths, tmp_path / "c")
    assert read == []
    np.testing.assert_array_equal(np.asarray(first.codes), np.asarray(second.codes))
    grey(77).save(paths[0])
    third = run(paths, tmp_path / "c")
    assert read == [paths[0]]
    assert np.asarray(third.codes)[0, 0] == 77
