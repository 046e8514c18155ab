"""The period that a control block's messages keep, whatever else is sent in between.

An integrity report comes at every multiple of its period from some moment on, and others come as events do (IEC
61850-7-2, 17.2.3.2.2.10). So a period is found where five messages follow one another in equal steps, and believed once
it has been kept for a while. How far off its moments messages are is measured; what is late by much more than that, and
half of all intervals, is missing.
"""

from __future__ import annotations

from connectors.compiled import compiled
from flows.ied_supervision.numbers import Ints

REMEMBERED = 32
"""Times of the latest messages, in which a period is looked for."""

PERIOD, MOMENT, SCORE, KEPT, STREAK, SPREAD, WIDEST = range(7)
"""What is kept of each block: the period, µs; when its last message came, or should have come, µs since 1970; how well
it has been kept; for how long, µs; how many have come since one was missed; by how much messages are off, on the mean
and at most, µs."""
KEPT_OF_PERIOD = 7

_BELIEVED, _BEST, _MISSED = 8, 16, 3  # so often, at most so often, and one that is missed counts for three
_AGAIN = 2  # so many must have come since one was missed
_CHANCE = 4  # where messages are so dense that one in so many would come at the moment by chance, none proves
_LASTS_US = 60_000_000  # what has been kept for less is a burst
_LONGEST_US, _MOST_MISSED = 86_400_000_000, 100  # for so long it counts, and so many missed ones count against it
_STEPS = 4  # equal ones, that are a period
_TIGHT, _TIGHT_US = 256, 50_000  # by so little they differ where others come in between, else
_LOOSE = 16  # by this part
_MARGIN = 8  # times the spread, but not more than this part of the period, may a message be late
_LEAST_US, _MOST_US = 50_000, 2_000_000
_FADE = 256  # the widest is forgotten by this part each time


@compiled
def _margin(kept: Ints) -> int:
    wide = max(_MARGIN * kept[SPREAD], 3 * kept[WIDEST] // 2, _LEAST_US)
    margin: int = min(wide, kept[PERIOD] // _MARGIN)
    return margin


@compiled
def due_after(kept: Ints, times: Ints, now: int) -> int:
    """Take note of a message; when the next one of the period must have come, µs since 1970; 0 where that is not known.

    Args:
        kept: what is kept of the block; [KEPT_OF_PERIOD], changed.
        times: of its latest messages, the latest first; [REMEMBERED], changed.
        now: when the message was received, µs since 1970; not before the others.
    """
    if now == times[0]:
        return _due(kept, now)
    if kept[PERIOD] > 0:
        _goes_on(kept, times, now)
    if kept[PERIOD] == 0:
        _find(kept, times, now)
    for place in range(REMEMBERED - 1, 0, -1):
        times[place] = times[place - 1]
    times[0] = now
    return _due(kept, now)


@compiled
def _due(kept: Ints, now: int) -> int:
    period = kept[PERIOD]
    if period == 0 or kept[SCORE] < _BELIEVED or kept[KEPT] < _LASTS_US or kept[STREAK] < _AGAIN:
        return 0
    due: int = kept[MOMENT] + max((now - kept[MOMENT]) // period + 1, 1) * period + _margin(kept)
    return due


@compiled
def _goes_on(kept: Ints, times: Ints, now: int) -> None:
    """Whether a message is that of the period, or the period's was missed."""
    period, margin = kept[PERIOD], _margin(kept)
    steps = (now - kept[MOMENT] + period // 2) // period
    off = now - kept[MOMENT] - steps * period
    if steps >= 1 and -margin <= off <= max(margin, period // _MARGIN):
        missed = steps - 1
        kept[SPREAD] += (abs(off) - kept[SPREAD]) // 16
        kept[WIDEST] = max(min(abs(off), _MOST_US), kept[WIDEST] - kept[WIDEST] // _FADE)
        kept[MOMENT] += steps * period + off // 2
        kept[PERIOD] += off // (16 * steps)
        heard = 0
        while heard < REMEMBERED - 1 and times[heard + 1] > 0:
            heard += 1
        by_chance = 2 * margin * heard * _CHANCE > now - times[heard]
        if off <= margin and missed == 0 and not by_chance:
            kept[SCORE] = min(kept[SCORE] + 1, _BEST)
        kept[KEPT] = min(kept[KEPT] + period, _LONGEST_US)
        kept[STREAK] = min(kept[STREAK] + 1, _AGAIN) if missed == 0 else 1
    else:
        missed = max((now - kept[MOMENT] - period // _MARGIN) // period, 0)
        kept[MOMENT] += missed * period
        if missed > 0:
            kept[STREAK] = 0
    if missed > 0:
        kept[SCORE] -= _MISSED
        kept[KEPT] = max(kept[KEPT] - min(missed, _MOST_MISSED) * period, 0)
    if kept[SCORE] < 0:
        kept[:] = 0
    elif kept[STREAK] == 0:
        # After an outage it may go on from another moment.
        for place in range(REMEMBERED):
            if times[place] > 0 and abs(now - times[place] - period) <= margin:
                kept[MOMENT], kept[STREAK] = now, 1


@compiled
def _find(kept: Ints, times: Ints, now: int) -> None:
    """The shortest step in which the latest messages follow one another."""
    for place in range(REMEMBERED):
        step = now - times[place]
        if times[place] == 0 or step < _TIGHT_US:
            continue
        within = step // _LOOSE if place == 0 else min(max(step // _TIGHT, _TIGHT_US), step // _LOOSE)
        at, found, widest, before = times[place], 1, 0, place
        for other in range(place + 1, REMEMBERED):
            off = at - times[other] - step
            if times[other] == 0 or off > within:
                break
            if off >= -within and (place > 0 or other == before + 1):
                at, before, found, widest = times[other], other, found + 1, max(widest, abs(off))
                if found == _STEPS:
                    kept[PERIOD], kept[MOMENT], kept[SCORE] = (now - at) // _STEPS, now, _STEPS
                    kept[KEPT], kept[STREAK], kept[SPREAD], kept[WIDEST] = now - at, 1, widest, widest
                    return
