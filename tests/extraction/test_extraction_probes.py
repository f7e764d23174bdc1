"""An own network is compared with the cache by probe pictures whenever it is opened."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tlfeatures import CNNCodes
from tlfeatures.backbones import Preprocessing
from tlfeatures.cli._app import run
from tlfeatures.engine import _engine, _opened
from tlfeatures.engine._engine import TorchEngine
from tlfeatures.errors import CodesMismatchError, ImageReadError, UsageError, WeightsError
from tlfeatures.extraction.chunks import _batch, _probes
from tlfeatures.extraction.chunks._probes import probe_files
from tlfeatures.pictures import decode, load_pictures
from tlfeatures.store import CodeCache, cache_info

NAN, INF = float("nan"), float("inf")
DIGESTS = ["ef9ef61a75c5", "d0d6883e6855", "f9db78f8be0a"]
SMALL = Preprocessing(resize=20, input_size=16)


class Net(nn.Module):
    """Its forward depends on a thing that no hash sees."""

    power = 1.0
    adds = 0.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.conv(x).relu() ** type(self).power).mean((2, 3)) + type(self).adds)


def codes(cache: Path, **words: object) -> CNNCodes:
    return CNNCodes(Net, preprocess=SMALL, cache=cache, **words)


def test_the_same_network_finds_its_rows_again(folder: Path, tmp_path: Path) -> None:
    first = codes(tmp_path).extract(folder)
    again = codes(tmp_path).extract(folder)
    assert (first.computed, again.computed, again.cached) == (36, 0, 36)
    np.testing.assert_array_equal(np.asarray(first.codes), np.asarray(again.codes))


def test_a_changed_forward_is_caught_even_if_all_is_cached(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes(tmp_path).extract(folder)
    monkeypatch.setattr(Net, "power", 2.0)
    with pytest.raises(CodesMismatchError, match="own network's forward or preprocessing"):
        codes(tmp_path).extract(folder)
    assert codes(tmp_path, weights_id="squared").extract(folder).computed == 36


def test_a_changed_preprocess_function_is_caught(folder: Path, tmp_path: Path) -> None:
    scale = [1.0]

    def prepare(picture: object) -> np.ndarray:
        return np.asarray(picture.resize((16, 16)), np.float32).transpose(2, 0, 1) * scale[0]

    CNNCodes(Net, preprocess=prepare, cache=tmp_path).extract(folder)
    scale[0] = 1 / 255
    with pytest.raises(CodesMismatchError, match="another weights_id"):
        CNNCodes(Net, preprocess=prepare, cache=tmp_path).extract(folder)


def test_the_probes_are_three_pictures_in_colour_that_never_change() -> None:
    pictures = [np.asarray(decode(data)) for data in probe_files()]
    assert [picture.shape for picture in pictures] == [(240, 320, 3), (320, 240, 3), (300, 300, 3)]
    assert all(picture.std((0, 1)).min() > 20 for picture in pictures)
    # Their codes are stored in caches; other files would make every one of them invalid.
    digests = [hashlib.sha256(data).hexdigest()[:12] for data in probe_files()]
    assert digests == DIGESTS


@pytest.fixture
def changed_network(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the embedded network whose numbers have changed since by a tenth."""
    monkeypatch.setattr(_opened, "_open", {})
    CNNCodes("embedded", cache=tmp_path).extract(load_pictures(folder)[:20])
    codes = TorchEngine.codes
    monkeypatch.setattr(
        TorchEngine, "codes", lambda self, batch: [x * 1.1 for x in codes(self, batch)]
    )
    monkeypatch.setattr(_engine, "made_with", lambda device: {"torch": "99.0", "device": device})
    monkeypatch.setattr(_opened, "_open", {})
    return tmp_path


def test_extending_a_cache_whose_numbers_have_changed_is_refused_naming_what_changed(
    folder: Path, changed_network: Path
) -> None:
    with pytest.raises(CodesMismatchError, match=r"torch .* -> 99\.0.*--new-contract"):
        CNNCodes("embedded", cache=changed_network).extract(folder)
    cached = CNNCodes("embedded", cache=changed_network).extract(load_pictures(folder)[:20])
    assert cached.computed == 0


def test_a_new_contract_starts_a_folder_of_its_own_that_is_used_from_then_on(
    folder: Path, changed_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(folder), "--backbone", "embedded", "--cache", str(changed_network)]
    assert run(words) == 1
    assert "99.0" in capsys.readouterr().err
    assert run([*words, "--new-contract"]) == 0
    assert "contract 1001" in capsys.readouterr().err
    done = CNNCodes("embedded", cache=changed_network).extract(folder)
    assert (done.computed, done.cached) == (0, 36)
    assert done.codes.spec.contract == 1001
    assert len(cache_info(changed_network)) == 2


