"""`CNNCodes`: pictures in, codes out, as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone

from tlfeatures._parameters import check_whole
from tlfeatures.backbones import BackboneRequest, weights_word
from tlfeatures.errors import UsageError
from tlfeatures.extraction._query import query
from tlfeatures.extraction._resolve import Resolved, resolve
from tlfeatures.extraction._result import Extraction, Progress, bad_pictures_error, raise_if_bad
from tlfeatures.extraction._run import extract_layers
from tlfeatures.extraction.planning._options import RunOptions, range_of
from tlfeatures.pictures import DecodeOptions, as_pictures
from tlfeatures.store import Codes, CodeSpec

ON_BAD = ("raise", "nan")


class CNNCodes(TransformerMixin, BaseEstimator):
    """Codes of pictures from a frozen network, kept in a cache.

    Needs no `fit`: it learns nothing from the pictures. Codes are those of `docs/numerics.md`.

    Parameters
    ----------
    backbone : str, nn.Module or callable, default="resnet50"
        A name of `tlfeatures backbones list`, "timm:NAME", "package.module:attribute", or a network
        of your own or a function that makes one. What an own network's `forward` does cannot be
        hashed: probe pictures are compared with those of the cache whenever it is opened.
    weights : str, path or None
        An entry's name, a .safetensors or .pth file, or "random"; None: the default entry.
    layer : str or None
        A layer's name, a module's, or an alias such as fc7, conv5_3, avgpool, block-1; None: the
        input of the last layer with weights. `tlfeatures backbones describe NAME` lists them.
    pooling : {"avg", "max", "gem", "flatten", "cls", "cls+avg"}, default="avg"
        How maps and tokens become a code.
    preprocess : {"torchvision", "imagenet", "caffe", "tf"}, Preprocessing or callable
        Default "torchvision": the preset of the weights. A callable takes a PIL picture in mode RGB
        and gives (3, H, W).
    input_size, resize : int or None
        In pixels.
    crop : {"center", "squash", "none"} or None
    interpolation : str or None
    weights_id : str or None
        What the weights of an own network are known by; None: a hash of its state dict.
    exif : bool, default=True
        Turn pictures by their EXIF orientation.
    range : "full" or (low, high), default="full"
        Of pictures deeper than 8 bits, the values that become 0 and 255; `estimate_range` finds
        those that a folder uses.
    max_pixels : int or None
        Larger pictures are bad; None: Pillow's limit.
    device : {"auto", "cpu", "cuda", "mps"}, default="auto"
    precision : {"auto", "float32", "bf16", "fp16"}, default="auto"
        Codes of each are kept apart. "auto": half precision where processor and network allow it.
    decode : {"exact", "fast"}, default="exact"
        "fast": JPEG files far larger than the crop at a reduced scale. Codes of each have a key of
        their own.
    kernels : {"on", "off"}, default="on"
        "off": without the operations of our own that the machine's compiler makes, for comparison;
        see `RunOptions`.
    batch_size : int or None
    n_jobs : int or None
        On a CPU processes of one thread each, 1: this process, -1: one for every core, -2: for all
        but one; None: as it pays.
    store_dtype : {"float32", "float16"} or None
        How new rows are stored; None: half precision as float16. What is too large or too
        small for float16 is stored as float32 in any case.
    retry_bad : bool, default=False
        Decode pictures again that the cache remembers as bad.
    cache : path or None
        None: $TLFEATURES_CACHE, else the user's cache folder.
    on_bad : {"raise", "nan"}, default="raise"
        What `transform` does about bad pictures: name them all in an error, or give rows of nan.
        With "nan", `TransferClassifier` and `FineTunedClassifier` leave them out of a fit, with a
        warning, and predict None for them; in a pipeline with a head that takes no nan, such as
        those of scikit-learn, they end in its error: leave them out there.
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
        backbone: Any = "resnet50",
        *,
        weights: str | os.PathLike[str] | None = None,
        layer: str | None = None,
        pooling: str = "avg",
        preprocess: Any = "torchvision",
        input_size: int | None = None,
        resize: int | None = None,
        crop: str | None = None,
        interpolation: str | None = None,
        weights_id: str | None = None,
        exif: bool = True,
        range: str | tuple[float, float] = "full",  # noqa: A002  the option's name
        max_pixels: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        decode: str = "exact",
        kernels: str = "on",
        batch_size: int | None = None,
        n_jobs: int | None = None,
        store_dtype: str | None = None,
        retry_bad: bool = False,
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
        self.weights_id = weights_id
        self.exif = exif
        self.range = range
        self.max_pixels = max_pixels
        self.device = device
        self.precision = precision
        self.decode = decode
        self.kernels = kernels
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.store_dtype = store_dtype
        self.retry_bad = retry_bad
        self.cache = cache
        self.on_bad = on_bad
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> CNNCodes:
        """Resolve the network; the pictures are not opened.

        Raises
        ------
        UsageError, WeightsError, PicturesError
        """
        as_pictures(X)
        self.resolve()
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[np.float32]:
        """`fit`, then `transform`; X may be an iterator, which gives its pictures once only.

        Returns
        -------
        ndarray of shape (n_images, n_features), float32

        Raises
        ------
        UsageError, WeightsError, PicturesError, ImageReadError
        """
        pictures = as_pictures(X)
        return self.fit(pictures, y, **fit_params)._fill(self.extract(pictures))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Codes of all pictures.

        Parameters
        ----------
        X : Pictures, folder, manifest, data frame, or iterable of pictures

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

    def extract(self, X: Any, resolved: Resolved | None = None) -> Extraction:
        """Codes, bad pictures, counts and times; raises for no bad picture.

        Parameters
        ----------
        X : Pictures, folder, manifest, data frame, or iterable of pictures
        resolved : Resolved, optional
            What `resolve` gave, where that was asked before.
        """
        pictures = as_pictures(X)
        resolved = self.resolve(len(pictures)) if resolved is None else resolved
        (done,) = extract_layers(pictures, resolved, progress=self.progress)
        self._take(done.codes.spec)
        return done

    def resolve(self, n: int = 0) -> Resolved:
        """Which codes these words mean here; `n` pictures will be asked for.

        Raises
        ------
        UsageError, WeightsError, StoreError, CodesMismatchError
            As `extraction.resolve`.
        """
        resolved = resolve(self.request(), self.run_options(), n=n, tensors=self._tensors())
        self._take(resolved.specs[0])
        return resolved

    def transform_layers(self, X: Any, layers: Sequence[str | None]) -> list[NDArray[np.float32]]:
        """Codes of several layers in one pass, each cached by itself.

        Parameters
        ----------
        X : Pictures, folder, or list of pictures
        layers : sequence of str or None
            Instead of `layer`; nothing after the last one is computed.

        Returns
        -------
        list of ndarray of shape (n_images, n_features), float32

        Raises
        ------
        ImageReadError
            Naming every bad picture, if `on_bad` is "raise".
        """
        if isinstance(layers, str):
            raise UsageError(f"layers is {layers!r}; give a list of names.")
        pictures = as_pictures(X)
        resolved = resolve(
            self.request(),
            self.run_options(),
            layers,
            n=len(pictures),
            tensors=self._tensors(),
        )
        done = extract_layers(pictures, resolved, progress=self.progress)
        return [self._fill(extraction) for extraction in done]

    def query(self, X: Any) -> NDArray[np.float32]:
        """Like `transform`, but fewer pictures than a batch run at their own size, unstored.

        Returns
        -------
        ndarray of shape (n_images, n_features), float32

        Raises
        ------
        ImageReadError
            Naming every bad picture, if `on_bad` is "raise".
        CodesMismatchError
            If the network gives other codes now than when the cache was filled.
        """
        codes, bad, spec = query(as_pictures(X), self.resolve(), progress=self.progress)
        self._take(spec)
        if bad and self.on_bad == "raise":
            raise bad_pictures_error(bad)
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
            weights=weights_word(self.weights),
            layer=self.layer,
            pooling=self.pooling,
            preprocess=self.preprocess,
            input_size=self.input_size,
            resize=self.resize,
            crop=self.crop,
            interpolation=self.interpolation,
            weights_id=self.weights_id,
        )

    def run_options(self) -> RunOptions:
        """How the run is done.

        Raises
        ------
        UsageError
            If a word is impossible.
        """
        return RunOptions(
            cache=self.cache,
            device=self.device,
            precision=self.precision,
            decode=self.decode,
            kernels=self.kernels,
            batch_size=self.batch_size,
            n_jobs=self.n_jobs,
            decode_options=self.decode_options(),
            store_dtype=self.store_dtype,
            retry_bad=self.retry_bad,
        )

    def decode_options(self) -> DecodeOptions:
        """How pictures are decoded.

        Raises
        ------
        UsageError
        """
        if self.exif not in (True, False):
            raise UsageError(f"exif is {self.exif!r:.80}; give True or False.")
        most = None if self.max_pixels is None else check_whole("max_pixels", self.max_pixels)
        return DecodeOptions(exif=bool(self.exif), range=range_of(self.range), max_pixels=most)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as resnet50_flatten_0, shape (n_features,)."""
        spec = self.resolve().specs[0]
        names = [f"{spec.backbone}_{spec.layer}_{i}" for i in range(spec.dim)]
        return np.array(names, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        return tags

    def __sklearn_clone__(self) -> CNNCodes:
        """An unfitted copy with the same network: weights that a saved model brought along stay."""
        copy: CNNCodes = super().__sklearn_clone__()
        if (tensors := self._tensors()) is not None:
            copy.tensors_ = tensors
        return copy

    @property
    def tensors_(self) -> Any:
        """Weights that a saved model brought along, name to ndarray.

        Gone as soon as `backbone` or `weights` is changed: they would stand for the wrong network.
        """
        tensors, network = getattr(self, "_carried", (None, None))
        if network != (self.backbone, self.weights):
            raise AttributeError("this network has no weights that a saved model brought along")
        return tensors

    @tensors_.setter
    def tensors_(self, tensors: Any) -> None:
        self._carried = (tensors, (self.backbone, self.weights))

    def _tensors(self) -> Any:
        """Weights that a saved model brought along, if there are any."""
        return getattr(self, "tensors_", None)

    def _take(self, spec: CodeSpec) -> None:
        self.spec_, self.n_features_out_ = spec, spec.dim

    def _fill(self, extraction: Extraction) -> NDArray[np.float32]:
        if self.on_bad == "raise":
            raise_if_bad(extraction)
        codes: NDArray[np.float32] = np.asarray(extraction.codes)
        if not extraction.bad:
            return codes
        filled = np.full((extraction.given, codes.shape[1]), np.nan, np.float32)
        filled[extraction.rows] = codes
        return filled


def as_codes(backbone: Any) -> CNNCodes:
    """The extractor that an estimator's `backbone` parameter means; a given one is copied."""
    return clone(backbone) if isinstance(backbone, CNNCodes) else CNNCodes(backbone)
