"""Fault currents by their amperes: far above what a block has measured so far, and whether its device has tripped.

What is usual follows a rise at once by a quarter, a fall slowly; a fault teaches nothing, unless it lasts so long that
it is none, nor does a feeder that is switched off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.compiled import compiled
from flows.ied_supervision.columns import Columns
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.rule import Limit

_KNOWN = 60  # measurements, before a current is usual
_LEAST = 20_000  # mA: what an idle feeder may draw when it is switched on is no fault
_RISE, _FADE = 4, 1_024
_OFF_MA, _OFF = 2_000, 32  # a current of no more, or than this part of the usual one: the feeder is switched off
_ADOPT_US = 600_000_000  # no network feeds a fault for so long
_BEFORE_US = 1_000_000  # a trip comes before the first measurement of its fault


@dataclass(slots=True)
class Currents(Columns):
    """What is kept of each block; all [blocks], the last two by device.

    Attributes:
        usual: usual current, mA.
        count: measurements that it rests on.
        since: since when it is far exceeded, µs since 1970, 0 while it is not.
        tells: since when a device tells of trips, µs since 1970, 0 while it has not.
        trip: 1 while the trip is on.
        tripped: when it had tripped last, µs since 1970.
    """

    usual: Ints
    count: Ints
    since: Ints
    trip: Ints
    tells: Ints
    tripped: Ints


@dataclass(frozen=True, slots=True)
class Overcurrent:
    """What messages tell of fault currents; all [n].

    Attributes:
        untripped: µs for which a current is far above the usual one, and the device has not tripped; 0 elsewhere.
        usual: the usual current, mA.
    """

    untripped: Ints
    usual: Ints


def follow(currents: Currents, messages: Messages, device: Ints, times: Limit) -> Overcurrent:
    """Take note of messages.

    Args:
        currents: of at least as many blocks as occur; changed.
        messages: ordered.
        device: of each block the number of its device; [blocks].
        times: how many times the usual current is far above it; one number, or [blocks].
    """
    n, m = len(messages), messages
    since, usual = np.zeros(n, np.int64), np.zeros(n, np.int64)
    most = np.broadcast_to(np.asarray(times, np.float64), len(currents.usual)).copy()
    _follow(currents.usual, currents.count, currents.since, m.block, m.received, m.current, most, since, usual)
    of = device[m.block]
    told = np.flatnonzero(m.trip != UNKNOWN)
    of_block, trip = m.block[told], m.trip[told]
    begins = np.diff(of_block, prepend=-1) != 0
    before = np.where(begins, currents.trip[of_block], np.roll(trip, 1))
    on = told[(trip == 1) & (before != 1)]
    currents.trip[of_block] = trip  # the last one of each block
    first = np.where(currents.tells > 0, currents.tells, np.iinfo(np.int64).max)
    np.minimum.at(first, of[told], m.received[told])
    untripped = np.zeros(n, np.int64)
    rows = np.flatnonzero((since > 0) & (first[of] <= m.received))
    for one in np.unique(of[rows]).tolist():
        mine, trips = rows[of[rows] == one], np.sort(m.received[on[of[on] == one]])
        trips = np.append(currents.tripped[one], trips)
        last = trips[np.searchsorted(trips, m.received[mine], side="right") - 1]
        quiet = mine[last < since[mine] - _BEFORE_US]
        untripped[quiet] = m.received[quiet] - since[quiet]
    currents.tells[:] = np.where(first < np.iinfo(np.int64).max, first, 0)
    np.maximum.at(currents.tripped, of[on], m.received[on])
    return Overcurrent(untripped, usual)


@compiled
def _follow(
    usual: Ints,
    count: Ints,
    since: Ints,
    block: Ints,
    received: Ints,
    current: Ints,
    times: np.ndarray,
    out_since: Ints,
    out_usual: Ints,
) -> None:
    for n in range(len(block)):
        if current[n] == UNKNOWN:
            continue
        b, now, amperes = block[n], received[n], current[n]
        out_usual[n] = usual[b]
        if count[b] >= _KNOWN and amperes > times[b] * max(usual[b], _LEAST):
            if since[b] == 0:
                since[b] = now
            out_since[n] = since[b]
            if now - since[b] > _ADOPT_US:
                usual[b], since[b] = amperes, 0
            continue
        since[b] = 0
        if count[b] == 0:
            usual[b] = amperes
        elif amperes > usual[b]:
            usual[b] += (amperes - usual[b] + _RISE - 1) // _RISE
        elif amperes > max(_OFF_MA, usual[b] // _OFF):
            usual[b] -= (usual[b] - amperes) // _FADE
        count[b] = min(count[b] + 1, _KNOWN)
