"""A network cut at one or more layers: prepared pictures in, codes out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tlfeatures.backbones._network import (
    Network,
    check_name,
    load_network,
    load_preprocessing,
    network_input,
)
from tlfeatures.backbones._request import TIMM, BackboneRequest
from tlfeatures.backbones.layers._layers import Layers
from tlfeatures.backbones.layers._pooling import PoolingError
from tlfeatures.backbones.layers._traced import TracedLayers
from tlfeatures.backbones.sources._timm import check_timm_name, has_timm_weights, make_timm
from tlfeatures.backbones.sources._torchvision import (
    make_network,
    preset,
    torchvision_names,
    weights_entry,
    without_memory,
)
from tlfeatures.backbones.weights._weights import check_finite
from tlfeatures.backbones.weights._words import is_file_name, random_seed, weights_file
from tlfeatures.errors import TlfeaturesError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


BEFORE_HEADS = ("avgpool", "pool5", "block-1")


class Backbone(nn.Module):
    """The frozen network up to its layers.

    Parameters
    ----------
    network : Network
    layers : sequence of str or None
        Names, modules or aliases; None is the default layer.
    pooling : str

    Attributes
    ----------
    name, pooling, weights_id : str
    layers : tuple of str
        The resolved names.
    dims : tuple of int
        Widths of the codes, from a dry run.
    preprocessing : Preprocessing or OwnPreprocessing
    input_shape : tuple of int
        Of a batch of one picture, (1, 3, H, W).
    network : nn.Module
        The whole network; the cut one shares its parameters.
    cut : nn.Module
        What computes the codes, each layer once; a faster one may stand in its place.

    Raises
    ------
    UnknownLayerError, UsageError
        If there is no such layer, or the network does not take pictures of this size.
    WeightsError
        If a layer needs weights that are not finite numbers.
    """

    def __init__(
        self, network: Network, layers: Sequence[str | None] = (None,), pooling: str = "avg"
    ) -> None:
        super().__init__()
        self.name, self.pooling, self.weights_id = network.name, pooling, network.weights_id
        self.preprocessing, self.network = network.preprocessing, network.module
        batch = network.example()
        self.input_shape = tuple(batch.shape)
        with _said_of(network, batch):
            self.layers = tuple(network.layers.resolve(layer) for layer in layers)
            self.cut = network.layers.cut(tuple(dict.fromkeys(self.layers)), pooling)
            self.requires_grad_(False).eval()
            codes = self._dry_run(network, batch)
            known = {*network.layers.aliases, *network.layers.names}
            earlier = next((name for name in BEFORE_HEADS if name in known), None)
            where = network.place, network.aside, earlier
            check_finite(self.network, codes, self.layers, *where)
            self.dims = tuple(each.shape[1] for each in codes)

    def _dry_run(self, network: Network, batch: torch.Tensor) -> list[torch.Tensor]:
        try:
            with torch.inference_mode():
                codes: list[torch.Tensor] = self(batch)
                return codes
        except PoolingError as error:
            raise self._without_effect(network, error) from error

    def _without_effect(self, network: Network, error: PoolingError) -> UsageError:
        """That the pooling asked for is not for the layer asked for, and for which it is."""
        layers, batch = network.layers, network.example()
        layer, error = next(_refusals(layers, self.layers, self.pooling, batch), ("", error))
        other = layers.last_places(layer, batch)
        names = [] if other is None else [layers.resolve(other)]
        is_for = bool(names) and not any(_refusals(layers, names, self.pooling, batch))
        way = f"choose `layer={other!r}`, or " if is_for else ""
        return UsageError(f"layer {layer} of {self.name} {error}; {way}leave `pooling` out.")

    def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Codes (n, d) of each layer, of a normalised batch, or what `network_input` gives."""
        codes = dict(zip(dict.fromkeys(self.layers), self.cut(batch), strict=True))
        return [codes[layer] for layer in self.layers]

    @torch.inference_mode()
    def codes(self, pictures: NDArray[Any] | torch.Tensor) -> list[NDArray[np.float32]]:
        """Codes of prepared pictures, one array a layer.

        Parameters
        ----------
        pictures : ndarray or Tensor of shape (n, input_size, input_size, 3), uint8, RGB
            What `preprocessing.prepare` gave, stacked.

        Returns
        -------
        list of ndarray of shape (n, dim), float32
        """
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        given = torch.as_tensor(pictures).to(device, non_blocking=True)
        batch = network_input(given, self.preprocessing, self.cut)
        return [codes.float().cpu().numpy() for codes in self(batch)]


