"""Voltages, registers and reactive powers of meters at the slots of the last days.

A slot is an interval of the readings, aligned to the hour, named by its number since 1970; a reading belongs to the
slot whose end is nearest to it. Of several readings of a meter near one end the nearest counts, so what is kept is the
same in whatever order, and however often, they come.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from flows.streaming.event_time import to_micros
from flows.streaming.identifiers import CodeMap, codes_of
from flows.streaming.registers import usable
from flows.topology.cutting import cut, increments
from flows.topology.signals import Floats, Ints
from flows.topology.threads import in_threads, pieces

VOLTAGES = ("voltage_l1_v", "voltage_l2_v", "voltage_l3_v")
REACTIVE = "reactive_power_kvar"
READING = ("time", "import_kwh", "export_kwh", *VOLTAGES, REACTIVE, "quality")
"""Columns of a reading that are used, beside the meter's id."""

_NONE = np.iinfo(np.int32).max
_LEAST_ROOM = 64
_AT_ONCE = 8192  # meters that a thread takes at once
_REMEMBERED = 4  # lists of meters whose rows were asked for


class Slots:
    """Matrices [meter, slot] over consecutive slots.

    Args:
        interval: µs between readings.

    Attributes:
        first: the first slot that is kept.
        last: the last slot of which there is a reading.
        voltage: V, NaN where unknown; [meter, slot, 3].
        register: net, import less export, kWh, NaN where unknown; [meter, slot].
        reactive: kvar, NaN where unknown; [meter, slot].
    """

    def __init__(self, interval: int) -> None:
        self.interval = interval
        self.first: int | None = None
        self.last: int | None = None
        self.meters: list[str] = []
        self._index: dict[str, int] = {}
        self._known = CodeMap()
        self._asked: list[tuple[int, list[str], Ints]] = []
        self._allocate(0, 0)

    def _allocate(self, meters: int, slots: int) -> None:
        self.voltage: npt.NDArray[np.float32] = np.full((meters, slots, 3), np.nan, np.float32)
        self.register: Floats = np.full((meters, slots), np.nan)
        self.reactive: npt.NDArray[np.float32] = np.full((meters, slots), np.nan, np.float32)
        self._off: npt.NDArray[np.int32] = np.full((meters, slots), _NONE, np.int32)

    def rows(self, meters: list[str]) -> Ints:
        """Where meters are, -1 for those never seen; not to be changed: it is remembered for the next step."""
        for count, asked, found in self._asked:
            if count == len(self.meters) and asked == meters:
                return found
        found = np.array([self._index.get(meter, -1) for meter in meters], np.int64)
        self._asked = [(len(self.meters), meters.copy(), found), *self._asked[: _REMEMBERED - 1]]
        return found

    # ------------------------------------------------------------------- taking in

    def add(self, frame: pl.DataFrame) -> int:
        """Take in readings.

        Args:
            frame: ``meter_id`` and the columns of ``READING``.

        Returns:
            How many brought something new.
        """
        frame = frame.filter(pl.Series(usable(frame), dtype=pl.Boolean))
        if not frame.height:
            return 0
        time = to_micros(frame.get_column("time"))
        slot = (time + self.interval // 2) // self.interval - 1
        off = ((time - (slot + 1) * self.interval) // 1000).astype(np.int32)  # ms; half an interval at most
        values = np.empty((len(time), 5))
        values[:, 0] = (
            frame.get_column("import_kwh").to_numpy() - frame.get_column("export_kwh").fill_null(0).to_numpy()
        )
        for place, name in enumerate((*VOLTAGES, REACTIVE), 1):
            # As they are kept, so that the same reading is the same when it is compared.
            values[:, place] = frame.get_column(name).cast(pl.Float32).fill_null(np.nan).to_numpy()
        row = self._rows_of(frame.get_column("meter_id"))
        last = int(slot.max())
        self._reach(int(slot.min()), last + 1)
        self.last = last if self.last is None else max(self.last, last)
        assert self.first is not None
        column = slot - self.first
        # What is there already competes with what comes; the winner is written.
        order = _ranked(row * self.register.shape[1] + column, off, values)
        row, column, off, values = row[order], column[order], off[order], values[order]
        old_off = self._off[row, column]
        had = self.register[row, column, None], self.voltage[row, column], self.reactive[row, column, None]
        old = np.concatenate(had, axis=1)
        better = _before(off, values, old_off, old)
        row, column = row[better], column[better]
        self._off[row, column] = off[better]
        self.register[row, column] = values[better, 0]
        self.voltage[row, column] = values[better, 1:4]
        self.reactive[row, column] = values[better, 4]
        return int(better.sum())

    def _rows_of(self, meters: pl.Series) -> Ints:
        codes = codes_of(meters)
        row = self._known.get(codes)
        fresh = np.flatnonzero(row < 0)
        if len(fresh):
            new = meters.gather(fresh).unique(maintain_order=True)
            names = new.cast(pl.String).to_list()
            numbers = []
            for name in names:
                number = self._index.setdefault(name, len(self.meters))
                if number == len(self.meters):
                    self.meters.append(name)
                numbers.append(number)
            self._known.put(codes_of(new), np.array(numbers, np.int64))
            self._resize(len(self.meters), self.register.shape[1])
            row = self._known.get(codes)
        return row

    def _reach(self, begin: int, end: int) -> None:
        if self.first is None:
            self.first = begin
        earlier = self.first - begin
        if earlier > 0:
            self._resize(self.register.shape[0], self.register.shape[1] + earlier)
            matrices: list[npt.NDArray[Any]] = [self.voltage, self.register, self.reactive, self._off]
            for matrix in matrices:
                matrix[:] = np.roll(matrix, earlier, axis=1)
            self.first = begin
        room = self.register.shape[1]
        if end > self.first + room:
            self._resize(self.register.shape[0], max(end - self.first + _LEAST_ROOM, room))

    def clear(self) -> None:
        """Let go of all readings."""
        self.first = self.last = None
        self._allocate(self.register.shape[0], 0)

    def _resize(self, meters: int, slots: int) -> None:
        had = self.register.shape
        if meters > had[0] or slots != had[1]:
            old: list[npt.NDArray[Any]] = [self.voltage, self.register, self.reactive, self._off]
            meters = meters if meters <= had[0] else max(meters, had[0] + had[0] // 2)
            self._allocate(meters, slots)
            fresh: list[npt.NDArray[Any]] = [self.voltage, self.register, self.reactive, self._off]
            for new, before in zip(fresh, old, strict=True):
                new[: had[0], : had[1]] = before[:, :slots]

    def forget_before(self, slot: int) -> None:
        """Let go of what is before a slot."""
        if self.first is None or slot - self.first < _LEAST_ROOM:
            return
        gone = min(slot - self.first, self.register.shape[1])
        matrices: list[tuple[npt.NDArray[Any], float]] = [
            (self.voltage, np.nan),
            (self.register, np.nan),
            (self.reactive, np.nan),
            (self._off, _NONE),
        ]
        for matrix, empty in matrices:
            kept = matrix[:, gone:].copy()
            matrix[:, : kept.shape[1]] = kept
            matrix[:, kept.shape[1] :] = empty
        self.first = slot

    # ------------------------------------------------------------------- giving out

    def span(self, rows: Ints, begin: int, end: int) -> tuple[Floats, Floats]:
        """Voltages and powers of meters over slots [begin, end).

        Args:
            rows: of the meters, -1 for those without readings.
            begin: first slot.
            end: the slot after the last one.

        Returns:
            Volts, [end - begin, n, 3], and net kW from register to register and kvar, [end - begin, n, 2]; NaN where
            unknown.
        """
        windows, offset = end - begin, begin - (self.first or 0)
        volts, powers = np.empty((len(rows), windows, 3)), np.empty((len(rows), windows, 2))
        flat = self.voltage.reshape(len(self.voltage), 3 * self.voltage.shape[1])

        def part(some: slice) -> None:
            cut(flat, rows[some], 3 * offset, volts[some].reshape(-1, 3 * windows))
            increments(self.register, rows[some], offset, powers[some, :, 0])
            cut(self.reactive, rows[some], offset, powers[some, :, 1])

        in_threads(part, pieces(len(rows), _AT_ONCE))
        powers[:, :, 0] /= self._hours
        return volts.transpose(1, 0, 2), powers.transpose(1, 0, 2)

    def powers(self, rows: Ints, begin: int, end: int) -> Floats:
        """Net powers of meters over slots [begin, end) from register to register, kW, NaN where unknown; [n, L].

        Args:
            rows: of the meters, -1 for those without readings.
            begin: first slot.
            end: the slot after the last one.
        """
        powers = np.empty((len(rows), end - begin))
        offset = begin - (self.first or 0)
        in_threads(
            lambda some: increments(self.register, rows[some], offset, powers[some]), pieces(len(rows), _AT_ONCE)
        )
        powers /= self._hours
        return powers

    @property
    def _hours(self) -> float:
        return self.interval / 3.6e9

    # ------------------------------------------------------------------- recovery

    def dump(self) -> tuple[Any, ...]:
        """What to keep over a restart."""
        count = len(self.meters)
        kept = (matrix[:count] for matrix in (self.voltage, self.register, self.reactive, self._off))
        return self.interval, self.first, self.last, self.meters, *kept

    @classmethod
    def load(cls, data: tuple[Any, ...]) -> Slots:
        """From what was kept."""
        slots = cls(data[0])
        _, slots.first, slots.last, slots.meters, slots.voltage, slots.register, slots.reactive, slots._off = data
        slots._index = {name: number for number, name in enumerate(slots.meters)}
        return slots


def _ranked(key: Ints, off: npt.NDArray[np.int32], values: Floats) -> Ints:
    """Of each key the first by nearness, then by content."""
    content = np.nan_to_num(values, nan=-np.inf)
    order = np.lexsort((*content.T[::-1], off, np.abs(off), key))
    ordered = key[order]
    return order[np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))]


def _before(off: Any, values: Any, old_off: Any, old: Any) -> npt.NDArray[np.bool_]:
    """Whether each reading ranks before the one that is there."""
    columns = [(np.abs(off), np.abs(old_off)), (off, old_off)]
    new_, old_ = np.nan_to_num(values, nan=-np.inf), np.nan_to_num(old, nan=-np.inf)
    columns += [(new_[:, n], old_[:, n]) for n in range(values.shape[1])]
    better, equal = np.zeros(len(off), bool), np.ones(len(off), bool)
    for mine, there in columns:
        better |= equal & (mine < there)
        equal &= mine == there
    return better
