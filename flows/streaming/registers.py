"""A store of cumulative registers of one kind: for each meter its readings of the last days, in columns.

Import and export (OBIS 1.8.0 and 2.8.0) are registers of their own, each with a store: a message can carry the one
and lack the other. Readings lie in matrices [meter, position], sorted by time, so that appending, inserting, and
looking up neighbours are one compiled call for a whole batch. Registers are kept as integers of a µWh (1e-9 kWh): sums
of integers do not depend on their order.

A reading that comes twice with the same values is a duplicate. With other values it is a correction: the later
``received_time`` wins, then the larger value. The outcome does not depend on the order in which they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.compiled import compiled
from flows.streaming.event_time import MINIMUM, to_micros
from flows.streaming.identifiers import CodeMap, codes_of
from flows.streaming.packing import Layout, narrowest
from flows.streaming.position import position

Ints = npt.NDArray[np.int64]

MICRO_WH_PER_KWH = 1_000_000_000
NO_EXPORT = -1
"""In place of an export register that the meter does not have."""

NEVER = np.iinfo(np.int64).max
"""In place of the least of no values."""

# IEC 60870-5 quality: with overflow, blocked, not topical or invalid a register says nothing of this instant.
UNUSABLE_QUALITY = 0x01 | 0x10 | 0x40 | 0x80

_LAYOUT = Layout("the registers of meters", 1)
_LEAST_ROWS = 64  # a matrix of one row is in both orders at once, and would be compiled for anew
_FIELDS = ("time", "value", "received", "versions")
_SUMS = ("time", "value")  # what is kept as differences


class Corrected(NamedTuple):
    """The instants of which values were corrected, sorted by row and time; of all values the least and the greatest."""

    row: Ints
    time: Ints
    versions: Ints
    least: Ints
    most: Ints


class Columns(NamedTuple):
    """What compiled code takes of a store.

    The matrices [row, position]; of each row how many readings there are and until when, µs, its stretches may be in
    doubt; and the instants that were corrected.
    """

    time: Ints
    value: Ints
    received: Ints
    versions: Ints
    size: Ints
    doubt_until: Ints
    corrected: Corrected


@dataclass(frozen=True, slots=True)
class Readings:
    """Columns of a batch: row of the meter, time µs, register µWh, received µs."""

    row: Ints
    time: Ints
    value: Ints
    received: Ints

    def take(self, index: npt.NDArray[Any]) -> Readings:
        """The readings at an index or mask."""
        return Readings(self.row[index], self.time[index], self.value[index], self.received[index])

    def __len__(self) -> int:
        return len(self.row)


def to_micro_wh(column: pl.Series) -> Ints:
    """Registers in kWh as integers of µWh, none of them null."""
    micro: Ints = np.rint(column.to_numpy() * MICRO_WH_PER_KWH).astype(np.int64)
    return micro


def usable(frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Which rows of ``grid.meter.v1`` say something of the registers, by their quality."""
    bad: npt.NDArray[np.bool_] = (frame.get_column("quality").to_numpy() & UNUSABLE_QUALITY) != 0
    return ~bad


def readings_of(frame: pl.DataFrame, register: str, rows: Ints) -> Readings:
    """A register in a frame of ``grid.meter.v1``, null in no row."""
    return Readings(
        row=rows,
        time=to_micros(frame.get_column("time")),
        value=to_micro_wh(frame.get_column(register)),
        received=to_micros(frame.get_column("received_time")),
    )