def test_a_query_is_not_compared_with_codes_of_other_numbers(
    folder: Path, changed_network: Path
) -> None:
    codes = CNNCodes("embedded", cache=changed_network)
    with pytest.raises(CodesMismatchError, match=r"torch .* -> 99\.0.*--new-contract"):
        codes.query(load_pictures(folder)[18:22])
    assert codes.query(load_pictures(folder)[:4]).shape == (4, 256)  # all are stored


def test_differences_below_the_tolerance_are_no_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CNNCodes("embedded", cache=tmp_path).extract(load_pictures(folder)[:20])
    codes = TorchEngine.codes
    monkeypatch.setattr(
        TorchEngine, "codes", lambda self, batch: [x * 1.00005 for x in codes(self, batch)]
    )
    assert CNNCodes("embedded", cache=tmp_path).extract(folder).computed == 16


def test_a_changed_decoder_is_seen(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CNNCodes("embedded", cache=tmp_path).extract(load_pictures(folder)[:20])
    plain = _batch.decode_with_notes

    def turned(data: object, options: object) -> object:
        decoded = plain(data, options)  # type: ignore[arg-type]
        return replace(decoded, picture=decoded.picture.rotate(180))

    monkeypatch.setattr(_batch, "decode_with_notes", turned)
    monkeypatch.setattr(_probes, "decoder_versions", lambda: {"Pillow": "77"})
    with pytest.raises(CodesMismatchError, match=r"Pillow .* -> 77"):
        CNNCodes("embedded", cache=tmp_path).extract(folder)


def test_a_changed_preprocess_function_of_a_named_network_is_caught(
    folder: Path, tmp_path: Path
) -> None:
    def make(factor: float) -> object:
        def prepare(picture: object) -> np.ndarray:
            pixels = np.asarray(picture.resize((64, 64)), np.float32)
            return pixels.transpose(2, 0, 1) * factor

        return prepare

    CNNCodes("embedded", preprocess=make(0.01), cache=tmp_path).extract(folder)
    with pytest.raises(CodesMismatchError):
        CNNCodes("embedded", preprocess=make(-0.02), cache=tmp_path).extract(folder)


def test_pictures_prepared_to_several_sizes_are_refused_in_a_line(
    folder: Path, tmp_path: Path
) -> None:
    def as_it_is(picture: object) -> np.ndarray:
        return np.asarray(picture, np.float32).transpose(2, 0, 1)

    with pytest.raises(UsageError, match=r"the probe pictures cannot be prepared: .*one shape"):
        CNNCodes("embedded", preprocess=as_it_is, cache=tmp_path).extract(folder)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_network_that_gives_no_numbers_is_refused_and_nothing_is_stored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Net, "adds", value)
        with pytest.raises(WeightsError, match=r"NaN .* for 3 of 3 probe .* other weights"):
            codes(tmp_path).extract(folder)
        assert not list(tmp_path.rglob("probes.json"))
        assert not list(tmp_path.rglob("*.h5"))
    assert codes(tmp_path).extract(folder).computed == 36  # the guard is as it should be


@pytest.mark.parametrize("value", [NAN, INF])
def test_numbers_that_are_lost_later_are_no_smaller_a_change(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """NaN is not above any tolerance; it must not pass for that reason."""
    codes(tmp_path).extract(load_pictures(folder)[:20])
    monkeypatch.setattr(Net, "adds", value)
    with pytest.raises(WeightsError, match="NaN or infinity"):
        codes(tmp_path).extract(folder)


def test_a_cache_whose_old_probes_are_nan_is_guarded_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = codes(tmp_path).extract(load_pictures(folder)[:20])
    cache = first.codes.cache
    spoil(cache)
    assert cache.read_probes() is None
    assert codes(tmp_path).extract(folder).computed == 16
    assert "cannot be told whether the numbers are still the same" in caplog.text
    monkeypatch.setattr(Net, "power", 2.0)
    with pytest.raises(CodesMismatchError):
        codes(tmp_path).extract(folder)


def spoil(cache: CodeCache) -> None:
    """Probes of NaN, as earlier versions stored them."""
    path = cache.folder / "probes.json"
    values = json.loads(path.read_text())
    del values["digest"]
    values["codes"] = np.full(values["shape"], NAN, "<f4").tobytes().hex()
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    path.write_text(json.dumps({**values, "digest": digest}))


def test_a_query_without_numbers_is_a_bad_picture(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = load_pictures(folder)
    made = codes(tmp_path)
    made.extract(pictures[:20])
    plain = TorchEngine.codes

    def lose_one(self: TorchEngine, batch: np.ndarray) -> list[np.ndarray]:
        found = plain(self, batch)
        found[0][1:2] = NAN if len(batch) == 2 else found[0][1:2]
        return found

    monkeypatch.setattr(TorchEngine, "codes", lose_one)
    with pytest.raises(ImageReadError, match="gives NaN or infinity for it; try another layer"):
        made.query(pictures[20:22])
    filled = made.set_params(on_bad="nan").query(pictures[20:22])
    assert np.isnan(filled).all(axis=1).tolist() == [False, True]
