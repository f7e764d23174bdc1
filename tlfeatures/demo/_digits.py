"""The demo's pictures: scikit-learn's handwritten digits, in colour on textured backgrounds.

Each picture is drawn from a random stream of its own (`random_state`, index), so that any one of
them can be drawn alone. Colours are float RGB triples in 0..255 until the last step.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tlfeatures._targets import expand
from tlfeatures.errors import OutputError

__all__ = ["WHAT_WAS_DONE", "draw_digits", "write_digits"]

WHAT_WAS_DONE = (
    "The pictures are the 1,797 real handwritten digits that come with scikit-learn (8x8 pixels, "
    "17 grey levels), each redrawn by tlfeatures at a random place, size, tilt and colour on a "
    "random textured background, 64x64 pixels. The strokes are real; the scenes are artificial."
)

SIZE = 64  # height and width of a picture in pixels
N_DIGITS = 1797
HEIGHTS = (26.0, 44.0)  # of the digit's 8x8 grid, in pixels
MAX_TILT = 25.0  # degrees to either side
MIN_DISTANCE = 60.0  # between the ink and 95 % of the background it lies on, see colour_distance
MAX_SPREAD = 70.0  # between the two colours of a background
_MARGIN = 2  # empty cells around the 8x8 grid, so that the interpolation runs out to nothing
_TAG = "tlfeatures-demo-digits"  # text chunk in each file: which drawing it is

Floats = npt.NDArray[np.float64]


def colour_distance(a: Floats, b: Floats) -> Floats:
    """How differently two colours look: the Euclidean distance in YUV.

    Parameters
    ----------
    a, b : ndarray of shape (..., 3)
        RGB colours in 0..255; the shapes broadcast.

    Returns
    -------
    ndarray of shape (...)
        0 for the same colour, 255 for black against white.
    """
    to_yuv = np.array(
        [[0.299, -0.147, 0.615], [0.587, -0.289, -0.515], [0.114, 0.436, -0.100]]
    )  # ITU-R BT.601
    difference = (np.asarray(a) - np.asarray(b)) @ to_yuv
    return np.asarray(np.sqrt((difference**2).sum(axis=-1)))


def draw_digits(random_state: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """Draw all digits.

    Parameters
    ----------
    random_state : int, default=0
        The same number draws the same pixels.

    Returns
    -------
    pictures : ndarray of shape (1797, 64, 64, 3), uint8
        RGB pictures, in scikit-learn's order.
    labels : ndarray of shape (1797,), str
        "0" to "9".
    """
    from sklearn.datasets import load_digits  # half a second to import

    strokes, targets = load_digits(return_X_y=True)
    pictures = np.stack(
        [
            draw_digit(stroke.reshape(8, 8) / 16.0, np.random.default_rng([random_state, index]))
            for index, stroke in enumerate(strokes)
        ]
    )
    return pictures, targets.astype(np.str_)


def write_digits(folder: str | Path, random_state: int = 0) -> Path:
    """Write all digits as PNG files in class folders: `folder/<digit>/<index>.png`.

    A folder that holds them already is left as it is. A new folder appears only when it is
    complete; in an existing one, files that are missing or from another `random_state` are
    replaced, one at a time, and other files are left alone.

    Parameters
    ----------
    folder : str or Path
        Where to; its parents are made.
    random_state : int, default=0
        As in :func:`draw_digits`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        When the folder cannot be written.
    """
    folder = expand(folder)
    try:
        if not _is_complete(folder, random_state):
            _write_all(folder, random_state)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"the demo's pictures cannot be written to '{folder}' ({reason}); "
            "name a folder that can be written and has 20 MB free."
        ) from error
    return folder


def draw_digit(stroke: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw one digit.

    Parameters
    ----------
    stroke : ndarray of shape (8, 8)
        Ink in 0..1.
    rng : numpy.random.Generator
        Where place, size, tilt, colours and texture come from.

    Returns
    -------
    ndarray of shape (64, 64, 3), uint8
    """
    mask = draw_mask(stroke, rng)
    background = draw_background(rng)
    ink = choose_ink(background[mask > 0.5], rng)
    shaded = ink + rng.normal(0.0, 4.0, background.shape)
    picture = background + mask[..., None] * (shaded - background)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def draw_mask(stroke: Floats, rng: np.random.Generator) -> Floats:
    """Place, scale and tilt the 8x8 grid of a digit.

    Parameters
    ----------
    stroke : ndarray of shape (8, 8)
        Ink in 0..1.
    rng : numpy.random.Generator
        Where place, size and tilt come from.

    Returns
    -------
    ndarray of shape (64, 64)
        How much of each pixel is ink, 0..1.
    """
    height = rng.uniform(*HEIGHTS)
    tilt = np.deg2rad(rng.uniform(-MAX_TILT, MAX_TILT))
    cosine, sine = np.cos(tilt), np.sin(tilt)
    # half the extent of the tilted grid, which stays inside the picture
    reach = 0.5 * height * (abs(sine) + cosine)
    slack = max(SIZE / 2 - reach, 0.0)
    x, y = SIZE / 2 + rng.uniform(-slack, slack, size=2)
    a, b = cosine * 8 / height, sine * 8 / height  # Pillow wants output pixel -> grid cell
    centre = 4 + _MARGIN
    affine = (a, b, centre - a * x - b * y, -b, a, centre + b * x - a * y)
    grid = Image.fromarray(np.pad(stroke, _MARGIN).astype(np.float32))
    smooth = np.asarray(
        grid.transform(
            (SIZE, SIZE), Image.Transform.AFFINE, affine, resample=Image.Resampling.BICUBIC
        )
    )
    # a ramp about one and a half pixels wide makes the stroke's edge clean
    return np.clip((smooth.astype(np.float64) - 0.5) * height / 14 + 0.5, 0.0, 1.0)


