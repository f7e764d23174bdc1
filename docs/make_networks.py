"""Writes tlfeatures/backbones/networks.json, what 'backbones list' says of each network.

    python docs/make_networks.py

The facts come from torchvision's weights entries; the widths from the networks themselves.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model_weights

import tlfeatures.backbones
from tlfeatures.backbones import (
    BackboneFacts,
    BackboneRequest,
    Description,
    Network,
    WeightsFacts,
    describe_backbone,
    load_network,
)
from tlfeatures.backbones.sources._embedded import PREPROCESSING
from tlfeatures.backbones.sources._listing import EMBEDDED, TABLE
from tlfeatures.backbones.sources._torchvision import torchvision_names, weights_entry
from tlfeatures.engine.kernels._winograd import LEAST_CHANNELS

OUT = Path(tlfeatures.backbones.__file__).parent / TABLE
WIDE = LEAST_CHANNELS[torch.bfloat16]


def main() -> None:
    """Write the table."""
    rows = [asdict(embedded_facts()), *(asdict(facts(name)) for name in torchvision_names())]
    lines = ",\n".join(json.dumps(row) for row in rows)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def facts(name: str) -> BackboneFacts:
    """One network of torchvision's, its default entry first."""
    default = weights_entry(name, None).name
    entries = sorted(get_model_weights(name), key=lambda entry: entry.name != default)
    made = describe_backbone(BackboneRequest(name))
    network = load_network(BackboneRequest(name, "random"))
    return BackboneFacts(
        name,
        made.default_layer,
        made.dim,
        has_depthwise(network.module),
        *shares_3x3(network),
        tuple(entry_facts(entry) for entry in entries),
    )


def has_depthwise(network: nn.Module) -> bool:
    """Whether one of its convolutions looks at each channel alone."""
    convs = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    return any(1 < each.groups == each.in_channels for each in convs)


def shares_3x3(network: Network) -> tuple[float, float]:
    """Of the multiply-adds of convolutions and linear layers, those in dense 3 x 3, stride 1.

    Returns
    -------
    tuple of float
        Of all, and of those with 64 channels and 64 filters or more.
    """
    products: Counter[str] = Counter()

    def count(module: nn.Module, _: Any, made: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            words = (module.kernel_size, module.stride, module.dilation, module.groups)
            is_3x3 = words == ((3, 3), (1, 1), (1, 1), 1) and module.in_channels > 3
            is_wide = min(module.in_channels, module.out_channels) >= WIDE
            kind = ("wide" if is_wide else "narrow") if is_3x3 else "other"
            products[kind] += made.numel() * module.weight[0].numel()
        else:
            products["other"] += made.numel() * module.in_features  # type: ignore[operator]

    example = network.example().to("meta")
    for module in network.module.to("meta").modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.module(example)
    counts = products["wide"] + products["narrow"], products["wide"]
    return tuple(round(each / products.total(), 3) for each in counts)  # type: ignore[return-value]


def entry_facts(entry: Any) -> WeightsFacts:
    """One weights entry."""
    meta, transforms = entry.meta, entry.transforms()
    top1 = meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return WeightsFacts(
        name=entry.name,
        parameters=meta["num_params"],
        gflop=meta["_ops"],
        top1=None if math.isnan(top1) else round(top1 / 100, 5),
        input_size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
        licence="swag" if "SWAG" in meta.get("license", "") else "imagenet",
        size_mb=meta["_file_size"],
        file=entry.url.rpartition("/")[2],
    )


def embedded_facts() -> BackboneFacts:
    """The network inside the package."""
    made: Description = describe_backbone(BackboneRequest(EMBEDDED))
    file = OUT.parent / "embedded.safetensors"
    entry = WeightsFacts(
        name=EMBEDDED,
        parameters=made.totals.parameters,
        gflop=round(made.totals.multiply_adds / 1e9, 3),
        top1=None,
        input_size=PREPROCESSING.input_size,
        resize=PREPROCESSING.resize,
        licence="own",
        size_mb=round(file.stat().st_size / 2**20, 3),
        file=file.name,
    )
    network = load_network(BackboneRequest(EMBEDDED))
    return BackboneFacts(
        EMBEDDED,
        made.default_layer,
        made.dim,
        has_depthwise(network.module),
        *shares_3x3(network),
        (entry,),
    )


if __name__ == "__main__":
    main()
