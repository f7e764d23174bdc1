"""`TransferClassifier`: CNN codes and a head, as one scikit-learn classifier of pictures."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from tlfeatures.backbones import BackboneRequest
from tlfeatures.errors import CodesMismatchError, LabelsError, ModelFileError, WeightsError
from tlfeatures.extraction import CNNCodes, open_engine, resolve_device
from tlfeatures.heads import HEADS, choose_head, head_from_arrays, make_head
from tlfeatures.modelfile import load_model, save_model
from tlfeatures.pictures import Pictures
from tlfeatures.store import CodeSpec

_log = logging.getLogger(__name__)
NETWORK, HEAD = "network.", "head."
FORGIVEN = ("contract", "precision", "decode")  # with a note; `load` has chosen the decoding


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
            `progress`, `on_bad` of `CNNCodes`. Pictures are decoded as in the fit, whatever
            `decode` says, but exactly for a model of decode "gpu" where there is no CUDA GPU.

        Raises
        ------
        ModelFileError
            If the file is missing, broken or from elsewhere.
        CodesMismatchError
            If the network found now gives other codes than the model was fitted on.
        """
        tensors, facts = load_model(path)
        try:
            request = BackboneRequest(**facts["request"])
            spec, head_facts = CodeSpec.from_json(facts["spec"]), facts["head"]
            head_name, decode = facts["head_name"], facts["decode"]
            range_ = "full" if decode["range"] is None else tuple(decode["range"])
        except (KeyError, TypeError) as error:
            raise ModelFileError(
                f"{path} is no classifier of pictures; fit one with 'fit --out'."
            ) from error
        words = {f.name: getattr(request, f.name) for f in fields(request)}
        words["weights"] = weights if weights is not None else words["weights"]
        options = {**options, "decode": _decode_for(path, spec, options)}
        if spec.precision == "float32" and options.get("precision", "auto") == "auto":
            options["precision"] = "float32"  # possible everywhere; half precision is not
        codes = CNNCodes(**words, exif=decode["exif"], range=range_, **options)
        network = _with_prefix(tensors, NETWORK)
        if network and weights is None:
            codes.tensors_ = network
        model = cls(backbone=codes, head=head_name)
        model.codes_, model.head_name_, model.spec_ = codes, head_name, spec
        model.head_ = head_from_arrays(_with_prefix(tensors, HEAD), head_facts)
        model.classes_ = model.head_.classes_
        model._check_spec(path)
        return model

    def _check_spec(self, path: str | os.PathLike[str]) -> None:
        try:
            found = self.codes_.fit([]).spec_
        except WeightsError as error:
            raise WeightsError(
                f"{path} needs its network: {error} A model saved with --with-weights needs none."
            ) from error
        fitted = self.spec_
        forgiven = {name: getattr(fitted, name) for name in FORGIVEN}
        if replace(found, **forgiven) == fitted:
            for name in FORGIVEN:
                if getattr(found, name) != getattr(fitted, name):
                    words = (path, name, getattr(fitted, name), getattr(found, name))
                    _log.info("%s was fitted on codes of %s %s, these are of %s", *words)
            return
        differences = "; ".join(self.spec_.diff(found))
        raise CodesMismatchError(
            f"{path} was fitted on other codes ({differences}); use the weights and options of "
            f"its fit."
        )

    def _network_tensors(self) -> dict[str, NDArray[Any]]:
        codes = self.codes_
        engine: Any = open_engine(codes.request(), codes.run_options(), tensors=codes._tensors())
        state = engine.backbone.network.state_dict()
        return {f"{NETWORK}{name}": tensor.cpu().numpy() for name, tensor in state.items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def _decode_for(path: str | os.PathLike[str], spec: CodeSpec, options: dict[str, Any]) -> str:
    """How pictures are decoded for a model that was fitted on codes of that spec."""
    asked = options.get("decode", spec.decode)
    if spec.decode == "gpu" and resolve_device(options.get("device", "auto")) != "cuda":
        return "exact"
    if asked != spec.decode:
        words = (path, spec.decode, asked)
        _log.warning("%s was fitted on codes of decode %s: it is used so, not with %s", *words)
    return spec.decode


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


def _with_prefix(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
