"""What a control block's messages have always carried: configuration that changes only when somebody changes it.

A value that differs from the usual one is something to ask about. One that stays is the usual one from then on, so
that a device that has been configured anew is not complained of for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.compiled import compiled
from flows.ied_supervision.numbers import UNKNOWN, Ints

FIELDS = ("conf_rev", "num_entries", "app_id", "address")
"""What is watched, in this order."""

ADOPT_US = 600_000_000
"""A value that has stayed for so long is the usual one, µs."""


@dataclass(slots=True)
class Baseline:
    """The usual values; ``UNKNOWN`` before the first; [blocks, fields] each.

    Attributes:
        usual: the value.
        other: the one that has been seen instead of late.
        since: from when on, µs since 1970.
    """

    usual: Ints
    other: Ints
    since: Ints

    @classmethod
    def none(cls) -> Baseline:
        """Of no blocks."""
        return cls(*(np.full((0, len(FIELDS)), UNKNOWN, np.int64) for _ in range(3)))

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        more = blocks - len(self.usual)
        if more > 0:
            room = np.full((more, len(FIELDS)), UNKNOWN, np.int64)
            self.usual, self.other, self.since = (
                np.concatenate([one, room]) for one in (self.usual, self.other, self.since)
            )

    def copy(self) -> Baseline:
        """A copy that can go its own way."""
        return Baseline(self.usual.copy(), self.other.copy(), self.since.copy())

    def compare(self, block: Ints, received: Ints, values: Ints, genuine: Ints) -> Ints:
        """What was usual when each message came, and what has become so since.

        Args:
            block: of each message; by block and time; [n].
            received: µs since 1970; [n].
            values: what it carries, ``UNKNOWN`` where it does not; [n, fields].
            genuine: 1 where it is its publisher's; others' change nothing; [n].

        Returns:
            The usual values, ``UNKNOWN`` before the first; [n, fields].
        """
        usual = np.full(values.shape, UNKNOWN, np.int64)
        _compare(self.usual, self.other, self.since, block, received, values, genuine, usual)
        return usual


@compiled
def _compare(
    usual: Ints, other: Ints, since: Ints, block: Ints, received: Ints, values: Ints, genuine: Ints, out: Ints
) -> None:
    for n in range(len(block)):
        b = block[n]
        for field in range(values.shape[1]):
            value = values[n, field]
            if usual[b, field] == UNKNOWN and genuine[n]:
                usual[b, field] = value
            out[n, field] = usual[b, field]
            if not genuine[n] or value == UNKNOWN:
                continue
            if value == usual[b, field]:
                other[b, field] = UNKNOWN
            elif value != other[b, field]:
                other[b, field], since[b, field] = value, received[n]
            elif received[n] - since[b, field] >= ADOPT_US:
                usual[b, field], other[b, field] = value, UNKNOWN
                out[n, field] = value
