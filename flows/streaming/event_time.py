"""Event time and watermarks.

Event time comes from the data alone. Each source partition has a *frontier*, the event time that it has reached
(``gate``). The watermark of a receiver is the minimum of the frontiers of all partitions that are neither idle nor
finished, less a delay. A partition that has not reported yet holds the watermark back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.batch import Batch

Micros = npt.NDArray[np.int64]

SECOND = 1_000_000
MINIMUM = np.iinfo(np.int64).min
MAXIMUM = np.iinfo(np.int64).max


def to_micros(column: pl.Series, null: int = MINIMUM) -> Micros:
    """A Datetime column as µs since 1970, ``null`` where there is none."""
    physical = column.cast(pl.Datetime("us", "UTC")).to_physical()
    return (physical.fill_null(null) if physical.null_count() else physical).to_numpy()


@dataclass(slots=True)
class Watermark:
    """The watermark of one receiver over the partitions of one topic.

    Args:
        delay: µs that the watermark stays behind the slowest partition's frontier.
    """

    delay: int
    partitions: int = 0
    frontiers: dict[int, int] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)
    value: int = MINIMUM

    def observe(self, batches: Iterable[Batch], *, jump: int = MAXIMUM) -> int:
        """Take note of what the partitions report; the watermark, µs since 1970, never goes back.

        Args:
            batches: in the order in which they came.
            jump: µs. When a partition is ahead by so much all at once, what has been held up is delivered, and others
                that were idle may have some of it, too: they must say again that they are.
        """
        newest = self.newest
        for batch in batches:
            if batch.frontier is not None and MINIMUM < newest < batch.frontier - jump:
                self.absent.clear()
                newest = batch.frontier
            self.partitions = max(self.partitions, batch.partitions)
            if batch.frontier is not None:
                old = self.frontiers.get(batch.partition, MINIMUM)
                self.frontiers[batch.partition] = max(old, batch.frontier)
            if batch.finished:
                self.finished.add(batch.partition)
            # An idle partition, or one drained without ever having shown a reading, holds nobody back.
            if batch.idle or (batch.finished and batch.frontier is None):
                self.absent.add(batch.partition)
            elif batch.taken:
                self.absent.discard(batch.partition)
        waiting = [p for p in range(self.partitions) if p not in self.absent and p not in self.finished]
        if any(p not in self.frontiers for p in waiting):
            return self.value
        # When all are idle or finished none is held back: then the newest tells how far the data is known to reach.
        counted = [self.frontiers[p] for p in waiting] or list(self.frontiers.values())
        reached = min(counted) if waiting else max(counted, default=MINIMUM)
        if reached != MINIMUM:
            self.value = max(self.value, reached - self.delay)
        return self.value

    def resumed(self) -> None:
        """Go on from what was kept: whether a partition is still idle must be said again."""
        self.absent.clear()

    @property
    def newest(self) -> int:
        """The newest event time that any partition has shown, µs since 1970."""
        return max(self.frontiers.values(), default=MINIMUM)
