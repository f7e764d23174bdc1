"""What a saved model holds. No scikit-learn in here: its import takes longer than a picture."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from tlfeatures.backbones import CARRIED, TUNED, BackboneRequest, CarriedWeights, weights_word
from tlfeatures.classification._saved_facts import (
    read_decode,
    read_request,
    read_spec,
    read_table,
    read_text,
)
from tlfeatures.classification._trained import TrainedOn
from tlfeatures.errors import (
    CodesMismatchError,
    ModelFileError,
    StoreFormatError,
    UsageError,
    WeightsError,
)
from tlfeatures.extraction import RunOptions, resolve
from tlfeatures.heads import check_saved_head
from tlfeatures.modelfile import read_model_file
from tlfeatures.store import CodeSpec

_log = logging.getLogger(__name__)
NETWORK, HEAD, TRAINED_ON, ORIGIN = "network.", "head.", "trained_on", "origin"
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
    trained_on : TrainedOn or None
        Which pictures it was trained on; None: an earlier version wrote the file.
    facts : dict
        All that the file says.
    """

    path: str | os.PathLike[str]
    request: BackboneRequest
    spec: CodeSpec
    exif: bool
    range: tuple[float, float] | None
    head_name: str
    head: tuple[Tensors, dict[str, Any]]
    network: Tensors | None
    trained_on: TrainedOn | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        weights: str | os.PathLike[str] | None = None,
        trust_code: bool = False,
    ) -> SavedModel:
        """Read a file.

        Parameters
        ----------
        path : path
        weights : path, optional
            Where the network's weights are now, if they have moved.
        trust_code : bool, default=False
            Import and call a network of somebody's own, "package.module:attribute", if the file
            names one: that runs code which the file chooses.

        Raises
        ------
        ModelFileError
            If the file is missing, broken or from elsewhere, or names code that is not trusted.
        """
        tensors, facts = read_model_file(path)
        if not {"request", "spec", "head"} <= set(facts):
            raise ModelFileError(
                f"{path} is no classifier of pictures; 'tlfeatures fit IMAGES --out MODEL' makes "
                "one."
            )
        try:
            model = _take(path, tensors, facts, trust_code)
        except KeyError as error:
            raise _unusable(path, f"{error} is missing") from error
        except (TypeError, ValueError, OverflowError, StoreFormatError) as error:
            raise _unusable(path, str(error)) from error
        if weights is None:
            return model
        return replace(
            model, request=replace(model.request, weights=weights_word(weights)), network=None
        )

    def precision_for(self, asked: str) -> str:
        """The precision for codes like those of the fit, if this one is asked for."""
        if self.spec.precision == "float32" and asked == "auto":
            return "float32"  # possible everywhere; half precision is not
        return asked

    def decode_for(self, asked: str | None = None) -> str:
        """How pictures are decoded: as in the fit; a warning says so if something else is asked."""
        fitted = self.spec.decode
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
            decode=self.decode_for(run.decode if asked else None),
            decode_options=replace(run.decode_options, exif=self.exif, range=self.range),
        )
        self.check(lambda: resolve(self.request, run, tensors=self.network).specs[0], run)
        return run

    def check(self, find: Callable[[], CodeSpec], run: RunOptions) -> None:
        """Compare with the codes that the network gives now.

        Parameters
        ----------
        find : callable
            Gives their spec.
        run : RunOptions
            That they are found with.

        Raises
        ------
        ModelFileError
            If no network is what the file asks for, or the one inside is damaged.
        WeightsError
            If its network is not there.
        CodesMismatchError
            If they are other ones than the model was fitted on.
        """
        try:
            found = find()
        except WeightsError as error:
            if self.network is not None:
                raise _unusable(self.path, str(error)) from error
            raise self.no_network(error) from error
        except UsageError as error:
            run.settled()  # refuses what is wrong with the run
            if self.request.weights != self.facts["request"].get("weights"):
                raise  # these were named by a person
            raise _unusable(self.path, str(error)) from error
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
            f"{self.path} needs its network: {error} A model with its weights inside needs none."
        )


def _take(
    path: str | os.PathLike[str], tensors: Tensors, facts: dict[str, Any], trust_code: bool
) -> SavedModel:
    """The model, each fact looked at, so that nothing is left to fail on `predict`."""
    exif, range_ = read_decode(facts)
    spec, head_name = read_spec(facts), read_text("head_name", facts)
    head = _with_prefix(tensors, HEAD), read_table("head", facts)
    check_saved_head(*head)
    kind, width = head[1]["kind"], head[1]["n_features_in"]
    if head_name != kind:
        raise ValueError(f"its head is called {head_name[:40]!r}, but is of kind {kind!r}")
    if width != spec.dim:
        raise ValueError(f"its head takes {width} numbers, its codes have {spec.dim}")
    return SavedModel(
        path=path,
        request=BackboneRequest.from_file(read_request(facts), path, trust_code=trust_code),
        spec=spec,
        exif=exif,
        range=range_,
        head_name=head_name,
        head=head,
        network=_network(tensors, facts),
        trained_on=_trained_on(tensors, facts),
        facts=facts,
    )


def _network(tensors: Tensors, facts: dict[str, Any]) -> Tensors | None:
    carried = _with_prefix(tensors, NETWORK)
    origin = TUNED if facts.get(ORIGIN) == TUNED else CARRIED
    return CarriedWeights(carried, origin) if carried else None


def _trained_on(tensors: Tensors, facts: dict[str, Any]) -> TrainedOn | None:
    if TRAINED_ON not in facts:
        return None
    return TrainedOn.from_arrays(tensors[TRAINED_ON], read_table(TRAINED_ON, facts))


def _unusable(path: str | os.PathLike[str], why: str) -> ModelFileError:
    return ModelFileError(
        f"{path} cannot be used as a model ({why.rstrip('.')}); fit the model again, or open it "
        "with the version that wrote it."
    )


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
