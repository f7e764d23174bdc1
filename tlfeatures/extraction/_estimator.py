"""`CNNCodes`: pictures in, codes out, as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from tlfeatures.backbones import BackboneRequest
from tlfeatures.errors import ImageReadError, UsageError
from tlfeatures.extraction._extract import Extraction, Progress
from tlfeatures.extraction._open import RunOptions, extract, open_engine, spec_of
from tlfeatures.pictures import DecodeOptions, Pictures, content_digest, decode, row_key
from tlfeatures.store import CodeCache, Codes, CodeSpec

ON_BAD = ("raise", "nan")


class CNNCodes(TransformerMixin, BaseEstimator):
    """Codes of pictures from a frozen network, kept in a cache.

    Needs no `fit`: it learns nothing from the pictures. Codes are those of `docs/numerics.md`.

    Parameters
    ----------
    backbone : str, default="resnet50"
        A name of `tlfeatures backbones list`.
    weights : str, path or None
        An entry's name or a .safetensors or .pth file; None: the default entry.
    layer : str or None
        None: the input of the last layer with weights.
    pooling : {"avg", "max", "gem", "flatten"}, default="avg"
    preprocess : {"torchvision", "imagenet", "caffe", "tf"}, default="torchvision"
    input_size, resize : int or None
        In pixels.
    crop : {"center", "none"} or None
    interpolation : str or None
    exif : bool, default=True
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
    batch_size, n_jobs : int or None
    cache : path or None
        None: $TLFEATURES_CACHE, else the user's cache folder.
    on_bad : {"raise", "nan"}, default="raise"
        What `transform` does about bad pictures: name them all in an error, or give rows of nan.
    progress : callable or None
        Called with a `Progress` after each batch.

    Attributes
    ----------
    spec_ : CodeSpec
    n_features_out_ : int

    Examples
    --------
    >>> CNNCodes("embedded").transform("my_pictures").shape  # doctest: +SKIP
    (300, 256)
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        weights: str | os.PathLike[str] | None = None,
        layer: str | None = None,
        pooling: str = "avg",
        preprocess: str = "torchvision",
        input_size: int | None = None,
        resize: int | None = None,
        crop: str | None = None,
        interpolation: str | None = None,
        exif: bool = True,
        device: str = "auto",
        batch_size: int | None = None,
        n_jobs: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        on_bad: str = "raise",
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.preprocess = preprocess
        self.input_size = input_size
        self.resize = resize
        self.crop = crop
        self.interpolation = interpolation
        self.exif = exif
        self.device = device
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.cache = cache
        self.on_bad = on_bad
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> CNNCodes:
        """Resolve the network; the pictures are not looked at.

        Raises
        ------
        UsageError, WeightsError
        """
        Pictures.of(X)
        self._resolve()
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Codes of all pictures.

        Parameters
        ----------
        X : Pictures, folder, or list of pictures

        Returns
        -------
        ndarray of shape (n_images, n_features), float32

        Raises
        ------
        ImageReadError
            Naming every bad picture, if `on_bad` is "raise".
        """
        return self._fill(self.extract(X))

    def codes(self, X: Any) -> Codes:
        """Codes read from the cache as they are asked for; the bad pictures raise.

        Raises
        ------
        ImageReadError
        """
        extraction = self.extract(X)
        raise_if_bad(extraction)
        return extraction.codes

    def extract(self, X: Any) -> Extraction:
        """Codes, bad pictures, counts and times; raises for no bad picture."""
        return extract(
            Pictures.of(X),
            self.request(),
            self.run_options(),
            tensors=self._tensors(),
            progress=self.progress,
        )

    def query(self, X: Any) -> NDArray[np.float32]:
        """Like `transform`, but fewer pictures than a batch run at their own size, unstored.

        Returns
        -------
        ndarray of shape (n_images, n_features), float32
        """
        pictures = Pictures.of(X)
        store = CodeCache(self.run_options().cache_dir, self._resolve())
        try:
            options = DecodeOptions(exif=self.exif)
            keys = [row_key(content_digest(item), options) for item in pictures.items]
        except ImageReadError:
            return self.transform(pictures)
        present = store.find(keys)
        if present.all():
            return store.read(keys)
        engine = open_engine(self.request(), self.run_options(), tensors=self._tensors())
        if (~present).sum() >= engine.batch_size:
            return self.transform(pictures)
        codes = np.full((len(pictures), engine.spec.dim), np.nan, np.float32)
        if present.any():
            codes[present] = store.read(
                [k for k, there in zip(keys, present, strict=True) if there]
            )
        bad: list[tuple[str, str]] = []
        prepared, rows = [], []
        for row in np.flatnonzero(~present):
            try:
                prepared.append(engine.prepare(decode(pictures.items[row], options)))
                rows.append(row)
            except ImageReadError as error:
                bad.append((pictures.paths[row], str(error)))
        if bad and self.on_bad == "raise":
            raise bad_pictures_error(bad)
        if rows:
            codes[rows] = engine.codes(np.stack(prepared))
        return codes

    def request(self) -> BackboneRequest:
        """The words about the network.

        Raises
        ------
        UsageError
            If one of them is impossible.
        """
        if self.on_bad not in ON_BAD:
            raise UsageError(
                f"on_bad {self.on_bad!r} is unknown; choose one of {', '.join(ON_BAD)}."
            )
        return BackboneRequest(
            backbone=self.backbone,
            weights=None if self.weights is None else os.fspath(self.weights),
            layer=self.layer,
            pooling=self.pooling,
            preprocess=self.preprocess,
            input_size=self.input_size,
            resize=self.resize,
            crop=self.crop,
            interpolation=self.interpolation,
        )

    def run_options(self) -> RunOptions:
        """How the run is done."""
        return RunOptions(self.cache, self.device, self.batch_size, self.n_jobs, self.exif)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as resnet50_flatten_0, shape (n_features,)."""
        spec = self._resolve()
        names = [f"{spec.backbone}_{spec.layer}_{i}" for i in range(spec.dim)]
        return np.array(names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        return tags

    def _tensors(self) -> Any:
        """Weights that a saved model brought along."""
        return getattr(self, "tensors_", None)

    def _resolve(self) -> CodeSpec:
        self.spec_ = spec_of(self.request(), self.run_options(), tensors=self._tensors())
        self.n_features_out_ = self.spec_.dim
        return self.spec_

    def _fill(self, extraction: Extraction) -> NDArray[np.float32]:
        if self.on_bad == "raise":
            raise_if_bad(extraction)
        codes: NDArray[np.float32] = np.asarray(extraction.codes)
        if not extraction.bad:
            return codes
        filled = np.full((extraction.given, codes.shape[1]), np.nan, np.float32)
        filled[extraction.rows] = codes
        return filled


def raise_if_bad(extraction: Extraction) -> None:
    """Raise an ImageReadError that names every bad picture, if there is one."""
    if extraction.bad:
        raise bad_pictures_error(extraction.bad)


def bad_pictures_error(bad: list[tuple[str, str]]) -> ImageReadError:
    """The error for bad pictures: all are in `.bad`, all are named in the message."""
    listed = "; ".join(f"{path}: {reason}" for path, reason in bad)
    return ImageReadError(
        f"{len(bad)} bad pictures ({listed}); remove them or use on_bad='nan'.", bad
    )
