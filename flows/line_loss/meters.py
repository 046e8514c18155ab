"""The registers of meters: what they took and what they fed in, each with its own readings.

A message always carries the import register; the export register only if the meter has one, and then not in every
message. So the two are stored and aligned apart, and what a meter lacks of the one says nothing of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flows.streaming.alignment import AlignmentRules, align
from flows.streaming.registers import Ints, Readings, RegisterStore, readings_of

Floats = npt.NDArray[np.float64]
NONE = -1
"""In place of the row of a register that a meter does not have, or of its value."""


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """Readings of meters.

    Attributes:
        imported: all of them; a row is the meter's.
        exported: those that carry an export register; a row is the register's.
        which: which of all of them these are.
    """

    imported: Readings
    exported: Readings
    which: Ints

    def take(self, index: npt.NDArray[Any]) -> MeterReadings:
        """The readings at an index or mask."""
        if not len(self.which):
            return MeterReadings(self.imported.take(index), self.exported, self.which)
        place = np.full(len(self), NONE, np.int64)
        kept = np.flatnonzero(index) if index.dtype == bool else index
        place[kept] = np.arange(len(kept))
        some = np.flatnonzero(place[self.which] != NONE)
        return MeterReadings(self.imported.take(index), self.exported.take(some), place[self.which[some]])

    def exports(self) -> Ints:
        """Of every reading the export register, µWh, or ``NONE``."""
        values = np.full(len(self), NONE, np.int64)
        values[self.which] = self.exported.value
        return values

    def __len__(self) -> int:
        return len(self.imported)


@dataclass(frozen=True, slots=True)
class MeterEnergies:
    """Energies of n (meter, interval) pairs.

    Attributes:
        imported: µWh taken.
        exported: µWh fed in.
        estimated: µWh (both directions) that are not measured.
        measured: µs of the interval in which all registers of the meter are measured.
        known: False where nothing is said of the meter.
        facts: the revision; 0 where nothing could be said.
        started: known, and the meter had its first reading before the interval's end.
    """

    imported: Ints
    exported: Ints
    estimated: Ints
    measured: Ints
    known: npt.NDArray[np.bool_]
    facts: Ints
    started: npt.NDArray[np.bool_]

    def take(self, index: Ints | slice) -> MeterEnergies:
        """The pairs at an index; a slice means all."""
        if isinstance(index, slice):
            return self
        return MeterEnergies(*(getattr(self, name)[index] for name in MeterEnergies.__slots__))


class MeterRegisters:
    """The registers of many meters; a meter's row is that of its import register.

    Args:
        rules: the rules of alignment.
        capacity: room for so many readings of each register.
    """

    def __init__(self, rules: AlignmentRules, capacity: int = 16) -> None:
        self.rules = rules
        self.imports = RegisterStore(capacity)
        self.exports = RegisterStore(capacity)
        self._export_of: Ints = np.zeros(0, np.int64)
        self.meter_of: Ints = np.zeros(0, np.int64)
        """Of each export register its meter's row."""

    def read(self, frame: pl.DataFrame) -> MeterReadings:
        """A frame of ``grid.meter.v1`` as readings; meters not seen before get rows."""
        meters = frame.get_column("meter_id")
        rows = self.imports.rows_of(meters)
        more = len(self.imports.meters) - len(self._export_of)
        if more:
            self._export_of = np.concatenate([self._export_of, np.full(more, NONE, np.int64)])
        exports = frame.get_column("export_kwh")
        which = np.zeros(0, np.int64) if exports.null_count() == len(exports) else np.flatnonzero(exports.is_not_null())
        some = frame[which]
        export_rows = self.exports.rows_of(some.get_column("meter_id"))
        if len(self.exports.meters) > len(self.meter_of):
            self._export_of[rows[which]] = export_rows
            self.meter_of = np.zeros(len(self.exports.meters), np.int64)
            linked = np.flatnonzero(self._export_of != NONE)
            self.meter_of[self._export_of[linked]] = linked
        return MeterReadings(
            readings_of(frame, "import_kwh", rows), readings_of(some, "export_kwh", export_rows), which
        )

    def insert(self, new: MeterReadings) -> tuple[int, int]:
        """Store readings.

        Returns:
            how many said nothing new (duplicates), and how many only corrected what was known.
        """
        fresh, corrected = _inserted(self.imports, new.imported)
        if len(new.which):
            fresh_exports, corrected_exports = _inserted(self.exports, new.exported)
            fresh[new.which] |= fresh_exports
            corrected[new.which] |= corrected_exports
        return int((~fresh & ~corrected).sum()), int((corrected & ~fresh).sum())

    def readings(self, rows: Ints) -> MeterReadings:
        """All readings of some meters that are stored; not which import goes with which export."""
        exports = self._export_of[rows]
        stored = self.exports.readings(exports[exports != NONE])
        return MeterReadings(self.imports.readings(rows), stored, np.arange(len(stored)))

    def align(self, limit: Floats, extra: Ints, rows: Ints, begin: Ints, end: Ints) -> MeterEnergies:
        """Energies of meters ``rows`` over the intervals [begin, end), arrays of one length; see ``align``.

        Args:
            limit: greatest power of each meter, µWh/µs.
            extra: of each meter what else counts as facts where something is known.
            rows: the meters.
            begin: begin of each interval, µs.
            end: end of each interval, µs.
        """
        taken = align(self.imports, self.rules, limit, extra, rows, begin, end)
        given = np.zeros(len(rows), np.int64)
        estimated, measured, facts = taken.estimated, taken.measured, taken.facts
        if len(self.meter_of):
            export_rows = self._export_of[rows]
            some = np.flatnonzero(export_rows != NONE)
            nothing = np.zeros(len(self.meter_of), np.int64)
            part = align(
                self.exports,
                self.rules,
                limit[self.meter_of],
                nothing,
                export_rows[some],
                begin[some],
                end[some],
            )
            given[some] = part.energy
            estimated[some] += part.estimated
            measured[some] = np.where(part.known, np.minimum(measured[some], part.measured), measured[some])
            facts[some] += np.where(taken.known[some], part.facts, 0)
        return MeterEnergies(taken.energy, given, estimated, measured, taken.known, facts, taken.started)

    @property
    def crowded(self) -> bool:
        """Whether a register's room is nearly used up."""
        return self.imports.crowded or self.exports.crowded

    def evict(self, horizon: int) -> None:
        """Forget what no window after ``horizon``, µs, can rest on."""
        for store in (self.imports, self.exports):
            store.evict(horizon, self.rules.looks_back)

    def dump(self) -> tuple[bytes, bytes, Ints, Ints]:
        """What to keep over a restart."""
        return self.imports.dump(), self.exports.dump(), self._export_of, self.meter_of

    def restore(self, data: tuple[bytes, bytes, Ints, Ints], capacity: int) -> None:
        """Take up what was kept."""
        imports, exports, self._export_of, self.meter_of = data
        self.imports, self.exports = RegisterStore.load(imports, capacity), RegisterStore.load(exports, capacity)


def _inserted(store: RegisterStore, new: Readings) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Store readings: which are new, and which are corrections."""
    repeated = store.insert(new)
    corrected = np.zeros(len(new), bool)
    if repeated.any():
        corrected[repeated] = store.correct(new.take(repeated))
    return ~repeated, corrected
