"""Options that several verbs share, and what they mean together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tlfeatures._parameters import LARGEST_SEED
from tlfeatures._targets import expand_given
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

if TYPE_CHECKING:
    from tlfeatures.classification import SavedModel

F = TypeVar("F", bound=Callable[..., Any])

OF_MODEL = (  # what a saved model says itself; --layer and --weights may be given beside it
    "pooling", "preprocess", "input_size", "resize", "crop", "interpolation", "exif", "range_",
    "decode",
)  # fmt: skip
MAX_PIXELS_OPTION = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="N",
    help="Refuse pictures of more than N pixels; default: Pillow's limit, about 179 million.",
)
LAYER_OPTION = click.option(
    "--layer",
    metavar="NAME",
    help="Layer whose output is the code, by a name or alias of 'backbones describe'; default: the "
    "input of the last layer with weights.",
)
BACKBONE_OPTIONS = [
    click.option(
        "--backbone",
        default="resnet50",
        show_default=True,
        metavar="NAME|MODEL",
        help="Network: a name of 'backbones list', timm:NAME, package.module:function of your own, "
        "or a saved model's file.",
    ),
    click.option(
        "--weights",
        metavar="NAME|FILE",
        help="Weights: an entry's name, a .safetensors or .pth file, or random. Default: the entry "
        "that 'backbones list' names.",
    ),
]
TRUST_OPTION = click.option(
    "--trust-code",
    is_flag=True,
    help="Import the network package.module:function that the model names; this runs its code.",
)
POOLING_OPTION = click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    default="avg",
    show_default=True,
    help="How a layer's maps or tokens become one vector.",
)
PIXEL_OPTIONS = [
    click.option(
        "--preprocess",
        type=click.Choice(PREPROCESS_NAMES),
        default="torchvision",
        show_default=True,
        help="Arithmetic on pixel values: torchvision takes the preset of the weights; the others "
        "are for weights from elsewhere.",
    ),
    click.option(
        "--input-size",
        type=click.IntRange(1),
        metavar="N",
        help="Side of the square that the network sees, in pixels.",
    ),
    click.option(
        "--resize",
        type=click.IntRange(1),
        metavar="N",
        help="Short side before the crop, in pixels.",
    ),
    click.option(
        "--crop",
        type=click.Choice(CROPS),
        help="How a picture becomes a square: center cuts, squash squeezes.",
    ),
    click.option(
        "--interpolation",
        type=click.Choice(list(INTERPOLATIONS)),
        help="How pictures are resized; default: as the weights' preset has it.",
    ),
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
        help="Values that become black and white in pictures deeper than 8 bits; 'look IMAGES' "
        "says which ones they use.",
    ),
    MAX_PIXELS_OPTION,
]
NETWORK_OPTIONS = [*BACKBONE_OPTIONS, POOLING_OPTION, *PIXEL_OPTIONS, TRUST_OPTION]
CACHE_OPTION = click.option(
    "--cache",
    metavar="DIR",
    help="Cache folder; default: $TLFEATURES_CACHE, else the user's cache folder.",
)
DEVICE_OPTION = click.option(
    "--device",
    type=click.Choice(DEVICES),
    default="auto",
    show_default=True,
    help="Where the network runs; auto takes a GPU if there is one.",
)
RUN_OPTIONS = [
    DEVICE_OPTION,
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="Precision of the network; auto takes half precision where processor and network "
        "allow it. Codes of each are kept apart.",
    ),
    click.option(
        "--decode",
        type=click.Choice(DECODERS),
        default="exact",
        show_default=True,
        help="How files are decoded; fast reads large JPEG files at a reduced scale. Codes of each "
        "are kept apart.",
    ),
    click.option(
        "--kernels",
        type=click.Choice(KERNELS),
        default="on",
        show_default=True,
        help="Use operations that are compiled here where that pays (resizing and, on a CPU, "
        "convolutions of 3 x 3); off is for comparison.",
    ),
    click.option(
        "--batch-size",
        metavar="N|auto",
        default="auto",
        show_default=True,
        help="Pictures per batch of the network.",
    ),
    click.option(
        "--jobs",
        metavar="N|auto",
        default="auto",
        show_default=True,
        help="Processes of one thread each on a CPU, decoder threads on a GPU; 1 computes in this "
        "process, with all threads.",
    ),
    click.option(
        "--store-dtype",
        type=click.Choice(["float32", "float16"]),
        help="Type of the stored numbers; default: float16 for half precision.",
    ),
    click.option(
        "--retry-bad", is_flag=True, help="Decode pictures again that are known to be bad."
    ),
    CACHE_OPTION,
]
OUTPUT_OPTIONS = [
    click.option("-q", "--quiet", is_flag=True, help="Print no notes and no progress."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
]
STRICT_OPTION = click.option("--strict", is_flag=True, help="Exit with code 1 if a picture is bad.")
SEED_OPTION = click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    show_default=True,
    metavar="N",
    help=f"Seed of everything drawn at random, 0 to {LARGEST_SEED}.",
)
LIMIT_OPTION = click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Take only N pictures, spread evenly, for a try.",
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
    tensors: Any = None  # weights that a saved model carries

    def make_codes(self) -> Any:
        """A `CNNCodes` of these words."""
        from tlfeatures.extraction import CNNCodes

        decode = self.run.decode_options
        codes = CNNCodes(
            **vars(self.request),
            **self.code_options(),
            exif=decode.exif,
            range=decode.range or "full",
        )
        if self.tensors is not None:
            codes.tensors_ = self.tensors
        return codes

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
    model = _named_model(given)
    if model is None:
        return Words(BackboneRequest(**picked), run, progress)
    layer = given.get("layer") or model.request.layer
    decode = replace(run.decode_options, exif=model.exif, range=model.range)
    run = replace(run, precision=model.precision_for(run.precision), decode_options=decode)
    return Words(replace(model.request, layer=layer), run, progress, model.network)


def _named_model(given: dict[str, Any]) -> SavedModel | None:
    """The saved model whose file --backbone names: its network, layer and preprocessing are meant.

    Raises
    ------
    UsageError
        If options are given that the model has of its own.
    ModelFileError
        If the file is no model, or names code that is not trusted.
    """
    name = given.get("backbone")
    if name is None or not Path(expand_given(name)).is_file():
        return None
    from tlfeatures.classification import SavedModel

    context = click.get_current_context(silent=True)
    typed = [
        f"--{option.strip('_').replace('_', '-')}"
        for option in OF_MODEL
        if context and context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    ]
    if typed:
        raise UsageError(
            f"--backbone {name} is a saved model, which says that itself; leave {typed[0]} out."
        )
    trust_code = bool(given.get("trust_code"))
    return SavedModel.load(name, weights=given.get("weights"), trust_code=trust_code)


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
