"""timm's networks, by the name "timm:NAME" (extra `timm`)."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from torch import nn

from tlfeatures.backbones._preprocessing import (
    INTERPOLATIONS,
    AnyPreprocessing,
    OwnPreprocessing,
    Preprocessing,
)
from tlfeatures.backbones._request import TIMM
from tlfeatures.errors import UnknownBackboneError, UsageError, WeightsError, few


def check_timm_name(backbone: str) -> str:
    """Return timm's own name of "timm:NAME".

    Raises
    ------
    UsageError
        If timm is not installed.
    UnknownBackboneError
        With the nearest names.
    """
    timm = _import_timm()
    name = backbone.removeprefix(TIMM)
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = timm.list_models(f"*{architecture[:8]}*")[:4]
        hint = f"near ones are {', '.join(near)}; " if near else ""
        raise UnknownBackboneError(
            f"backbone {backbone!r} is unknown to timm {timm.__version__}; {hint}"
            "timm.list_models() names all."
        )
    known = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in known:
        raise UnknownBackboneError(
            f"timm has no weights {tag!r} of {architecture}; "
            f"there are {few(known, shown=12) or 'none'}."
        )
    return name


def make_timm(name: str, *, pretrained: bool, n_classes: int | None = None) -> nn.Module:
    """The network in eval mode.

    Raises
    ------
    WeightsError
        If the pretrained weights cannot be had.
    """
    more = {} if n_classes is None else {"num_classes": n_classes}
    try:
        network: nn.Module = _import_timm().create_model(name, pretrained=pretrained, **more)
    except Exception as error:  # the hub's client raises errors of many libraries
        if not pretrained:
            raise
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"the weights of timm:{name} could not be had ({line}); use `weights=FILE`, "
            "`weights='random'`, or `backbone='embedded'`."
        ) from error
    return network.eval()


def has_timm_weights(name: str) -> bool:
    """Whether the hub's cache has them; True where that cannot be told."""
    source = _import_timm().get_pretrained_cfg(name)
    if source is None or not source.hf_hub_id:
        return True
    try:
        find = import_module("huggingface_hub").try_to_load_from_cache
    except (ImportError, AttributeError):
        return True
    names = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin")
    return any(isinstance(find(source.hf_hub_id, file), str) for file in names)


def timm_preset(network: nn.Module) -> AnyPreprocessing:
    """The network's own data configuration; timm's own transform where ours cannot say the same."""
    data = import_module("timm.data")
    config = data.resolve_model_data_config(network)
    _, height, width = config["input_size"]
    crops = {"center": "center", "squash": "squash"}
    if (
        config["crop_mode"] in crops
        and height == width
        and config["interpolation"] in INTERPOLATIONS
    ):
        return Preprocessing(
            resize=math.floor(height / config["crop_pct"]),
            input_size=height,
            crop=crops[config["crop_mode"]],
            interpolation=config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )
    return OwnPreprocessing(data.create_transform(**config))


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UsageError("networks of timm need it: pip install 'tlfeatures[timm]'.") from error
    return timm