class RegisterStore:
    """Usable readings of many meters, each meter with a dense row number in order of first sight.

    Args:
        capacity: room for so many readings of each meter; more is made when it is needed.
    """

    def __init__(self, capacity: int = 16) -> None:
        self.meters: list[str] = []
        self._names = pl.Series(dtype=pl.String)
        self._rows = CodeMap()
        self.count: Ints = np.zeros(0, np.int64)
        self.doubt_until: Ints = np.zeros(0, np.int64)
        self._take(np.zeros((capacity, 0, len(_FIELDS)), np.int64))
        # (row, time) -> every (received, value) seen, where there was more than one
        self._variants: dict[tuple[int, int], set[tuple[int, int]]] = {}
        self._differing: set[tuple[int, int]] = set()  # of them those whose values differ
        self._corrected = _corrected(self._variants, self._differing)

    def _take(self, readings: Ints) -> None:
        """Set the readings [position, row, field]; of each field there is a view [row, position]."""
        # Readings of many meters at one time lie side by side, as they come and are asked for; and a reading's fields.
        self._readings = readings
        self.time, self.value, self.received, self.versions = readings.transpose(2, 1, 0)

    @property
    def columns(self) -> Columns:
        """For compiled code."""
        return Columns(
            self.time,
            self.value,
            self.received,
            self.versions,
            self.count,
            self.doubt_until,
            self._corrected,
        )

    # ------------------------------------------------------------------ meters

    def rows_of(self, meters: pl.Series) -> Ints:
        """Row numbers of meters; those not seen before get new rows."""
        codes = codes_of(meters)
        rows = self._rows.get(codes)
        fresh = np.flatnonzero(rows < 0)
        if len(fresh):
            self._add(meters.gather(fresh).unique(maintain_order=True))
            rows = self._rows.get(codes)
        return rows

    def names(self, rows: Ints) -> pl.Series:
        """The meters of rows."""
        if len(self._names) != len(self.meters):
            self._names = pl.Series(self.meters, dtype=pl.String)
        return self._names.gather(rows)

    def _add(self, fresh: pl.Series) -> None:
        start, more = len(self.meters), len(fresh)
        self.meters.extend(fresh.cast(pl.String).to_list())
        self._rows.put(codes_of(fresh), np.arange(start, start + more))
        self.count = np.concatenate([self.count, np.zeros(more, np.int64)])
        self.doubt_until = np.concatenate([self.doubt_until, np.full(more, MINIMUM, np.int64)])
        if start + more > len(self.time):
            self._resize(max(start + more, 2 * len(self.time), _LEAST_ROWS), self.time.shape[1])

    def _resize(self, rows: int, capacity: int) -> None:
        filled = int(self.count.max(initial=0))
        # What has never been filled is not touched: it takes no memory yet.
        new = np.zeros((capacity, rows, len(_FIELDS)), np.int64)
        new[:filled, : self._readings.shape[1]] = self._readings[:filled]
        self._take(new)

    def readings(self, rows: Ints) -> Readings:
        """All readings of some meters."""
        row = np.repeat(rows, self.count[rows])
        place = np.arange(len(row)) - np.repeat(np.cumsum(self.count[rows]) - self.count[rows], self.count[rows])
        return Readings(row, self.time[row, place], self.value[row, place], self.received[row, place])

    # --------------------------------------------------------------- insertion

    def insert(self, new: Readings) -> npt.NDArray[np.bool_]:
        """Insert what reads instants not stored yet.

        Returns:
            bool[n]: what was not inserted: other versions of a stored instant, or of one in the batch.
        """
        repeated = np.zeros(len(new), bool)
        if not len(new):
            return repeated
        self._make_room(new.row, new.time)
        _insert(self.columns, new.row, new.time, new.value, new.received, repeated)
        return repeated

    def _make_room(self, row: Ints, time: Ints) -> None:
        capacity = self.time.shape[1]
        if int((self.count + np.bincount(row, minlength=len(self.count))).max()) <= capacity:
            return
        # Rare, so exactly: what comes again and again needs no room.
        order = np.lexsort((time, row))
        row, time = row[order], time[order]
        fresh = np.ones(len(row), bool)
        fresh[1:] = (row[1:] != row[:-1]) | (time[1:] != time[:-1])
        at = self.search(row, time)
        fresh &= (at >= self.count[row]) | (self.time[row, np.minimum(at, capacity - 1)] != time)
        need = int((self.count + np.bincount(row[fresh], minlength=len(self.count))).max())
        if need > capacity:
            self._resize(len(self.time), max(need, 2 * capacity))

    def correct(self, others: Readings) -> npt.NDArray[np.bool_]:
        """Take up further versions of stored instants.

        Returns:
            bool[n]: which are corrections, with another value than any seen before; the others are duplicates.
        """
        corrections = np.zeros(len(others), bool)
        if not len(others):
            return corrections
        at = self.search(others.row, others.time)
        same = (self.value[others.row, at] == others.value) & (self.received[others.row, at] == others.received)
        differing = False
        for i in np.flatnonzero(~same).tolist():  # copies with another receipt, and corrections: few
            row, time, place = int(others.row[i]), int(others.time[i]), (int(others.row[i]), int(at[i]))
            stored = (int(self.received[place]), int(self.value[place]))
            seen = self._variants.setdefault((row, time), {stored})
            one = (int(others.received[i]), int(others.value[i]))
            corrections[i] = all(one[1] != value for _, value in seen)
            seen.add(one)
            self.received[place], self.value[place] = max(seen)
            # Copies of one value are one fact; where values differ, each receipt can turn the outcome.
            if len({value for _, value in seen}) > 1:
                self.versions[place] = len(seen)
                self._differing.add((row, time))
                differing = True
        if differing:
            self._corrected = _corrected(self._variants, self._differing)
        return corrections

    def search(self, rows: Ints, times: Ints, *, after_equal: bool = False) -> Ints:
        """Position in each row at which a time would be inserted, before or after an equal one."""
        found = np.empty(len(rows), np.int64)
        _search(self.time, self.count, rows, times, after_equal, found)
        return found

    # ---------------------------------------------------------------- eviction

    @property
    def crowded(self) -> bool:
        """Whether a meter's room is nearly used up."""
        return bool(8 * int(self.count.max(initial=0)) > 7 * self.time.shape[1])

    def evict(self, horizon: int, span: int) -> None:
        """Forget what no window after ``horizon`` can rest on.

        Of each meter the readings since the last one before the horizon are kept, and those within ``span`` before
        that one, from which its power is estimated and that can contradict others.
        """
        n = len(self.meters)
        if not n:
            return
        rows = np.arange(n)
        base = self.search(rows, np.full(n, horizon), after_equal=True) - 1
        base_time = np.where(base >= 0, self.time[rows, np.maximum(base, 0)], MINIMUM + span)
        # One reading more on the far side: a stretch has two ends.
        drop = np.maximum(self.search(rows, base_time - span) - 1, 0)
        if not drop.any():
            return
        kept = int((self.count - drop).max())
        _forget_first(self._readings[:, :n], drop, kept)
        self.count = self.count - drop
        if self._variants:
            first = self.time[rows, 0]
            self._variants = {k: v for k, v in self._variants.items() if k[1] >= first[k[0]]}
            self._differing &= self._variants.keys()
            self._corrected = _corrected(self._variants, self._differing)

    # ---------------------------------------------------------------- recovery

    def dump(self) -> bytes:
        """The store as compressed bytes."""
        n, width = len(self.meters), int(self.count.max(initial=0))
        planes = {name: self._readings[:width, :n, number] for number, name in enumerate(_FIELDS)}
        planes["received"] = planes["received"] - planes["time"]
        # Differences are small numbers. Where they overflow, the sums come round again.
        first = {name: planes[name][:1].copy() for name in _SUMS}
        narrow = {name: narrowest(np.diff(p, axis=0) if name in _SUMS else p) for name, p in planes.items()}
        return _LAYOUT.pack((self.meters, self.count, self.doubt_until, first, narrow, self._variants))

    @classmethod
    def load(cls, data: bytes, capacity: int = 16) -> RegisterStore:
        """A store from its bytes."""
        meters, count, doubt_until, first, narrow, variants = _LAYOUT.unpack(data)
        store = cls(max(capacity, int(count.max(initial=0))))
        if meters:
            store._add(pl.Series("meter_id", meters, dtype=pl.String))
            store.count, store.doubt_until = count, doubt_until
            planes = {name: plane.astype(np.int64) for name, plane in narrow.items()}
            for name, start in first.items():
                planes[name] = np.cumsum(np.concatenate([start, planes[name]]), axis=0)
            planes["received"] += planes["time"]
            for name, plane in planes.items():
                getattr(store, name)[: len(meters), : len(plane)] = plane.T
        store._variants = variants
        store._differing = {key for key, seen in variants.items() if len({value for _, value in seen}) > 1}
        store._corrected = _corrected(variants, store._differing)
        return store


