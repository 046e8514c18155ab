"""Which rises of a register can be true: resets, jumps, roll-overs and single wrong readings, from the numbers alone.

A stretch between two consecutive readings tells of energy only if

- it is not longer than ``max_gap``;
- neither register fell: that is a reset or a changed meter, unless the register rolled over. It did so if it was near
  the top of its digits, and so little is missing that it fits the power before or after;
- neither register rose faster than the meter's greatest power: that is a jump;
- no other reading near by contradicts it. A rise to a value that is taken back soon, to no less than where it began,
  was made by a reading that is too large; a rise from a value that is lower than one shortly before, to no less than
  that one, by a reading that is too small.

``evidence`` counts on what the verdicts rest besides the stretch's own two readings. It only grows as readings come in
and grows whenever they turn a verdict, so that it can be part of a revision.
"""

from __future__ import annotations

from typing import NamedTuple

from connectors.compiled import compiled
from flows.streaming.position import position
from flows.streaming.registers import MICRO_WH_PER_KWH, NO_EXPORT, Columns

_TURNS = 7  # more than the evidence that one reading can make or take away
_ROLLOVER_FACTOR = 4.0  # of the mean power beside it: what a load may do within a reading interval


class Limits(NamedTuple):
    """The rules of alignment as compiled code takes them, times in µs; see ``AlignmentRules``."""

    ordinary: int
    max_gap: int
    estimate_span: int
    backcast: int
    forecast: int
    reach: int
    near: int
    far: int
    rollover_power: float
    rollovers: tuple[int, ...]


@compiled
def rises(
    length: int, imported: tuple[int, int], exported: tuple[int, int], limit: float, limits: Limits
) -> tuple[int, int, bool]:
    """How far registers rose over a stretch, and whether its own two readings allow that.

    Args:
        length: of the stretch, µs.
        imported: the import register at both ends, µWh.
        exported: the export register at both ends, µWh.
        limit: greatest power, µWh/µs.
        limits: the rules.
    """
    rise_in = imported[1] - imported[0]
    rise_out = 0
    if NO_EXPORT not in exported:
        rise_out = exported[1] - exported[0]
    allowed = _allowed(length, limit)
    return rise_in, rise_out, length <= limits.max_gap and 0 <= rise_in <= allowed and 0 <= rise_out <= allowed


@compiled
def _allowed(length: int, limit: float) -> float:
    """How far a register may rise, µWh: the greatest power for so long, and a register's step."""
    return limit * length + MICRO_WH_PER_KWH // 100


