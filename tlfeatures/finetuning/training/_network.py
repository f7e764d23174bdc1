"""The network that is trained: a backbone up to its codes, and one linear layer on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tlfeatures.backbones import Backbone, normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORM = nn.modules.batchnorm._BatchNorm


class UnitLength(nn.Module):
    """Codes of length `scale`: what the linear heads do to codes, times how long codes are.

    Parameters
    ----------
    scale : float
        With the codes' usual length, rates mean what they mean for a layer on raw codes.
    """

    scale: torch.Tensor

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (n, d) of equal length."""
        return nn.functional.normalize(codes.float(), dim=1) * self.scale


class FineTuneNet(nn.Module):
    """Scores of prepared pictures; its parameters are the backbone's own and the new layer's.

    Parameters
    ----------
    backbone : Backbone
        Cut at one layer; it is trained in place.
    n_classes : tuple of int
        Of each task: the new layer has so many scores in a row.
    scale : float
        See `UnitLength`.
    """

    def __init__(self, backbone: Backbone, n_classes: tuple[int, ...], scale: float) -> None:
        super().__init__()
        self.network = backbone.network
        self._cut = (backbone.cut,)  # it shares the network's layers; in a tuple torch overlooks it
        self.preprocessing = backbone.preprocessing
        self.unit_length = UnitLength(scale)
        self.head = nn.Linear(backbone.dims[0], sum(n_classes))
        self._moving: frozenset[str] = frozenset()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scores (n, n_scores), float32, of prepared pictures (n, H, W, 3), uint8."""
        codes = self._cut[0](normalise(pictures, self.preprocessing))[0]
        with torch.autocast(pictures.device.type, enabled=False):  # decisions are float32's
            scores: torch.Tensor = self.head(self.unit_length(codes))
        return scores

    def start_from(self, weights: NDArray[Any], biases: NDArray[Any], first: int = 0) -> None:
        """Let rows of the new layer be a linear head on codes of length 1.

        Parameters
        ----------
        weights : ndarray of shape (n_classes, d)
        biases : ndarray of shape (n_classes,)
        first : int, default=0
            The first of the rows.
        """
        rows = slice(first, first + len(weights))
        with torch.no_grad():
            made = np.asarray(weights) / float(self.unit_length.scale)
            self.head.weight[rows] = torch.from_numpy(made).to(self.head.weight)
            self.head.bias[rows] = torch.from_numpy(np.asarray(biases)).to(self.head.bias)

    def head_arrays(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The first n rows as a linear head on codes of length 1, (n, d) and (n,)."""
        weight = self.head.weight.detach()[:n].double().cpu().numpy()
        bias = self.head.bias.detach()[:n].double().cpu().numpy()
        return weight * float(self.unit_length.scale), bias

    def parameters_of(self, names: Iterable[str]) -> list[nn.Parameter]:
        """The backbone's parameters of these names."""
        named = dict(self.network.named_parameters())
        return [named[name] for name in names]

    def freeze_but(self, trained: Iterable[nn.Parameter], moving: Iterable[str]) -> None:
        """Train only these parameters; only these batch norms keep learning their statistics.

        Parameters
        ----------
        trained : iterable of Parameter
        moving : iterable of str
            Paths in the backbone.
        """
        wanted = {id(parameter) for parameter in trained}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in wanted)
            if id(parameter) not in wanted:
                parameter.grad = None
        self._moving = frozenset(moving)

    def train(self, mode: bool = True) -> FineTuneNet:
        """Training mode, in which the statistics of frozen batch norms stay as they are."""
        super().train(mode)
        for path, module in self.network.named_modules():
            if isinstance(module, NORM):
                module.train(mode and path in self._moving)
        return self


def usual_length(codes: NDArray[np.float32]) -> float:
    """The mean length of codes (n, d); 1 if they are all zero."""
    found = float(np.linalg.norm(codes, axis=1).mean())
    return found if found > 0 else 1.0