def draw_background(rng: np.random.Generator) -> Floats:
    """Draw a texture in two random colours of moderate contrast, with some noise over it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where kind, shape and colours come from.

    Returns
    -------
    ndarray of shape (64, 64, 3)
        RGB in 0..255.
    """
    texture = _TEXTURES[rng.integers(len(_TEXTURES))](rng)
    first = rng.uniform(20, 235, size=3)
    second = np.clip(first + rng.normal(0.0, 60.0, size=3), 0, 255)
    distance = float(colour_distance(first, second))
    second = first + (second - first) * min(1.0, MAX_SPREAD / max(distance, 1e-9))
    picture = first + texture[..., None] * (second - first)
    grain = 40.0 * (_noise(rng, power=0.8) - 0.5)
    return np.asarray(np.clip(picture + grain[..., None], 0, 255))


def choose_ink(under: Floats, rng: np.random.Generator) -> Floats:
    """Choose a colour that is clearly different from what lies under the digit.

    Parameters
    ----------
    under : ndarray of shape (n, 3)
        The background's colours where the ink will be.
    rng : numpy.random.Generator
        Where the candidates come from.

    Returns
    -------
    ndarray of shape (3,)
        The first of 32 random colours that is `MIN_DISTANCE` away from 95 % of `under`; where
        there is none, black or white, whichever is farther.
    """
    extremes = np.array([[0.0, 0.0, 0.0], [255.0, 255.0, 255.0]])
    candidates = np.vstack([rng.uniform(0, 255, size=(32, 3)), extremes])
    distances = colour_distance(candidates[:, None], under[None])
    nearest = np.quantile(distances, 0.05, axis=1)
    good = np.flatnonzero(nearest[:-2] >= MIN_DISTANCE)
    chosen = good[0] if good.size else 32 + int(np.argmax(nearest[-2:]))
    return np.asarray(candidates[chosen])


def _plane(rng: np.random.Generator) -> Floats:
    """Pixel coordinates along a random direction, in pixels, from a random start."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    return np.asarray(columns * np.cos(angle) + rows * np.sin(angle) + rng.uniform(0, SIZE))


def _stretch(field: Floats) -> Floats:
    """Scale a field to 0..1."""
    low, high = field.min(), field.max()
    return np.asarray((field - low) / max(high - low, 1e-9))


def _noise(rng: np.random.Generator, power: float) -> Floats:
    """Noise whose amplitude falls as 1 / frequency ** power."""
    rows, columns = np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # no offset
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) / frequency**power
    return _stretch(np.fft.irfft2(spectrum, s=(SIZE, SIZE)))


def _clouds(rng: np.random.Generator) -> Floats:
    return _noise(rng, power=rng.uniform(1.0, 2.0))


def _stripes(rng: np.random.Generator) -> Floats:
    wave = np.sin(_plane(rng) * 2 * np.pi / rng.uniform(5, 20))
    return np.asarray(np.clip(wave * rng.uniform(0.7, 4), -1, 1) / 2 + 0.5)


def _checks(rng: np.random.Generator) -> Floats:
    angle, period = rng.uniform(0, np.pi / 2), rng.uniform(10, 28)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] * 2 * np.pi / period
    along = np.sin(columns * np.cos(angle) + rows * np.sin(angle))
    across = np.sin(rows * np.cos(angle) - columns * np.sin(angle))
    return np.asarray(np.clip(along * across * 5, -1, 1) / 2 + 0.5)


def _blobs(rng: np.random.Generator) -> Floats:
    centres, widths = rng.uniform(0, SIZE, size=(12, 2)), rng.uniform(3, 9, size=12)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    squared = (rows[..., None] - centres[:, 0]) ** 2 + (columns[..., None] - centres[:, 1]) ** 2
    return np.asarray(np.exp(-squared / (2 * widths**2)).max(axis=-1))


def _gradient(rng: np.random.Generator) -> Floats:
    return _stretch(_plane(rng))


_TEXTURES = (_clouds, _stripes, _checks, _blobs, _gradient)


def _tag(random_state: int) -> str:
    return f"drawing 1, random_state {random_state}."


def _is_complete(folder: Path, random_state: int) -> bool:
    """Whether each of the 1,797 names is there, from this drawing."""
    found = {path.stem: path for path in folder.glob("[0-9]/[0-9][0-9][0-9][0-9].png")}
    if set(found) != {f"{index:04d}" for index in range(N_DIGITS)}:
        return False
    chunk = f"{_TAG}\0{_tag(random_state)}".encode()
    return all(chunk in _head_of(path) for path in found.values())


def _head_of(path: Path) -> bytes:
    """A file's first bytes; Pillow puts text before the pixels."""
    with path.open("rb") as file:
        return file.read(256)


def _write_all(folder: Path, random_state: int) -> None:
    pictures, labels = draw_digits(random_state)
    if folder.exists():
        _fill(folder, pictures, labels, random_state)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        whole = Path(beside) / folder.name
        _fill(whole, pictures, labels, random_state)
        whole.rename(folder)


def _fill(
    folder: Path,
    pictures: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.str_],
    random_state: int,
) -> None:
    """Write the files that are not there yet with exactly these bytes."""
    for label in np.unique(labels):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        path = folder / str(label) / f"{index:04d}.png"
        data = _to_png(picture, random_state)
        if not (path.is_file() and path.read_bytes() == data):
            beside = path.with_suffix(".png.part")
            beside.write_bytes(data)
            beside.replace(path)


def _to_png(picture: npt.NDArray[np.uint8], random_state: int) -> bytes:
    text = PngInfo()
    text.add_text(_TAG, _tag(random_state))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=6, pnginfo=text)
    return buffer.getvalue()
