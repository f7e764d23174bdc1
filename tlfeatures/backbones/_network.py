"""From the words to a network with its weights, preprocessing and identity, not yet cut."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from tlfeatures._torch_private import versions_of
from tlfeatures.backbones._preprocessing import (
    AnyPreprocessing,
    Preprocessing,
    make_preprocessing,
)
from tlfeatures.backbones._request import TIMM, BackboneRequest
from tlfeatures.backbones.layers._hooked import HookedLayers
from tlfeatures.backbones.layers._layers import Layers
from tlfeatures.backbones.layers._traced import TracedLayers
from tlfeatures.backbones.sources import _embedded
from tlfeatures.backbones.sources._listing import EMBEDDED
from tlfeatures.backbones.sources._own import (
    draw_weights,
    make_own,
    own_name,
    own_weights_id,
    same_answers,
)
from tlfeatures.backbones.sources._timm import check_timm_name, make_timm, timm_preset
from tlfeatures.backbones.sources._torchvision import (
    make_empty_network,
    make_network,
    preset,
    set_input_transform,
    torchvision_names,
    weights_entry,
)
from tlfeatures.backbones.weights._names import State
from tlfeatures.backbones.weights._weights import assign, download, make_weights_id, read_file
from tlfeatures.backbones.weights._words import is_file_name, random_seed, weights_file
from tlfeatures.errors import ImageReadError, UnknownBackboneError, UsageError

EXAMPLE_SIDE = 256  # of the blank picture that tells the shapes


@dataclass(frozen=True)
class Network:
    """A whole network, ready to be cut.

    Attributes
    ----------
    name : str
        As it stands in the spec.
    module : nn.Module
        In eval mode, without gradients.
    preprocessing : Preprocessing or OwnPreprocessing
    weights_id : str
    place : str
        Where the weights are from, for messages.
    published : Preprocessing, OwnPreprocessing or None
        What belongs to the weights that were published for it; for a file those of the default
        entry. None of networks of the user's own.
    aside : tuple of str
        Parameters of its head, which the file of weights has not; layers that need them are
        refused.
    """

    name: str
    module: nn.Module
    preprocessing: AnyPreprocessing
    weights_id: str
    place: str = "its weights"
    published: AnyPreprocessing | None = None
    aside: tuple[str, ...] = ()

    @cached_property
    def layers(self) -> Layers:
        """Its layers: every operation where the forward pass can be traced, else its modules."""
        return find_layers(self.module, self.example())

    def example(self, n: int = 1) -> torch.Tensor:
        """A batch of `n` equal pictures as the network takes them, float32."""
        picture = Image.new("RGB", (EXAMPLE_SIDE, EXAMPLE_SIDE), (120, 110, 100))
        try:
            prepared = self.preprocessing.prepare(picture)
        except ImageReadError as error:  # here of no picture of anybody's
            raise UsageError(f"{error} (of a plain grey picture).") from error
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        batch = torch.from_numpy(np.stack([prepared] * n)).to(device)
        return normalise(batch, self.preprocessing)


def normalise(batch: torch.Tensor, preprocessing: AnyPreprocessing) -> torch.Tensor:
    """The network's input of prepared pictures.

    Parameters
    ----------
    batch : Tensor of shape (n, side, side, 3), uint8, RGB; or (n, 3, H, W), float32, as it is
    preprocessing : Preprocessing or OwnPreprocessing

    Returns
    -------
    Tensor of shape (n, 3, H, W), float32, channels last in memory
    """
    if not isinstance(preprocessing, Preprocessing):
        return batch
    if preprocessing.order == "BGR":
        batch = batch.flip(3)
    n, height, width, channels = batch.shape
    # Over whole lines of pixels: over the three channels alone it takes several times as long.
    of_channels = ((preprocessing.divide_by,) * 3, preprocessing.mean, preprocessing.std)
    divide_by, mean, std = (_line(tuple(each), width, batch.device) for each in of_channels)
    lines = batch.reshape(n, height, width * channels).to(torch.float32)
    x = lines.div_(divide_by).sub_(mean).div_(std)
    return x.view(n, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=32)
def _line(numbers: tuple[float, ...], width: int, device: torch.device) -> torch.Tensor:
    """The channels' numbers for a line of pixels, float32, on the device once for all batches.

    A tensor also of the divisor: a GPU multiplies by the inverse of a number, less exactly.
    """
    with torch.inference_mode(mode=False):  # for batches of any kind
        return torch.tensor(numbers, dtype=torch.float32).repeat(width).to(device)


def network_input(
    pictures: torch.Tensor, preprocessing: AnyPreprocessing, network: nn.Module
) -> torch.Tensor:
    """What a network takes of prepared pictures, shape (n, 3, H, W), channels last in memory.

    Parameters
    ----------
    pictures : Tensor
        See `normalise`.
    preprocessing : Preprocessing or OwnPreprocessing
    network : nn.Module
        With a true attribute `takes_pixels` it does the arithmetic itself, and gets uint8, RGB.
    """
    if pictures.dtype == torch.uint8 and getattr(network, "takes_pixels", False):
        return pictures.permute(0, 3, 1, 2)
    return normalise(pictures, preprocessing)


def find_layers(module: nn.Module, batch: torch.Tensor) -> Layers:
    """Traced where that says the same as the network itself, else hooked."""
    if not hasattr(module, "forward_head"):  # timm's way to ask for the pre-logits
        try:
            layers = TracedLayers(module)
            last = layers.calls[-1].name
            is_known = type(module).__module__.startswith(("torchvision.", "tlfeatures."))
            if is_known or same_answers(_First(layers.cut([last], "flatten")), module, batch):
                return layers
        except Exception:  # torch.fx raises whatever the network's own code does
            return HookedLayers(module, batch)
    return HookedLayers(module, batch)


class _First(nn.Module):
    def __init__(self, cut: nn.Module) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.cut(batch)[0]
        return answer


def check_name(name: str) -> str:
    """Return `name` if it is known, or points to an own network.

    Raises
    ------
    UnknownBackboneError
        With the nearest name, where one is near.
    UsageError
        If an extra is missing.
    """
    if name.startswith(TIMM):
        check_timm_name(name)
        return name
    names = [EMBEDDED, *torchvision_names()]
    if name in names or ":" in name:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownBackboneError(
        f"backbone {name!r} is unknown; {hint}'tlfeatures backbones list' names all {len(names)}."
    )


def load_network(
    request: BackboneRequest, tensors: Mapping[str, torch.Tensor] | None = None
) -> Network:
    """Build the network that the words ask for, with its weights.

    Parameters
    ----------
    request : BackboneRequest
        Its layer and pooling play no part.
    tensors : mapping of name to tensor, optional
        Weights carried by a saved model; used instead of those that the words name.

    Raises
    ------
    UnknownBackboneError, UsageError
        If a word is wrong.
    WeightsError
        If the weights cannot be had.
    """
    if isinstance(request.backbone, str):
        check_name(request.backbone)
    if request.weights_id is not None and not request.is_own:
        raise UsageError("weights_id is for networks of your own; leave it out.")
    seed = random_seed(request.weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        module, default = _build(request, has_tensors=tensors is not None)
        if request.is_own and seed is not None:
            draw_weights(module)
    name = request.backbone if not request.is_own else own_name(module)
    place, aside = _load_weights(module, request, name, tensors)
    module.requires_grad_(False).float().eval()
    preprocessing = _prepare_as_asked(request, default)
    if seed is None and isinstance(preprocessing, Preprocessing) and preprocessing.is_imagenet:
        set_input_transform(module)
    identity = request.weights_id or make_weights_id(module)
    if request.is_own:
        identity = own_weights_id(module, identity)
    return Network(name, module, preprocessing, identity, place, default, aside)


def load_preprocessing(request: BackboneRequest) -> AnyPreprocessing:
    """What `load_network` would prepare pictures with; the weights need not be there.

    Raises
    ------
    UnknownBackboneError, UsageError
        If a word is wrong.
    """
    name = request.backbone
    if request.is_own:
        return _prepare_as_asked(request, None)
    check_name(name)
    if name in torchvision_names():  # without building the network, which takes VGG a second
        is_entry = not is_file_name(request.weights) and random_seed(request.weights) is None
        return _prepare_as_asked(request, preset(name, request.weights if is_entry else None))
    return _prepare_as_asked(request, _build(request, has_tensors=True)[1])


def _prepare_as_asked(
    request: BackboneRequest, default: AnyPreprocessing | None
) -> AnyPreprocessing:
    return make_preprocessing(
        request.preprocess,
        default,
        input_size=request.input_size,
        resize=request.resize,
        crop=request.crop,
        interpolation=request.interpolation,
    )


def _build(
    request: BackboneRequest, *, has_tensors: bool
) -> tuple[nn.Module, AnyPreprocessing | None]:
    """The network and the preprocessing of its weights; the weights themselves come later."""
    name, weights = request.backbone, request.weights
    is_entry = not is_file_name(weights) and random_seed(weights) is None
    if request.is_own:
        if is_entry and weights is not None:
            raise UsageError(
                f"weights {weights!r}: an own network has no entries; give a file, or 'random'."
            )
        return make_own(name), None
    if name == EMBEDDED:
        if is_entry and weights is not None:
            raise UsageError(
                f"weights {weights!r}: the embedded network has its own; leave it out."
            )
        return _embedded.make_embedded().eval(), _embedded.PREPROCESSING
    if name.startswith(TIMM):
        if is_entry and weights is not None:
            raise UsageError(f"weights {weights!r}: timm's are part of the name, {name}.TAG.")
        module = make_timm(check_timm_name(name), pretrained=is_entry and not has_tensors)
        return module, timm_preset(module)
    default = preset(name, weights if is_entry else None)
    make = make_network if random_seed(weights) is not None else make_empty_network
    return make(name, image_size=request.input_size or default.input_size), default


def _load_weights(
    module: nn.Module,
    request: BackboneRequest,
    name: str,
    tensors: Mapping[str, torch.Tensor] | None,
) -> tuple[str, tuple[str, ...]]:
    """Put the weights in; returns where they are from, and the parameters left aside."""
    weights = request.weights
    if tensors is not None:
        versions = versions_of(module.state_dict())  # it was written as it is now
        place, states = "the network inside the model", [State(dict(tensors), versions)]
        return "the model file", assign(module, states, place, name)
    if random_seed(weights) is not None:
        return "random weights", ()
    if is_file_name(weights) or name == EMBEDDED:
        path = Path(str(weights_file(name, weights)))
        return str(path), assign(module, read_file(path), path, name)
    if name in torchvision_names():
        entry = str(weights_entry(name, weights).name)
        return entry, assign(module, [download(name, weights)], entry, name)
    return "its weights", ()
