"""Pictures that the whole suite uses, and where the shared ones are."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"
PATTERNS = ("checks", "disks", "stripes")


def pytest_collection_finish() -> None:
    """What is imported by now stays: full collections, which some code asks for, skip it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and weights; the test is skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED} is absent: real pictures are not part of the repository")
    return SHARED


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What tests, and what they share, do to the package's log by the command line is undone."""
    _reset_log()
    yield
    _reset_log()


def _reset_log() -> None:
    logger = logging.getLogger("tlfeatures")
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    logger.handlers.clear()


def draw_pattern(label: str, height: int, rng: np.random.Generator) -> Image.Image:
    """A picture of one pattern in two random colours, with noise."""
    y, x = np.mgrid[:height, :64]
    masks = {
        "checks": (x // 8 + y // 8) % 2,
        "disks": np.hypot(x - 32, y - height / 2) < 16 + rng.uniform(-3, 3),
        "stripes": x // 4 % 2,
    }
    dark, light = rng.uniform(0, 90, 3), rng.uniform(160, 255, 3)
    pixels = np.where(masks[label][..., None], light, dark) + rng.normal(0, 8, (height, 64, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders of twelve PNG files, which the embedded network tells apart."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label in PATTERNS:
        (root / label).mkdir()
        for i in range(12):
            draw_pattern(label, 56 + i, rng).save(root / label / f"{i:02}.png")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the session's tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def shared_weights(shared: Path) -> Path:
    """The folder of real weights, unpacked once; the test is skipped where they are absent."""
    script = shared / "unpack_weights.py"
    if not script.is_file():
        pytest.skip(f"{script} is absent: real weights are not part of the repository")
    words = [sys.executable, str(script)]
    answer = subprocess.run(words, check=True, capture_output=True, text=True)
    return Path(answer.stdout.strip())