def _corrected(variants: dict[tuple[int, int], set[tuple[int, int]]], some: set[tuple[int, int]]) -> Corrected:
    found = []
    for row, time in sorted(some):
        values = [value for _, value in variants[row, time]]
        found.append((row, time, len(values), min(values), max(values)))
    return Corrected(*np.array(found, np.int64).reshape(-1, len(Corrected._fields)).T.copy())


def _forget_first(readings: Ints, drop: Ints, kept: int) -> None:
    """Take the first ``drop[row]`` readings [position, row, field] out of each row; at most ``kept`` stay."""
    steps = np.unique(drop)
    if len(steps) == 1:
        readings[:kept] = readings[steps[0] : steps[0] + kept]
        return
    places = np.minimum(np.arange(kept)[:, None] + drop[None, :], len(readings) - 1)
    readings[:kept] = np.take_along_axis(readings, places[:, :, None], axis=0)


@compiled
def _insert(store: Columns, row: Ints, time: Ints, value: Ints, received: Ints, repeated: Any) -> None:
    for place in range(len(row)):
        meter, moment = row[place], time[place]
        count = store.size[meter]
        at = count
        if count > 0 and store.time[meter, count - 1] >= moment:
            at = position(store.time, meter, count, moment, False)
            if store.time[meter, at] == moment:
                repeated[place] = True
                continue
            for index in range(count, at, -1):  # a late one: those after it make room
                store.time[meter, index] = store.time[meter, index - 1]
                store.value[meter, index] = store.value[meter, index - 1]
                store.received[meter, index] = store.received[meter, index - 1]
                store.versions[meter, index] = store.versions[meter, index - 1]
        store.time[meter, at] = moment
        store.value[meter, at] = value[place]
        store.received[meter, at] = received[place]
        store.versions[meter, at] = 1
        store.size[meter] = count + 1


@compiled
def _search(time: Ints, count: Ints, rows: Ints, times: Ints, after_equal: bool, found: Ints) -> None:
    for place in range(len(rows)):
        found[place] = position(time, rows[place], count[rows[place]], times[place], after_equal)
