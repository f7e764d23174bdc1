"""How a picture becomes the network's input: geometry on the Pillow side, arithmetic on the batch.

The geometry is torchvision's for Pillow pictures (resize the short side with antialiasing, crop the
centre), the arithmetic is that of the weights. No torch here, so that decoder
workers and fully cached runs need none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tlfeatures.errors import ImageReadError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)

PREPROCESS_NAMES = ("torchvision", "imagenet", "caffe", "tf")
POOLINGS = ("avg", "max", "gem", "flatten", "cls", "cls+avg")
CROPS = ("center", "squash", "none")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
DEFAULT_INPUT_SIZE = 224
LONGEST_SIDES = 200  # of thinner pictures only the middle is resized
FILTER_MARGIN = 32  # in pixels of the picture; when enlarging no filter looks further than 3


@dataclass(frozen=True)
class Preprocessing:
    """What the weights expect of a picture.

    Attributes
    ----------
    resize : int
        The short side after resizing, in pixels.
    input_size : int
        Side of the square that the network sees, in pixels.
    crop : {"center", "squash", "none"}
        "center": the middle square of the resized picture; "none": the whole picture squeezed to
        the square, aspect ratio lost; "squash": squeezed to `resize`, then the middle of that.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}
    divide_by : float
        Pixel values 0..255 are divided by this first.
    mean, std : tuple of three float
        Subtracted, then divided by, in the order of the channels as fed.
    order : {"RGB", "BGR"}
    """

    resize: int
    input_size: int
    crop: str = "center"
    interpolation: str = "bilinear"
    divide_by: float = 255.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    order: str = "RGB"

    @property
    def is_imagenet(self) -> bool:
        """Whether the arithmetic is that of torchvision's presets."""
        usual = Preprocessing(self.resize, self.input_size, self.crop, self.interpolation)
        return self == usual

    @property
    def pixel_mean(self) -> tuple[float, ...]:
        """What becomes 0, as pixel values of R, G and B."""
        return self._as_rgb(tuple(each * self.divide_by for each in self.mean))

    @property
    def pixel_std(self) -> tuple[float, ...]:
        """What becomes 1 above the mean, as pixel values of R, G and B."""
        return self._as_rgb(tuple(each * self.divide_by for each in self.std))

    def _as_rgb(self, numbers: tuple[float, ...]) -> tuple[float, ...]:
        return numbers if self.order == "RGB" else numbers[::-1]

    def to_json(self) -> dict[str, Any]:
        """Everything that changes the numbers, as plain data."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Preprocessing:
        """Rebuild from `to_json`'s answer."""
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Resize and crop one RGB picture.

        Returns
        -------
        ndarray of shape (input_size, input_size, 3), uint8, RGB
        """
        return np.array(self._crop(self.resized(picture)))

    def resized(self, picture: Image.Image) -> Image.Image:
        """One RGB picture before the crop: what augmentation cuts from.

        Returns
        -------
        PIL.Image.Image
            Its short side is `resize`; of a very thin picture only the middle.
        """
        if self.crop == "center":
            picture = self._middle_of_thin(picture)
        return picture.resize(self.resized_size(picture.size), INTERPOLATIONS[self.interpolation])

    def _middle_of_thin(self, picture: Image.Image) -> Image.Image:
        """The middle of a picture so thin that all of it resized would not fit into the memory.

        Far more of it is kept than the crop and the filter look at.
        """
        if not is_thin(picture.size):
            return picture
        short, long = sorted(picture.size)
        sides = -(-self.input_size // self.resize) + 1
        kept = min(long, sides * short + FILTER_MARGIN)
        kept += (long - kept) % 2  # the middle stays the middle
        start = (long - kept) // 2
        if picture.width < picture.height:
            return picture.crop((0, start, picture.width, start + kept))
        return picture.crop((start, 0, start + kept, picture.height))

    def resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture of that width and height after resizing."""
        if self.crop == "none":
            return self.input_size, self.input_size
        if self.crop == "squash":
            return self.resize, self.resize
        # int(), not round(): torchvision truncates the long side.
        width, height = size
        if width <= height:
            return self.resize, max(1, int(self.resize * height / width))
        return max(1, int(self.resize * width / height)), self.resize

    def _crop(self, picture: Image.Image) -> Image.Image:
        side = self.input_size
        pad_x, pad_y = max(0, side - picture.width), max(0, side - picture.height)
        if pad_x or pad_y:  # a crop larger than the picture is padded with black, as torchvision
            canvas = Image.new("RGB", (picture.width + pad_x, picture.height + pad_y))
            canvas.paste(picture, (pad_x // 2, pad_y // 2))
            picture = canvas
        left, top = self.crop_corner(picture.size)
        return picture.crop((left, top, left + side, top + side))

    def crop_corner(self, size: tuple[int, int]) -> tuple[int, int]:
        """Left and upper edge of the crop in a resized picture of that width and height."""
        width, height = size
        return round((width - self.input_size) / 2.0), round((height - self.input_size) / 2.0)


def is_thin(size: tuple[int, int]) -> bool:
    """Whether a picture of that width and height is so thin that only its middle is resized."""
    return max(size) > LONGEST_SIDES * min(size)


class OwnPreprocessing:
    """A person's own function from a picture to the network's input.

    A function cannot be hashed; its repr stands for it, and probe pictures are compared whenever
    an own network is opened.

    Parameters
    ----------
    function : callable
        Takes a PIL picture in mode RGB, gives a tensor or array (3, H, W) of floats.
    """

    crop = "own"

    def __init__(self, function: Callable[[Image.Image], Any]) -> None:
        self.function = function

    def to_json(self) -> dict[str, Any]:
        """Its repr, without addresses."""
        return {"function": stable_repr(self.function)}

    def prepare(self, picture: Image.Image) -> NDArray[np.float32]:
        """The network's input for one RGB picture, shape (3, H, W), float32.

        Raises
        ------
        ImageReadError
            If the function fails or gives something else; another one may do better another day.
        """
        try:
            made = np.asarray(self.function(picture), dtype=np.float32)
        except Exception as error:  # it is the user's own
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ImageReadError(
                f"preprocess {stable_repr(self.function)} failed: {line}", is_lasting=False
            ) from error
        if made.ndim != 3 or made.shape[0] != 3:
            raise ImageReadError(
                f"preprocess gives an array of shape {made.shape}; it must give (3, H, W)",
                is_lasting=False,
            )
        return made


AnyPreprocessing = Preprocessing | OwnPreprocessing


def stable_repr(thing: object) -> str:
    """The repr without memory addresses, which change from run to run."""
    named = getattr(thing, "__qualname__", None)
    text = repr(thing) if named is None else f"{getattr(thing, '__module__', '')}.{named}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def make_preprocessing(
    words: str | Preprocessing | Callable[[Image.Image], Any],
    default: AnyPreprocessing | None,
    *,
    input_size: int | None = None,
    resize: int | None = None,
    crop: str | None = None,
    interpolation: str | None = None,
) -> AnyPreprocessing:
    """Resolve the words typed into the one preprocessing used.

    Parameters
    ----------
    words : {"torchvision", "imagenet", "caffe", "tf"}, Preprocessing, or callable
        "torchvision" takes `default`, the preset of the weights; the other names are for local
        files. A preset of torchvision's becomes a `Preprocessing`; any other function is used as
        it is, without further words.
    default : Preprocessing or None
        None if the weights say nothing.

    Raises
    ------
    UsageError
        If a word or a size is not possible.
    """
    _check_words(words if isinstance(words, str) else "torchvision", crop, interpolation)
    base = _base(words, default)
    if not isinstance(base, Preprocessing):
        if any(word is not None for word in (input_size, resize, crop, interpolation)):
            raise UsageError(
                "`input_size`, `resize`, `crop` and `interpolation` do not go with an own "
                "preprocess function; leave them out."
            )
        return base
    side = input_size or base.input_size
    short = resize or (
        base.resize if input_size is None else round(side * base.resize / base.input_size)
    )
    if side < 1 or short < 1:
        raise UsageError(f"input size {side} and resize {short} must be positive pixel counts.")
    return replace(
        base,
        resize=short,
        input_size=side,
        crop=crop or base.crop,
        interpolation=interpolation or base.interpolation,
    )


def from_torchvision(transforms: Any) -> Preprocessing:
    """The `Preprocessing` of a torchvision `ImageClassification` preset."""
    return Preprocessing(
        resize=transforms.resize_size[0],
        input_size=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _base(
    words: str | Preprocessing | Callable[[Image.Image], Any], default: AnyPreprocessing | None
) -> AnyPreprocessing:
    if isinstance(words, Preprocessing):
        return words
    if not isinstance(words, str):
        is_preset = hasattr(words, "crop_size") and hasattr(words, "resize_size")
        return from_torchvision(words) if is_preset else OwnPreprocessing(words)
    if words != "torchvision":
        return _named(words)
    if default is None:
        raise UsageError(
            "nothing says how pictures are prepared for this network; give `preprocess`: imagenet, "
            "caffe or tf, in Python also a Preprocessing or a function of a picture."
        )
    return default


def _named(name: str) -> Preprocessing:
    side = DEFAULT_INPUT_SIZE
    geometry: dict[str, Any] = {"resize": round(side * 256 / 224), "input_size": side}
    if name == "imagenet":
        return Preprocessing(**geometry)
    if name == "caffe":
        return Preprocessing(
            **geometry, divide_by=1.0, mean=CAFFE_MEAN_BGR, std=(1.0, 1.0, 1.0), order="BGR"
        )
    return Preprocessing(**geometry, divide_by=127.5, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))


def _check_words(name: str, crop: str | None, interpolation: str | None) -> None:
    for what, word, known in (
        ("preprocess", name, PREPROCESS_NAMES),
        ("crop", crop, CROPS),
        ("interpolation", interpolation, tuple(INTERPOLATIONS)),
    ):
        if word is not None and word not in known:
            raise UsageError(f"{what} {word!r} is unknown; choose one of {', '.join(known)}.")
