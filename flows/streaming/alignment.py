"""Alignment: cumulative registers, read at arbitrary times, to energies of common windows.

Between two consecutive readings the register is taken to rise evenly, so the energy of any interval is a difference
of interpolated registers, and over adjoining windows these differences add up to the register's own. A stretch
between readings counts only if it is plausible (see ``plausibility``): a reset, a jump or a wrong reading is never
turned into energy.

What no plausible stretch covers (before the first reading, after the last, over a reset) is estimated from the mean
power that the meter had in the last hours before it, or after it, and is not *measured*.

The result of an interval is a pure function of the meter's readings, whatever order they came in. Its ``facts`` grows
with every reading or correction on which the result can rest, so it serves as revision: the closer the readings on
both sides of the interval, the more readings inside, the more versions of them, the larger. (A mere count of the
readings would not do: one reading that is replaced by a nearer one changes the result, but not the count.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.streaming.event_time import SECOND
from flows.streaming.plausibility import NONE, Limits, judged, power_from, power_up_to, rises
from flows.streaming.position import position
from flows.streaming.registers import MICRO_WH_PER_KWH, NEVER, Columns, Ints, RegisterStore

Floats = npt.NDArray[np.float64]
Power = TypeVar("Power", float, Floats)

# A stretch may be so much longer than the reading interval (jitter, a clock set right) and still count as measured.
_JITTER = 1.5

# Within so many reading intervals any reading that contradicts a stretch counts.
_NEAR = 8

_ROLLOVER_KW = 5.0  # so much may be missing of a register that rolled over, whatever the power beside it

# Weights of what ``facts`` adds up, by what outweighs what: whatever a nearer reading, or one more inside, turns; then
# what a correction turns; then the evidence for verdicts on stretches; then the readings from which estimates are made.
# (A reading that replaces another as the nearest must be nearer by 17 s for each time that one was corrected. With
# larger weights the sums over a city would not fit into the 53 bits of numbers that some programs have.)
_INSIDE = _SIDE = 1 << 25
_VERSION = 1 << 21
_EVIDENCE = 1 << 14
_NEARER = 1 << 7
_MILLISECOND = 1_000


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
    def near(self) -> int:
        """Up to what distance any reading that contradicts a stretch counts, µs."""
        return min(_NEAR * self.interval, max(self.max_gap - self.estimate_span, 0) // 2)

    @property
    def estimate_reach(self) -> int:
        """How far beyond the reading beside a missing part those lie from which it is estimated, µs."""
        return self.estimate_span + 2 * self.near

    @property
    def looks_back(self) -> int:
        """How far before the reading beside a window those lie on which it can rest: estimates, contradictions; µs."""
        return max(self.estimate_reach, self.max_gap)

    @property
    def limits(self) -> Limits:
        """For compiled code."""
        return Limits(
            int(_JITTER * self.interval),
            self.max_gap,
            self.estimate_span,
            self.estimate_reach,
            self.backcast,
            self.forecast,
            self.reach,
            self.near,
            micro_wh_per_us(_ROLLOVER_KW),
            self.rollovers or (0,),
        )


@dataclass(frozen=True, slots=True)
class Aligned:
    """Energies of a register in n intervals.

    Attributes:
        energy: µWh.
        estimated: µWh of it that are not measured: interpolated over a gap, or estimated.
        measured: µs of the interval covered by stretches of ordinary length.
        known: False where all readings are too far away from the interval: nothing is said of it.
        facts: the revision; 0 where nothing could be said.
        started: known, and the register had its first reading before the interval's end.
    """

    energy: Ints
    estimated: Ints
    measured: Ints
    known: npt.NDArray[np.bool_]
    facts: Ints
    started: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, size: int) -> Aligned:
        """Room for so many intervals, of which nothing is known."""
        numbers = [np.zeros(size, np.int64) for _ in range(4)]
        known, started = np.zeros(size, bool), np.zeros(size, bool)
        return cls(numbers[0], numbers[1], numbers[2], known, numbers[3], started)


def micro_wh_per_us(power_kw: Power) -> Power:
    """Power in kW as µWh per µs."""
    return power_kw * (MICRO_WH_PER_KWH / (3600 * SECOND))


def align(
    store: RegisterStore, rules: AlignmentRules, limit: Floats, extra: Ints, rows: Ints, begin: Ints, end: Ints
) -> Aligned:
    """Energies of registers ``rows`` over the intervals [begin, end), arrays of one length n.

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

        energy = covered = measured = gap_energy = evidence = 0
        versions = store.versions[row, first] - 1
        # Where the stretches that are not plausible begin and end.
        doubt_from = doubt_to = NONE
        for index in range(first, last):
            versions += store.versions[row, index + 1] - 1
            start, stop = store.time[row, index], store.time[row, index + 1]
            rise = store.value[row, index + 1] - store.value[row, index]
            plausible = rises(stop - start, store.value[row, index], store.value[row, index + 1], limit[row], limits)
            if store.doubt_until[row] >= start:
                rise, plausible, more = judged(store, limits, limit[row], row, index)
                evidence += more
            if plausible:
                part, span = _cut(rise, start, stop, begin, end)
                energy += part
                covered += span
                if stop - start <= limits.ordinary:
                    measured += span
                else:
                    gap_energy += part
            else:
                doubt_from = index if doubt_from == NONE else doubt_from
                doubt_to = index + 1

        result[0][place], result[1][place], result[2][place] = energy, gap_energy, measured
        following = store.time[row, left + 1] if left + 1 < count else NEVER
        if not _is_known(limits, left >= 0, store.time[row, first], following, begin, end):
            continue
        facts = (extra[row] + versions) * _VERSION + max(right - left - 1, 0) * _INSIDE + evidence * _EVIDENCE
        facts += _side(limits, left >= 0, begin - store.time[row, first])
        facts += _side(limits, right < count, store.time[row, last] - end)
        unknown = end - begin - covered
        if unknown > 0:
            power, more = _missing_power(store, limits, limit[row], row, count, begin, end, (doubt_from, doubt_to))
            missing = int(np.rint(power * unknown))
            result[0][place] += missing
            result[1][place] += missing
            facts += more
        result[3][place], result[4][place] = True, facts
        result[5][place] = store.time[row, 0] < end


