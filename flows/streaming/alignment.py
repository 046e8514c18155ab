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

import numpy as np
import numpy.typing as npt

from flows.streaming.event_time import SECOND
from flows.streaming.registers import MICRO_WH_PER_KWH, NO_EXPORT, Ints, RegisterStore

Floats = npt.NDArray[np.float64]

# A stretch may be so much longer than the reading interval (jitter, a clock set right) and still count as measured.
_JITTER = 1.5

# Weights of what ``facts`` adds up. A side that has a reading, or one reading more inside, always outweighs the
# readings from which an estimate was made and that it does without from then on.
_SIDE = 1_000_000
_INSIDE = 100_000
_VERSION = 1_000
_MILLISECOND = 1_000


@dataclass(frozen=True, slots=True)
class AlignmentRules:
    """The rules of alignment; times in µs, ``limit_kw`` the default greatest power.

    Attributes:
        interval: how often meters are read.
        max_gap: the longest stretch that is interpolated.
        estimate_span: from how long before (after) a missing part its power is estimated.
        backcast: how far before the first reading energy is estimated.
        limit_kw: greatest power of a meter of which nothing else is known.
        rollovers: values at which a register starts again from 0, µWh, ascending.
        reach: up to how far away a reading's distance tells in ``facts``; more than the allowed lateness, so that
            it tells wherever a reading can still come.
    """

    interval: int
    max_gap: int
    estimate_span: int
    backcast: int
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
            limit_kw=max_power_kw,
            rollovers=tuple(sorted(10**digits * MICRO_WH_PER_KWH for digits in register_digits)),
            reach=(max(max_gap_seconds, allowed_lateness_seconds) + 86_400) * SECOND,
        )


@dataclass(frozen=True, slots=True)
class Aligned:
    """Energies of n intervals.

    Attributes:
        imported: µWh taken.
        exported: µWh fed in.
        estimated: µWh (both directions) that are not measured: interpolated over a gap, or estimated.
        measured: µs of the interval covered by stretches of ordinary length.
        known: False where the interval lies too far before the meter's first reading: nothing is said of it.
        facts: the revision; 0 where nothing could be said.
        started: the meter had its first reading before the interval's end.
    """

    imported: Ints
    exported: Ints
    estimated: Ints
    measured: Ints
    known: npt.NDArray[np.bool_]
    facts: Ints
    started: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Sums:
    imported: Ints
    exported: Ints
    covered: Ints
    measured: Ints
    gap_energy: Ints
    versions: Ints


def micro_wh_per_us(power_kw: Floats) -> Floats:
    """Power in kW as µWh per µs."""
    return power_kw * MICRO_WH_PER_KWH / (3600 * SECOND)


