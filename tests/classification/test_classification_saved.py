"""A saved model without scikit-learn: codes and words as those of `TransferClassifier.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from tlfeatures import CNNCodes, Pictures, TransferClassifier, load_pictures
from tlfeatures.backbones import BackboneRequest, load_backbone
from tlfeatures.classification import SavedModel, predict_saved
from tlfeatures.errors import CodesMismatchError, ModelFileError, WeightsError
from tlfeatures.extraction import RunOptions
from tlfeatures.pictures import DecodeOptions


@pytest.fixture
def pictures(folder: Path) -> Pictures:
    return load_pictures(folder)


def save(pictures: Pictures, out: Path, cache: Path, **words: Any) -> Path:
    codes = CNNCodes("embedded", cache=cache, **words)
    return TransferClassifier(codes, head="logistic").fit(pictures).save(out / "m.model")


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """A picture of 16 bits, and one that its EXIF orientation turns."""
    ramp = np.linspace(0, 65535, 96 * 64).reshape(96, 64).astype(np.uint16)
    folder = tmp_path / "turned"
    folder.mkdir()
    Image.fromarray(ramp).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    lines = np.broadcast_to(np.arange(96)[:, None] // 6 % 2 * 255, (96, 64)).astype(np.uint8)
    Image.fromarray(lines).convert("RGB").save(folder / "turned.jpg", exif=exif, quality=95)
    return folder


def test_pictures_are_decoded_as_in_the_fit_whatever_is_asked(
    pictures: Pictures, turned: Path, tmp_path: Path, cache: Path
) -> None:
    words: dict[str, Any] = {"exif": False, "range": (0.2, 0.5), "precision": "float32"}
    path, queries = save(pictures, tmp_path, cache, **words), load_pictures(turned)
    asked = RunOptions(cache=cache, decode_options=DecodeOptions(max_pixels=10**7))
    used = SavedModel.load(path).run_options(asked)
    assert used.decode_options == DecodeOptions(exif=False, range=(0.2, 0.5), max_pixels=10**7)
    assert used.precision == "float32"
    found = predict_saved(SavedModel.load(path), queries, asked).predictions
    wanted = TransferClassifier.load(path, cache=cache).predict_proba(queries.paths)
    np.testing.assert_array_equal([p.probability for p in found], wanted.max(axis=1))
    (tmp_path / "usual").mkdir()
    usual = save(pictures, tmp_path / "usual", cache, precision="float32")
    other = TransferClassifier.load(usual, cache=cache).predict_proba(queries.paths)
    assert (np.abs(other - wanted).max(axis=1) > 1e-3).all()  # both pictures see the difference


@pytest.mark.parametrize(
    ("asked", "is_said"), [(None, False), ("fast", False), ("exact", True)], ids=str
)
def test_another_decoding_than_the_fits_is_refused_with_a_word(
    asked: str | None,
    is_said: bool,
    pictures: Pictures,
    tmp_path: Path,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = save(pictures, tmp_path, cache, decode="fast")
    run = None if asked is None else RunOptions(cache=cache, decode=asked)
    caplog.clear()
    assert SavedModel.load(path).run_options(run).decode == "fast"
    words = f"{path} was fitted on codes of decode fast: it is used so, not with exact"
    assert [r.getMessage() for r in caplog.records] == [words] * is_said


def test_another_precision_than_the_fits_is_taken_and_said(
    pictures: Pictures, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(pictures, tmp_path, cache, precision="bf16")
    run = RunOptions(cache=cache, precision="float32")
    with caplog.at_level("INFO"):
        found = predict_saved(SavedModel.load(path), pictures, run)
    assert "was fitted on codes of precision bf16, these are of float32" in caplog.text
    assert np.mean([p.label for p in found.predictions] == pictures.labels) > 0.9


def test_the_network_comes_from_the_model_or_from_where_it_is_now(
    pictures: Pictures, tmp_path: Path, cache: Path
) -> None:
    file = tmp_path / "w.safetensors"
    save_file(load_backbone(BackboneRequest("embedded", "random:5")).network.state_dict(), file)
    codes = CNNCodes("embedded", weights=file, cache=cache)
    fitted = TransferClassifier(codes, head="knn").fit(pictures)
    wanted = fitted.predict(pictures)
    alone = fitted.save(tmp_path / "a", with_weights=False)
    whole = fitted.save(tmp_path / "w", with_weights=True)
    moved = file.rename(tmp_path / "moved.safetensors")
    run = RunOptions(cache=tmp_path / "fresh")
    with pytest.raises(WeightsError, match="model with its weights inside needs none"):
        predict_saved(SavedModel.load(alone), pictures, run)
    for model in (SavedModel.load(whole), SavedModel.load(alone, weights=moved)):
        found = predict_saved(model, pictures, run)
        np.testing.assert_array_equal([p.label for p in found.predictions], wanted)
    other = tmp_path / "other.safetensors"
    save_file(load_backbone(BackboneRequest("embedded", "random:6")).network.state_dict(), other)
    with pytest.raises(CodesMismatchError, match="weights"):
        predict_saved(SavedModel.load(whole, weights=other), pictures, run)


def test_bad_pictures_are_listed(pictures: Pictures, tmp_path: Path, cache: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"x")
    model, run = SavedModel.load(save(pictures, tmp_path, cache)), RunOptions(cache=cache)
    found = predict_saved(model, Pictures([str(bad), pictures.paths[0]]), run, top=2)
    assert [p.path for p in found.predictions] == pictures.paths[:1]
    assert [path for path, _ in found.bad] == [str(bad)]
    assert len(found.predictions[0].top) == 2
    assert predict_saved(model, Pictures([str(bad)]), run).predictions == []


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no model file"):
        SavedModel.load(tmp_path / "none.model")
    save_file(load_backbone(BackboneRequest("embedded")).network.state_dict(), tmp_path / "w")
    with pytest.raises(ModelFileError, match="not a tlfeatures model"):
        SavedModel.load(tmp_path / "w")
