"""Which rows the shards of a folder hold, and where each one lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tlfeatures.store.shards._rows import read_rows
from tlfeatures.store.shards._shard import KEY_BYTES, Float32Array, Keys, ShardTable


@dataclasses.dataclass(frozen=True)
class Index:
    """Every key once, sorted, with the first shard by name that has it."""

    tables: dict[str, ShardTable]
    keys: Keys
    shards: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]

    @classmethod
    def over(cls, tables: dict[str, ShardTable]) -> Index:
        """The index of some shards, given by name."""
        ordered = list(tables.values())
        counts = np.array([len(table.keys) for table in ordered], dtype=np.intp)
        every = np.concatenate([np.empty(0, f"S{KEY_BYTES}"), *(t.keys for t in ordered)])
        keys, first = np.unique(every, return_index=True)
        starts = np.cumsum(counts) - counts
        shards = np.searchsorted(starts, first, side="right") - 1
        rows = first - starts[shards]
        return cls(tables, keys, shards.astype(np.int32), rows.astype(np.int32))

    def list_keys(self) -> list[bytes]:
        """All keys, sorted; whole, where numpy would cut zeros off their ends."""
        data = self.keys.tobytes()
        return [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]

    def locate(self, keys: Keys) -> npt.NDArray[np.intp]:
        """Return the place of each key in the index, -1 where it is missing."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.intp)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)

    def read(
        self, places: npt.NDArray[np.intp], out: Float32Array, targets: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.intp]:
        """Read rows, sorted by shard and row, into the rows `targets` of `out`.

        Returns
        -------
        ndarray of int
            The targets whose shard has gone.
        """
        gone = [np.empty(0, np.intp)]
        for table, chosen in self._by_shard(places):
            rows = self.rows[places[chosen]].astype(np.intp)  # offsets in bytes do not fit int32
            try:
                read_rows(table, rows, out, targets[chosen])
            except FileNotFoundError:
                gone.append(targets[chosen])
        return np.concatenate(gone)

    def _by_shard(
        self, places: npt.NDArray[np.intp]
    ) -> Iterator[tuple[ShardTable, npt.NDArray[np.intp]]]:
        shards, rows = self.shards[places], self.rows[places]
        order = np.lexsort((rows, shards))
        tables = list(self.tables.values())
        starts = np.flatnonzero(np.diff(shards[order])) + 1
        for chosen in np.split(order, starts):
            if len(chosen):
                yield tables[int(shards[chosen[0]])], chosen
