"""Pictures -> CNN codes -> HDF5 cache -> classifiers, image search.

Names are loaded when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlfeatures._later import load_later
from tlfeatures._version import __version__

if TYPE_CHECKING:
    from tlfeatures.advice import advise
    from tlfeatures.classification import TransferClassifier, evaluate_baseline, load_model
    from tlfeatures.extraction import CNNCodes
    from tlfeatures.finetuning import FineTunedClassifier
    from tlfeatures.pictures import Pictures, load_pictures
    from tlfeatures.search import ImageIndex
else:
    __getattr__, __dir__ = load_later(
        __name__,
        {
            "CNNCodes": "extraction",
            "FineTunedClassifier": "finetuning",
            "ImageIndex": "search",
            "Pictures": "pictures",
            "TransferClassifier": "classification",
            "advise": "advice",
            "evaluate_baseline": "classification",
            "load_model": "classification",
            "load_pictures": "pictures",
        },
    )


__all__ = [
    "CNNCodes",
    "FineTunedClassifier",
    "ImageIndex",
    "Pictures",
    "TransferClassifier",
    "__version__",
    "advise",
    "evaluate_baseline",
    "load_model",
    "load_pictures",
]