def align(store: RegisterStore, rules: AlignmentRules, limit_kw: Floats, rows: Ints, begin: Ints, end: Ints) -> Aligned:
    """Energies of meters ``rows`` over the intervals [begin, end), all arrays of one length n.

    Args:
        store: the readings; each row concerned has at least one.
        rules: the rules of alignment.
        limit_kw: greatest power per row of the store.
        rows: row numbers, n.
        begin: begin of each interval, µs.
        end: end of each interval, µs, later than the begin.
    """
    count = store.count[rows]
    left = store.search(rows, begin, "right") - 1
    right = store.search(rows, end, "left")
    has_left, has_right = left >= 0, right < count
    sums = _over_stretches(store, rules, limit_kw, rows, np.maximum(left, 0), np.minimum(right, count - 1), begin, end)
    imported, exported = sums.imported, sums.exported
    unknown = (end - begin) - sums.covered
    estimated = sums.gap_energy
    # Once something is said it stays said: more readings can make it better, but not unsaid.
    known = has_left | (begin >= store.time[rows, 0] - rules.backcast)
    started = store.time[rows, 0] < end

    reach = rules.reach
    near = store.time[rows, np.maximum(left, 0)]
    facts = np.where(has_left, _SIDE + np.maximum(reach - (begin - near), 0) // _MILLISECOND, 0)
    near = store.time[rows, np.minimum(right, count - 1)]
    facts += np.where(has_right, _SIDE + np.maximum(reach - (near - end), 0) // _MILLISECOND, 0)
    facts += np.maximum(right - left - 1, 0) * _INSIDE + sums.versions * _VERSION

    lacking = np.flatnonzero(unknown > 0)
    if len(lacking):
        imported, exported, estimated = imported.copy(), exported.copy(), estimated.copy()
        rate = _mean_power(store, rules, limit_kw, rows[lacking], begin[lacking], end[lacking])
        span = np.where(known[lacking], unknown[lacking], 0).astype(np.float64)
        more_in = np.rint(rate.imported * span).astype(np.int64)
        more_out = np.rint(rate.exported * span).astype(np.int64)
        imported[lacking] += more_in
        exported[lacking] += more_out
        estimated[lacking] += more_in + more_out
        facts[lacking] += rate.versions
        facts[~known] = 0
    return Aligned(imported, exported, estimated, sums.measured, known, facts, started)


def _over_stretches(
    store: RegisterStore,
    rules: AlignmentRules,
    limit_kw: Floats,
    rows: Ints,
    first: Ints,
    last: Ints,
    begin: Ints,
    end: Ints,
) -> _Sums:
    """Sums over the stretches between the readings ``first`` .. ``last`` of each row, cut to [begin, end)."""
    sizes = np.maximum(last - first, 0)
    single = bool((sizes == 1).all())
    if single:
        row, index, low, high = rows, first, begin, end
    else:
        row = np.repeat(rows, sizes)
        offset = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        index = np.repeat(first, sizes) + offset
        low, high = np.repeat(begin, sizes), np.repeat(end, sizes)
    t0, t1 = store.time[row, index], store.time[row, index + 1]
    length = t1 - t0
    allowed = micro_wh_per_us(limit_kw[row]) * length + MICRO_WH_PER_KWH // 100
    rise_in, fine_in = _rise(store.imported[row, index], store.imported[row, index + 1], allowed, rules.rollovers)
    out0, out1 = store.exported[row, index], store.exported[row, index + 1]
    rise_out, fine_out = _rise(out0, out1, allowed, rules.rollovers)
    absent = (out0 == NO_EXPORT) | (out1 == NO_EXPORT)
    if absent.any():
        rise_out = np.where(absent, 0, rise_out)
        fine_out = fine_out | absent
    plausible = fine_in & fine_out & (length <= rules.max_gap)
    x0, x1 = np.maximum(t0, low) - t0, np.minimum(t1, high) - t0
    if not plausible.all():
        rise_in, rise_out = np.where(plausible, rise_in, 0), np.where(plausible, rise_out, 0)
    imported = _share(rise_in, x1, length) - _share(rise_in, x0, length)
    exported = _share(rise_out, x1, length) - _share(rise_out, x0, length)
    covered = np.where(plausible, np.maximum(x1 - x0, 0), 0)
    ordinary = length <= _JITTER * rules.interval
    measured = np.where(ordinary, covered, 0)
    gap_energy = np.where(ordinary, 0, imported + exported)
    versions = store.versions[rows, np.minimum(first, store.time.shape[1] - 1)].astype(np.int64) - 1
    more = store.versions[row, index + 1].astype(np.int64) - 1
    if single:
        return _Sums(imported, exported, covered, measured, gap_energy, versions + more)
    ends = np.cumsum(sizes)

    def total(values: Ints) -> Ints:
        running = np.concatenate(([0], np.cumsum(values)))
        result: Ints = running[ends] - running[ends - sizes]
        return result

    return _Sums(
        total(imported),
        total(exported),
        total(covered),
        total(measured),
        total(gap_energy),
        versions + total(more),
    )


def _share(rise: Ints, part: Ints, length: Ints) -> Ints:
    """The part's share of an even rise; exact at both ends, so that adjoining windows add up."""
    return np.where(part >= length, rise, np.rint(rise * (part / length)).astype(np.int64))


def _rise(old: Ints, new: Ints, allowed: Floats, rollovers: tuple[int, ...]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """How far registers rose, and whether that is plausible; a roll-over is seen through."""
    rise = new - old
    falling = np.flatnonzero(rise < 0)
    if len(falling):
        before, after, most = old[falling], new[falling], allowed[falling]
        through = rise[falling]
        for modulus in rollovers:
            rolled = after + modulus - before
            fits = (through < 0) & (before < modulus) & (after < modulus) & (rolled <= most)
            # Near the top only: else every reset of a large meter would pass for a roll-over.
            fits &= before >= modulus - np.minimum(most, modulus // 10)
            through = np.where(fits, rolled, through)
        rise = rise.copy()
        rise[falling] = through
    return rise, (rise >= 0) & (rise <= allowed)


@dataclass(frozen=True, slots=True)
class _Power:
    imported: Floats
    exported: Floats
    versions: Ints
    exists: npt.NDArray[np.bool_]


def _mean_power(
    store: RegisterStore, rules: AlignmentRules, limit_kw: Floats, rows: Ints, begin: Ints, end: Ints
) -> _Power:
    """Mean power, µWh/µs, over the span before each interval's last reading, else after its first."""
    count = store.count[rows]
    last = store.search(rows, end, "right") - 1
    last_time = store.time[rows, np.maximum(last, 0)]
    first = store.search(rows, last_time - rules.estimate_span, "left")
    before = _mean_of(store, rules, limit_kw, rows, first, np.where(last >= 0, last, first))
    start = np.minimum(store.search(rows, begin, "left"), count - 1)
    start_time = store.time[rows, start]
    stop = store.search(rows, start_time + rules.estimate_span, "right") - 1
    after = _mean_of(store, rules, limit_kw, rows, start, stop)
    use = ~before.exists
    return _Power(
        np.where(use, after.imported, before.imported),
        np.where(use, after.exported, before.exported),
        # Both spans count: a reading in the one can take over from the other.
        before.versions + after.versions,
        before.exists | after.exists,
    )


def _mean_of(
    store: RegisterStore, rules: AlignmentRules, limit_kw: Floats, rows: Ints, first: Ints, last: Ints
) -> _Power:
    last = np.maximum(last, first)
    begin, end = store.time[rows, first], store.time[rows, last]
    sums = _over_stretches(store, rules, limit_kw, rows, first, last, begin, end)
    exists = sums.covered > 0
    time = np.where(exists, sums.covered, 1).astype(np.float64)
    return _Power(
        np.where(exists, sums.imported / time, 0.0),
        np.where(exists, sums.exported / time, 0.0),
        (last - first + 1) + sums.versions,
        exists,
    )
