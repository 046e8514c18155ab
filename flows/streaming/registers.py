"""A store of cumulative registers: for each meter its readings of the last days, in columns.

Readings lie in matrices [meter, position], sorted by time, so that appending, inserting, and looking up neighbours
are a handful of numpy calls for a whole batch. Registers are kept as integers of a µWh (1e-9 kWh): sums of integers
do not depend on their order.

A reading that comes twice with the same values is a duplicate. With other values it is a correction: a usable
reading beats an unusable one, then the later ``received_time`` wins, then the larger values. The outcome does not
depend on the order in which they come.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from flows.streaming.event_time import MAXIMUM, MINIMUM, to_micros

Ints = npt.NDArray[np.int64]

MICRO_WH_PER_KWH = 1_000_000_000
NO_EXPORT = -1
"""In place of an export register that the meter does not have."""

# IEC 60870-5 quality: with overflow, blocked, not topical or invalid a register says nothing of this instant.
UNUSABLE_QUALITY = 0x01 | 0x10 | 0x40 | 0x80

_NEAR = 4

# What a place of each matrix holds that has no reading.
_EMPTY = {
    "time": MAXIMUM,
    "imported": 0,
    "exported": NO_EXPORT,
    "received": MINIMUM,
    "versions": 1,
    "usable": False,
}


@dataclass(frozen=True, slots=True)
class Readings:
    """Columns of a batch: row of the meter, time µs, registers µWh, received µs, usable."""

    row: Ints
    time: Ints
    imported: Ints
    exported: Ints
    received: Ints
    usable: npt.NDArray[np.bool_]

    def take(self, index: npt.NDArray[Any]) -> Readings:
        """The readings at an index or mask."""
        return Readings(
            self.row[index],
            self.time[index],
            self.imported[index],
            self.exported[index],
            self.received[index],
            self.usable[index],
        )

    def __len__(self) -> int:
        return len(self.row)


def to_micro_wh(column: pl.Series) -> Ints:
    """Registers in kWh as integers of µWh, ``NO_EXPORT`` where null."""
    values = column.fill_null(NO_EXPORT / MICRO_WH_PER_KWH) if column.null_count() else column
    micro: Ints = np.rint(values.to_numpy() * MICRO_WH_PER_KWH).astype(np.int64)
    return micro


class RegisterStore:
    """Readings of many meters, each with a dense row number in order of first sight."""

    def __init__(self, capacity: int = 16) -> None:
        self.meters: list[str] = []
        self._codes = pl.DataFrame(schema={"meter_id": pl.String, "row": pl.Int64})
        self.count: Ints = np.zeros(0, np.int64)
        self.time: Ints = np.zeros((0, capacity), np.int64)
        self.imported: Ints = np.zeros((0, capacity), np.int64)
        self.exported: Ints = np.zeros((0, capacity), np.int64)
        self.received: Ints = np.zeros((0, capacity), np.int64)
        self.versions: npt.NDArray[np.int32] = np.zeros((0, capacity), np.int32)
        self.usable: npt.NDArray[np.bool_] = np.zeros((0, capacity), bool)
        # (row, time) -> every (usable, received, import, export) seen, where there was more than one
        self._variants: dict[tuple[int, int], set[tuple[bool, int, int, int]]] = {}

    # ------------------------------------------------------------------ meters

    def rows_of(self, meters: pl.Series) -> Ints:
        """Row numbers of meters; those not seen before get new rows."""
        found = (
            pl.DataFrame({"meter_id": meters})
            .join(self._codes, on="meter_id", how="left", maintain_order="left")
            .get_column("row")
        )
        if found.null_count():
            fresh = meters.filter(found.is_null()).unique(maintain_order=True)
            self._add(fresh)
            return self.rows_of(meters)
        return found.to_numpy()

    def _add(self, fresh: pl.Series) -> None:
        start, more = len(self.meters), len(fresh)
        self.meters.extend(fresh.to_list())
        self._codes = pl.concat([self._codes, pl.DataFrame({"meter_id": fresh, "row": np.arange(start, start + more)})])
        self.count = np.concatenate([self.count, np.zeros(more, np.int64)])
        if start + more > len(self.time):
            self._resize(max(start + more, 2 * len(self.time)), self.time.shape[1])

    def _resize(self, rows: int, capacity: int) -> None:
        for name, fill in _EMPTY.items():
            old = getattr(self, name)
            new = np.full((rows, capacity), fill, old.dtype)
            new[: old.shape[0], : old.shape[1]] = old
            setattr(self, name, new)

    @property
    def last_time(self) -> Ints:
        """Time of each meter's newest reading, MINIMUM without any."""
        n = len(self.meters)
        last = self.time[np.arange(n), np.maximum(self.count - 1, 0)]
        return np.where(self.count > 0, last, MINIMUM)

    # --------------------------------------------------------------- insertion

    def classify(self, new: Readings) -> tuple[Readings, Readings]:
        """Split readings into new instants and further versions of known ones.

        Returns:
            readings at instants not seen before, sorted by (row, time), one each; readings that are other versions
            of a known instant (or of one in the batch), in any order.
        """
        order = np.lexsort((new.time, new.row))
        new = new.take(order)
        again = np.zeros(len(new), bool)
        again[1:] = (new.row[1:] == new.row[:-1]) & (new.time[1:] == new.time[:-1])
        known = np.zeros(len(new), bool)
        position = np.full(len(new), -1, np.int64)
        old = np.flatnonzero(new.time <= self.last_time[new.row])
        if len(old):
            position[old] = self.search(new.row[old], new.time[old], "left")
            known[old] = self.time[new.row[old], position[old]] == new.time[old]
        repeated = again | known
        if not repeated.any():
            return new, new.take(np.zeros(0, np.int64))
        return new.take(~repeated), new.take(repeated)

    def insert(self, new: Readings) -> None:
        """Insert readings at new instants: sorted by (row, time), none of them stored yet."""
        if not len(new):
            return
        first = np.ones(len(new), bool)
        first[1:] = new.row[1:] != new.row[:-1]
        start = np.flatnonzero(first)
        sizes = np.diff(np.append(start, len(new)))
        rank = np.arange(len(new)) - np.repeat(start, sizes)
        rows = new.row[start]
        need = int((self.count[rows] + sizes).max())
        if need > self.time.shape[1]:
            self._resize(len(self.time), max(need, 2 * self.time.shape[1]))
        in_order = new.time[start] > self.last_time[rows]
        append = np.repeat(in_order, sizes)
        at = self.count[new.row] + rank
        self._put(new.take(append), at[append])
        self.count[rows[in_order]] += sizes[in_order]
        if not append.all():
            self._merge(new.take(~append), rank[~append])

    def _put(self, new: Readings, at: Ints) -> None:
        self.time[new.row, at] = new.time
        self.imported[new.row, at] = new.imported
        self.exported[new.row, at] = new.exported
        self.received[new.row, at] = new.received
        self.usable[new.row, at] = new.usable
        self.versions[new.row, at] = 1

    def _merge(self, new: Readings, rank: Ints) -> None:
        """Append out of order, then sort the tails of the rows concerned."""
        self._put(new, self.count[new.row] + rank)
        rows, sizes = np.unique(new.row, return_counts=True)
        self.count[rows] += sizes
        low = self.search(new.row, new.time, "left", count=self.count[new.row] - sizes[np.searchsorted(rows, new.row)])
        tail = int(self.count[rows].max() - low.min())
        # Columns from the end of each row: late readings come close to the end.
        columns = self.count[rows][:, None] - tail + np.arange(tail)[None, :]
        outside = columns < 0
        columns = np.maximum(columns, 0)
        grid = rows[:, None]
        times = self.time[grid, columns]
        times[outside] = MINIMUM
        order = np.argsort(times, axis=1, kind="stable")
        source = np.take_along_axis(columns, order, axis=1)
        keep = ~outside
        for name in ("time", "imported", "exported", "received", "usable", "versions"):
            matrix = getattr(self, name)
            values = matrix[grid, source]
            matrix[np.broadcast_to(grid, columns.shape)[keep], columns[keep]] = values[keep]

    def correct(self, others: Readings) -> tuple[int, int]:
        """Take up further versions of stored instants.

        Returns:
            number of duplicates, and of corrections (versions with other values than any seen before).
        """
        duplicates = corrections = 0
        if not len(others):
            return 0, 0
        at = self.search(others.row, others.time, "left")
        same = (
            (self.imported[others.row, at] == others.imported)
            & (self.exported[others.row, at] == others.exported)
            & (self.usable[others.row, at] == others.usable)
            & (self.received[others.row, at] == others.received)
        )
        duplicates += int(same.sum())
        for i in np.flatnonzero(~same).tolist():  # copies with another receipt, and corrections: few
            row, time, position = int(others.row[i]), int(others.time[i]), int(at[i])
            stored = self._version(row, position)
            seen = self._variants.setdefault((row, time), {stored})
            one = (
                bool(others.usable[i]),
                int(others.received[i]),
                int(others.imported[i]),
                int(others.exported[i]),
            )
            values = {(v[0], v[2], v[3]) for v in seen}
            if (one[0], one[2], one[3]) in values:
                duplicates += 1
            else:
                corrections += 1
            seen.add(one)
            usable, received, imported, exported = max(seen)
            self.usable[row, position] = usable
            self.received[row, position] = received
            self.imported[row, position] = imported
            self.exported[row, position] = exported
            values = {(v[0], v[2], v[3]) for v in seen}
            # Copies of one value are one fact; where values differ, each receipt can turn the outcome.
            self.versions[row, position] = 1 if len(values) == 1 else len(seen)
        return duplicates, corrections

    def _version(self, row: int, position: int) -> tuple[bool, int, int, int]:
        return (
            bool(self.usable[row, position]),
            int(self.received[row, position]),
            int(self.imported[row, position]),
            int(self.exported[row, position]),
        )

    # ------------------------------------------------------------------ search

    def search(self, rows: Ints, times: Ints, side: str, count: Ints | None = None) -> Ints:
        """Position in each row at which a time would be inserted, as numpy.searchsorted; bisection in columns."""
        high = self.count[rows] if count is None else count
        # Nearly all searches end among the last few readings.
        low = np.maximum(high - _NEAR, 0)
        probe = self.time[rows, low]
        beyond = (probe >= times) if side == "left" else (probe > times)
        far = np.flatnonzero(beyond & (low > 0))
        if len(far) == len(rows):
            return self._bisect(rows, times, side, np.zeros(len(rows), np.int64), low)
        found = self._bisect(rows, times, side, low, high)
        if len(far):
            found[far] = self._bisect(rows[far], times[far], side, np.zeros(len(far), np.int64), low[far])
        return found

    def _bisect(self, rows: Ints, times: Ints, side: str, low: Ints, high: Ints) -> Ints:
        steps = int((high - low).max(initial=0)).bit_length()
        last = self.time.shape[1] - 1
        for _ in range(steps):
            open_ = low < high
            middle = (low + high) >> 1
            probe = self.time[rows, np.minimum(middle, last)]
            right = ((probe < times) if side == "left" else (probe <= times)) & open_
            high = np.where(right | ~open_, high, middle)
            low = np.where(right, middle + 1, low)
        return low

    # ---------------------------------------------------------------- eviction

    def evict(self, horizon: int, span: int) -> None:
        """Forget what no window after ``horizon`` can rest on.

        Of each meter the readings since the last one before the horizon are kept, and those within ``span`` before
        that one, from which its power is estimated.
        """
        n = len(self.meters)
        if not n:
            return
        rows = np.arange(n)
        base = self.search(rows, np.full(n, horizon), "right") - 1
        base_time = np.where(base >= 0, self.time[rows, np.maximum(base, 0)], MINIMUM + span)
        # One reading more on the far side: a stretch has two ends.
        drop = np.maximum(self.search(rows, base_time - span, "left") - 1, 0)
        if not drop.any():
            return
        width = self.time.shape[1]
        columns = np.arange(width)[None, :] + drop[:, None]
        beyond = columns >= self.count[:, None]
        columns = np.minimum(columns, width - 1)
        for name, fill in _EMPTY.items():
            matrix = getattr(self, name)
            moved = np.take_along_axis(matrix[:n], columns, axis=1)
            moved[beyond] = fill
            matrix[:n] = moved
        self.count = self.count - drop
        if self._variants:
            first = self.time[rows, 0]
            self._variants = {k: v for k, v in self._variants.items() if k[1] >= first[k[0]]}

    # ---------------------------------------------------------------- recovery

    def dump(self) -> bytes:
        """The store as compressed bytes."""
        n = len(self.meters)
        filled = np.arange(self.time.shape[1])[None, :] < self.count[:, None]
        columns = {
            name: getattr(self, name)[:n][filled]
            for name in ("time", "imported", "exported", "received", "versions", "usable")
        }
        # Differences of sorted columns are small numbers, and small numbers compress.
        for name in ("time", "imported"):
            columns[name] = np.diff(columns[name], prepend=0)
        raw = pickle.dumps((self.meters, self.count, columns, self._variants), protocol=5)
        return pickle.dumps((len(raw), pa.Codec("zstd", 1).compress(raw, asbytes=True)))

    @classmethod
    def load(cls, data: bytes) -> RegisterStore:
        """A store from its bytes."""
        size, packed = pickle.loads(data)  # noqa: S301 - our own recovery store
        raw = pa.Codec("zstd", 1).decompress(packed, size, asbytes=True)
        meters, count, columns, variants = pickle.loads(raw)  # noqa: S301
        store = cls(max(16, int(count.max(initial=0))))
        if meters:
            store._add(pl.Series("meter_id", meters, dtype=pl.String))
            store.count = count
            n = len(meters)
            filled = np.arange(store.time.shape[1])[None, :] < count[:, None]
            for name in ("time", "imported"):
                columns[name] = np.cumsum(columns[name])
            for name, values in columns.items():
                getattr(store, name)[:n][filled] = values
        store._variants = variants
        return store


def readings_of(frame: pl.DataFrame, rows: Ints) -> Readings:
    """A frame of ``grid.meter.v1`` as columns of integers."""
    usable = (frame.get_column("quality").to_numpy() & UNUSABLE_QUALITY) == 0
    return Readings(
        row=rows,
        time=to_micros(frame.get_column("time")),
        imported=to_micro_wh(frame.get_column("import_kwh")),
        exported=to_micro_wh(frame.get_column("export_kwh")),
        received=to_micros(frame.get_column("received_time")),
        usable=usable,
    )
