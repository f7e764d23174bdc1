"""An own network is compared with the cache by probe pictures whenever it is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tlfeatures import CNNCodes
from tlfeatures.backbones import Preprocessing
from tlfeatures.errors import CodesMismatchError
from tlfeatures.extraction._probes import probe_pictures

SMALL = Preprocessing(resize=20, input_size=16)


class Net(nn.Module):
    """Its forward depends on a thing that no hash sees."""

    power = 1.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.conv(x).relu() ** type(self).power).mean((2, 3)))


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
    with pytest.raises(CodesMismatchError, match="forward or its preprocessing has changed"):
        codes(tmp_path).extract(folder)
    assert codes(tmp_path, weights_id="squared").extract(folder).computed == 36


def test_a_changed_preprocess_function_is_caught(folder: Path, tmp_path: Path) -> None:
    scale = [1.0]

    def prepare(picture: object) -> np.ndarray:
        return np.asarray(picture.resize((16, 16)), np.float32).transpose(2, 0, 1) * scale[0]

    CNNCodes(Net, preprocess=prepare, cache=tmp_path).extract(folder)
    scale[0] = 1 / 255
    with pytest.raises(CodesMismatchError, match="another --cache"):
        CNNCodes(Net, preprocess=prepare, cache=tmp_path).extract(folder)


def test_the_probes_are_three_pictures_in_colour_that_never_change() -> None:
    pictures = [np.asarray(picture) for picture in probe_pictures()]
    assert [picture.shape for picture in pictures] == [(240, 320, 3), (320, 240, 3), (300, 300, 3)]
    assert all(picture.std((0, 1)).min() > 20 for picture in pictures)
    # Their codes are stored in caches; other pictures would make every one of them invalid.
    sums = [int(picture.sum()) for picture in pictures]
    assert sums == pytest.approx([32_325_460, 32_138_214, 37_646_882], abs=100)
