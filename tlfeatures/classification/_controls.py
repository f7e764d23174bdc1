"""Codes without a trained network: what pictures give away by pixels and colours alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image

from tlfeatures.pictures import DecodeOptions, Pictures, decode

PIXEL_SIDE = 16
COLOUR_LEVELS = 8


def pixel_codes(pictures: Pictures, options: DecodeOptions | None = None) -> NDArray[np.float32]:
    """The pictures shrunk to 16x16, shape (n, 768), float32."""
    return _map(_shrink, pictures, options)


def histogram_codes(
    pictures: Pictures, options: DecodeOptions | None = None
) -> NDArray[np.float32]:
    """Square roots of joint RGB histograms, 8 levels a channel, shape (n, 512), float32."""
    return _map(_histogram, pictures, options)


def _map(
    call: Callable[[Image.Image], NDArray[np.float32]],
    pictures: Pictures,
    options: DecodeOptions | None,
) -> NDArray[np.float32]:
    def code(item: Any) -> NDArray[np.float32]:
        return call(decode(item, options, check=False))

    return np.stack(Parallel(n_jobs=-1, prefer="threads")(delayed(code)(i) for i in pictures))


def _shrink(picture: Image.Image) -> NDArray[np.float32]:
    small = picture.resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).ravel() / np.float32(255)


def _histogram(picture: Image.Image) -> NDArray[np.float32]:
    picture.thumbnail((128, 128))
    levels = np.asarray(picture).reshape(-1, 3).astype(np.intp) * COLOUR_LEVELS // 256
    places = levels @ np.array([COLOUR_LEVELS**2, COLOUR_LEVELS, 1])
    counts = np.bincount(places, minlength=COLOUR_LEVELS**3)
    shares: NDArray[np.float32] = np.sqrt(counts / counts.sum()).astype(np.float32)
    return shares
