"""The code spec: everything that changes the numbers of a code, as one value."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tlfeatures.errors import StoreFormatError, few

_KEY_CHARACTERS = 12
_NAME_CHARACTERS = 60  # of backbone and of layer: file systems allow 255 bytes for a name


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN.

    Raises
    ------
    TypeError
        If the value holds something that JSON does not know.
    ValueError
        If it holds NaN or infinity.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


class FrozenJSON(Mapping[str, Any]):
    """A mapping of JSON values that is hashable, picklable and equal by content."""

    __slots__ = ("_text",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._text = canonical_json(dict(values))

    def to_dict(self) -> dict[str, Any]:
        """Return a fresh dictionary of the values."""
        values: dict[str, Any] = json.loads(self._text)
        return values

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenJSON):
            return self._text == other._text
        if isinstance(other, Mapping):
            return self == FrozenJSON(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return repr(self.to_dict())


@dataclasses.dataclass(frozen=True)
class CodeSpec:
    """Everything that changes the numbers of a code; two equal specs may share rows.

    Parameters
    ----------
    backbone : str
        Name of the network.
    weights_id : str
        Hash of its trained parameters, as the backbone gives it.
    layer : str
        Resolved node name of the layer.
    pooling : str
        How a feature map becomes a row.
    dim : int
        Width of a row, at least 1.
    preprocessing : mapping of str to JSON values
        What happens to a picture before the network. 224 and 224.0 are different values.
    precision : str
        Precision class of the computation.
    decode : str
        Decoder class.
    contract : int
        Raised when the numbers of the program itself change.

    Raises
    ------
    ValueError
        If `dim` is below 1, a name is no text, or `preprocessing` holds what JSON does not know.

    Examples
    --------
    >>> spec = CodeSpec("resnet18", "ab12", "flatten", "avg", 512, {"resize": 256})
    >>> spec.folder_name.startswith("resnet18-flatten-")
    True
    >>> spec == CodeSpec.from_json(spec.to_json())
    True
    """

    backbone: str
    weights_id: str
    layer: str
    pooling: str
    dim: int
    preprocessing: Mapping[str, Any]
    precision: str = "float32"
    decode: str = "exact"
    contract: int = 1

    def __post_init__(self) -> None:
        for name in ("backbone", "weights_id", "layer", "pooling", "precision", "decode"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; pass text.")
        if int(self.dim) < 1:
            raise ValueError(f"dim is {self.dim}; a code has at least one value.")
        object.__setattr__(self, "dim", int(self.dim))
        try:
            object.__setattr__(self, "preprocessing", FrozenJSON(self.preprocessing))
        except TypeError as error:
            raise ValueError(
                f"preprocessing must hold JSON values only ({error}); "
                "convert numpy numbers with int() or float()."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the spec as a dictionary of JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["preprocessing"] = FrozenJSON(self.preprocessing).to_dict()
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CodeSpec:
        """Build the spec from what `to_json` returned.

        Raises
        ------
        StoreFormatError
            If a field is missing, unknown or of the wrong type: another version wrote it.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        strange = sorted(names.symmetric_difference(values))
        if strange:
            raise StoreFormatError(
                f"the code spec has missing or unknown fields ({few(strange)}); "
                "it was written by another version of tlfeatures: use that one, or extract again."
            )
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise StoreFormatError(
                f"the code spec cannot be used ({error}); extract again."
            ) from error

    @property
    def text(self) -> str:
        """The canonical JSON text, on which the key is computed."""
        return canonical_json(self.to_json())

    @property
    def key(self) -> str:
        """The sha256 of the canonical JSON, 64 hexadecimal characters."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def folder_name(self) -> str:
        """The name of the cache folder, `<backbone>-<layer>-<first 12 characters of the key>`."""
        parts = (_safe_name(self.backbone), _safe_name(self.layer), self.key[:_KEY_CHARACTERS])
        return "-".join(parts)

    def describe(self) -> str:
        """Return the spec in words, one line."""
        steps = ", ".join(f"{name} {value}" for name, value in self.preprocessing.items())
        return (
            f"{self.backbone} with weights {self.weights_id[:_KEY_CHARACTERS]}, "
            f"layer {self.layer}, pooling {self.pooling}, {self.dim} values in {self.precision}; "
            f"decoding {self.decode}; preprocessing: {steps or 'none'}; contract {self.contract}"
        )

    def diff(self, other: CodeSpec) -> list[str]:
        """Return what differs from another spec, one line a field; empty if nothing does."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name}: {_shown(mine, name)}, not {_shown(theirs, name)}"
            for name in sorted(mine | theirs)
            if _shown(mine, name) != _shown(theirs, name)
        ]


def _safe_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", name).strip(".")[:_NAME_CHARACTERS] or "_"


def _flat(spec: CodeSpec) -> dict[str, Any]:
    values = spec.to_json()
    steps = values.pop("preprocessing")
    return values | {f"preprocessing.{name}": value for name, value in steps.items()}


def _shown(values: Mapping[str, Any], name: str) -> str:
    return canonical_json(values[name]) if name in values else "absent"