def _refusals(
    layers: Layers, names: Sequence[str], pooling: str, batch: torch.Tensor
) -> Iterator[tuple[str, PoolingError]]:
    """Which of some layers a pooling is not for."""
    for name in names:
        try:
            with torch.inference_mode():
                layers.cut([name], pooling)(batch)
        except PoolingError as error:
            yield name, error


def load_backbone(
    request: BackboneRequest,
    *,
    layers: Sequence[str | None] | None = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
) -> Backbone:
    """Build the network that the words ask for, with its weights, and cut it.

    Parameters
    ----------
    request : BackboneRequest
    layers : sequence of str or None, optional
        Several layers in one pass, instead of the request's one.
    tensors : mapping of name to tensor, optional
        Weights carried by a saved model; used instead of those that the words name.

    Raises
    ------
    UnknownBackboneError, UnknownLayerError, UsageError
        If a word is wrong.
    WeightsError
        If the weights cannot be had.
    """
    layers = (request.layer,) if layers is None else layers
    check_before_weights(request, layers)
    return Backbone(load_network(request, tensors), layers, request.pooling)


def check_before_weights(request: BackboneRequest, layers: Sequence[str | None]) -> None:
    """Refuse layers and sizes that the network does not have, before its weights are downloaded.

    Where they are on the disk, opening the network says the same.

    Raises
    ------
    UnknownBackboneError, UnknownLayerError, UsageError
    """
    _check_layers_of_entry(request, layers)
    if request.is_own or not must_download(request.backbone, request.weights):
        return
    module = _without_weights(request)
    network = Network(request.backbone, module, load_preprocessing(request), weights_id="")
    found = network.layers
    cut = found.cut(tuple(dict.fromkeys(map(found.resolve, layers))), request.pooling)
    if request.input_size is not None:
        with torch.inference_mode(), _said_of(network, network.example()):
            cut(network.example())


def must_download(name: str, weights: str | None) -> bool:
    """Whether weights that were published for it are not on this disk yet."""
    if is_file_name(weights) or random_seed(weights) is not None:
        return False
    if name.startswith(TIMM):
        return not has_timm_weights(check_timm_name(name))
    path = weights_file(check_name(name), weights)
    return path is not None and not path.exists()


def _without_weights(request: BackboneRequest) -> nn.Module:
    name = request.backbone
    if name.startswith(TIMM):
        return make_timm(check_timm_name(name), pretrained=False)
    size = request.input_size or preset(name, request.weights).input_size
    with without_memory():
        return make_network(name, image_size=size).to("meta")


@contextlib.contextmanager
def _said_of(network: Network, batch: torch.Tensor) -> Iterator[None]:
    """Whatever a network raises as an error in one line: one of the user's own may raise anything.

    Raises
    ------
    UsageError
    """
    try:
        yield
    except TlfeaturesError:
        raise
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        size = tuple(batch.shape[1:])
        raise UsageError(
            f"{network.name} cannot be run on pictures of shape {size}: {line}; "
            "check `input_size` and `preprocess`."
        ) from error


def _check_layers_of_entry(request: BackboneRequest, layers: Sequence[str | None]) -> None:
    """Refuse layers of the classifier where a published entry has only features.

    VGG16's IMAGENET1K_FEATURES has no numbers in its classifier; said before the download.

    Raises
    ------
    UsageError
    """
    name, weights = request.backbone, request.weights
    if weights is None or is_file_name(weights) or random_seed(weights) is not None:
        return
    if name not in torchvision_names():
        return
    entry = weights_entry(name, weights)
    if entry.meta.get("categories") is not None:
        return
    with without_memory():
        graph = TracedLayers(make_network(name))
    for layer in layers:
        cut = graph.cut([graph.resolve(layer)], "flatten")
        if any(isinstance(module, nn.Linear) for module in cut.modules()):
            raise UsageError(
                f"{entry.name} of {name} has no usable classifier, so "
                f"{layer or 'the default layer'} cannot be had; ask for `layer='pool5'` or an "
                "earlier one, or for other weights."
            )
