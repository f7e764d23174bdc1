"""Layers by name: what both kinds of networks, traced and hooked, have in common."""

from __future__ import annotations

import contextlib
import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from tlfeatures.backbones.layers._aliases import Call, find_aliases
from tlfeatures.errors import UnknownLayerError

PRE_LOGITS = "pre_logits"


@dataclass(frozen=True)
class Step:
    """One step of a forward pass, for the table of `describe`.

    Attributes
    ----------
    name, kind : str
        The layer's name; its class or function.
    shape : tuple of int
        Of the output for one picture, without the batch axis.
    values : int
        Numbers it hands on that did not exist before; 0 for views and what works in place.
    parameters : int
        Counted where they are used first.
    multiply_adds : int
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    values: int
    parameters: int
    multiply_adds: int


class Layers(ABC):
    """The layers of one network, in order of computation.

    Attributes
    ----------
    network : nn.Module
        In eval mode; it is not changed.
    """

    network: nn.Module

    @property
    @abstractmethod
    def calls(self) -> list[Call]:
        """The layers in order of computation."""

    @abstractmethod
    def default_layer(self) -> str:
        """The input of the last layer with weights, the activations before the classifier."""

    @abstractmethod
    def cut(self, layers: Sequence[str], pooling: str) -> nn.Module:
        """A module that gives the pooled codes of these layers as a list; computes no more."""

    @abstractmethod
    def steps(self, batch: torch.Tensor) -> list[Step]:
        """What one forward pass of a batch of one picture does, step by step."""

    @abstractmethod
    def last_places(self, layer: str, batch: torch.Tensor) -> str | None:
        """The last layer before this one that gives a map or tokens; None if there is none."""

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The field's names of layers that have another name here."""
        found = find_aliases(self.network, self.calls)
        with contextlib.suppress(UnknownLayerError):
            found[PRE_LOGITS] = self.default_layer()
        return {alias: layer for alias, layer in found.items() if alias != layer}

    @cached_property
    def names(self) -> list[str]:
        """Names of layers in order of computation, each once."""
        return list(dict.fromkeys(call.name for call in self.calls))

    def resolve(self, layer: str | None) -> str:
        """The layer's own name for a name, a module (its last layer), an alias, or None.

        Raises
        ------
        UnknownLayerError
            With the near names.
        """
        if layer is None:
            return self.default_layer()
        if layer in self.names:
            return layer
        inside = [name for name in self.names if name.startswith(f"{layer}.")]
        if inside:
            return inside[-1]
        if layer in self.aliases:
            return self.aliases[layer]
        raise UnknownLayerError(self._unknown(layer))

    def shortest(self, layer: str) -> str:
        """The outermost module that ends with this layer, or else the layer itself."""
        outer = layer.rpartition(".")[0]
        is_same = bool(outer) and self.resolve(outer) == layer
        return self.shortest(outer) if is_same else layer

    def _unknown(self, layer: str) -> str:
        tops = dict.fromkeys(name.split(".")[0] for name in self.names)
        pool = [*self.names, *self.aliases, *tops]
        near = list(dict.fromkeys(difflib.get_close_matches(layer, pool, n=5, cutoff=0.4)))
        shown = near or list(dict.fromkeys([*self.aliases, *tops]))[:12]
        words = "near ones are" if near else "there are"
        return (
            f"layer {layer!r} does not exist here; {words} {', '.join(shown)}. "
            f"'tlfeatures backbones describe NAME --layers' lists all."
        )
