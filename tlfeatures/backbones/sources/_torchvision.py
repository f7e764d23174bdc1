"""Torchvision's 80 classification networks: how they are built, their weights entries, presets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tlfeatures._torch_private import change_tensors
from tlfeatures.backbones._preprocessing import Preprocessing, from_torchvision
from tlfeatures.backbones.sources._lean import torchvision
from tlfeatures.errors import UsageError

DEFAULT_ENTRY = "IMAGENET1K_V1"
FILLING = frozenset({  # what networks are initialised with; the rest of `nn.init` calls these
    nn.init.uniform_, nn.init.normal_, nn.init.constant_, nn.init.kaiming_uniform_,
    torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.fill_, torch.Tensor.zero_,
})  # fmt: skip
POSITIONS = "encoder.pos_embedding"
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
OLD_STEM = (32, 3, 3, 3)
_SLOW_INIT = (
    "googlenet",
    "inception_v3",
)  # they warn unless it is said; their scheme takes minutes


def torchvision_names() -> list[str]:
    """Names of torchvision's classification networks."""
    return list(torchvision.models.list_models(module=torchvision.models))


def make_network(name: str, *, image_size: int | None = None, n_classes: int = 1000) -> nn.Module:
    """The network of that name with untrained weights, in eval mode.

    Parameters
    ----------
    name : str
    image_size : int, optional
        In pixels, for the transformers whose parameters depend on it; others take any.
    n_classes : int, default=1000

    Raises
    ------
    UsageError
        If a transformer cannot be built for pictures of that size.
    """
    more: dict[str, Any] = {"init_weights": False} if name in _SLOW_INIT else {}
    if image_size is not None and name.startswith("vit_"):
        more["image_size"] = image_size
    builder = torchvision.models.get_model_builder(name)
    try:
        network: nn.Module = builder(weights=None, num_classes=n_classes, **more)
    except AssertionError as error:  # a size that its patches do not divide
        patch = name.rpartition("_")[2]
        raise UsageError(
            f"{name} takes no pictures of {image_size} pixels; give an `input_size` that is a "
            f"multiple of its patches' side, {patch}."
        ) from error
    return network.eval()


def make_empty_network(name: str, *, image_size: int | None = None) -> nn.Module:
    """The same with memory for its weights that holds nothing in particular: they come later.

    Drawing random ones takes as long as reading a file; for VGG16 most of a second.
    """
    with without_memory():
        network = make_network(name, image_size=image_size)
    is_filled = change_tensors(
        network, lambda t: torch.empty(t.shape, dtype=t.dtype) if t.is_meta else t
    )
    return network if is_filled else make_network(name, image_size=image_size)


def weights_entry(name: str, entry: str | None) -> Any:
    """Torchvision's weights entry of that name; None asks for the default one.

    Raises
    ------
    UsageError
        If the network has no such entry; the message lists those it has.
    """
    entries = torchvision.models.get_model_weights(name).__members__
    wanted = entry or (DEFAULT_ENTRY if DEFAULT_ENTRY in entries else next(iter(entries)))
    if wanted not in entries:
        raise UsageError(
            f"weights {wanted!r} are neither a file nor an entry of {name}; "
            f"its entries are {', '.join(entries)}."
        )
    return entries[wanted]


def preset(name: str, entry: str | None = None) -> Preprocessing:
    """The preprocessing that belongs to the weights; for local files that of the default entry."""
    return from_torchvision(weights_entry(name, entry).transforms())


def fit_state(network: nn.Module, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fit published weights to the network's picture size, and the network to what they lack.

    Position embeddings of a vision transformer are interpolated to its size (as torchvision does);
    auxiliary heads, which evaluation never computes, are dropped from the network if the weights
    have none.
    """
    for head in AUXILIARY:
        name = head.rstrip(".")
        if hasattr(network, name) and not any(key.startswith(head) for key in state):
            setattr(network, name, None)
    transformers = torchvision.models.vision_transformer
    if not isinstance(network, transformers.VisionTransformer) or POSITIONS not in state:
        return state
    if state[POSITIONS].shape == network.state_dict()[POSITIONS].shape:
        return state
    sizes = network.image_size, network.patch_size
    try:
        with torch.no_grad():
            return dict(transformers.interpolate_embeddings(*sizes, {**state}))
    except (ValueError, RuntimeError):  # those of no square of patches: another network's
        return state


def stem_version(module: nn.Module, state: Mapping[str, Any], prefix: str) -> int | None:
    """Which version of MNASNet's code weights are of, by the width of the stem; None of others.

    The first one had the same stem for all widths. A state dict notes its version, but files of
    safetensors do not hold it, and MNASNet refuses what has none.
    """
    if not isinstance(module, torchvision.models.MNASNet):
        return None
    given, own = state.get(f"{prefix}layers.0.weight"), module.state_dict()["layers.0.weight"]
    return 1 if given is not None and given.shape == OLD_STEM != own.shape else 2


def set_input_transform(network: Any) -> None:
    """GoogLeNet and Inception v3 with weights rescale their input, as torchvision's builders say.

    Their weights come from TensorFlow (inputs -1..1), while their presets normalise as all others;
    it belongs to that normalisation, and to none other.
    """
    if hasattr(network, "transform_input"):
        network.transform_input = True


@contextmanager
def without_memory() -> Iterator[None]:
    """Networks built inside have the shapes of their parameters but no values: fast, no memory.

    Not `torch.device("meta")`, under which networks that compute their widths cannot be built.
    """
    with _EmptyOnMeta():
        yield


class _EmptyOnMeta(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        if func in FILLING:  # on meta it would do nothing, after importing a computer algebra
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
