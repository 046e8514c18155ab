"""Which windows that have been worked out a new reading, or a correction, can bear on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.streaming.alignment import AlignmentRules
from flows.streaming.plausibility import IN_ORDER, Limits, inverted, order, rises
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


def affected(store: RegisterStore, rules: AlignmentRules, edge: int, width: int, readings: Readings) -> Ranges:
    """The windows before ``edge`` on which readings can bear; asked before they are inserted.

    Args:
        store: what is known so far.
        rules: the rules of alignment.
        edge: end of the last window that has been worked out, µs.
        width: of windows, µs.
        readings: new ones and corrections.
    """
    start, stop = np.zeros(len(readings), np.int64), np.zeros(len(readings), np.int64)
    values = (readings.imported, readings.exported)
    _bearing(store.columns, rules.limits, edge, width, readings.row, readings.time, *values, start, stop)
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


@compiled
def _bearing(
    store: Columns,
    limits: Limits,
    edge: int,
    width: int,
    rows: Ints,
    times: Ints,
    imported: Ints,
    exported: Ints,
    start: Ints,
    stop: Ints,
) -> None:
    span = limits.estimate_span
    reach_odd = span + limits.near
    for place in range(len(rows)):
        row, time = rows[place], times[place]
        count = store.size[row]
        odd = store.doubt_until[row] >= time - reach_odd
        before = position(store.time, row, count, time, False)
        # Before: back to the reading before; with nothing known yet windows count from `backcast` before the first
        # reading, and those estimates rest on the span after it.
        low = store.time[row, before - 1] if before > 0 else time - limits.backcast
        first = store.time[row, 0] if count > 0 else time
        if time <= first + span:
            low = min(first, time) - limits.backcast
        # While all is in order (the usual case, so without a call) the neighbours tell whether it stays so.
        inverts = store.doubt_until[row] >= time - limits.far
        if before > 0:
            previous = store.imported[row, before - 1], store.exported[row, before - 1]
            told = order(previous[0], previous[1], imported[place], exported[place])
            inverts |= told != IN_ORDER
        if before < count:
            told = order(imported[place], exported[place], store.imported[row, before], store.exported[row, before])
            inverts |= told != IN_ORDER or store.time[row, before] == time
        if inverts:
            inverts = _inverts(store, limits, row, before, time, imported[place], exported[place])
        # Usual: the newest reading of its meter, and the one before it lies past all windows worked out.
        if low >= edge and not odd and not inverts:
            continue
        # After: up to the next reading; past the last one energy is estimated from the span before that.
        after = position(store.time, row, count, time, True)
        high = edge
        if after < count and time + span < store.time[row, count - 1]:
            high = store.time[row, after]
        # A stretch that is not plausible is estimated from the spans on both its sides; and what contradicts others
        # bears on stretches in which it has no part, and on all that is estimated from those.
        reach = max(limits.far, reach_odd) if inverts else reach_odd
        if (odd or inverts) and count > 0:
            near = position(store.time, row, count, time - reach, False) - 1
            far = position(store.time, row, count, time + reach, True) + 1
            low = min(low, store.time[row, near] if near >= 0 else first - limits.backcast)
            high = max(high, edge if far >= count else store.time[row, far])
        # Windows further back do not rest on it: see ``alignment``.
        low = max(low, time - limits.max_gap - span - limits.near - width)
        start[place] = low // width
        stop[place] = -(-min(high, edge) // width)


@compiled
def _inverts(store: Columns, limits: Limits, row: int, at: int, time: int, imported: int, exported: int) -> bool:
    """Whether a reading that belongs at a position contradicts the order of others, or corrects one."""
    if at < store.size[row] and store.time[row, at] == time:
        # A copy bears on nothing. Of a corrected one any version may contradict others.
        same = store.imported[row, at] == imported and store.exported[row, at] == exported
        return store.versions[row, at] > 1 or not same
    return inverted(store, limits, row, at, time, imported, exported)


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
        inverts = until >= time - limits.far or store.versions[row, at] > 1
        for index in range(max(at - 1, 0), min(at + 1, count - 1)):
            start, stop = store.time[row, index], store.time[row, index + 1]
            taken = store.imported[row, index], store.imported[row, index + 1]
            given = store.exported[row, index], store.exported[row, index + 1]
            if not rises(stop - start, taken, given, limit[row], limits)[2]:
                until = max(until, stop)
            inverts |= order(taken[0], given[0], taken[1], given[1]) != IN_ORDER
        if inverts and (
            store.versions[row, at] > 1
            or inverted(store, limits, row, at, time, store.imported[row, at], store.exported[row, at])
        ):
            until = max(until, time + limits.far)
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
