"""Decodes mutated picture files, in a process of its own: a crash or a hang costs one picture.

    python tests/pictures/fuzz_decoder.py FIRST LAST [FOLDER]

Mutant number i is the same on every run. For each one a line: number, outcome ("ok", "bad" or what
went wrong), seconds. The last line is the peak memory in MiB.
"""

from __future__ import annotations

import io
import random
import re
import resource
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlfeatures.errors import ImageReadError
from tlfeatures.pictures import DecodeOptions, decode_with_notes

ADDRESS_SPACE = 8 << 30  # what a mutant may ask for in vain; the peak is watched by the test
LONGEST = 200_000  # bytes; larger files are no seeds
MAX_PIXELS = 4_000_000  # of a seed's size would do; a mutant's header may claim billions
OPTIONS = (
    DecodeOptions(max_pixels=MAX_PIXELS),
    DecodeOptions(exif=False, range=(10.0, 4000.0), max_pixels=MAX_PIXELS),
)


def main(first: int, last: int, folder: Path | None) -> None:
    """Decode the mutants from `first` up to, but not including, `last`."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for i in range(first, last):
        print(i, end=" ", flush=True)
        data, started = mutant(i, folder), time.perf_counter()
        print(outcome(data, OPTIONS[i % 2]), f"{time.perf_counter() - started:.3f}", flush=True)
    # Not ru_maxrss, which also counts the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    print("peak", int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10)


def outcome(data: bytes, options: DecodeOptions) -> str:
    """What becomes of the bytes, in one word."""
    try:
        picture = decode_with_notes(data, options).picture
    except ImageReadError as error:
        return "bad" if str(error) and "\n" not in str(error) else "bad-reason"
    except BaseException as error:  # the one thing that must not happen
        return f"raised-{type(error).__name__}"
    is_right = picture.mode == "RGB" and min(picture.size) > 0
    return "ok" if is_right and np.asarray(picture).shape[2:] == (3,) else "not-rgb"


def mutant(i: int, folder: Path | None) -> bytes:
    """A seed file with some of its bytes changed, moved, doubled or left out."""
    rng = random.Random(i)
    data = bytearray(rng.choice(seeds(folder)))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        MUTATIONS[rng.randrange(len(MUTATIONS))](rng, data)
    return bytes(data)


def _place(rng: random.Random, data: bytearray) -> int:
    """Any place, half the time one in the header."""
    return rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(rng: random.Random, data: bytearray) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    data[place : place + 4] = rng.choice(
        (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", rng.randbytes(4))
    )


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def _remove(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    del data[place : place + rng.randrange(1, 64)]


def _double(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    data[place:place] = data[place : place + rng.randrange(1, 256)]


def _noise(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    data[place : place + 32] = rng.randbytes(32)


MUTATIONS = (_flip, _flip, _set, _set, _cut, _remove, _double, _noise)


@lru_cache(maxsize=1)
def seeds(folder: Path | None) -> list[bytes]:
    """Small files of every format, drawn here, and those of the folder."""
    found = [data for data in _drawn() if data]
    if folder is not None:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        found += [path.read_bytes() for path in paths if 0 < path.stat().st_size < LONGEST]
    return found


def _drawn() -> list[bytes]:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 31, 3), np.uint8))
    grey16 = Image.fromarray(rng.integers(0, 65536, (24, 31)).astype(np.uint16))
    floats = Image.fromarray(rng.normal(size=(24, 31)).astype(np.float32))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90), rgb]}
    compressed = ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    return [
        *(_saved(rgb, "JPEG", **more) for more in ({}, {"progressive": True}, {"exif": exif})),
        _saved(rgb.convert("CMYK"), "JPEG"),
        *(_saved(rgb.convert(mode), "PNG") for mode in ("RGB", "RGBA", "P", "LA", "1", "L")),
        _saved(rgb, "PNG", exif=exif),
        _saved(grey16, "PNG"),
        _saved(rgb, "GIF", **frames),
        *(_saved(rgb, "TIFF", compression=name) for name in compressed),
        _saved(rgb.convert("1"), "TIFF", compression="group4"),
        *(_saved(picture, "TIFF") for picture in (grey16, floats, rgb.convert("LAB"))),
        _saved(rgb, "WEBP"),
        _saved(rgb, "WEBP", lossless=True, **frames),
        *(_saved(rgb, kind) for kind in ("BMP", "PPM", "ICO", "JPEG2000", "AVIF", "HEIF")),
        _saved(rgb, "MPO", **frames),
    ]


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The file, empty if this Pillow cannot write the format."""
    buffer = io.BytesIO()
    Image.init()
    if kind == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            return b""
        pillow_heif.from_pillow(picture).save(buffer)
    elif kind.upper() in Image.SAVE:
        picture.save(buffer, kind, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
