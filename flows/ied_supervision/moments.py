"""How many messages there have been up to a moment of a round, and the revisions that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flows.ied_supervision.episode import Revision
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import Ints
from flows.ied_supervision.state import State


@dataclass(slots=True)
class Moments:
    """The moments of one round.

    Attributes:
        messages: the round's, ordered.
        base: messages of each block before the round; [blocks].
        settled: what the state was copied from; None where it is settled itself.
        starts: index of each block's first message, and
        ends: of the one after its last; [blocks].
    """

    messages: Messages
    base: Ints
    settled: State | None
    starts: Ints = field(init=False)
    ends: Ints = field(init=False)

    def __post_init__(self) -> None:
        every = np.arange(len(self.base))
        self.starts = np.searchsorted(self.messages.block, every, side="left")
        self.ends = np.searchsorted(self.messages.block, every, side="right")

    def span(self, block: int) -> tuple[int, int]:
        """Where a block's messages begin and end."""
        return int(self.starts[block]), int(self.ends[block])

    def until(self, block: int, time: int) -> int:
        """How many of a block's messages in this round have been received up to a time, µs since 1970."""
        low, high = self.span(block)
        return int(np.searchsorted(self.messages.received[low:high], time, side="right"))

    def ordinal(self, block: int, time: int) -> int:
        """How many of a block's messages there have been up to a time of this round, µs since 1970."""
        return int(self.base[block]) + self.until(block, time)

    def revision(self, block: int, messages: int, *, timer: bool = False, more: int = 0) -> int:
        """That of a row that rests on so many messages of a block; see ``Revision.of``."""
        settled = None
        if self.settled is not None:
            known = self.settled.ordinal
            settled = int(known[block]) if block < len(known) else 0
        return Revision(settled).of(messages, timer=timer, more=more)
