"""Alignment: cumulative registers, read at arbitrary times, to energies of common windows.

Between two consecutive readings the register is taken to rise evenly, so the energy of any interval is a difference
of interpolated registers, and over adjoining windows these differences add up to the register's own. A stretch
between readings counts only if it is plausible: not longer than ``max_gap``, not falling (unless the register rolled
over), not rising faster than the meter's greatest power. A reset or a jump is thus never turned into energy.

What no plausible stretch covers (before the first reading, after the last, over a reset) is estimated from the mean
power that the meter had in the last hours before it, or after it, and is not *measured*.

The result of an interval is a pure function of the meter's readings, whatever order they came in. Its ``facts`` grows
with every reading or correction on which the result can rest, so it serves as revision: the closer the readings on
both sides of the interval, the more readings inside, the more versions of them, the larger. (A mere count of the
readings would not do: one reading that is replaced by a nearer one changes the result, but not the count.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.streaming.event_time import SECOND
from flows.streaming.position import position
from flows.streaming.registers import MICRO_WH_PER_KWH, NO_EXPORT, Columns, Ints, RegisterStore

Floats = npt.NDArray[np.float64]

# A stretch may be so much longer than the reading interval (jitter, a clock set right) and still count as measured.
_JITTER = 1.5

# Weights of what ``facts`` adds up. A side that has a reading, or one reading more inside, always outweighs the
# readings from which an estimate was made and that it does without from then on.
_SIDE = 1_000_000
_INSIDE = 100_000
_VERSION = 1_000
_MILLISECOND = 1_000


class Limits(NamedTuple):
    """The rules of alignment as compiled code takes them, times in µs; see ``AlignmentRules``."""

    ordinary: int
    max_gap: int
    estimate_span: int
    backcast: int
    forecast: int
    reach: int
    rollovers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AlignmentRules:
    """The rules of alignment; times in µs, ``limit_kw`` the default greatest power.

    Attributes:
        interval: how often meters are read.
        max_gap: the longest stretch that is interpolated.
        estimate_span: from how long before (after) a missing part its power is estimated.
        backcast: how far before a reading energy is estimated where nothing is known yet.
        forecast: how long after a reading energy is estimated while no other comes; at least ``max_gap``.
        limit_kw: greatest power of a meter of which nothing else is known.
        rollovers: values at which a register starts again from 0, µWh, ascending.
        reach: up to how far away a reading's distance tells in ``facts``; more than the allowed lateness, so that
            it tells wherever a reading can still come.
    """

    interval: int
    max_gap: int
    estimate_span: int
    backcast: int
    forecast: int
    limit_kw: float
    rollovers: tuple[int, ...]
    reach: int

    @classmethod
    def of(
        cls,
        *,
        reading_interval_seconds: int,
        max_gap_seconds: int,
        estimate_from_seconds: int,
        backcast_seconds: int,
        forecast_seconds: int,
        max_power_kw: float,
        register_digits: tuple[int, ...],
        allowed_lateness_seconds: int,
    ) -> AlignmentRules:
        """Rules from settings in seconds, kW and digits."""
        return cls(
            interval=reading_interval_seconds * SECOND,
            max_gap=max_gap_seconds * SECOND,
            estimate_span=estimate_from_seconds * SECOND,
            backcast=backcast_seconds * SECOND,
            forecast=forecast_seconds * SECOND,
            limit_kw=max_power_kw,
            rollovers=tuple(sorted(10**digits * MICRO_WH_PER_KWH for digits in register_digits)),
            reach=(max(max_gap_seconds, allowed_lateness_seconds) + 86_400) * SECOND,
        )

    @property
    def limits(self) -> Limits:
        """For compiled code."""
        return Limits(
            int(_JITTER * self.interval),
            self.max_gap,
            self.estimate_span,
            self.backcast,
            self.forecast,
            self.reach,
            self.rollovers or (0,),
        )


@dataclass(frozen=True, slots=True)
class Aligned:
    """Energies of n intervals.

    Attributes:
        imported: µWh taken.
        exported: µWh fed in.
        estimated: µWh (both directions) that are not measured: interpolated over a gap, or estimated.
        measured: µs of the interval covered by stretches of ordinary length.
        known: False where all readings are too far away from the interval: nothing is said of it.
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

    def take(self, index: Ints | slice) -> Aligned:
        """The intervals at an index; a slice means all."""
        if isinstance(index, slice):
            return self
        return Aligned(*(getattr(self, name)[index] for name in Aligned.__slots__))

    @classmethod
    def empty(cls, size: int) -> Aligned:
        """Room for so many intervals, of which nothing is known."""
        numbers = [np.zeros(size, np.int64) for _ in range(5)]
        known, started = np.zeros(size, bool), np.zeros(size, bool)
        return cls(numbers[0], numbers[1], numbers[2], numbers[3], known, numbers[4], started)


