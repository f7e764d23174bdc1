"""Options that several verbs share, and what they mean together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from tlfeatures._parameters import LARGEST_SEED
from tlfeatures.backbones import (
    CROPS,
    INTERPOLATIONS,
    POOLINGS,
    PREPROCESS_NAMES,
    BackboneRequest,
)
from tlfeatures.cli._progress import ProgressLine
from tlfeatures.errors import UsageError
from tlfeatures.extraction import RunOptions
from tlfeatures.machine import DECODERS, DEVICES, KERNELS, PRECISIONS
from tlfeatures.pictures import DecodeOptions, Pictures, load_pictures

F = TypeVar("F", bound=Callable[..., Any])

MAX_PIXELS_OPTION = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    help="Larger pictures are bad; default: Pillow's limit, about 179 million.",
)
LAYER_OPTION = click.option(
    "--layer",
    metavar="NAME",
    help="Name or alias, see 'backbones describe'; default: the input of the last layer with "
    "weights.",
)
BACKBONE_OPTIONS = [
    click.option(
        "--backbone",
        default="resnet50",
        show_default=True,
        metavar="NAME",
        help="See 'backbones list'; or timm:NAME, or package.module:function of your own.",
    ),
    click.option(
        "--weights",
        metavar="NAME|FILE",
        help="An entry's name, a .safetensors or .pth file, or 'random'.",
    ),
]
POOLING_OPTION = click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    default="avg",
    show_default=True,
    help="How maps and tokens become codes.",
)
PIXEL_OPTIONS = [
    click.option(
        "--preprocess",
        type=click.Choice(PREPROCESS_NAMES),
        default="torchvision",
        show_default=True,
        help="torchvision: the preset of the weights; others for local files.",
    ),
    click.option(
        "--input-size", type=click.IntRange(1), metavar="N", help="Side the network sees, pixels."
    ),
    click.option(
        "--resize", type=click.IntRange(1), metavar="N", help="Short side before the crop, pixels."
    ),
    click.option("--crop", type=click.Choice(CROPS), help="none, squash: squeezed, not cut."),
    click.option("--interpolation", type=click.Choice(list(INTERPOLATIONS))),
    click.option(
        "--exif",
        type=click.Choice(["on", "off"]),
        default="on",
        show_default=True,
        help="Turn pictures by their EXIF orientation.",
    ),
    click.option(
        "--range",
        "range_",
        metavar="full|LO,HI",
        default="full",
        show_default=True,
        help="Of pictures deeper than 8 bits: what becomes black and white; 'look range IMAGES' "
        "says which values they use.",
    ),
    MAX_PIXELS_OPTION,
]
NETWORK_OPTIONS = [*BACKBONE_OPTIONS, POOLING_OPTION, *PIXEL_OPTIONS]
CACHE_OPTION = click.option(
    "--cache",
    metavar="DIR",
    help="Cache folder; default: $TLFEATURES_CACHE, else the user's cache folder.",
)
DEVICE_OPTION = click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True
)
RUN_OPTIONS = [
    DEVICE_OPTION,
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="auto: half precision where processor and network allow it; kept apart in the cache.",
    ),
    click.option(
        "--decode",
        type=click.Choice(DECODERS),
        default="exact",
        show_default=True,
        help="fast: large JPEG files at a reduced scale; kept apart.",
    ),
    click.option(
        "--kernels",
        type=click.Choice(KERNELS),
        default="on",
        show_default=True,
        help="off: without the operations of our own (resizing, on a CPU convolutions of 3 x 3) "
        "that a C++ compiler makes where that pays; for comparison.",
    ),
    click.option("--batch-size", metavar="N|auto", default="auto", show_default=True),
    click.option(
        "--jobs",
        metavar="N|auto",
        default="auto",
        show_default=True,
        help="On a CPU processes of one thread; 1: this one, with all threads. On a GPU decoders.",
    ),
    click.option(
        "--store-dtype",
        type=click.Choice(["float32", "float16"]),
        help="How new rows are stored; default: half precision as float16.",
    ),
    click.option("--retry-bad", is_flag=True, help="Try pictures again that are known to be bad."),
    CACHE_OPTION,
]
OUTPUT_OPTIONS = [
    click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
]
TRUST_OPTION = click.option(
    "--trust-code",
    is_flag=True,
    help="Import the network package.module:function that MODEL names: this runs its code.",
)
STRICT_OPTION = click.option("--strict", is_flag=True, help="Exit with 1 if a picture is bad.")
SEED_OPTION = click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    metavar="N",
    help=f"Of all that is drawn, 0 to {LARGEST_SEED}.",
)
LIMIT_OPTION = click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Take N pictures, spread evenly: for a try.",
)


def options(*groups: Any) -> Callable[[F], F]:
    """Add options or lists of options to a command."""
    flat = [o for group in groups for o in (group if isinstance(group, list) else [group])]

    def add(function: F) -> F:
        for option in reversed(flat):
            function = option(function)
        return function

    return add


@dataclass(frozen=True)
class Words:
    """The shared options of one run, checked."""

    request: BackboneRequest
    run: RunOptions
    progress: ProgressLine

    def make_codes(self) -> Any:
        """A `CNNCodes` of these words."""
        from tlfeatures.extraction import CNNCodes

        decode = self.run.decode_options
        return CNNCodes(
            **vars(self.request),
            **self.code_options(),
            exif=decode.exif,
            range=decode.range or "full",
        )

    def code_options(self) -> dict[str, Any]:
        """How to run, as arguments of `CNNCodes`."""
        run = self.run
        return {
            "cache": run.cache_dir,
            "device": run.device,
            "precision": run.precision,
            "decode": run.decode,
            "kernels": run.kernels,
            "batch_size": run.batch_size,
            "n_jobs": run.n_jobs,
            "store_dtype": run.store_dtype,
            "retry_bad": run.retry_bad,
            "max_pixels": run.decode_options.max_pixels,
            "progress": self.progress,
        }


def take_words(given: dict[str, Any]) -> Words:
    """Take the shared options out of a command's arguments.

    Raises
    ------
    UsageError
        If one of them is impossible.
    """
    run = RunOptions(
        cache=given.get("cache"),
        device=given.get("device", "auto"),
        precision=given.get("precision", "auto"),
        decode=given.get("decode", "exact"),
        kernels=given.get("kernels", "on"),
        batch_size=_number("--batch-size", given.get("batch_size", "auto")),
        n_jobs=_number("--jobs", given.get("jobs", "auto")),
        store_dtype=given.get("store_dtype"),
        retry_bad=bool(given.get("retry_bad")),
        decode_options=DecodeOptions(
            exif=given.get("exif", "on") == "on",
            range=parse_range(given.get("range_", "full")),
            max_pixels=given.get("max_pixels"),
        ),
    )
    names = ("backbone", "weights", "layer", "pooling", "preprocess", "input_size", "resize")
    picked = {n: given[n] for n in (*names, "crop", "interpolation") if n in given}
    progress = ProgressLine(quiet=bool(given.get("quiet")))
    progress.listen()
    return Words(BackboneRequest(**picked), run, progress)


def take_both(
    given: dict[str, Any], source: str, *, layout: str = "classes"
) -> tuple[Words, Pictures]:
    """The shared options and the pictures; verbs that need no labels take any folder.

    Raises
    ------
    UsageError, PicturesError
    """
    words = take_words(given)
    return words, take_some(load_pictures(source, layout=layout), given.get("limit"))


def take_some(pictures: Pictures, limit: int | None) -> Pictures:
    """With a limit, so many of them, spread evenly."""
    if limit is None or limit >= len(pictures):
        return pictures
    some: Pictures = pictures[[i * len(pictures) // limit for i in range(limit)]]
    return some


def parse_range(word: str) -> tuple[float, float] | None:
    """The two numbers of LO,HI; None for full.

    Raises
    ------
    UsageError
    """
    if word == "full":
        return None
    try:
        low, high = (float(part) for part in word.split(","))
    except ValueError as error:
        raise UsageError(f"--range {word!r}: write full, or two numbers LO,HI.") from error
    return low, high


def _number(name: str, word: str) -> int | None:
    if word == "auto":
        return None
    if not word.isdecimal() or int(word) < 1:
        raise UsageError(f"{name} {word!r}: write a number of at least 1, or auto.")
    return int(word)
