"""Networks that cannot be traced: their modules are layers, heard through forward hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tlfeatures.backbones.layers._aliases import Call
from tlfeatures.backbones.layers._layers import PRE_LOGITS, Layers, Step
from tlfeatures.backbones.layers._pooling import count_prefix_tokens, has_places, pool_codes
from tlfeatures.backbones.layers._traced import make_step
from tlfeatures.errors import UnknownLayerError

NO_LAYERS = "the network has no layer with weights, so it has no default layer."
OWN_PARAMETERS = "(the network's own)"


class HookedLayers(Layers):
    """The modules that one forward pass calls, in the order in which they end.

    The default layer is called "pre_logits": timm's own where the network has `forward_head`, else
    the input of the last layer with weights.

    Parameters
    ----------
    network : nn.Module
        In eval mode; it is not changed.
    batch : Tensor of shape (n, 3, H, W)
        Pictures that the network takes; one forward pass finds the calls.
    """

    def __init__(self, network: nn.Module, batch: torch.Tensor) -> None:
        self.network = network
        self._ended: list[str] = []
        hooks = [
            module.register_forward_hook(lambda *_, path=path: self._ended.append(path))
            for path, module in network.named_modules()
            if path
        ]
        try:
            with torch.inference_mode():
                network(batch)
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def calls(self) -> list[Call]:
        """The modules, those that are called more than once as often; then "pre_logits"."""
        modules = dict(self.network.named_modules())
        heard = [Call(path, modules[path], type(modules[path]).__name__) for path in self._ended]
        return [*heard, Call(PRE_LOGITS, None, PRE_LOGITS)]

    def default_layer(self) -> str:
        """The activations before the classifier."""
        if not any(True for _ in self.network.parameters()):
            raise UnknownLayerError(NO_LAYERS)
        return PRE_LOGITS

    def cut(self, layers: Sequence[str], pooling: str) -> nn.Module:
        """A module that stops the forward pass after the last of `layers`."""
        return _HookedCut(self.network, layers, pooling, self._ended).eval()

    def steps(self, batch: torch.Tensor) -> list[Step]:
        """The calls of modules that hold no others, or parameters of their own."""
        steps: list[Step] = []
        counted: set[int] = set()
        paths = {module: path for path, module in self.network.named_modules()}

        def note(module: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
            is_leaf = not any(True for _ in module.children())
            used = list(module.parameters(recurse=False))
            answer = answer[0] if isinstance(answer, tuple) and answer else answer
            if not isinstance(answer, torch.Tensor) or not (is_leaf or used):
                return
            new = sum(p.numel() for p in used if id(p) not in counted)
            counted.update(id(p) for p in used)
            sizes = [value.numel() for value in given if isinstance(value, torch.Tensor)]
            path = paths[module]
            steps.append(
                make_step(
                    path,
                    type(module).__name__,
                    answer,
                    max(sizes, default=0),
                    sum(counter.get_flop_counts().get(f"{root}.{path}", {}).values()) // 2,
                    parameters=new,
                    has_matrix=any(p.ndim > 1 for p in used),
                )
            )

        def note_unseen(module: nn.Module, _: Any, answer: Any) -> None:
            """Weights of parts that the module uses without calling them."""
            path, answer = paths[module], answer[0] if isinstance(answer, tuple) else answer
            unseen = {
                id(p): p
                for name, p in module.named_parameters()
                if id(p) not in counted and not self._is_called(path, name)
            }
            if unseen and isinstance(answer, torch.Tensor):
                counted.update(unseen)
                count = sum(p.numel() for p in unseen.values())
                shape, kind = tuple(answer.shape[1:]), type(module).__name__
                steps.append(Step(path, kind, shape, 0, count, 0))

        root = type(self.network).__name__
        from torch.utils.flop_counter import FlopCounterMode  # brings triton with it

        counter = FlopCounterMode(display=False)
        hooks = [m.register_forward_hook(note) for m, path in paths.items() if path]
        holders = (m for m, path in paths.items() if path and any(True for _ in m.children()))
        hooks += [module.register_forward_hook(note_unseen) for module in holders]
        try:
            with counter, torch.inference_mode():
                self.network(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return [*self._own_parameters(batch), *steps]

    def last_places(self, layer: str, batch: torch.Tensor) -> str | None:
        """The last module before this one that gives a map or tokens; of timm its features."""
        heard: list[tuple[str, Any]] = []
        hooks = [
            module.register_forward_hook(lambda *call, path=path: heard.append((path, call[-1])))
            for path, module in self.network.named_modules()
            if path
        ]
        network: Any = self.network
        by_parts = layer == PRE_LOGITS and hasattr(network, "forward_features")
        try:
            with torch.inference_mode():
                features = network.forward_features(batch) if by_parts else network(batch)
        finally:
            for hook in hooks:
                hook.remove()
        ended = [path for path, _ in heard]
        end = len(ended) - 1 - ended[::-1].index(layer) if layer in ended else len(ended)
        found = [(path, answer) for path, answer in heard[:end] if has_places(answer, batch)]
        same = [path for path, answer in found if by_parts and answer is features]
        return next(iter([*same[:1], *(path for path, _ in found[::-1])]), None)

    def _is_called(self, path: str, name: str) -> bool:
        """Whether a module between `path` and its parameter `name` is called by itself."""
        inside = name.split(".")[:-1]
        between = {".".join([path, *inside[: i + 1]]) for i in range(len(inside))}
        return not between.isdisjoint(self._ended)

    def _own_parameters(self, batch: torch.Tensor) -> list[Step]:
        """A row for the parameters of no module inside: class tokens, position embeddings."""
        count = sum(p.numel() for p in self.network.parameters(recurse=False))
        if not count:
            return []
        kind = type(self.network).__name__
        return [Step(OWN_PARAMETERS, kind, tuple(batch.shape[1:]), 0, count, 0)]


class EnoughError(Exception):
    """The last layer asked for has been computed."""


class _HookedCut(nn.Module):
    """Gives the pooled codes of some modules; they are registered only while it runs."""

    def __init__(
        self, network: nn.Module, layers: Sequence[str], pooling: str, ended: Sequence[str]
    ) -> None:
        super().__init__()
        self.network: Any = network
        self._layers, self._pooling = list(layers), pooling
        self._n_prefix = count_prefix_tokens(network)
        self._calls = {layer: ended.count(layer) for layer in layers if layer != PRE_LOGITS}
        self._has_head = hasattr(network, "forward_head") and hasattr(network, "forward_features")
        get_classifier: Any = getattr(network, "get_classifier", lambda: None)
        classifier = get_classifier()
        paths = {module: path for path, module in network.named_modules()}
        if not isinstance(classifier, nn.Module) or paths.get(classifier) not in ended:
            modules = dict(network.named_modules())
            leaves = [p for p in ended if any(True for _ in modules[p].parameters(recurse=False))]
            if not leaves:
                raise UnknownLayerError(NO_LAYERS)
            classifier = modules[leaves[-1]]
        self._classifier = [classifier]  # in a list: it is not a submodule of this one too
        self._n_classifier = ended.count(paths[classifier])

    def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Codes (n, d) of each layer."""
        heard: dict[str, torch.Tensor] = {}
        left = {**self._calls, PRE_LOGITS: self._n_classifier}
        hooks = [self._listen(layer, heard, left, batch) for layer in self._calls]
        wants_codes = PRE_LOGITS in self._layers
        if wants_codes and not self._has_head:
            hook = self._before(heard, left, batch)
            hooks.append(self._classifier[0].register_forward_pre_hook(hook))
        try:
            if wants_codes and self._has_head:
                features = self.network.forward_features(batch)
                codes = self.network.forward_head(features, pre_logits=True)
                heard[PRE_LOGITS] = self._pool(codes, batch)
                self._stop_if_all(heard)
                self.network.forward_head(features)
            else:
                self.network(batch)
        except EnoughError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return [heard[layer] for layer in self._layers]

    def _pool(self, output: Any, batch: torch.Tensor) -> torch.Tensor:
        return pool_codes(output, self._pooling, self._n_prefix, batch)

    def _listen(
        self, layer: str, heard: dict[str, torch.Tensor], left: dict[str, int], batch: torch.Tensor
    ) -> Any:
        def hook(*call: Any) -> None:
            left[layer] -= 1
            if left[layer] == 0:
                heard[layer] = self._pool(call[-1], batch)
                self._stop_if_all(heard)

        return self.network.get_submodule(layer).register_forward_hook(hook)

    def _before(
        self, heard: dict[str, torch.Tensor], left: dict[str, int], batch: torch.Tensor
    ) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...]) -> None:
            left[PRE_LOGITS] -= 1
            if left[PRE_LOGITS] == 0:
                heard[PRE_LOGITS] = self._pool(given[0], batch)
                self._stop_if_all(heard)

        return hook

    def _stop_if_all(self, heard: dict[str, torch.Tensor]) -> None:
        if len(heard) == len(self._layers):
            raise EnoughError
