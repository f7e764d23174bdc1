"""A network cut at a layer, with its weights, preprocessing, width and identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from tlfeatures.backbones._layers import LayerGraph, pool_codes
from tlfeatures.backbones._preprocessing import Preprocessing, make_preprocessing
from tlfeatures.backbones._registry import check_name, make_network, preset
from tlfeatures.backbones._request import BackboneRequest
from tlfeatures.backbones._weights import (
    assign_strictly,
    is_file_name,
    load_weights,
    make_weights_id,
    random_seed,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Backbone(nn.Module):
    """The frozen network up to a layer: uint8 pictures in, codes out.

    Attributes
    ----------
    name, layer, pooling, weights_id : str
        `layer` is the resolved node name.
    dim : int
        Width of the code, from a dry run.
    preprocessing : Preprocessing
    network : nn.Module
        The whole network; the cut one shares its parameters.
    """

    _mean: torch.Tensor
    _std: torch.Tensor

    def __init__(
        self, name: str, network: nn.Module, layer: str | None, pooling: str, prep: Preprocessing
    ) -> None:
        super().__init__()
        graph = LayerGraph(network)
        self.name, self.pooling, self.preprocessing = name, pooling, prep
        self.layer = graph.resolve(layer)
        self.network = network
        self.cut = graph.cut(self.layer)
        self.weights_id = make_weights_id(network)
        self.register_buffer("_mean", torch.tensor(prep.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", torch.tensor(prep.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()
        side = prep.input_size
        self.dim = self.codes(np.zeros((1, side, side, 3), np.uint8)).shape[1]

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Codes (n, d) of a batch (n, 3, H, W) of pixel values 0..255 in RGB order, float32."""
        prep = self.preprocessing
        if prep.order == "BGR":
            batch = batch.flip(1)
        x = (batch / prep.divide_by - self._mean) / self._std
        return pool_codes(self.cut(x), self.pooling)

    @torch.inference_mode()
    def codes(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes of prepared pictures.

        Parameters
        ----------
        pictures : ndarray of shape (n, input_size, input_size, 3), uint8, RGB

        Returns
        -------
        ndarray of shape (n, dim), float32
        """
        batch = torch.from_numpy(pictures).to(self._mean.device).permute(0, 3, 1, 2)
        codes = self(batch.float().contiguous(memory_format=torch.channels_last))
        result: NDArray[np.float32] = codes.float().cpu().numpy()
        return result


def load_backbone(
    request: BackboneRequest, *, tensors: Mapping[str, torch.Tensor] | None = None
) -> Backbone:
    """Build the network that the words ask for, with its weights.

    Parameters
    ----------
    request : BackboneRequest
    tensors : mapping of name to tensor, optional
        Weights carried by a saved model; used instead of those that the words name.

    Raises
    ------
    UnknownBackboneError, UnknownLayerError, UsageError
        If a word is wrong.
    WeightsError
        If the weights cannot be had.
    """
    name = check_name(request.backbone)
    seed = random_seed(request.weights)
    local = is_file_name(request.weights) or seed is not None
    prep = make_preprocessing(
        request.preprocess,
        preset(name, None if local else request.weights),
        input_size=request.input_size,
        resize=request.resize,
        crop=request.crop,
        interpolation=request.interpolation,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        network = make_network(name)
    if tensors is None:
        load_weights(network, name, request.weights)
    else:
        assign_strictly(network, tensors, f"the network inside the model is not {name}")
    return Backbone(name, network, request.layer, request.pooling, prep)
