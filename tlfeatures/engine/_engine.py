"""The engine: a backbone on a device, in one precision, as fast as it runs there."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tlfeatures.backbones import Backbone, Preprocessing
from tlfeatures.engine._faster import exact_enough, faster_cut, noise
from tlfeatures.engine._interface import CPU_BATCH, Means
from tlfeatures.engine._settings import computing, is_out_of_memory
from tlfeatures.engine.kernels._winograd import WinogradConv2d
from tlfeatures.errors import ExtractionError, ImageReadError, TlfeaturesError, UsageError
from tlfeatures.store import CodeSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from tlfeatures.engine.kernels._resize import Resizer

_log = logging.getLogger(__name__)
MOST_BATCH = 512
TRIED = 8  # pictures that tell how much memory one takes


class TorchEngine:
    """Runs a backbone; see `Engine` for the interface.

    Parameters
    ----------
    backbone : Backbone
        Its cut is replaced by a faster one, where there is one.
    means : Means

    Attributes
    ----------
    resizer : Resizer or None
        What prepares pictures, as far as it can; the rest is Pillow's, with the same bytes. As the
        last run wanted that opened it.
    """

    def __init__(self, backbone: Backbone, means: Means) -> None:
        self.resizer: Resizer | None = None
        self.backbone, self.precision = backbone, means.precision
        self.device = means.device
        self.batch_size = means.batch_size or CPU_BATCH
        self.made_with = made_with(means.device)
        self.specs = tuple(
            CodeSpec(
                backbone=backbone.name,
                weights_id=backbone.weights_id,
                layer=layer,
                pooling=backbone.pooling,
                dim=dim,
                preprocessing=backbone.preprocessing.to_json(),
                precision=means.precision,
                decode=means.decode,
            )
            for layer, dim in zip(backbone.layers, backbone.dims, strict=True)
        )
        faster = faster_cut(backbone, means)
        backbone.cut = exact_enough(backbone.cut, means.precision) if faster is None else faster
        if faster is None and means.precision != "float32":
            self._try()
        if means.batch_size is None and means.device == "cuda":
            self.batch_size = self._fitting_batch()

    @property
    def kernels(self) -> tuple[str, ...]:
        """The operations of our own that it computes with."""
        modules = list(self.backbone.cut.modules())
        has = {
            "resizing": self.resizer is not None,
            "convolutions": any(isinstance(each, WinogradConv2d) for each in modules),
        }
        return tuple(name for name, is_there in has.items() if is_there)

    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Resize and crop one RGB picture.

        Raises
        ------
        ImageReadError
            If a preprocess function of the user's own fails, or gives another shape than before.
        """
        how, resizer = self.backbone.preprocessing, self.resizer
        if not isinstance(how, Preprocessing):
            return self._checked(how.prepare(picture))
        made = None if resizer is None else resizer.prepare(picture, how)
        return how.prepare(picture) if made is None else made

    def _checked(self, made: NDArray[np.float32]) -> NDArray[np.float32]:
        expected = tuple(self.backbone.input_shape[1:])
        if made.shape != expected:
            raise ImageReadError(
                f"preprocess gives an array of shape {made.shape} for it, {expected} for others",
                is_lasting=False,
            )
        return made

    def codes(self, batch: NDArray[Any] | torch.Tensor) -> list[NDArray[np.float32]]:
        """Codes (n, d), float32, of each layer, of prepared pictures.

        Where the device's memory does not hold the batch, it is halved, for all that follow too.
        Where numbers leave the range of fp16, the batch is computed in float32.

        Raises
        ------
        ExtractionError
            If memory is too short for one picture, or the network, which may be anybody's, fails.
        """
        try:
            with computing(self.device, self.precision):
                codes = self._codes_of(batch)
            if self.precision == "fp16" and not all(np.isfinite(each).all() for each in codes):
                _say_overflow(self.backbone.name)
                with computing(self.device, "float32"):
                    codes = self._codes_of(batch)
            return codes
        except TlfeaturesError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                raise self._failed(batch, f"{type(error).__name__}: {error}") from error
            if len(batch) < 2:
                raise ExtractionError(self._too_short()) from error
        if self.device == "cuda":  # what the error has held is free by now
            torch.cuda.empty_cache()
        # One that was gathered before the size was halved needs no smaller size yet.
        is_late = len(batch) > self.batch_size
        half = self.batch_size if is_late else (len(batch) + 1) // 2
        if half < self.batch_size:
            self.batch_size = half
            _log.warning("the device's memory is short; going on with batches of %d", half)
        parts = [self.codes(batch[:half]), self.codes(batch[half:])]
        return [np.concatenate(codes) for codes in zip(*parts, strict=True)]

    def _codes_of(self, batch: NDArray[Any] | torch.Tensor) -> list[NDArray[np.float32]]:
        codes = self.backbone.codes(batch)
        for each, dim in zip(codes, self.backbone.dims, strict=True):
            if each.shape != (len(batch), dim):
                raise self._failed(batch, f"it gave codes of shape {each.shape}, not (n, {dim})")
        return codes

    def _failed(self, batch: NDArray[Any] | torch.Tensor, why: str) -> ExtractionError:
        return ExtractionError(
            f"the network {self.backbone.name} failed on a batch of {len(batch)} pictures "
            f"({why.splitlines()[0]}); what was computed before is kept."
        )

    def _too_short(self) -> str:
        """That not even one picture can be computed."""
        smaller = "a smaller network or input size"
        return (
            f"memory of device {self.device} is too short for one picture in "
            f"{self.backbone.name}; end what else uses it, or take "
            f"{smaller if self.device == 'cpu' else f'{smaller}, or device cpu'}."
        )

    def _try(self) -> None:
        """Run one example in half precision: what a person's own network does may not know it.

        Raises
        ------
        ExtractionError
            If memory is too short for it.
        UsageError
        """
        try:
            with computing(self.device, self.precision):
                self.backbone.codes(noise(self.backbone, 1, self.device))
        except Exception as error:
            if is_out_of_memory(error):
                raise ExtractionError(self._too_short()) from error
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UsageError(
                f"{self.backbone.name} does not run in {self.precision}: {line}; use "
                "`precision='float32'`."
            ) from error

    def _fitting_batch(self) -> int:
        """The batch size for the memory that is free, from what a few pictures take."""
        _, channels, *sides = self.backbone.input_shape
        is_ours = isinstance(self.backbone.preprocessing, Preprocessing)
        shape = (TRIED, *sides, channels) if is_ours else (TRIED, channels, *sides)
        torch.cuda.empty_cache()  # what is kept for later counts as free
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        self.codes(np.zeros(shape, np.uint8 if is_ours else np.float32))
        taken = torch.cuda.max_memory_allocated() - before
        return batch_size_for(torch.cuda.mem_get_info()[0], taken // TRIED)


def batch_size_for(free: int, a_picture: int) -> int:
    """The power of two, at most 512, of which half the free memory holds the activations.

    Parameters
    ----------
    free, a_picture : int
        Bytes.
    """
    fitting = max(1, free // 2 // max(1, a_picture))
    return int(min(MOST_BATCH, 2 ** (fitting.bit_length() - 1)))


@lru_cache(maxsize=64)
def _say_overflow(name: str) -> None:
    """Once in a process."""
    _log.warning(
        "numbers of %s leave the range of fp16; batches where they do are computed again in "
        "float32, which takes longer; bf16 has the range",
        name,
    )


def made_with(device: str) -> dict[str, str]:
    """What the numbers may depend on beyond tolerance, if anything goes wrong: versions, device."""
    found = {"torch": str(torch.__version__), "numpy": np.__version__, "device": device}
    if device == "cuda":
        found["device"] = torch.cuda.get_device_name()
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = str(torch.backends.cudnn.version())
    return found
