"""Which events devices of a substation tell of together, and which one tells of alone.

An event is a new state with other data. Within a second others see it, too, or they do not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.blocks import Blocks
from flows.ied_supervision.numbers import Ints

WITHIN_US = 1_000_000
"""Devices tell of the same event within so long."""

_RARELY = 10  # one in so many events may have come alone


@dataclass(slots=True)
class Events:
    """Events, by station and time; all [n].

    Attributes:
        station: index of the substation.
        time: when it was received, µs since 1970.
        block: index of the control block.
        st_num: of its message.
        sq_num: of its message.
    """

    station: Ints
    time: Ints
    block: Ints
    st_num: Ints
    sq_num: Ints

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


@dataclass(slots=True)
class Company:
    """In what company events come.

    Attributes:
        together: events of each block that came with others; [blocks].
        alone: those that did not; [blocks].
        recent: the latest events, those that are not judged yet among them.
    """

    together: Ints
    alone: Ints
    recent: Events

    @classmethod
    def none(cls) -> Company:
        """Of no blocks."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), Events.none())

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        more = blocks - len(self.alone)
        if more > 0:
            self.together, self.alone = (
                np.concatenate([one, np.zeros(more, np.int64)]) for one in (self.together, self.alone)
            )

    def copy(self) -> Company:
        """A copy that can go its own way; events are never changed."""
        return Company(self.together.copy(), self.alone.copy(), self.recent)

    def judge(self, fresh: Events, blocks: Blocks, since: int, until: int, limit: Ints) -> Events:
        """Take note of events, and find those that should have come with others.

        Args:
            fresh: events received from ``since`` on and before ``until``.
            blocks: all blocks.
            since: all before has been taken note of, µs since 1970.
            until: what was received then is not among them.
            limit: events that must have come with others; [blocks].

        Returns:
            the lone ones of those whose second is over, ordered.
        """
        events = self.recent.plus(fresh)
        company = _in_company(events, np.array(blocks.device, np.int64))
        over = events.time + WITHIN_US < until
        now = over & (events.time + WITHIN_US >= since)
        judged = events.take(now)
        lone = np.zeros(len(judged), bool)
        # In the order of time within each station; blocks are of one station.
        _judge(judged.block, company[now], limit, self.together, self.alone, lone)
        self.recent = events.take(events.time + 2 * WITHIN_US >= until)
        return judged.take(lone)


def _in_company(events: Events, device: Ints) -> npt.NDArray[np.bool_]:
    """Which events have one of another device of the station within a second."""
    n = len(events)
    if not n:
        return np.zeros(0, bool)
    of = device[events.block]
    fresh = np.ones(n, bool)
    fresh[1:] = (of[1:] != of[:-1]) | (events.station[1:] != events.station[:-1])
    run = np.cumsum(fresh) - 1
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], n)
    company = np.zeros(n, bool)
    for neighbour in (starts[run] - 1, ends[run]):  # the nearest of another device, before and after
        there = (neighbour >= 0) & (neighbour < n)
        at = np.clip(neighbour, 0, n - 1)
        near = np.abs(events.time[at] - events.time) <= WITHIN_US
        company |= there & near & (events.station[at] == events.station)
    return company


@compiled
def _judge(
    block: Ints, company: npt.NDArray[np.bool_], limit: Ints, together: Ints, alone: Ints, lone: npt.NDArray[np.bool_]
) -> None:
    for n in range(len(block)):
        b = block[n]
        if company[n]:
            together[b] += 1
            continue
        lone[n] = together[b] >= limit[b] and _RARELY * alone[b] < together[b]
        alone[b] += 1
