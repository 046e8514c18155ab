"""Which windows that have been worked out a new reading, or a correction, can bear on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.line_loss.meters import NONE, MeterReadings
from flows.streaming.alignment import AlignmentRules
from flows.streaming.plausibility import Limits, rises
from flows.streaming.position import position
from flows.streaming.registers import Columns, Ints, Readings, RegisterStore


@dataclass(frozen=True, slots=True)
class Pairs:
    """(meter row, window number) pairs."""

    row: Ints
    window: Ints

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: npt.NDArray[np.int64]) -> Pairs:
        """The pairs at an index."""
        return Pairs(self.row[index], self.window[index])


@dataclass(frozen=True, slots=True)
class Ranges:
    """Windows ``start .. stop`` (exclusive) of meter rows; ranges may overlap."""

    row: Ints
    start: Ints
    stop: Ints

    def __len__(self) -> int:
        return len(self.row)

    @property
    def size(self) -> int:
        """How many pairs there are in them, overlaps counted twice."""
        return int(np.maximum(self.stop - self.start, 0).sum())

    def plus(self, more: Ranges) -> Ranges:
        """These, and more."""
        return Ranges(*(np.concatenate([getattr(self, n), getattr(more, n)]) for n in ("row", "start", "stop")))

    def chunks(self, most: int) -> Iterator[Ranges]:
        """Cut into parts of at most so many pairs each, or of one range."""
        ends = np.cumsum(np.maximum(self.stop - self.start, 0))
        begin = 0
        while begin < len(self):
            done = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + most, side="right")))
            yield Ranges(self.row[begin:end], self.start[begin:end], self.stop[begin:end])
            begin = end

    def pairs(self) -> Pairs:
        """Each pair once."""
        size = np.maximum(self.stop - self.start, 0)
        rows = np.repeat(self.row, size)
        ends = np.cumsum(size)
        windows = np.arange(len(rows)) + np.repeat(self.start - ends + size, size)
        low = int(windows.min(initial=0))
        unique = np.unique((rows << 32) + (windows - low))
        return Pairs(unique >> 32, (unique & 0xFFFFFFFF) + low)


def rounds(readings: MeterReadings, meters: int) -> list[MeterReadings]:
    """Cut up so that in no part a register falls, or is read twice at one time; whatever their order.

    What bears on what is then seen from what was stored before each part.

    Args:
        readings: new ones and corrections.
        meters: how many rows of meters there are.
    """
    row, time, value, exports = (
        readings.imported.row,
        readings.imported.time,
        readings.imported.value,
        readings.exports(),
    )
    unruly = np.zeros(meters, bool)
    _find_unruly(row, time, value, exports, np.full((3, meters), NONE, np.int64), unruly)
    if not unruly.any():
        return [readings]
    some = np.flatnonzero(unruly[row])
    order = some[np.lexsort((time[some], row[some]))]
    number = np.zeros(len(readings), np.int64)
    _number(row, time, value, exports, order, number)
    return [readings.take(np.flatnonzero(number == one)) for one in range(int(number.max()) + 1)]


@compiled
def _find_unruly(row: Ints, time: Ints, value: Ints, exports: Ints, last: Ints, unruly: npt.NDArray[np.bool_]) -> None:
    for place in range(len(row)):
        meter = row[place]
        fell = value[place] < last[1, meter] or (exports[place] != NONE and exports[place] < last[2, meter])
        if last[1, meter] != NONE and (fell or time[place] <= last[0, meter]):
            unruly[meter] = True
        last[0, meter], last[1, meter] = time[place], value[place]
        last[2, meter] = max(last[2, meter], exports[place])


@compiled
def _number(row: Ints, time: Ints, value: Ints, exports: Ints, order: Ints, number: Ints) -> None:
    export, current = NONE, 0
    for index in range(len(order)):
        place, before = order[index], order[index - 1]
        if index == 0 or row[place] != row[before]:
            export, current = NONE, 0
        elif (
            time[place] == time[before]
            or value[place] < value[before]
            or (exports[place] != NONE and exports[place] < export)
        ):
            export, current = NONE, current + 1
        export = max(export, exports[place])
        number[place] = current


def affected(store: RegisterStore, rules: AlignmentRules, edge: int, width: int, readings: Readings) -> Ranges:
    """The windows before ``edge`` on which readings can bear; asked before they are inserted.

    Args:
        store: what is known so far.
        rules: the rules of alignment.
        edge: end of the last window that has been worked out, µs.
        width: of windows, µs.
        readings: new ones and corrections, of which none contradicts another (see ``rounds``).
    """
    start, stop = np.zeros(len(readings), np.int64), np.zeros(len(readings), np.int64)
    _bearing(store.columns, rules.limits, edge, width, readings.row, readings.time, readings.value, start, stop)
    some = np.flatnonzero(stop > start)
    ranges = Ranges(readings.row[some], start[some], stop[some])
    long = (ranges.stop - ranges.start) * width > 4 * rules.forecast
    if not long.any():
        return ranges
    near = _known_parts(store, rules, width, ranges, readings.time[some], np.flatnonzero(long))
    return Ranges(
        np.concatenate([ranges.row[~long], near.row]),
        np.concatenate([ranges.start[~long], near.start]),
        np.concatenate([ranges.stop[~long], near.stop]),
    )


# Without calls that are handed arrays: see ``connectors.compiled``.
@compiled
def _bearing(
    store: Columns,
    limits: Limits,
    edge: int,
    width: int,
    rows: Ints,
    times: Ints,
    values: Ints,
    start: Ints,
    stop: Ints,
) -> None:
    span = limits.estimate_span
    reach = limits.estimate_reach
    for place in range(len(rows)):
        row, time = rows[place], times[place]
        count = store.size[row]
        before = position(store.time, row, count, time, False)
        after = before
        falls = before > 0 and store.value[row, before - 1] > values[place]
        if before < count:
            falls |= store.value[row, before] < values[place]
            if store.time[row, before] == time:
                # A copy bears on nothing. Of a corrected one any version may contradict others.
                falls = store.versions[row, before] > 1 or store.value[row, before] != values[place]
                after = before + 1
        odd = falls or store.doubt_until[row] >= time - reach
        previous = store.time[row, before - 1] if before > 0 else time
        following = store.time[row, after] if after < count else time
        # Before: back to the reading before; with nothing known yet windows count from `backcast` before the first
        # reading, and those estimates rest on the span after it, and the stretch in which that ends.
        low = previous if before > 0 else time - limits.backcast
        first = min(store.time[row, 0], time) if count > 0 else time
        if before == 0 or previous < first + span:
            low = first - limits.backcast
        # Usual: the newest reading of its meter, and the one before it lies past all windows worked out.
        if low >= edge and not odd:
            continue
        # After: up to the next reading; past the last one energy is estimated from the span before that.
        high = edge
        if after < count and following + span < store.time[row, count - 1]:
            high = following
        if odd and count > 0:
            # A stretch that is not plausible is estimated from what lies on both its sides.
            near = position(store.time, row, count, previous - reach, False) - 1
            far = position(store.time, row, count, following + reach, True) + 1
            low = min(low, store.time[row, near] if near >= 0 else first - limits.backcast)
            high = max(high, edge if far >= count else store.time[row, far])
        if falls:
            # What contradicts others bears on stretches in which it has no part.
            low, high = min(low, time - limits.max_gap), max(high, time + limits.max_gap)
        # Windows further back do not rest on it: see ``alignment``.
        low = max(low, time - limits.max_gap - reach - width)
        start[place] = low // width
        stop[place] = -(-min(high, edge) // width)


def note_doubt(store: RegisterStore, rules: AlignmentRules, limit: npt.NDArray[np.float64], readings: Readings) -> None:
    """Remember how far the stretches reach that may be implausible: estimates stand in for them.

    Args:
        store: what is known, the readings included; is brought up to date.
        rules: the rules of alignment.
        limit: greatest power of each row, µWh/µs.
        readings: new ones, or corrections.
    """
    _note(store.columns, rules.limits, limit, readings.row, readings.time)


@compiled
def _note(store: Columns, limits: Limits, limit: npt.NDArray[np.float64], rows: Ints, times: Ints) -> None:
    for place in range(len(rows)):
        row, time = rows[place], times[place]
        count = store.size[row]
        at = position(store.time, row, count, time, False)
        until = store.doubt_until[row]
        if store.versions[row, at] > 1:
            until = max(until, time + limits.max_gap)
        for index in range(max(at - 1, 0), min(at + 1, count - 1)):
            start, stop = store.time[row, index], store.time[row, index + 1]
            value, following = store.value[row, index], store.value[row, index + 1]
            if following < value:
                until = max(until, stop + limits.max_gap)
            elif not rises(stop - start, value, following, limit[row], limits):
                until = max(until, stop)
        store.doubt_until[row] = until


def _known_parts(
    store: RegisterStore, rules: AlignmentRules, width: int, ranges: Ranges, time: Ints, some: Ints
) -> Ranges:
    """Of very long ranges what lies near a reading: nothing is said of the rest, before or after."""
    rows, starts, stops = [], [], []
    for which in some.tolist():
        row, start, stop = int(ranges.row[which]), int(ranges.start[which]), int(ranges.stop[which])
        times = np.append(store.time[row, : store.count[row]], time[which])
        first = np.maximum((times - rules.backcast) // width - 1, start)
        end = np.minimum((times + rules.forecast) // width + 2, stop)
        kept = first < end
        rows.append(np.full(int(kept.sum()), row))
        starts.append(first[kept])
        stops.append(end[kept])
    return Ranges(np.concatenate(rows), np.concatenate(starts), np.concatenate(stops))
