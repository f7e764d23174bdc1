"""Pictures that the whole suite uses, and where the shared ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"
COLOURS = {"blue": (60, 60, 200), "green": (60, 190, 60), "red": (200, 60, 60)}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real pictures and weights; the test is skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED} is absent: real pictures are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders of twelve noisy one-coloured PNG files."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (root / label).mkdir()
        for i in range(12):
            pixels = np.clip(rng.normal(colour, 40, (40 + i, 64, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i:02}.png")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the session's tests share."""
    return tmp_path_factory.mktemp("cache")