@compiled
def _is_known(limits: Limits, exists: bool, before: int, after: int, begin: int, end: int) -> bool:
    """Whether anything is said of [begin, end), from the readings next to its begin.

    Once something is said it stays said: more readings can make it better, but not unsaid. Of a part of the interval
    there can be readings even so, but then nothing tells how they go on.
    """
    if exists and begin - before <= limits.forecast:
        return True
    return after <= begin + limits.backcast or after < end


@compiled
def _side(limits: Limits, exists: bool, distance: int) -> int:
    """What the nearest reading on one side counts: the nearer, the more."""
    return _SIDE + _NEARER * (max(limits.reach - distance, 0) // _MILLISECOND) if exists else 0


@compiled
def _missing_power(
    store: Columns, limits: Limits, limit: float, row: int, count: int, begin: int, end: int, doubt: tuple[int, int]
) -> tuple[float, int]:
    """Mean power, µWh/µs, before what is missing of an interval, else after it; and the evidence.

    Args:
        store: the readings.
        limits: the rules.
        limit: greatest power, µWh/µs.
        row: of the meter.
        count: of the readings that count.
        begin: of the interval, µs.
        end: of the interval, µs.
        doubt: where the stretches in it that are not plausible begin and end, or ``NONE``.
    """
    first, last = doubt
    if first == NONE:
        before = max(position(store.time, row, count, end, True) - 1, 0)
        after = min(position(store.time, row, count, begin, False), count - 1)
    else:
        before, after = first, last
    power, evidence, exists = power_up_to(store, limits, limit, row, before, last, True)
    power_after, more, _ = power_from(store, limits, limit, row, after, first, True)
    # Both spans count: a reading in the one can take over from the other.
    return power if exists else power_after, evidence + more


@compiled
def _cut(rise: int, start: int, stop: int, begin: int, end: int) -> tuple[int, int]:
    """What of an even rise over [start, stop) falls into [begin, end): energy, µs."""
    length = stop - start
    low, high = max(begin - start, 0), min(end - start, length)
    if high <= low:
        return 0, 0
    return _share(rise, high, length) - _share(rise, low, length), high - low


@compiled
def _share(rise: int, part: int, length: int) -> int:
    """The part's share of an even rise; exact at both ends, so that adjoining windows add up."""
    if part >= length:
        return rise
    if part == 0 or rise == 0:
        return 0
    return int(np.rint(rise * (part / length)))
