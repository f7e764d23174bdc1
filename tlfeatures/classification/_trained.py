"""Which pictures a model was trained on: salted digests of their content, no names."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SALT_SIZE = 16  # bytes
HASH = np.dtype("<u8")


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """Knows a picture again by its content, under any name and however it is decoded.

    A file that was encoded anew is another content. The salt, another one for each fit, keeps two
    models from telling that they were trained on the same pictures.

    Attributes
    ----------
    salt : bytes
    hashes : ndarray of shape (n_contents,), uint64
        Ascending, none twice.
    """

    salt: bytes
    hashes: NDArray[np.uint64]

    @classmethod
    def of(cls, digests: Iterable[bytes]) -> TrainedOn:
        """Remember pictures by their content digests (`tlfeatures.pictures.content_digest`)."""
        salt = secrets.token_bytes(SALT_SIZE)
        return cls(salt, np.unique(_hashes(digests, salt)))

    def has(self, digests: Sequence[bytes]) -> NDArray[np.bool_]:
        """Of each content digest, whether the model was trained on it, shape (n,)."""
        return np.isin(_hashes(digests, self.salt), self.hashes)

    def to_arrays(self) -> tuple[NDArray[np.uint64], dict[str, Any]]:
        """What a model file keeps: the hashes, and JSON values."""
        return self.hashes, {"salt": self.salt.hex()}

    @classmethod
    def from_arrays(cls, hashes: NDArray[Any], facts: Mapping[str, Any]) -> TrainedOn:
        """What `to_arrays` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is something else.
        """
        if hashes.dtype != HASH or hashes.ndim != 1:
            raise TypeError(f"the digests of its pictures are {hashes.dtype} of {hashes.shape}")
        salt = bytes.fromhex(facts["salt"])
        if len(salt) != SALT_SIZE:
            raise ValueError(f"the salt of its digests has {len(salt)} bytes, not {SALT_SIZE}")
        return cls(salt, np.unique(hashes))


def _hashes(digests: Iterable[bytes], salt: bytes) -> NDArray[np.uint64]:
    size = HASH.itemsize
    parts = (hashlib.blake2b(digest, digest_size=size, key=salt).digest() for digest in digests)
    return np.frombuffer(b"".join(parts), HASH)
