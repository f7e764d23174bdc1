"""`TransferClassifier`: CNN codes and a head, as one scikit-learn classifier of pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from tlfeatures.classification._saved import HEAD, NETWORK, SavedModel
from tlfeatures.errors import LabelsError, WeightsError
from tlfeatures.extraction import CNNCodes, open_engine
from tlfeatures.heads import HEADS, choose_head, head_from_arrays, make_head
from tlfeatures.modelfile import save_model
from tlfeatures.pictures import Pictures


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """A linear or nearest-neighbour classifier on the codes of a frozen network.

    Parameters
    ----------
    backbone : str or CNNCodes, default="resnet50"
        A network's name, or a `CNNCodes` for any other setting.
    head : {"auto", "svm", "logistic", "knn"}, default="auto"
        "auto": chosen by inner cross-validation; within one standard error the simplest stays.
    random_state : int, default=0

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    codes_ : CNNCodes
    head_ : estimator
        Fitted on the codes.
    head_name_ : str
    spec_ : CodeSpec
        Which codes it was fitted on.

    Examples
    --------
    >>> model = TransferClassifier("resnet18", head="svm")
    >>> model.fit(pictures, pictures.labels).predict(["query.jpg"])  # doctest: +SKIP
    array(['bees'], dtype='<U4')
    """

    def __init__(
        self, backbone: str | CNNCodes = "resnet50", head: str = "auto", random_state: int = 0
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> TransferClassifier:
        """Extract codes and fit the head.

        Parameters
        ----------
        X : Pictures, folder, or list of pictures
        y : array-like of shape (n_images,), optional
            Labels; default: those of the Pictures.
        groups : array-like of shape (n_images,), optional
            Pictures that stay together in inner cross-validation; default: those of the Pictures.

        Raises
        ------
        LabelsError
            If there are no labels, or one class only.
        ImageReadError
            If a picture is bad.
        """
        pictures = Pictures.of(X)
        labels = pictures.labels if y is None else np.asarray(y)
        if labels is None:
            raise LabelsError(
                "the pictures have no labels; pass y, or use a folder of class folders."
            )
        groups = pictures.groups if groups is None else groups
        self.codes_ = as_codes(self.backbone)
        codes = self.codes_.fit(pictures).transform(pictures)
        self.spec_ = self.codes_.spec_
        self.head_name_, self.head_ = fit_head(self.head, codes, labels, groups, self.random_state)
        self.classes_ = self.head_.classes_
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each picture, shape (n_images,)."""
        check_is_fitted(self)
        return np.asarray(self.head_.predict(self.codes_.query(X)))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of shape (n_images, n_classes), in the order of `classes_`."""
        check_is_fitted(self)
        return np.asarray(self.head_.predict_proba(self.codes_.query(X)))

    def save(self, path: str | os.PathLike[str], *, with_weights: bool = False) -> Path:
        """Save as one file without pickle.

        Parameters
        ----------
        path : path
        with_weights : bool, default=False
            Put the network inside, so that the file is all one needs; always done of weights that
            a saved model brought along, which are nowhere else.

        Raises
        ------
        ModelFileError
            If it cannot be written.
        """
        check_is_fitted(self)
        arrays, facts = self.head_.to_arrays()
        tensors = {f"{HEAD}{name}": array for name, array in arrays.items()}
        if with_weights or self.codes_._tensors() is not None:
            tensors |= self._network_tensors()
        request = self.codes_.request().to_json()
        if request["weights"] is not None and Path(request["weights"]).exists():
            request["weights"] = str(Path(request["weights"]).resolve())
        words = {
            "request": request,
            "decode": self.codes_.decode_options().to_json(),
            "spec": self.spec_.to_json(),
            "head_name": self.head_name_,
            "head": facts,
        }
        return save_model(path, tensors, words)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> TransferClassifier:
        """Load what `save` wrote.

        Parameters
        ----------
        path : path
        weights : path, optional
            Where the network's weights are now, if they have moved.
        **options
            `cache`, `device`, `precision`, `compile`, `batch_size`, `n_jobs`, `store_dtype`,
            `retry_bad`, `progress`, `on_bad` of `CNNCodes`. Pictures are decoded as in the fit,
            whatever `decode` says, but exactly for a model of decode "gpu" where there is no CUDA
            GPU.

        Raises
        ------
        ModelFileError
            If the file is missing, broken or from elsewhere.
        CodesMismatchError
            If the network found now gives other codes than the model was fitted on.
        """
        saved = SavedModel.load(path, weights=weights)
        asked = (options.get("device", "auto"), options.get("decode"))
        options["precision"] = saved.precision_for(options.get("precision", "auto"))
        options["decode"] = saved.decode_for(*asked)
        range_ = saved.range or "full"
        codes = CNNCodes(**vars(saved.request), exif=saved.exif, range=range_, **options)
        if saved.network:
            codes.tensors_ = saved.network
        model = cls(backbone=codes, head=saved.head_name)
        model.codes_, model.head_name_, model.spec_ = codes, saved.head_name, saved.spec
        model.head_ = head_from_arrays(*saved.head)
        model.classes_ = model.head_.classes_
        try:
            saved.check(codes.fit([]).spec_)
        except WeightsError as error:
            raise saved.no_network(error) from error
        return model

    def _network_tensors(self) -> dict[str, NDArray[Any]]:
        codes = self.codes_
        engine: Any = open_engine(codes.request(), codes.run_options(), tensors=codes._tensors())
        state = engine.backbone.network.state_dict()
        return {f"{NETWORK}{name}": tensor.cpu().numpy() for name, tensor in state.items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def as_codes(backbone: str | CNNCodes) -> CNNCodes:
    """The extractor that an estimator's `backbone` parameter means; a given one is copied."""
    return CNNCodes(backbone) if isinstance(backbone, str) else clone(backbone)


def fit_head(
    head: str, X: NDArray[np.float32], y: NDArray[Any], groups: Any, random_state: int
) -> tuple[str, Any]:
    """The head's name and the head fitted on codes X (n, d); "auto" chooses."""
    if head == "auto":
        made = {name: make_head(name, **_seeded(name, random_state)) for name in HEADS}
        name, table = choose_head(made, X, y, groups, random_state=random_state)
        return name, next(row.head for row in table if row.name == name)
    return head, make_head(head, **_seeded(head, random_state)).fit(X, y, groups=groups)


def _seeded(name: str, random_state: int) -> dict[str, Any]:
    return {} if name == "knn" else {"random_state": random_state}