@compiled
def judged(store: Columns, limits: Limits, limit: float, row: int, index: int) -> tuple[int, int, bool, int]:
    """How far registers rose between a reading and the next, whether that is plausible, and the evidence for it.

    Args:
        store: the readings.
        limits: the rules.
        limit: greatest power, µWh/µs.
        row: of the meter.
        index: of the reading.
    """
    length = store.time[row, index + 1] - store.time[row, index]
    imported = (store.imported[row, index], store.imported[row, index + 1])
    exported = (store.exported[row, index], store.exported[row, index + 1])
    rise_in, rise_out, plausible = rises(length, imported, exported, limit, limits)
    if length > limits.max_gap:
        return 0, 0, False, 0
    if rise_in >= 0 and rise_out >= 0:
        if store.doubt_until[row] < store.time[row, index]:
            return rise_in, rise_out, plausible, 0
        contradicted, evidence = _contradicted(store, limits, row, index, limits.far)
        return rise_in, rise_out, plausible and not contradicted, evidence
    allowed = _allowed(length, limit)
    if rise_in < 0:
        rise_in = _rolled_over(imported[0], imported[1], allowed, limits.rollovers)
    if rise_out < 0:
        rise_out = _rolled_over(exported[0], exported[1], allowed, limits.rollovers)
    if not (0 <= rise_in <= allowed and 0 <= rise_out <= allowed):
        return 0, 0, False, 0
    before_in, before_out, evidence, _ = power_before(store, limits, limit, row, index)
    after_in, after_out, more, _ = power_after(store, limits, limit, row, index + 1)
    usual_in, usual_out = max(before_in, after_in), max(before_out, after_out)
    fits = True
    if imported[1] < imported[0]:
        fits = rise_in <= length * max(_ROLLOVER_FACTOR * usual_in, limits.rollover_power)
    if exported[1] < exported[0] and NO_EXPORT not in exported:
        fits = fits and rise_out <= length * max(_ROLLOVER_FACTOR * usual_out, limits.rollover_power)
    return rise_in, rise_out, fits, evidence + more


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
def _contradicted(store: Columns, limits: Limits, row: int, index: int, far: int) -> tuple[bool, int]:
    """Whether other readings contradict a rise, and the evidence.

    Near by any such reading counts, so that a burst of wrong ones is seen through. Further away it must be the least
    of those that follow (the greatest of those that went before): else a register that was reset, and comes past its
    old values again, would be taken for wrong.
    """
    count = store.size[row]
    start, stop = store.time[row, index], store.time[row, index + 1]
    low_in, high_in = store.imported[row, index], store.imported[row, index + 1]
    low_out, high_out = store.exported[row, index], store.exported[row, index + 1]
    if NO_EXPORT in (low_out, high_out):
        low_out = high_out = 0
    near_in = near_out = False
    least_in, least_out = high_in, high_out
    place = index + 2
    while place < count and store.time[row, place] <= start + far:
        near = store.time[row, place] <= start + limits.near
        value = store.imported[row, place]
        near_in |= near and low_in <= value < high_in
        least_in = min(least_in, value)
        value = store.exported[row, place]
        if value != NO_EXPORT:
            near_out |= near and low_out <= value < high_out
            least_out = min(least_out, value)
        place += 1
    evidence = int(near_in) + int(near_out)
    contradicted = near_in or near_out
    near_in = near_out = False
    most_in, most_out = low_in, low_out
    place = index - 1
    while place >= 0 and store.time[row, place] >= stop - far:
        near = store.time[row, place] >= stop - limits.near
        value = store.imported[row, place]
        near_in |= near and low_in < value <= high_in
        most_in = max(most_in, value)
        value = store.exported[row, place]
        near_out |= near and low_out < value <= high_out
        most_out = max(most_out, value)
        place -= 1
    evidence += int(near_in) + int(near_out)
    contradicted = contradicted or near_in or near_out
    if far > limits.near:
        for low, high, least, most in (
            (low_in, high_in, least_in, most_in),
            (low_out, high_out, least_out, most_out),
        ):
            if low < high:
                # 1: taken back in part; 2: below where it began, so that it says nothing of this rise.
                evidence += int(least < high) + int(least < low) + int(most > low) + int(most > high)
                contradicted |= low <= least < high or low < most <= high
    if len(store.corrected.row):
        evidence += _corrections(store, row, start, stop, far, (low_in, high_in), (low_out, high_out))
    return contradicted, evidence


@compiled
def _corrections(
    store: Columns, row: int, start: int, stop: int, far: int, imported: tuple[int, int], exported: tuple[int, int]
) -> int:
    """Evidence of corrections near by: each can take back what a value that it replaced had turned."""
    evidence = 0
    corrected = store.corrected
    place = _first(corrected.row, row)
    while place < len(corrected.row) and corrected.row[place] == row:
        time = corrected.time[place]
        if stop < time <= start + far:
            below = imported[0] < imported[1] and corrected.least_imported[place] < imported[1]
            below |= exported[0] < exported[1] and corrected.least_exported[place] < exported[1]
            evidence += int(below) * (corrected.versions[place] - 1)
        elif stop - far <= time < start:
            above = imported[0] < imported[1] and corrected.most_imported[place] > imported[0]
            above |= exported[0] < exported[1] and corrected.most_exported[place] > exported[0]
            evidence += int(above) * (corrected.versions[place] - 1)
        place += 1
    return evidence * _TURNS


