"""Networks: their weights, layers and preprocessing, the embedded network, the random control.

Promises: a `Backbone` knows its name, weights, layer, width and preprocessing, and is in eval mode.
Must not know: pictures on disk, caches, heads. Importing the room does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures.backbones._preprocessing import (
    CROPS,
    INTERPOLATIONS,
    POOLINGS,
    PREPROCESS_NAMES,
    OwnPreprocessing,
    Preprocessing,
    is_thin,
    make_preprocessing,
)
from tlfeatures.backbones._request import BackboneRequest, weights_word
from tlfeatures.backbones.sources._listing import (
    LICENCES,
    BackboneFacts,
    WeightsFacts,
    gflop_of,
    is_depthwise,
    licence_note,
    list_backbones,
    share_3x3_of,
    stands_bf16,
)
from tlfeatures.backbones.weights._origin import CARRIED, TUNED, CarriedWeights, describe_weights
from tlfeatures.backbones.weights._words import is_file_name, random_seed, weights_file

if TYPE_CHECKING:
    from tlfeatures.backbones._backbone import Backbone, check_before_weights, load_backbone
    from tlfeatures.backbones._describe import Description, describe_backbone
    from tlfeatures.backbones._network import (
        Network,
        load_network,
        load_preprocessing,
        network_input,
        normalise,
    )
    from tlfeatures.backbones.layers._partly import trace_cut
    from tlfeatures.backbones.layers._pooling import pool_codes
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "Backbone": "_backbone",
            "check_before_weights": "_backbone",
            "load_backbone": "_backbone",
            "Network": "_network",
            "load_network": "_network",
            "load_preprocessing": "_network",
            "network_input": "_network",
            "normalise": "_network",
            "trace_cut": "layers._partly",
            "pool_codes": "layers._pooling",
            "Description": "_describe",
            "describe_backbone": "_describe",
        },
    )


__all__ = [
    "CARRIED",
    "CROPS",
    "INTERPOLATIONS",
    "LICENCES",
    "POOLINGS",
    "PREPROCESS_NAMES",
    "TUNED",
    "Backbone",
    "BackboneFacts",
    "BackboneRequest",
    "CarriedWeights",
    "Description",
    "Network",
    "OwnPreprocessing",
    "Preprocessing",
    "WeightsFacts",
    "check_before_weights",
    "describe_backbone",
    "describe_weights",
    "gflop_of",
    "is_depthwise",
    "is_file_name",
    "is_thin",
    "licence_note",
    "list_backbones",
    "load_backbone",
    "load_network",
    "load_preprocessing",
    "make_preprocessing",
    "network_input",
    "normalise",
    "pool_codes",
    "random_seed",
    "share_3x3_of",
    "stands_bf16",
    "trace_cut",
    "weights_file",
    "weights_word",
]
