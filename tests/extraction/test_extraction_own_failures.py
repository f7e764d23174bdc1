"""Code of the user's own that fails: a network in a batch, a preprocess function for a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tlfeatures import CNNCodes
from tlfeatures.errors import ExtractionError, ImageReadError

PICTURES = [np.full((40, 40, 3), value, np.uint8) for value in range(0, 200, 20)]


class Choosy(nn.Module):
    """Fails where plain pictures are bright; cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.flatten(2).std(-1).max()) < 1e-3 and float(x.mean()) > 0.3:
            raise ValueError("too bright for me\nand a second line")
        return self.linear(self.convolution(x).mean((2, 3)))


def codes_of(cache: Path, network: nn.Module, **words: Any) -> CNNCodes:
    given = {"preprocess": "imagenet", "input_size": 32, "batch_size": 2, "n_jobs": 1} | words
    return CNNCodes(network, cache=cache, precision="float32", weights_id="of a test", **given)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_network_that_raises_in_a_batch_is_named_in_a_line(tmp_path: Path, n_jobs: int) -> None:
    with pytest.raises(
        ExtractionError, match=r"failed on a batch of .*ValueError: too bright"
    ) as e:
        codes_of(tmp_path, Choosy(), n_jobs=n_jobs).transform(PICTURES)
    assert "\n" not in str(e.value)
    assert codes_of(tmp_path, Choosy(), n_jobs=n_jobs).transform(PICTURES[:4]).shape == (4, 4)


def prepare(picture: Any) -> torch.Tensor:
    value = int(np.asarray(picture)[0, 0, 0])
    if value == 40:
        raise RuntimeError("an odd one\nwith a second line")
    side = 20 if value == 60 else 32
    return torch.full((3, side, side), value / 255)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolution(x).mean((2, 3)))


def test_a_preprocess_function_that_fails_makes_bad_pictures(tmp_path: Path) -> None:
    words = {"preprocess": prepare, "input_size": None}
    with pytest.raises(ImageReadError) as caught:
        codes_of(tmp_path, Plain(), **words).transform(PICTURES)
    assert [path for path, _ in caught.value.bad] == ["<picture 2>", "<picture 3>"]
    assert "RuntimeError: an odd one" in caught.value.bad[0][1]
    assert "(3, 20, 20) for it, (3, 32, 32) for others" in caught.value.bad[1][1]
    found = codes_of(tmp_path, Plain(), **words, on_bad="nan").transform(PICTURES)
    assert np.isnan(found).all(axis=1).tolist() == [i in (2, 3) for i in range(10)]


def test_a_function_that_was_mended_is_asked_again(tmp_path: Path) -> None:
    fails = True

    def mended(picture: Any) -> torch.Tensor:
        return prepare(picture) if fails else torch.zeros(3, 32, 32)

    codes = codes_of(tmp_path, Plain(), preprocess=mended, input_size=None, on_bad="nan")
    assert np.isnan(codes.transform(PICTURES[2:3])).all()
    fails = False
    assert np.isfinite(codes.transform(PICTURES[2:3])).all()
