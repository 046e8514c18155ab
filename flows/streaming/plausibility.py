"""Which rises of a register can be true: resets, jumps, roll-overs and wrong readings, from the numbers alone.

A stretch between two consecutive readings tells of energy only if

- it is not longer than ``max_gap``;
- the register did not fall: that is a reset or a changed meter, unless it rolled over. It did so if it was near the top
  of its digits, if so little is missing that it fits the power before or after, and if no reading near by refutes it;
- it did not rise faster than the meter's greatest power: that is a jump;
- no other reading contradicts it. A rise to a value that is taken back later, to no less than where it began, was made
  by a reading that is too large; a rise from a value that is lower than one before, to no less than that one, by a
  reading that is too small.

``evidence`` counts on what the verdicts rest besides the stretch's own two readings. It only grows as readings come in
and grows whenever they turn a verdict, so that it can be part of a revision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from connectors.compiled import compiled
from flows.streaming.position import position
from flows.streaming.registers import MICRO_WH_PER_KWH, Columns

_TURNS = 4  # more than the evidence that one reading can make or take away
_ROLLOVER_FACTOR = 4.0  # of the mean power beside it: what a load may do within a reading interval
_SECOND = 1_000_000
_STEPS = 1 << 13  # of nearness
NONE = -1
"""In place of a reading's index."""


class Limits(NamedTuple):
    """The rules of alignment as compiled code takes them, times in µs; see ``AlignmentRules``."""

    ordinary: int
    max_gap: int
    estimate_span: int
    estimate_reach: int
    backcast: int
    forecast: int
    reach: int
    near: int
    rollover_power: float
    rollovers: tuple[int, ...]


@compiled
def rises(length: int, before: int, after: int, limit: float, limits: Limits) -> bool:
    """Whether a register rose over a stretch, no more than can be.

    Args:
        length: of the stretch, µs.
        before: the register at its begin, µWh.
        after: the register at its end, µWh.
        limit: greatest power, µWh/µs.
        limits: the rules.
    """
    return length <= limits.max_gap and 0 <= after - before <= _allowed(length, limit)


@compiled
def _allowed(length: int, limit: float) -> float:
    """How far a register may rise, µWh: the greatest power for so long, and a register's step."""
    return limit * length + MICRO_WH_PER_KWH // 100


@compiled
def judged(store: Columns, limits: Limits, limit: float, row: int, index: int) -> tuple[int, bool, int]:
    """How far a register rose between a reading and the next, whether that is plausible, and the evidence for it.

    Args:
        store: the readings.
        limits: the rules.
        limit: greatest power, µWh/µs.
        row: of the meter.
        index: of the reading.
    """
    start, stop = store.time[row, index], store.time[row, index + 1]
    before, after = store.value[row, index], store.value[row, index + 1]
    plausible = rises(stop - start, before, after, limit, limits)
    if after >= before:
        if store.doubt_until[row] < start:
            return after - before, plausible, 0
        contradicted, evidence = _contradicted(store, limits, row, index, limits.max_gap)
        return after - before, plausible and not contradicted, evidence
    rise = _rolled_over(before, after, _allowed(stop - start, limit), limits.rollovers)
    if rise < 0 or stop - start > limits.max_gap:
        return 0, False, 0
    power_before, evidence, _ = power_up_to(store, limits, limit, row, index, NONE, False)
    power_after, more, _ = power_from(store, limits, limit, row, index + 1, NONE, False)
    refuted, refuting = _refuted(store, limits, row, index)
    fits = rise <= (stop - start) * max(_ROLLOVER_FACTOR * max(power_before, power_after), limits.rollover_power)
    return rise, fits and not refuted, evidence + more + refuting


