"""The aligned energies of all meters in the windows of the last days, for what they say together.

Shards send what they work out; the last word on a (meter, window) counts. What a reading tells beside its registers
is kept per window as the least value, which is the same in whatever order, and however often, readings come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.compiled import compiled
from flows.line_loss.meters import MeterEnergies
from flows.line_loss.restatement import Pairs
from flows.streaming.event_time import to_micros
from flows.streaming.registers import MICRO_WH_PER_KWH, Ints

Floats32 = npt.NDArray[np.float32]

_LEAST_ROOM = 64
_MOST_SECONDS = 60_000.0
_NOTHING = np.iinfo(np.int64).min
_RUNS_KEPT = 64

MEASURED = 250
"""Share of a window that is measured, in parts of this."""

UNSTATED = 255
"""In place of the share, where a meter's energy is an estimate for others' sake, before its first reading."""


@dataclass(frozen=True, slots=True)
class EnergyPiece:
    """Energies that a shard has worked out, of rows of its meters."""

    row: Ints
    window: Ints
    imported: Floats32
    exported: Floats32
    share: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, pairs: Pairs, aligned: MeterEnergies, width: int) -> EnergyPiece:
        """From µWh to kWh."""
        return cls(
            pairs.row,
            pairs.window,
            (aligned.imported / MICRO_WH_PER_KWH).astype(np.float32),
            (aligned.exported / MICRO_WH_PER_KWH).astype(np.float32),
            np.where(aligned.started, aligned.measured * MEASURED // width, UNSTATED).astype(np.uint8),
        )


@dataclass(frozen=True, slots=True)
class ReadingPiece:
    """What readings tell beside their registers, nan where they do not."""

    row: Ints
    window: Ints
    delay: Floats32
    reactive: Floats32
    voltage: Floats32

    @classmethod
    def of(cls, frame: pl.DataFrame, row: Ints, width: int) -> ReadingPiece:
        """From a frame of ``grid.meter.v1``: delay in s, kvar, V; a reading belongs to the window that it ends."""
        time = to_micros(frame.get_column("time"))
        received = to_micros(frame.get_column("received_time"), _NOTHING)
        delay = np.where(received == _NOTHING, np.nan, (received - time) / 1e6)
        return cls(
            row,
            (time - 1) // width,
            np.clip(delay, -_MOST_SECONDS, _MOST_SECONDS).astype(np.float32),
            _floats(frame.get_column("reactive_power_kvar")),
            _floats(frame.get_column("voltage_l1_v")),
        )


def _floats(column: pl.Series) -> Floats32:
    return column.cast(pl.Float32).fill_null(float("nan")).to_numpy()


def _distinct(windows: list[Ints]) -> list[int]:
    """The different numbers, ascending; mostly some that lie close together."""
    some = [part for part in windows if len(part)]
    if not some:
        return []
    low, high = min(int(part.min()) for part in some), max(int(part.max()) for part in some)
    if high - low > sum(map(len, some)):
        return list(np.unique(np.concatenate(some)).tolist())
    there = np.zeros(high - low + 1, bool)
    for part in some:
        there[part - low] = True
    return list((np.flatnonzero(there) + low).tolist())


class MeterHistory:
    """Matrices [meter, window]; a window keeps its place until it is forgotten."""

    _MATRICES = ("imported", "exported", "share", "delay", "reactive", "voltage")

    def __init__(self) -> None:
        self.meters: list[str] = []
        self._index: dict[str, int] = {}
        self._of_shard: dict[str, Ints] = {}
        self._place: dict[int, int] = {}
        self._free: list[int] = []
        self._forgotten = _NOTHING
        self._known_runs: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        self._allocate(0, 0)

    def _allocate(self, windows: int, meters: int) -> None:
        # A meter's windows side by side: they are read together, meter by meter.
        self.imported: Floats32 = np.zeros((meters, windows), np.float32)
        self.exported: Floats32 = np.zeros((meters, windows), np.float32)
        self.share: npt.NDArray[np.uint8] = np.full((meters, windows), UNSTATED, np.uint8)
        # Least values.
        self.delay: Floats32 = np.full((meters, windows), np.nan, np.float32)
        self.reactive: Floats32 = np.full((meters, windows), np.nan, np.float32)
        self.voltage: Floats32 = np.full((meters, windows), np.nan, np.float32)

    def index(self, meters: list[str]) -> Ints:
        """Columns of meters, -1 of those never seen."""
        return np.array([self._index.get(meter, -1) for meter in meters], np.int64)

    def add(self, shard: str, names: list[str], energies: list[EnergyPiece], readings: list[ReadingPiece]) -> None:
        """Take in what a shard has worked out.

        Args:
            shard: its key.
            names: its meters, by row.
            energies: in the order in which they were worked out.
            readings: in any order.
        """
        columns = self._columns(shard, names)
        self._reach([piece.window for piece in energies] + [piece.window for piece in readings])
        for piece in energies:
            self._take(_set, columns, piece, (piece.imported, piece.exported, piece.share))
        for reading in readings:
            self._take(_least, columns, reading, (reading.delay, reading.reactive, reading.voltage))

    def _take(
        self,
        kernel: Callable[..., None],
        columns: Ints,
        piece: EnergyPiece | ReadingPiece,
        values: tuple[npt.NDArray[Any], ...],
    ) -> None:
        """Put values of rows and windows where they belong, but for windows that are forgotten."""
        if not len(piece.row):
            return
        low, high = int(piece.window.min()), int(piece.window.max())
        table = np.full(high - low + 1, -1, np.int64)
        for number in range(low, high + 1) if high - low < len(self._place) else list(self._place):
            if low <= number <= high:
                table[number - low] = self._place.get(number, -1)
        names = self._MATRICES[:3] if kernel is _set else self._MATRICES[3:]
        matrices = (getattr(self, name) for name in names)
        kernel(columns, piece.row, piece.window, low, table, *values, *matrices)

    def _columns(self, shard: str, names: list[str]) -> Ints:
        known = self._of_shard.get(shard, np.zeros(0, np.int64))
        if len(known) < len(names):
            fresh = []
            for name in names[len(known) :]:
                if name not in self._index:
                    self._index[name] = len(self.meters)
                    self.meters.append(name)
                fresh.append(self._index[name])
            known = self._of_shard[shard] = np.concatenate([known, np.array(fresh, np.int64)])
        return known

    def _reach(self, windows: list[Ints]) -> None:
        """Make room for windows and meters."""
        fresh = (
            [number for number in _distinct(windows) if number not in self._place and number >= self._forgotten]
            if windows
            else []
        )
        height, width = self.imported.shape
        need = width + max(len(fresh) - len(self._free), 0)
        if need > width or len(self.meters) > height:
            new_width = width if need <= width else max(need, width + width // 2, _LEAST_ROOM)
            new_height = height if len(self.meters) <= height else max(len(self.meters), height + height // 2)
            old = {name: getattr(self, name) for name in self._MATRICES}
            self._allocate(new_width, new_height)
            for name, matrix in old.items():
                getattr(self, name)[:height, :width] = matrix
            self._free.extend(range(new_width - 1, width - 1, -1))
        for number in fresh:
            self._place[number] = self._free.pop()
        if fresh:
            self._known_runs.clear()

    def take(self, name: str, begin: int, end: int, columns: Ints, missing: float) -> npt.NDArray[np.float64]:
        """A matrix of windows ``begin .. end`` (exclusive) and meters; [windows, meters].

        Args:
            name: of the matrix.
            begin: first window.
            end: one past the last.
            columns: of the meters; -1 of one never seen.
            missing: in place of what is not there.
        """
        matrix = getattr(self, name)
        result = np.full((len(columns), end - begin), missing)
        seen = np.flatnonzero(columns >= 0)
        if len(seen):
            everyone = len(seen) == len(columns)
            for at, first, length in self._runs(begin, end):
                part = matrix[columns[seen], first : first + length]
                if everyone:
                    result[:, at : at + length] = part
                else:
                    result[seen, at : at + length] = part
        return np.ascontiguousarray(result.T)

    def _runs(self, begin: int, end: int) -> list[tuple[int, int, int]]:
        """Windows in a row mostly have places in a row: from which window on (counted from begin), place, how many."""
        known = self._known_runs.get((begin, end))
        if known is None:
            if len(self._known_runs) >= _RUNS_KEPT:
                self._known_runs.clear()
            places = np.array([self._place.get(number, -1) for number in range(begin, end)], np.int64)
            there = np.flatnonzero(places >= 0)
            breaks = np.flatnonzero((np.diff(there) != 1) | (np.diff(places[there]) != 1)) + 1
            runs = np.split(there, breaks) if len(there) else []
            known = [(int(run[0]), int(places[run[0]]), len(run)) for run in runs]
            self._known_runs[begin, end] = known
        return known

    @property
    def first(self) -> int | None:
        """The first window that is known."""
        return min(self._place, default=None)

    def next(self, window: int) -> int | None:
        """The first window from ``window`` on that is known."""
        return min((number for number in self._place if number >= window), default=None)

    @property
    def end(self) -> int:
        """One past the last window."""
        return max(self._place, default=-1) + 1

    def forget(self, before: int) -> None:
        """Drop the windows before a number."""
        if before <= self._forgotten:
            return
        self._forgotten = before
        gone = [number for number in self._place if number < before]
        places = [self._place.pop(number) for number in gone]
        if places:
            self._known_runs.clear()
            for name in self._MATRICES:
                matrix = getattr(self, name)
                nothing = UNSTATED if name == "share" else np.nan if name in ("delay", "reactive", "voltage") else 0
                matrix[:, places] = nothing
            self._free.extend(places)


@compiled
def _set(
    columns: Ints,
    row: Ints,
    window: Ints,
    low: int,
    table: Ints,
    imported: Floats32,
    exported: Floats32,
    share: npt.NDArray[np.uint8],
    all_imported: Floats32,
    all_exported: Floats32,
    all_share: npt.NDArray[np.uint8],
) -> None:
    for n in range(len(row)):
        place, meter = table[window[n] - low], columns[row[n]]
        if place >= 0:
            all_imported[meter, place] = imported[n]
            all_exported[meter, place] = exported[n]
            all_share[meter, place] = share[n]


@compiled
def _least(
    columns: Ints,
    row: Ints,
    window: Ints,
    low: int,
    table: Ints,
    delay: Floats32,
    reactive: Floats32,
    voltage: Floats32,
    all_delay: Floats32,
    all_reactive: Floats32,
    all_voltage: Floats32,
) -> None:
    for n in range(len(row)):
        place, meter = table[window[n] - low], columns[row[n]]
        if place < 0:
            continue
        # A comparison with nan is never true.
        if delay[n] < all_delay[meter, place] or np.isnan(all_delay[meter, place]):
            all_delay[meter, place] = delay[n]
        if reactive[n] < all_reactive[meter, place] or np.isnan(all_reactive[meter, place]):
            all_reactive[meter, place] = reactive[n]
        if voltage[n] < all_voltage[meter, place] or np.isnan(all_voltage[meter, place]):
            all_voltage[meter, place] = voltage[n]
