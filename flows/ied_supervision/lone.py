"""Which events devices of a substation tell of together, and which one tells of alone.

An event is a new state with other data. Within a second others see it, too, or they do not. Of whom those that usually
do are away, nothing can be said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.blocks import Blocks
from flows.ied_supervision.numbers import Ints

WITHIN_US = 1_000_000
"""Devices tell of the same event within so long."""

_RARELY = 10  # one in so many events may have come alone
_PARTNERS = 4  # devices that are remembered as a block's company
_USUAL = 4  # who has come with one in so many of the events that did not come alone
_PRESENT_US = 60_000_000  # who has not been heard for so long is away


@dataclass(slots=True)
class Events:
    """Events, by station and time; all [n].

    Attributes:
        station: index of the substation.
        time: when it was received, µs since 1970.
        block: index of the control block.
        st_num: of its message.
        sq_num: of its message.
        witness: 1 where its first message was lost, so that it speaks for others only.
    """

    station: Ints
    time: Ints
    block: Ints
    st_num: Ints
    sq_num: Ints
    witness: Ints

    @classmethod
    def none(cls) -> Events:
        """No events."""
        return cls(*(np.zeros(0, np.int64) for _ in fields(cls)))

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Ints | npt.NDArray[np.bool_]) -> Events:
        """Some of them."""
        return Events(*(getattr(self, one.name)[rows] for one in fields(self)))

    def plus(self, more: Events) -> Events:
        """Those and more, ordered."""
        both = Events(*(np.concatenate([getattr(self, f.name), getattr(more, f.name)]) for f in fields(self)))
        return both.take(np.lexsort((both.sq_num, both.st_num, both.block, both.time, both.station)))


@dataclass(frozen=True, slots=True)
class Presence:
    """When devices were heard.

    Attributes:
        before: last before a round, µs since 1970, 0 for never; [devices].
        bounds: where the times of each device begin, and the last one's end; [devices + 1].
        times: within the round, ascending by device, µs since 1970; [m].
    """

    before: Ints
    bounds: Ints
    times: Ints

    @classmethod
    def none(cls) -> Presence:
        """Of nobody."""
        return cls(*(np.zeros(0, np.int64) for _ in fields(cls)))

    @classmethod
    def of(cls, last: Ints, block: Ints, received: Ints, device: Ints) -> Presence:
        """From messages.

        Args:
            last: when each block was heard last before them, µs since 1970; [blocks].
            block: of each message; [m].
            received: when, µs since 1970; [m].
            device: of each block the number of its device; [blocks].
        """
        before = np.zeros(len(device), np.int64)
        np.maximum.at(before, device[: len(last)], last)
        of = device[block]
        order = np.lexsort((received, of))
        return cls(before, np.searchsorted(of[order], np.arange(len(device) + 1)), received[order])


@dataclass(slots=True)
class Company:
    """In what company events come.

    Attributes:
        together: events of each block that came with others; [blocks].
        alone: those that did not; [blocks].
        partner: devices that came with its events, -1 for none; [blocks, ``_PARTNERS``].
        met: with how many each; [blocks, ``_PARTNERS``].
        recent: the latest events, those that are not judged yet among them.
    """

    together: Ints
    alone: Ints
    partner: Ints
    met: Ints
    recent: Events

    @classmethod
    def none(cls) -> Company:
        """Of no blocks."""
        flat, wide = np.zeros(0, np.int64), np.zeros((0, _PARTNERS), np.int64)
        return cls(flat, flat, wide, wide, Events.none())

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        more = blocks - len(self.alone)
        if more > 0:
            self.together, self.alone = (
                np.concatenate([one, np.zeros(more, np.int64)]) for one in (self.together, self.alone)
            )
            self.partner = np.concatenate([self.partner, np.full((more, _PARTNERS), -1)])
            self.met = np.concatenate([self.met, np.zeros((more, _PARTNERS), np.int64)])

    def copy(self) -> Company:
        """A copy that can go its own way; events are never changed."""
        counts = (self.together.copy(), self.alone.copy(), self.partner.copy(), self.met.copy())
        return Company(*counts, self.recent)

    def judge(
        self, fresh: Events, heard: Callable[[], Presence], blocks: Blocks, since: int, until: int, limit: Ints
    ) -> Events:
        """Take note of events, and find those that should have come with others.

        Args:
            fresh: events received from ``since`` on and before ``until``.
            heard: gives who was heard by the messages received then; asked only where that matters.
            blocks: all blocks.
            since: all before has been taken note of, µs since 1970.
            until: what was received then is not among them.
            limit: events that must have come with others; [blocks].

        Returns:
            the lone ones of those whose second is over, ordered.
        """
        events = self.recent.plus(fresh)
        company = _in_company(events, np.array(blocks.device, np.int64))
        over = (events.time + WITHIN_US < until) & (events.witness == 0)
        now = over & (events.time + WITHIN_US >= since)
        judged = events.take(now)
        lone = np.zeros(len(judged), bool)
        # In the order of time within each station; blocks are of one station.
        counts = (self.together, self.alone, self.partner, self.met)
        presence = heard() if (company[now] < 0).all(axis=1).any() else Presence.none()
        _judge(
            judged.block,
            judged.time,
            company[now],
            limit,
            *counts,
            presence.before,
            presence.bounds,
            presence.times,
            lone,
        )
        self.recent = events.take(events.time + 2 * WITHIN_US >= until)
        return judged.take(lone)


def _in_company(events: Events, device: Ints) -> Ints:
    """The nearest other devices of the station with an event within a second, before and after, -1 for none; [n, 2]."""
    n = len(events)
    company = np.full((n, 2), -1)
    if not n:
        return company
    of = device[events.block]
    fresh = np.ones(n, bool)
    fresh[1:] = (of[1:] != of[:-1]) | (events.station[1:] != events.station[:-1])
    run = np.cumsum(fresh) - 1
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], n)
    for side, neighbour in enumerate((starts[run] - 1, ends[run])):
        there = (neighbour >= 0) & (neighbour < n)
        at = np.clip(neighbour, 0, n - 1)
        near = np.abs(events.time[at] - events.time) <= WITHIN_US
        company[:, side] = np.where(there & near & (events.station[at] == events.station), of[at], -1)
    return company


@compiled
def _judge(
    block: Ints,
    time: Ints,
    company: Ints,
    limit: Ints,
    together: Ints,
    alone: Ints,
    partner: Ints,
    met: Ints,
    before: Ints,
    bounds: Ints,
    times: Ints,
    lone: npt.NDArray[np.bool_],
) -> None:
    for n in range(len(block)):
        b = block[n]
        for side in range(2):
            other = company[n, side]
            if other < 0 or (side == 1 and other == company[n, 0]):
                continue
            place, least = -1, 0
            for one in range(_PARTNERS):
                if partner[b, one] == other:
                    place = one
                if met[b, one] < met[b, least]:
                    least = one
            if place < 0:
                place = least
                partner[b, place] = other
            met[b, place] += 1
        if company[n, 0] >= 0 or company[n, 1] >= 0:
            together[b] += 1
            continue
        present = False
        for one in range(_PARTNERS):
            if partner[b, one] < 0 or _USUAL * met[b, one] < together[b]:
                continue
            heard = before[partner[b, one]]
            low, high = bounds[partner[b, one]], bounds[partner[b, one] + 1]
            at = np.searchsorted(times[low:high], time[n] + WITHIN_US, side="right")
            if at > 0:
                heard = times[low + at - 1]
            present |= heard >= time[n] - _PRESENT_US
        if not present:
            continue
        lone[n] = together[b] >= limit[b] and _RARELY * alone[b] < together[b]
        alone[b] += 1