@compiled
def _rolled_over(before: int, after: int, allowed: float, rollovers: tuple[int, ...]) -> int:
    """How far a register rose if it rolled over; -1 if it cannot have."""
    for modulus in rollovers:
        rolled = after + modulus - before
        # Near the top only: else every reset of a large meter would pass for a roll-over.
        near_top = before >= modulus - min(allowed, modulus // 10)
        if before < modulus and after < modulus and rolled <= allowed and near_top:
            return int(rolled)
    return -1


@compiled
def _refuted(store: Columns, limits: Limits, row: int, index: int) -> tuple[bool, int]:
    """Whether a register that seems to have rolled over was as high soon after, or as low shortly before."""
    start, stop = store.time[row, index], store.time[row, index + 1]
    before, after = store.value[row, index], store.value[row, index + 1]
    high = low = False
    place = index + 2
    while place < store.size[row] and store.time[row, place] <= stop + limits.near:
        high |= store.value[row, place] >= before
        place += 1
    place = index - 1
    while place >= 0 and store.time[row, place] >= start - limits.near:
        low |= store.value[row, place] <= after
        place -= 1
    evidence = int(high) + int(low)
    if len(store.corrected.row):
        evidence += _corrections(store, row, (start - limits.near, start), (stop, stop + limits.near), (after, before))
    return high or low, evidence


@compiled
def _contradicted(store: Columns, limits: Limits, row: int, index: int, far: int) -> tuple[bool, int]:
    """Whether other readings contradict a rise, and the evidence.

    Near by any such reading counts, so that a burst of wrong ones is seen through. Further away it must be the least
    of those that follow (the greatest of those that went before): else a register that was reset, and comes past its
    old values again, would be taken for wrong.
    """
    start, stop = store.time[row, index], store.time[row, index + 1]
    low, high = store.value[row, index], store.value[row, index + 1]
    if low >= high:
        return False, 0
    near_later = near_earlier = False
    least, most = high, low
    place = index + 2
    while place < store.size[row] and store.time[row, place] <= start + far:
        value = store.value[row, place]
        near_later |= low <= value < high and store.time[row, place] <= start + limits.near
        least = min(least, value)
        place += 1
    place = index - 1
    while place >= 0 and store.time[row, place] >= stop - far:
        value = store.value[row, place]
        near_earlier |= low < value <= high and store.time[row, place] >= stop - limits.near
        most = max(most, value)
        place -= 1
    contradicted = near_later or near_earlier
    evidence = int(near_later) + int(near_earlier)
    if far > limits.near:
        # 1: taken back in part; 2: below where it began, so that it says nothing of this rise.
        evidence += int(least < high) + int(least < low) + int(most > low) + int(most > high)
        contradicted = contradicted or low <= least < high or low < most <= high
    if len(store.corrected.row):
        evidence += _corrections(store, row, (stop - far, start), (stop, start + far), (low, high))
    return contradicted, evidence


@compiled
def _corrections(
    store: Columns, row: int, earlier: tuple[int, int], later: tuple[int, int], values: tuple[int, int]
) -> int:
    """Evidence of corrections near by: each can take back what a value that it replaced had turned.

    Args:
        store: the readings.
        row: of the meter.
        earlier: from when to when (exclusive) a version above the first value counts; or not above it.
        later: from when (exclusive) to when a version below the second value counts; or not below it.
        values: two values.
    """
    evidence = 0
    corrected = store.corrected
    place = np.searchsorted(corrected.row, row)
    while place < len(corrected.row) and corrected.row[place] == row:
        time = corrected.time[place]
        least, most = corrected.least[place], corrected.most[place]
        if earlier[0] <= time < earlier[1]:
            counts = most > values[0] or least <= values[0]
        else:
            counts = later[0] < time <= later[1] and (least < values[1] or most >= values[1])
        evidence += int(counts) * (corrected.versions[place] - 1)
        place += 1
    return evidence * _TURNS


@compiled
def power_up_to(
    store: Columns, limits: Limits, limit: float, row: int, last: int, against: int, wide: bool
) -> tuple[float, int, bool]:
    """Mean power, µWh/µs, in the span that ends with a reading; its evidence; whether anything is known of it.

    Args:
        store: the readings.
        limits: the rules.
        limit: greatest power, µWh/µs.
        row: of the meter.
        last: index of the reading.
        against: index of a later reading that rises must not contradict either, or ``NONE``.
        wide: with the stretch in which the span begins.
    """
    anchor = store.time[row, last]
    begin = anchor - limits.estimate_span
    inside = first = position(store.time, row, last, begin, False)
    nearness = 0
    if wide:
        before = position(store.time, row, last, begin, True) - 1
        if before >= 0 and begin - store.time[row, before] <= limits.near:
            first, nearness = before, _nearness(limits, begin - store.time[row, before])
    power, exists = _mean_power(store, limits, limit, row, first, last, against)
    # Of fixed spans, not of the stretches, which come and go: so that it only grows.
    evidence = _versions(store, row, inside, last) + nearness
    evidence += _disorder(store, row, begin - 2 * limits.near, anchor + limits.near)
    return power, evidence, exists


@compiled
def power_from(
    store: Columns, limits: Limits, limit: float, row: int, first: int, against: int, wide: bool
) -> tuple[float, int, bool]:
    """As ``power_up_to``, in the span that begins with a reading; ``against`` is an earlier one."""
    anchor, count = store.time[row, first], store.size[row]
    end = anchor + limits.estimate_span
    inside = last = position(store.time, row, count, end, True) - 1
    nearness = 0
    if wide:
        after = position(store.time, row, count, end, False)
        if after < count and store.time[row, after] - end <= limits.near:
            last, nearness = after, _nearness(limits, store.time[row, after] - end)
    power, exists = _mean_power(store, limits, limit, row, first, last, against)
    evidence = _versions(store, row, first, inside) + nearness
    evidence += _disorder(store, row, anchor - limits.near, end + 2 * limits.near)
    return power, evidence, exists


@compiled
def _nearness(limits: Limits, distance: int) -> int:
    """The nearer a reading beyond the end of a span, the more: 1 to ``_STEPS`` + 1."""
    return 1 + (limits.near - distance) // max(limits.near // _STEPS, _SECOND)


@compiled
def _mean_power(
    store: Columns, limits: Limits, limit: float, row: int, first: int, last: int, against: int
) -> tuple[float, bool]:
    """Over the plausible stretches between two readings, each judged by what lies near it and by one reading more."""
    rise = covered = 0
    doubt = store.doubt_until[row] >= store.time[row, first] - limits.near
    for index in range(first, last):
        length = store.time[row, index + 1] - store.time[row, index]
        low, high = store.value[row, index], store.value[row, index + 1]
        plausible = rises(length, low, high, limit, limits)
        if plausible and doubt:
            plausible = not _contradicted(store, limits, row, index, limits.near)[0]
        if plausible and against > index + 1:
            plausible = not low <= store.value[row, against] < high
        elif plausible and NONE < against < index:
            plausible = not low < store.value[row, against] <= high
        if plausible:
            rise += high - low
            covered += length
    return (rise / covered, True) if covered > 0 else (0.0, False)


@compiled
def _versions(store: Columns, row: int, first: int, last: int) -> int:
    """Of the readings from one to another."""
    versions = 0
    for index in range(first, last + 1):
        versions += store.versions[row, index]
    return versions


@compiled
def _disorder(store: Columns, row: int, begin: int, end: int) -> int:
    """Evidence for the verdicts on stretches in [begin, end]: all readings in it, once any can contradict another."""
    if store.doubt_until[row] < begin:
        return 0
    place = position(store.time, row, store.size[row], begin, False)
    versions, most, disorder = 0, 0, False
    while place < store.size[row] and store.time[row, place] <= end:
        versions += store.versions[row, place]
        disorder |= store.versions[row, place] > 1 or store.value[row, place] < most
        most = max(most, store.value[row, place])
        place += 1
    return versions if disorder else 0
