"""The parts of a network that recipes speak of, as plain data. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass

HEAD = "head"  # the new layer


@dataclass(frozen=True)
class Unit:
    """What is trained or frozen as a whole: a block, or a layer that stands alone.

    Attributes
    ----------
    name : str
        Path of the module.
    parameters : tuple of str
        Their names in the network.
    n_parameters : int
    batch_norms : tuple of str
        Paths of its batch norms.
    """

    name: str
    parameters: tuple[str, ...]
    n_parameters: int
    batch_norms: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Units in a row whose outputs have the same resolution.

    Attributes
    ----------
    name : str
        As "layer3", or "features.0..features.2".
    units : tuple of Unit
        In the order of execution.
    """

    name: str
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Structure:
    """A network up to its codes, and the new layer.

    Attributes
    ----------
    backbone : str
    stages : tuple of Stage
        In the order of execution.
    classifier : Stage or None
        Layers that work on vectors, between the stages and the codes.
    n_head : int
        Parameters of the new layer.
    n_features : int
        Modules of the part called "features", with or without parameters; 0 if there is none.
    """

    backbone: str
    stages: tuple[Stage, ...]
    classifier: Stage | None
    n_head: int
    n_features: int = 0

    @property
    def parts(self) -> tuple[Stage, ...]:
        """Stages and classifier part."""
        return self.stages if self.classifier is None else (*self.stages, self.classifier)

    @property
    def units(self) -> tuple[Unit, ...]:
        """All units, in the order of execution."""
        return tuple(unit for part in self.parts for unit in part.units)

    @property
    def n_parameters(self) -> int:
        """Of all units and the new layer."""
        return self.n_head + sum(unit.n_parameters for unit in self.units)
