"""What a picture is known by: a digest of its bytes, never its path."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
from PIL import Image

from tlfeatures.pictures.decoding._decode import (
    RULES,
    DecodeOptions,
    checker_versions,
    decoder_versions,
    orientation_of,
)
from tlfeatures.pictures.decoding._open import open_file, reasons

DIGEST_SIZE = 16


def content_digest(item: Any) -> bytes:
    """A blake2b digest of 16 bytes: of a file's bytes, or of mode, shape and pixels in memory.

    Parameters
    ----------
    item : str, path, bytes of a file, PIL picture or array

    Raises
    ------
    ImageReadError
        If the file cannot be read, or a picture opened but not loaded turns out bad.
    """
    if isinstance(item, (str, os.PathLike)):  # in blocks, however large it is
        with open_file(item) as file:
            return hashlib.file_digest(file, _of_bytes).digest()
    if isinstance(item, bytes):
        return _of_bytes(item).digest()
    if isinstance(item, Image.Image):
        with reasons():
            # Beside the pixels: what else `decode` looks at.
            kind = f"{item.mode}{orientation_of(item)}{item.info.get('transparency')!r}"
            pixels = np.asarray(item.convert("RGBA") if item.mode in ("P", "PA") else item)
    else:
        kind, pixels = "array", item
    # `person` keeps pictures in memory apart from files of the same bytes.
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE, person=b"pixels")
    digest.update(f"{kind}{pixels.dtype}{pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.digest()


def _of_bytes(data: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE)


def row_key(digest: bytes, options: DecodeOptions) -> bytes:
    """The key of a picture's rows, 16 bytes: its content together with how it is decoded."""
    words = json.dumps({"rules": RULES, **options.to_json()}, sort_keys=True).encode()
    return hashlib.blake2b(digest + words, digest_size=DIGEST_SIZE, person=b"row").digest()


def bad_key(key: bytes, options: DecodeOptions) -> bytes:
    """The key under which a bad picture is remembered, 16 bytes: its row key and the decoder.

    Another version of a decoder, an extra installed meanwhile, or another limit of pixels makes
    another key, so that the picture is tried again.
    """
    versions = {**decoder_versions(), **checker_versions()}
    words = json.dumps({"max_pixels": options.max_pixels, **versions}, sort_keys=True)
    return hashlib.blake2b(key + words.encode(), digest_size=DIGEST_SIZE, person=b"bad").digest()
