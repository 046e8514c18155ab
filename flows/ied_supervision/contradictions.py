"""What the values of a control block's messages tell together, over time: trips, pickups, and what stands still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from connectors.compiled import compiled
from flows.ied_supervision.columns import Columns
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.values import MEASURED

_MOVED = 12  # changes that a measurement must have shown before it can be said to stand still
_CLEARED_US = 200_000  # an arc is out by then, and what was measured before it is no longer sent
_LONGER = 4  # times as long as it ever has stood
_COARSE = 64  # of its least changes: what is less may stand still for long
_DEAD = 64  # times less than what the same means of another phase is: nothing is measured any more
_CURRENT, _VOLTAGE = 1, 2  # meanings of measurements


@dataclass(slots=True)
class Told(Columns):
    """What is kept of each block.

    Attributes:
        pickup_since: since when one has started that only a fault starts, µs since 1970, 0 while none has; [blocks].
        pickup_last: when a protection function had started last; [blocks].
        tripped: 1 while the trip is on, ``UNKNOWN`` before the first message; [blocks].
        contradicted: current of the message before, mA, if its breaker was open; [blocks].
        opened: when the breaker was told open first, µs since 1970, 0 while it is closed; [blocks].
        place: its last position; [blocks].
        unclear: since when that is neither on nor off; [blocks].
        last: last value of each measurement; [blocks, ``MEASURED``].
        run: messages since which it is the same; [blocks, ``MEASURED``].
        longest: how long it has been the same at most; [blocks, ``MEASURED``].
        moves: how often it has changed; [blocks, ``MEASURED``].
        others: changes of the block's other measurements since it last changed; [blocks, ``MEASURED``].
        least: by how much it has changed at least, in millionths, 0 before; [blocks, ``MEASURED``].
        dead: messages for which it has been next to nothing, other phases not; [blocks, ``MEASURED``].
    """

    BEFORE: ClassVar[Mapping[str, int]] = {"last": UNKNOWN, "tripped": UNKNOWN, "place": UNKNOWN}
    WIDTHS: ClassVar[Mapping[str, int]] = dict.fromkeys(
        ("last", "run", "longest", "moves", "others", "least", "dead"), MEASURED
    )

    pickup_since: Ints
    pickup_last: Ints
    tripped: Ints
    contradicted: Ints
    opened: Ints
    place: Ints
    unclear: Ints
    last: Ints
    run: Ints
    longest: Ints
    moves: Ints
    others: Ints
    least: Ints
    dead: Ints


@dataclass(frozen=True, slots=True)
class Contradictions:
    """What messages tell beside those before them; all [n].

    Attributes:
        picked_up: µs for which a function that only a fault starts has, without a trip, 0 where none has.
        since_pickup: µs since one had started, at a message that begins a trip; ``UNKNOWN`` elsewhere.
        still: which measurement stands still, or is next to nothing, while the others move; ``UNKNOWN``: none does.
        still_for: messages for which it does.
        flowing: least current, mA, of the latest two messages that tell of current through an open breaker in a row,
            the latter of them when it has been open for ``_CLEARED_US``.
        unclear: µs for which the position is neither on nor off, 0 where it is.
        place: the latest position that is known.
    """

    picked_up: Ints
    since_pickup: Ints
    still: Ints
    still_for: Ints
    flowing: Ints
    unclear: Ints
    place: Ints


def follow(told: Told, messages: Messages) -> Contradictions:
    """Take note of messages.

    Args:
        told: of at least as many blocks as occur; changed.
        messages: ordered.
    """
    n = len(messages)
    found = Contradictions(
        np.zeros(n, np.int64),
        np.full(n, UNKNOWN, np.int64),
        np.full(n, UNKNOWN, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.full(n, UNKNOWN, np.int64),
    )
    _follow(
        told.pickup_since,
        told.pickup_last,
        told.tripped,
        told.contradicted,
        told.opened,
        told.place,
        told.unclear,
        told.last,
        told.run,
        told.longest,
        told.moves,
        told.others,
        told.least,
        told.dead,
        messages.block,
        messages.received,
        messages.trip,
        messages.pickup,
        messages.fault,
        messages.position,
        messages.current,
        messages.measured,
        found.picked_up,
        found.since_pickup,
        found.still,
        found.still_for,
        found.flowing,
        found.unclear,
        found.place,
    )
    return found


@compiled
def _follow(  # noqa: PLR0912, PLR0915 - one pass, and compiled code calls no other with arrays
    pickup_since: Ints,
    pickup_last: Ints,
    tripped: Ints,
    contradicted: Ints,
    opened: Ints,
    place: Ints,
    unclear: Ints,
    last: Ints,
    run: Ints,
    longest: Ints,
    moves: Ints,
    others: Ints,
    least: Ints,
    dead: Ints,
    block: Ints,
    received: Ints,
    trip: Ints,
    pickup: Ints,
    fault: Ints,
    position: Ints,
    current: Ints,
    measured: Ints,
    out_picked_up: Ints,
    out_since_pickup: Ints,
    out_still: Ints,
    out_still_for: Ints,
    out_flowing: Ints,
    out_unclear: Ints,
    out_place: Ints,
) -> None:
    for n in range(len(block)):
        b, now = block[n], received[n]
        if pickup[n] == 1:
            pickup_last[b] = now
        if fault[n] == 1 and pickup_since[b] == 0:
            pickup_since[b] = now
        elif fault[n] == 0:
            pickup_since[b] = 0
        if trip[n] == 1:
            # Of a block that tells pickups, too, and has been seen without a trip.
            if tripped[b] == 0 and pickup[n] != UNKNOWN:
                out_since_pickup[n] = now - pickup_last[b]
            tripped[b] = 1
            if pickup_since[b] > 0:
                pickup_since[b] = now
        elif trip[n] == 0:
            tripped[b] = 0
        if pickup_since[b] > 0 and trip[n] == 0:
            out_picked_up[n] = now - pickup_since[b]
        # A report carries the position when that changes, and the current when it does.
        if position[n] != UNKNOWN:
            place[b] = position[n]
        if place[b] == 1 and opened[b] == 0:
            opened[b] = now
        elif place[b] != 1:
            opened[b] = 0
        out_place[n] = place[b]
        if place[b] not in (0, 3):
            unclear[b] = 0
        elif unclear[b] == 0:
            unclear[b] = now
        else:
            out_unclear[n] = now - unclear[b]
        if place[b] == 1 and current[n] != UNKNOWN:
            if now - opened[b] >= _CLEARED_US:
                out_flowing[n] = min(current[n], contradicted[b])
            contradicted[b] = current[n]
        elif place[b] != 1:
            contradicted[b] = 0
        changed = 0
        for k in range(measured.shape[1]):
            if measured[n, k] != UNKNOWN and last[b, k] != UNKNOWN and measured[n, k] != last[b, k]:
                changed += 1
        for k in range(measured.shape[1]):
            value = measured[n, k]
            if value == UNKNOWN:
                continue
            size, means = abs(value >> 2), value & 3
            nothing = False
            for other in range(measured.shape[1]):
                there = measured[n, other]
                if means in (_CURRENT, _VOLTAGE) and there != UNKNOWN and there & 3 == means and other != k:
                    nothing |= abs(there >> 2) > max(_DEAD * size, _COARSE * least[b, other])
            dead[b, k] = dead[b, k] + 1 if nothing and moves[b, k] >= _MOVED else 0
            if dead[b, k] > out_still_for[n] and changed:
                out_still[n], out_still_for[n] = k, dead[b, k]
            coarse = size < _COARSE * least[b, k]
            if value != last[b, k]:
                if last[b, k] != UNKNOWN:
                    moves[b, k] += 1
                    step = abs((value >> 2) - (last[b, k] >> 2))
                    least[b, k] = step if least[b, k] == 0 else min(least[b, k], max(step, 1))
                    if abs(last[b, k] >> 2) >= _COARSE * least[b, k]:
                        longest[b, k] = max(longest[b, k], run[b, k])
                last[b, k], run[b, k], others[b, k] = value, 1, 0
                continue
            run[b, k] += 1
            others[b, k] += min(changed, 1)
            if coarse:
                continue
            stands = moves[b, k] >= _MOVED and run[b, k] > _LONGER * max(longest[b, k], 4)
            if stands and 4 * others[b, k] >= 3 * run[b, k] and run[b, k] > out_still_for[n]:
                out_still[n], out_still_for[n] = k, run[b, k]
