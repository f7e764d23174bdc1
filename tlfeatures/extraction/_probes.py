"""Probe pictures: what a network says of them tells whether it is still the same network."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tlfeatures.errors import CodesMismatchError
from tlfeatures.store import CodeCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlfeatures.extraction._extract import Engine

TOLERANCE = 1e-4  # of float32, relative to the code's length
SIZES = ((320, 240), (240, 320), (300, 300))


def probe_pictures() -> list[Image.Image]:
    """Three pictures drawn by formula: waves of all directions and a grid of edges, in colour."""
    return [_draw(width, height, i) for i, (width, height) in enumerate(SIZES)]


def check_probes(engine: Engine, cache: str | os.PathLike[str]) -> None:
    """Compare the network's codes of the probes with those stored; store them the first time.

    Raises
    ------
    CodesMismatchError
        If they differ: the rows of this cache are of another network.
    StoreError
        If the cache cannot be read or written.
    """
    from tlfeatures.extraction._extract import run_padded

    prepared = [engine.prepare(picture) for picture in probe_pictures()]
    for spec, codes in zip(engine.specs, run_padded(engine, prepared), strict=True):
        store = CodeCache(cache, spec)
        stored = store.read_probes()
        if stored is None:
            store.write_probes(codes)
        elif (difference := _difference(codes, stored)) > TOLERANCE:
            raise CodesMismatchError(
                f"{spec.backbone} gives other codes of the probe pictures than those in "
                f"{store.folder} (relative difference {difference:.2g}): its forward or its "
                "preprocessing has changed; give it another weights_id, or choose another --cache."
            )


def _difference(codes: NDArray[np.float32], stored: NDArray[np.float32]) -> float:
    if codes.shape != stored.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(stored, axis=1), 1e-12)
    return float((np.linalg.norm(codes - stored, axis=1) / lengths).max())


def _draw(width: int, height: int, i: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x * (k + 1) + y * (5 * i - 3 * k)) / (9.0 + 4 * k)) for k in range(3)]
    edges = ((x // 24 + y // (16 + 8 * i)) % 2) * 60.0
    pixels = np.stack([110 + 60 * wave + edges for wave in waves], axis=-1)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
