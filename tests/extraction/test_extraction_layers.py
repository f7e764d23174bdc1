"""Several layers in one pass, each cached by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlfeatures import CNNCodes
from tlfeatures.extraction import extract_codes
from tlfeatures.pictures import Pictures
from tlfeatures.store import CodeSpec

MEAN, PEAK = (CodeSpec("fake", "0" * 64, layer, "avg", 3, {}) for layer in ("mean", "peak"))


class TwoLayers:
    """Mean and largest colours of whichever of its layers are asked for."""

    def __init__(self, specs: Any) -> None:
        self.specs, self.batch_size, self.device = tuple(specs), 4, "cpu"
        self.made_with: dict[str, str] = {}
        self.n_batches = 0

    def prepare(self, picture: Image.Image) -> Any:
        return np.asarray(picture.resize((8, 8)))

    def codes(self, batch: Any) -> list[Any]:
        self.n_batches += 1
        ways = {"mean": batch.mean((1, 2)), "peak": batch.max((1, 2))}
        return [ways[spec.layer].astype(np.float32) for spec in self.specs]


def squares(*values: int) -> Pictures:
    return Pictures([np.full((8, 8, 3), value, np.uint8) for value in values])


def test_both_layers_come_of_one_pass(tmp_path: Path) -> None:
    engines: list[TwoLayers] = []

    def make(specs: Any) -> TwoLayers:
        engines.append(TwoLayers(specs))
        return engines[-1]

    mean, peak = extract_codes(squares(1, 2, 3), [MEAN, PEAK], make, cache=tmp_path)
    assert engines[0].n_batches == 2  # the probes, then all
    assert (
        np.asarray(mean.codes)[:, 0].tolist() == np.asarray(peak.codes)[:, 0].tolist() == [1, 2, 3]
    )
    assert (mean.computed, peak.computed) == (3, 3)


def test_only_what_a_layer_lacks_is_stored_for_it(tmp_path: Path) -> None:
    extract_codes(squares(1, 2), [MEAN], TwoLayers, cache=tmp_path)
    mean, peak = extract_codes(squares(1, 2, 3), [MEAN, PEAK], TwoLayers, cache=tmp_path)
    assert (mean.computed, mean.cached) == (1, 2)
    assert (peak.computed, peak.cached) == (3, 0)


def test_the_engine_is_asked_for_the_layers_that_lack_something(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def make(specs: Any) -> TwoLayers:
        asked.append([spec.layer for spec in specs])
        return TwoLayers(specs)

    extract_codes(squares(1), [MEAN], make, cache=tmp_path)
    extract_codes(squares(1), [MEAN, PEAK], make, cache=tmp_path)
    extract_codes(squares(1), [MEAN, PEAK], make, cache=tmp_path)
    assert asked == [["mean"], ["peak"]]


def test_transform_layers_equals_one_transform_a_layer(folder: Path, tmp_path: Path) -> None:
    layers = ("block-2", "layer4", None)
    together = CNNCodes("embedded", cache=tmp_path / "a").transform_layers(folder, layers)
    for layer, found in zip(layers, together, strict=True):
        alone = CNNCodes("embedded", layer=layer, cache=tmp_path / "b").transform(folder)
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
    assert [X.shape[1] for X in together] == [128, 256, 256]


def test_two_names_of_one_layer_are_one(folder: Path, tmp_path: Path) -> None:
    codes = CNNCodes("embedded", cache=tmp_path)
    one, same = codes.transform_layers(folder, ["avgpool", "pool5"])
    np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("bad_rows", [[0], [2], [0, 1, 2]])
def test_bad_pictures_are_bad_for_every_layer(bad_rows: list[int], tmp_path: Path) -> None:
    items: list[Any] = list(squares(1, 2, 3).items)
    for i in bad_rows:
        items[i] = np.zeros((0, 5, 3), np.uint8)
    done = extract_codes(Pictures(items), [MEAN, PEAK], TwoLayers, cache=tmp_path)
    for extraction in done:
        assert len(extraction.bad) == len(bad_rows)
        kept = [i + 1 for i in range(3) if i not in bad_rows]
        assert np.asarray(extraction.codes)[:, 0].tolist() == kept
