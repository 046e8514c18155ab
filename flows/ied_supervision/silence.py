"""How long a control block may be silent: what its messages promise, or else what it has always kept.

A GOOSE message says how long it may be believed, ``timeAllowedtoLive`` (IEC 61850-8-1, 18.1.2.5). Reports and health
come in a rhythm that nobody announces: the integrity period (IEC 61850-7-2, 17.2.3.2.2.10), learned from the longest
of its intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.numbers import Ints

_LEARNED = 6  # intervals, before a rhythm is known
_NEW_RHYTHM = 3  # overlong intervals, between which nothing comes in the old rhythm, are a new one
_LATE = 2  # rhythms that must have passed
_FADE = 64  # a longest interval that is not reached again is forgotten by this part each time


@dataclass(slots=True)
class Rhythm:
    """When blocks were last heard, and when they must be heard again; [blocks] each.

    Attributes:
        last: µs since 1970, 0 before the first message.
        live: how long the silence after that may last, µs, 0 while unknown.
        longest: longest usual interval, µs.
        intervals: how many were seen.
        overlong: how many in a row were longer than that.
    """

    last: Ints
    live: Ints
    longest: Ints
    intervals: Ints
    overlong: Ints

    @classmethod
    def none(cls) -> Rhythm:
        """Of no blocks."""
        return cls(*(np.zeros(0, np.int64) for _ in range(5)))

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        more = blocks - len(self.last)
        if more > 0:
            room = np.zeros(more, np.int64)
            self.last, self.live, self.longest, self.intervals, self.overlong = (
                np.concatenate([one, room])
                for one in (self.last, self.live, self.longest, self.intervals, self.overlong)
            )

    def copy(self) -> Rhythm:
        """A copy that can go its own way."""
        return Rhythm(
            self.last.copy(), self.live.copy(), self.longest.copy(), self.intervals.copy(), self.overlong.copy()
        )

    def follow(self, block: Ints, received: Ints, live_ms: Ints, genuine: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Take note of messages.

        Args:
            block: by block and time; [n].
            received: µs since 1970; [n].
            live_ms: what they promise, negative where nothing; [n].
            genuine: whether they are the publisher's: another one's do not speak for it; [n].

        Returns:
            when the block was heard before each message, and by when it had to be again, 0 where that is not known.
        """
        before, due = np.zeros(len(block), np.int64), np.zeros(len(block), np.int64)
        _follow(
            self.last,
            self.live,
            self.longest,
            self.intervals,
            self.overlong,
            block,
            received,
            live_ms,
            genuine,
            before,
            due,
        )
        return before, due

    def overdue(self, until: int, grace: Ints) -> Ints:
        """Blocks that must have been heard before a time, µs since 1970, and have not.

        Args:
            until: all that was received before is known.
            grace: granted beyond, µs; [blocks].
        """
        return np.flatnonzero((self.live > 0) & (self.last + self.live + grace < until))


@compiled
def _follow(
    last: Ints,
    live: Ints,
    longest: Ints,
    intervals: Ints,
    overlong: Ints,
    block: Ints,
    received: Ints,
    live_ms: Ints,
    genuine: npt.NDArray[np.bool_],
    before: Ints,
    due: Ints,
) -> None:
    for n in range(len(block)):
        if not genuine[n]:
            continue
        b = block[n]
        before[n] = last[b]
        due[n] = last[b] + live[b] if live[b] else 0
        gap = received[n] - last[b] if last[b] else 0
        last[b] = received[n]
        if live_ms[n] > 0:
            live[b] = live_ms[n] * 1_000
            continue
        if gap > 0:
            silent = live[b] > 0 and gap > live[b]
            if silent and overlong[b] + 1 < _NEW_RHYTHM:
                overlong[b] += 1
            elif silent:
                longest[b], overlong[b] = gap, 0
            else:
                # What is sent in between, as events come, says nothing of the rhythm.
                if 2 * gap >= longest[b]:
                    longest[b] = max(gap, longest[b] - longest[b] // _FADE)
                    overlong[b] = 0
                intervals[b] += 1
            if intervals[b] >= _LEARNED:
                live[b] = _LATE * longest[b]
