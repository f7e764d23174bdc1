"""`TransferClassifier`: CNN codes and a head, as one scikit-learn classifier of pictures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from tlfeatures._parameters import seed_of
from tlfeatures.backbones import TUNED, is_file_name
from tlfeatures.classification._saved import HEAD, NETWORK, ORIGIN, TRAINED_ON, SavedModel
from tlfeatures.classification._trained import TrainedOn
from tlfeatures.errors import few
from tlfeatures.extraction import CNNCodes, Extraction, as_codes, open_engine, raise_if_bad
from tlfeatures.heads import HEADS, choose_head, head_from_arrays, head_name, make_head
from tlfeatures.modelfile import write_model_file
from tlfeatures.pictures import Pictures, check_readable, labelled_pictures


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """A linear or nearest-neighbour classifier on the codes of a frozen network.

    Parameters
    ----------
    backbone : str or CNNCodes, default="resnet50"
        A network's name, or a `CNNCodes` for any other setting.
    head : {"auto", "svm", "logistic", "knn"}, default="auto"
        "auto": chosen by inner cross-validation; within one standard error the simplest stays.
    random_state : int, RandomState or None, default=0

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    codes_ : CNNCodes
    head_ : estimator
        Fitted on the codes.
    head_name_ : str
    spec_ : CodeSpec
        Which codes it was fitted on.
    trained_on_ : TrainedOn or None
        Salted digests of the pictures it was fitted on; None: an earlier version saved it.

    Examples
    --------
    >>> model = TransferClassifier("resnet18", head="svm")
    >>> model.fit(pictures, pictures.labels).predict(["query.jpg"])  # doctest: +SKIP
    array(['bees'], dtype='<U4')
    """

    trained_on_: TrainedOn | None = None

    def __init__(
        self,
        backbone: str | CNNCodes = "resnet50",
        head: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> TransferClassifier:
        """Extract codes and fit the head.

        Parameters
        ----------
        X : Pictures, folder, manifest, data frame, or iterable of pictures
        y : array-like of shape (n_images,), optional
            Labels; default: those of the Pictures.
        groups : array-like of shape (n_images,), optional
            Pictures that stay together in inner cross-validation; default: those of the Pictures. A
            picture without one (None, NaN) is a group of its own.

        Raises
        ------
        LabelsError
            If there are no labels, one is missing, or there is one class only.
        PicturesError
            If y or groups have another length, or none of the pictures can be read.
        UsageError
            If the head or random_state is impossible.
        ImageReadError
            If a picture is bad, and `on_bad` of the `CNNCodes` is "raise".

        Warns
        -----
        UserWarning
            If pictures are bad, and `on_bad` is "nan": they are left out.
        """
        seed, heads = seed_of(self.random_state), _heads_called(self.head)
        pictures = labelled_pictures(X, y, groups, way=", or pass `y`")
        self.codes_ = as_codes(self.backbone)
        done = extract_good(self.codes_.fit(pictures), pictures)
        kept, self.spec_ = done.pictures, self.codes_.spec_
        self.head_name_, self.head_ = fit_head(
            heads, np.asarray(done.codes), kept.labels, kept.groups, seed
        )
        self.classes_ = self.head_.classes_
        self.trained_on_ = TrainedOn.of(done.digests)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable label of each picture, shape (n_images,).

        Where `on_bad` of the `CNNCodes` is "nan", bad pictures get None; labels are objects then.

        Raises
        ------
        ImageReadError
            If a picture is bad, and `on_bad` is "raise".
        """
        check_is_fitted(self)
        codes, good = self._query(X)
        if good.all():
            return np.asarray(self.head_.predict(codes))
        labels = np.full(len(codes), None, dtype=object)
        if good.any():
            labels[good] = self.head_.predict(codes[good])
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities of shape (n_images, n_classes), in the order of `classes_`.

        Where `on_bad` of the `CNNCodes` is "nan", bad pictures get rows of nan.

        Raises
        ------
        ImageReadError
            If a picture is bad, and `on_bad` is "raise".
        """
        check_is_fitted(self)
        codes, good = self._query(X)
        if good.all():
            return np.asarray(self.head_.predict_proba(codes))
        shares = np.full((len(codes), len(self.classes_)), np.nan)
        if good.any():
            shares[good] = self.head_.predict_proba(codes[good])
        return shares

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The share of labels that are right; a bad picture that `on_bad` lets pass is wrong.

        Parameters
        ----------
        X : Pictures, folder, or list of pictures
        y : array-like of shape (n_images,), optional
            Labels; default: those of the Pictures.
        sample_weight : array-like of shape (n_images,), optional
        """
        pictures = labelled_pictures(X, y, way=", or pass `y`")
        right = self.predict(pictures) == np.asarray(pictures.labels)
        return float(np.average(right, weights=sample_weight))

    def _query(self, X: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Codes, and of each picture whether it is good."""
        codes = self.codes_.query(X)
        return codes, np.asarray(~np.isnan(codes).any(axis=1))

    def save(self, path: str | os.PathLike[str], *, with_weights: bool | None = None) -> Path:
        """Save as one file without pickle.

        Parameters
        ----------
        path : path
        with_weights : bool, optional
            Put the network inside, so that the file is all one needs. Default: where its weights
            come from a file, which another machine has not. Always done of weights that a saved
            model brought along, which are nowhere else.

        Raises
        ------
        ModelFileError
            If it cannot be written.
        """
        check_is_fitted(self)
        arrays, facts = self.head_.to_arrays()
        tensors = {f"{HEAD}{name}": array for name, array in arrays.items()}
        if with_weights is None:
            with_weights = is_file_name(self.codes_.request().weights)
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
        if getattr(self.codes_._tensors(), "origin", None) == TUNED:
            words[ORIGIN] = TUNED
        if self.trained_on_ is not None:
            tensors[TRAINED_ON], words[TRAINED_ON] = self.trained_on_.to_arrays()
        return write_model_file(path, tensors, words)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | os.PathLike[str] | None = None,
        trust_code: bool = False,
        **options: Any,
    ) -> TransferClassifier:
        """Load what `save` wrote.

        Parameters
        ----------
        path : path
        weights : path, optional
            Where the network's weights are now, if they have moved.
        trust_code : bool, default=False
            Import and call a network of somebody's own, "package.module:attribute", if the file
            names one: that runs code which the file chooses.
        **options
            `cache`, `device`, `precision`, `kernels`, `batch_size`, `n_jobs`, `store_dtype`,
            `retry_bad`, `progress`, `on_bad` of `CNNCodes`. Pictures are decoded as in the fit,
            whatever `decode` says.

        Raises
        ------
        ModelFileError
            If the file is missing, broken or from elsewhere, or names code that is not trusted.
        CodesMismatchError
            If the network found now gives other codes than the model was fitted on.
        """
        saved = SavedModel.load(path, weights=weights, trust_code=trust_code)
        options["precision"] = saved.precision_for(options.get("precision", "auto"))
        options["decode"] = saved.decode_for(options.get("decode"))
        range_ = saved.range or "full"
        codes = CNNCodes(**vars(saved.request), exif=saved.exif, range=range_, **options)
        if saved.network:
            codes.tensors_ = saved.network
        model = cls(backbone=codes, head=saved.head_name)
        model.codes_, model.head_name_, model.spec_ = codes, saved.head_name, saved.spec
        model.trained_on_ = saved.trained_on
        model.head_ = head_from_arrays(*saved.head)
        model.classes_ = model.head_.classes_
        saved.check(lambda: codes.fit([]).spec_, codes.run_options())
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


def load_model(
    path: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    trust_code: bool = False,
    **options: Any,
) -> TransferClassifier:
    """Open any saved model, of `fit`, `finetune`, `TransferClassifier` or `FineTunedClassifier`.

    Parameters
    ----------
    path : path
    weights : path, optional
        Where the network's weights are now, if they have moved.
    trust_code : bool, default=False
        Let a network of one's own that the file names be imported, which runs its code.
    **options
        As of `TransferClassifier.load`.

    Raises
    ------
    ModelFileError
        If the file is missing, broken or from elsewhere.
    CodesMismatchError
        If the network found now gives other codes than the model was fitted on.

    Examples
    --------
    >>> load_model("my.model").predict(["query.jpg"])  # doctest: +SKIP
    array(['bees'], dtype='<U4')
    """
    return TransferClassifier.load(path, weights=weights, trust_code=trust_code, **options)


def extract_good(codes: CNNCodes, pictures: Pictures) -> Extraction:
    """The codes of the pictures; of bad ones what `on_bad` says.

    Raises
    ------
    ImageReadError
        Naming every bad picture, if `on_bad` is "raise".
    PicturesError
        If none can be read.

    Warns
    -----
    UserWarning
        If `on_bad` is "nan", naming some of those that are left out.
    """
    done = codes.extract(pictures)
    if codes.on_bad == "raise":
        raise_if_bad(done)
    check_readable(pictures, done.pictures, done.bad, sides=False)
    if done.bad:
        warnings.warn(
            f"{len(done.bad)} of {done.given} pictures are bad and left out of the fit: "
            f"{few([f'{path}: {reason}' for path, reason in done.bad], '; ')}",
            UserWarning,
            stacklevel=3,
        )
    return done


def fit_head(
    heads: Sequence[str], X: NDArray[np.float32], y: Any, groups: Any, seed: int
) -> tuple[str, Any]:
    """The name of the best of the heads, and that head fitted on codes X (n, d)."""
    made = {name: make_head(name, **seeded(name, seed)) for name in heads}
    if len(made) == 1:
        name, head = next(iter(made.items()))
        return name, head.fit(X, y, groups=groups)
    name, table = choose_head(made, X, y, groups, random_state=seed)
    return name, next(row.head for row in table if row.name == name)


def _heads_called(word: str) -> tuple[str, ...]:
    """Which heads "auto" or a name means.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if word == "auto":
        return tuple(HEADS)
    make_head(word)
    return (head_name(word),)


def seeded(name: str, seed: int) -> dict[str, Any]:
    """The seed as an option of the head of that name, where it has one."""
    return {} if name == "knn" else {"random_state": seed}