def micro_wh_per_us(power_kw: Floats) -> Floats:
    """Power in kW as µWh per µs."""
    return power_kw * (MICRO_WH_PER_KWH / (3600 * SECOND))


def align(
    store: RegisterStore, rules: AlignmentRules, limit: Floats, extra: Ints, rows: Ints, begin: Ints, end: Ints
) -> Aligned:
    """Energies of meters ``rows`` over the intervals [begin, end), arrays of one length n.

    Args:
        store: the readings; of a row without any nothing is known.
        rules: the rules of alignment.
        limit: greatest power of each row of the store, µWh/µs.
        extra: of each row of the store what else counts as facts where something is known.
        rows: row numbers, n.
        begin: begin of each interval, µs.
        end: end of each interval, µs, later than the begin.
    """
    result = Aligned.empty(len(rows))
    _fill(store.columns, rules.limits, limit, extra, rows, begin, end, _tuple(result))
    return result


def _tuple(aligned: Aligned) -> tuple[npt.NDArray[Any], ...]:
    return tuple(getattr(aligned, name) for name in Aligned.__slots__)


# Arrays are not handed on from here, where it can be helped: each call would count references to all of them, which
# takes longer than the work itself.
@compiled
def _fill(
    store: Columns, limits: Limits, limit: Floats, extra: Ints, rows: Ints, begins: Ints, ends: Ints, result: Any
) -> None:
    for place in range(len(rows)):
        row, begin, end = rows[place], begins[place], ends[place]
        count = store.size[row]
        if count == 0:
            continue
        # The last reading at or before the begin, -1 if none, and the first at or after the end.
        left = position(store.time, row, count, begin, True) - 1
        right = position(store.time, row, count, end, False)
        if right < count and store.time[row, right] - end > limits.max_gap:
            # Too far away to tell anything: so a reading bears on no window further back than that.
            count = right
        first, last = max(left, 0), min(right, count - 1)

        imported = exported = covered = measured = gap_energy = 0
        versions = store.versions[row, first] - 1
        for index in range(first, last):
            versions += store.versions[row, index + 1] - 1
            start, stop = store.time[row, index], store.time[row, index + 1]
            rise_in, rise_out, plausible = rises(
                stop - start,
                (store.imported[row, index], store.imported[row, index + 1]),
                (store.exported[row, index], store.exported[row, index + 1]),
                limit[row],
                limits,
            )
            if plausible:
                part_in, part_out, span = _cut(rise_in, rise_out, start, stop, begin, end)
                imported += part_in
                exported += part_out
                covered += span
                if stop - start <= limits.ordinary:
                    measured += span
                else:
                    gap_energy += part_in + part_out

        # Once something is said it stays said: more readings can make it better, but not unsaid.
        known = left >= 0 and begin - store.time[row, left] <= limits.forecast
        if not known and left + 1 < count:
            following = store.time[row, left + 1]
            known = following - begin <= limits.backcast or following < end
        if not known:
            # Of a part there can be readings, but then nothing tells how they go on.
            result[0][place], result[1][place], result[2][place] = imported, exported, gap_energy
            result[3][place] = measured
            continue
        facts = extra[row] + max(right - left - 1, 0) * _INSIDE + versions * _VERSION
        if left >= 0:
            facts += _SIDE + max(limits.reach - (begin - store.time[row, left]), 0) // _MILLISECOND
        if right < count:
            facts += _SIDE + max(limits.reach - (store.time[row, right] - end), 0) // _MILLISECOND
        unknown = end - begin - covered
        if unknown > 0:
            power_in, power_out, more = _mean_power(store, limits, limit[row], row, count, begin, end)
            more_in, more_out = int(np.rint(power_in * unknown)), int(np.rint(power_out * unknown))
            imported += more_in
            exported += more_out
            gap_energy += more_in + more_out
            facts += more
        result[0][place], result[1][place], result[2][place] = imported, exported, gap_energy
        result[3][place], result[4][place] = measured, True
        result[5][place] = facts
        result[6][place] = store.time[row, 0] < end