@compiled
def _first(rows: object, row: int) -> int:
    low, high = 0, len(rows)  # type: ignore[arg-type]
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:  # type: ignore[index]
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _disorder(store: Columns, limits: Limits, row: int, first: int, last: int) -> int:
    """Evidence for the verdicts on stretches between two readings: all near by, once any can contradict another.

    Stretches come and go as readings come in; this only grows.
    """
    count = store.size[row]
    place = position(store.time, row, count, store.time[row, first] - limits.near, False)
    until = store.time[row, last] + limits.near
    most_in, most_out = store.imported[row, place], store.exported[row, place]
    versions, disorder = 0, False
    while place < count and store.time[row, place] <= until:
        value_in, value_out = store.imported[row, place], store.exported[row, place]
        versions += store.versions[row, place]
        disorder |= store.versions[row, place] > 1 or value_in < most_in or NO_EXPORT != value_out < most_out
        most_in, most_out = max(most_in, value_in), max(most_out, value_out)
        place += 1
    return versions if disorder else 0


IN_ORDER, INVERTED, UNTOLD = 0, 1, 2


@compiled
def order(imported: int, exported: int, imported_later: int, exported_later: int) -> int:
    """Whether registers stand no higher than they do later; untold if one of them has a part that the other lacks."""
    if imported > imported_later:
        return INVERTED
    if (exported == NO_EXPORT) != (exported_later == NO_EXPORT):
        return UNTOLD
    return INVERTED if exported > exported_later else IN_ORDER


@compiled
def inverted(store: Columns, limits: Limits, row: int, at: int, time: int, imported: int, exported: int) -> bool:
    """Whether a register stands lower than one before, or higher than one after, as far away as tells.

    Args:
        store: the readings.
        limits: the rules.
        row: of the meter.
        at: position at which the reading belongs, or is.
        time: of the reading, µs.
        imported: its import register, µWh.
        exported: its export register, µWh.
    """
    place = at - 1
    while place >= 0 and store.time[row, place] >= time - limits.far:
        if order(store.imported[row, place], store.exported[row, place], imported, exported) == INVERTED:
            return True
        place -= 1
    place = at
    while place < store.size[row] and store.time[row, place] <= time + limits.far:
        if order(imported, exported, store.imported[row, place], store.exported[row, place]) == INVERTED:
            return True
        place += 1
    return False


@compiled
def power_before(store: Columns, limits: Limits, limit: float, row: int, last: int) -> tuple[float, float, int, bool]:
    """Mean power, µWh/µs, in the span that ends with a reading; its evidence; whether anything is known of it."""
    first = position(store.time, row, last, store.time[row, last] - limits.estimate_span, False)
    return _mean_power(store, limits, limit, row, first, last)


@compiled
def power_after(store: Columns, limits: Limits, limit: float, row: int, first: int) -> tuple[float, float, int, bool]:
    """As ``power_before``, in the span that begins with a reading."""
    until = store.time[row, first] + limits.estimate_span
    last = position(store.time, row, store.size[row], until, True) - 1
    return _mean_power(store, limits, limit, row, first, last)


@compiled
def _mean_power(
    store: Columns, limits: Limits, limit: float, row: int, first: int, last: int
) -> tuple[float, float, int, bool]:
    """Over the plausible stretches between two readings, each judged by what lies near it."""
    imported = exported = covered = 0
    evidence = store.versions[row, first]
    doubt = store.doubt_until[row] >= store.time[row, first] - limits.near
    for index in range(first, last):
        evidence += store.versions[row, index + 1]
        length = store.time[row, index + 1] - store.time[row, index]
        rise_in, rise_out, plausible = rises(
            length,
            (store.imported[row, index], store.imported[row, index + 1]),
            (store.exported[row, index], store.exported[row, index + 1]),
            limit,
            limits,
        )
        if plausible and doubt:
            plausible = not _contradicted(store, limits, row, index, limits.near)[0]
        if plausible:
            imported += rise_in
            exported += rise_out
            covered += length
    if doubt:
        evidence += _disorder(store, limits, row, first, last)
    if covered <= 0:
        return 0.0, 0.0, evidence, False
    return imported / covered, exported / covered, evidence, True
