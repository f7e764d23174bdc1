"""What a saved model holds. No scikit-learn in here: its import takes longer than a picture."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from tlfeatures.backbones import BackboneRequest, weights_word
from tlfeatures.errors import CodesMismatchError, ModelFileError, WeightsError
from tlfeatures.extraction import RunOptions, resolve_device, spec_of
from tlfeatures.modelfile import load_model
from tlfeatures.store import CodeSpec

_log = logging.getLogger(__name__)
NETWORK, HEAD = "network.", "head."
FORGIVEN = ("contract", "precision", "decode")  # with a note; `decode_for` has chosen the decoding

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A file of `TransferClassifier.save`, read.

    Attributes
    ----------
    path : path
        Where it was.
    request : BackboneRequest
        The words about the network, its weights where they are now.
    spec : CodeSpec
        Which codes it was fitted on.
    exif : bool
        Whether pictures are turned by their EXIF orientation.
    range : tuple of (float, float) or None
        Black and white of pictures deeper than 8 bits; None: the full range.
    head_name : str
    head : tuple of (dict of str to ndarray, dict)
        For `scorer_from_arrays` or `head_from_arrays`.
    network : dict of str to ndarray or None
        Weights that it brought along.
    """

    path: str | os.PathLike[str]
    request: BackboneRequest
    spec: CodeSpec
    exif: bool
    range: tuple[float, float] | None
    head_name: str
    head: tuple[Tensors, dict[str, Any]]
    network: Tensors | None

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None
    ) -> SavedModel:
        """Read a file.

        Parameters
        ----------
        path : path
        weights : path, optional
            Where the network's weights are now, if they have moved.

        Raises
        ------
        ModelFileError
            If the file is missing, broken or from elsewhere.
        """
        tensors, facts = load_model(path)
        try:
            request, decode = BackboneRequest(**facts["request"]), facts["decode"]
            model = cls(
                path=path,
                request=request,
                spec=CodeSpec.from_json(facts["spec"]),
                exif=decode["exif"],
                range=None if decode["range"] is None else tuple(decode["range"]),
                head_name=facts["head_name"],
                head=(_with_prefix(tensors, HEAD), facts["head"]),
                network=_with_prefix(tensors, NETWORK) or None,
            )
        except (KeyError, TypeError) as error:
            raise ModelFileError(
                f"{path} is no classifier of pictures; 'tlfeatures fit IMAGES --out MODEL' makes "
                "one."
            ) from error
        if weights is None:
            return model
        return replace(model, request=replace(request, weights=weights_word(weights)), network=None)

    def precision_for(self, asked: str) -> str:
        """The precision for codes like those of the fit, if this one is asked for."""
        if self.spec.precision == "float32" and asked == "auto":
            return "float32"  # possible everywhere; half precision is not
        return asked

    def decode_for(self, device: str, asked: str | None = None) -> str:
        """How pictures are decoded: as in the fit, but exactly for "gpu" without a CUDA GPU."""
        fitted = self.spec.decode
        if fitted == "gpu" and resolve_device(device) != "cuda":
            return "exact"
        if asked not in (None, fitted):
            words = (self.path, fitted, asked)
            _log.warning("%s was fitted on codes of decode %s: it is used so, not with %s", *words)
        return fitted

    def run_options(self, asked: RunOptions | None = None) -> RunOptions:
        """The run that is asked for, for codes like those of the fit.

        Raises
        ------
        WeightsError
            If its network is not there.
        CodesMismatchError
            If the network found now gives other codes than the model was fitted on.
        """
        run = asked or RunOptions()
        run = replace(
            run,
            precision=self.precision_for(run.precision),
            decode=self.decode_for(run.device, run.decode if asked else None),
            decode_options=replace(run.decode_options, exif=self.exif, range=self.range),
        )
        try:
            found = spec_of(self.request, run, tensors=self.network)
        except WeightsError as error:
            raise self.no_network(error) from error
        self.check(found)
        return run

    def check(self, found: CodeSpec) -> None:
        """Compare with the codes that the network gives now.

        Raises
        ------
        CodesMismatchError
            If they are other ones than the model was fitted on.
        """
        forgiven = {name: getattr(self.spec, name) for name in FORGIVEN}
        if replace(found, **forgiven) != self.spec:
            differences = "; ".join(self.spec.diff(found))
            raise CodesMismatchError(
                f"{self.path} was fitted on other codes ({differences}); use the weights and "
                "options of its fit."
            )
        for name in FORGIVEN:
            if getattr(found, name) != getattr(self.spec, name):
                words = (self.path, name, getattr(self.spec, name), getattr(found, name))
                _log.info("%s was fitted on codes of %s %s, these are of %s", *words)

    def no_network(self, error: WeightsError) -> WeightsError:
        """What to say if the network's weights are not there."""
        return WeightsError(
            f"{self.path} needs its network: {error} A model saved with `with_weights=True` needs "
            "none."
        )


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