@compiled
def rises(
    length: int, imported: tuple[int, int], exported: tuple[int, int], limit: float, limits: Limits
) -> tuple[int, int, bool]:
    """How far registers rose over a stretch, and whether that is plausible.

    Args:
        length: of the stretch, µs.
        imported: the import register at both ends, µWh.
        exported: the export register at both ends, µWh.
        limit: greatest power, µWh/µs.
        limits: the rules.
    """
    if length > limits.max_gap:
        return 0, 0, False
    allowed = limit * length + MICRO_WH_PER_KWH // 100
    rise_in = _rise(imported[0], imported[1], allowed, limits.rollovers)
    rise_out = 0
    if NO_EXPORT not in exported:
        rise_out = _rise(exported[0], exported[1], allowed, limits.rollovers)
    return rise_in, rise_out, rise_in >= 0 and rise_out >= 0


@compiled
def _rise(before: int, after: int, allowed: float, rollovers: tuple[int, ...]) -> int:
    """How far a register rose; -1 if that is not plausible. A roll-over is seen through."""
    rise = after - before
    if rise >= 0:
        return rise if rise <= allowed else -1
    for modulus in rollovers:
        rolled = after + modulus - before
        # Near the top only: else every reset of a large meter would pass for a roll-over.
        near_top = before >= modulus - min(allowed, modulus // 10)
        if before < modulus and after < modulus and rolled <= allowed and near_top:
            return int(rolled)
    return -1


@compiled
def _cut(rise_in: int, rise_out: int, start: int, stop: int, begin: int, end: int) -> tuple[int, int, int]:
    """What of an even rise over [start, stop) falls into [begin, end): import, export, µs."""
    length = stop - start
    low, high = max(begin - start, 0), min(end - start, length)
    if high <= low:
        return 0, 0, 0
    part_in = _share(rise_in, high, length) - _share(rise_in, low, length)
    part_out = _share(rise_out, high, length) - _share(rise_out, low, length)
    return part_in, part_out, high - low


@compiled
def _share(rise: int, part: int, length: int) -> int:
    """The part's share of an even rise; exact at both ends, so that adjoining windows add up."""
    if part >= length:
        return rise
    if part == 0 or rise == 0:
        return 0
    return int(np.rint(rise * (part / length)))


@compiled
def _mean_power(
    store: Columns, limits: Limits, limit: float, row: int, near: int, begin: int, end: int
) -> tuple[float, float, int]:
    """Mean power, µWh/µs, over the span before the interval's last reading, else after its first; and facts.

    ``near`` is one past the last reading that may begin the span after it.
    """
    count = store.size[row]
    last = position(store.time, row, count, end, True) - 1
    first = position(store.time, row, count, store.time[row, max(last, 0)] - limits.estimate_span, False)
    taken, given, versions, exists = _mean_of(store, limits, limit, row, first, last)
    start = min(position(store.time, row, near, begin, False), near - 1)
    stop = position(store.time, row, count, store.time[row, start] + limits.estimate_span, True) - 1
    taken_after, given_after, more, _ = _mean_of(store, limits, limit, row, start, stop)
    # Both spans count: a reading in the one can take over from the other.
    if exists:
        return taken, given, versions + more
    return taken_after, given_after, versions + more


@compiled
def _mean_of(
    store: Columns, limits: Limits, limit: float, row: int, first: int, last: int
) -> tuple[float, float, int, bool]:
    """Mean power over the plausible stretches between two readings, versions of them, and whether there are any."""
    imported = exported = covered = 0
    versions = store.versions[row, first]
    for index in range(first, last):
        versions += store.versions[row, index + 1]
        length = store.time[row, index + 1] - store.time[row, index]
        rise_in, rise_out, plausible = rises(
            length,
            (store.imported[row, index], store.imported[row, index + 1]),
            (store.exported[row, index], store.exported[row, index + 1]),
            limit,
            limits,
        )
        if plausible:
            imported += rise_in
            exported += rise_out
            covered += length
    if covered <= 0:
        return 0.0, 0.0, versions, False
    return imported / covered, exported / covered, versions, True
