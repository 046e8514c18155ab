"""Whether the first messages of a new state are repeated as soon as their publisher has always repeated them.

A publisher repeats a new state within milliseconds, and backs off from there (IEC 61850-8-1, 18.1.2.5). Whoever forges
a single message does not, or not as often, and the publisher itself may not be heard before its heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.columns import Columns
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import Ints

STEPS = 5
"""sqNum from which on a message may be the last one for long."""

_LEARNED = 2  # states that were repeated, before it is known how soon
_SOON_US = 250_000  # what has taken longer may take any time: up to the heartbeat
_TIMES = 2  # longest waits that must have passed
_FADE = 16  # a longest wait that is not reached again comes down by this part of the difference each time
_USUAL = 2  # so many longer ones in a row are usual from then on


@dataclass(slots=True)
class Repeats(Columns):
    """What is kept of each block; [blocks] where nothing else is said.

    Attributes:
        began: when the message of a new state was received that has not been repeated yet, µs since 1970; 0: none.
        allowed: how long it may wait for that, µs; 0: that is not known, or has been told.
        st_num: its stNum.
        sq_num: its sqNum.
        longest: the longest usual wait after each sqNum, µs; [blocks, ``STEPS``].
        states: after how many messages of that number; [blocks, ``STEPS``].
        late: how many in a row later than that; [blocks, ``STEPS``].
    """

    WIDTHS: ClassVar[Mapping[str, int]] = {"longest": STEPS, "states": STEPS, "late": STEPS}

    began: Ints
    allowed: Ints
    st_num: Ints
    sq_num: Ints
    longest: Ints
    states: Ints
    late: Ints


@dataclass(frozen=True, slots=True)
class Unrepeated:
    """New states that were not repeated in time, by block and time; all [n].

    Attributes:
        block: index of the control block.
        began: when the last message that came was received, µs since 1970.
        allowed: how soon the next one would have come, µs.
        st_num: of the message that came.
        sq_num: of it.
    """

    block: Ints
    began: Ints
    allowed: Ints
    st_num: Ints
    sq_num: Ints

    def of(self, block: int) -> list[tuple[int, int, int, int]]:
        """Those of one block: began, allowed, st_num, sq_num."""
        rows = self.block == block
        return list(
            zip(
                *(column[rows].tolist() for column in (self.began, self.allowed, self.st_num, self.sq_num)), strict=True
            )
        )


def follow(
    repeats: Repeats,
    messages: Messages,
    genuine: npt.NDArray[np.bool_],
    begins: npt.NDArray[np.bool_],
    grace: Ints,
    until: int,
) -> Unrepeated:
    """Take note of messages, and of time.

    Args:
        repeats: of at least as many blocks as occur; changed.
        messages: ordered.
        genuine: whether they are the publisher's; [n].
        begins: whether they are the first ones of a new state; [n].
        grace: granted beyond the usual wait, µs; [blocks].
        until: all that was received before is known, µs since 1970.
    """
    n, m = len(messages), messages
    told = Unrepeated(m.block, *(np.zeros(n, np.int64) for _ in range(4)))
    _follow(
        repeats.began,
        repeats.allowed,
        repeats.st_num,
        repeats.sq_num,
        repeats.longest,
        repeats.states,
        repeats.late,
        m.block,
        m.received,
        m.time_allowed_to_live_ms,
        m.st_num,
        m.sq_num,
        genuine,
        begins,
        grace,
        told.began,
        told.allowed,
        told.st_num,
        told.sq_num,
    )
    heard = np.flatnonzero(told.began)
    waiting = np.flatnonzero((repeats.allowed > 0) & (repeats.began + repeats.allowed < until))
    of_blocks = Unrepeated(waiting, *(getattr(repeats, one.name)[waiting] for one in fields(Unrepeated)[1:]))
    repeats.allowed[waiting] = 0
    both = (
        np.concatenate([getattr(told, one.name)[heard], getattr(of_blocks, one.name)]) for one in fields(Unrepeated)
    )
    return Unrepeated(*both)


@compiled
def _follow(
    began: Ints,
    allowed: Ints,
    last_st: Ints,
    last_sq: Ints,
    longest: Ints,
    states: Ints,
    late: Ints,
    block: Ints,
    received: Ints,
    live_ms: Ints,
    st_num: Ints,
    sq_num: Ints,
    genuine: npt.NDArray[np.bool_],
    begins: npt.NDArray[np.bool_],
    grace: Ints,
    told_began: Ints,
    told_allowed: Ints,
    told_st: Ints,
    told_sq: Ints,
) -> None:
    for n in range(len(block)):
        if not genuine[n]:
            continue
        b = block[n]
        goes_on = began[b] > 0 and st_num[n] == last_st[b]
        if began[b] > 0:
            wait = received[n] - began[b]
            if allowed[b] > 0 and wait > allowed[b]:
                told_began[n], told_allowed[n] = began[b], allowed[b]
                told_st[n], told_sq[n] = last_st[b], last_sq[b]
            step = last_sq[b]
            if goes_on:
                if states[b, step] < _LEARNED:
                    longest[b, step] = max(longest[b, step], wait)
                elif wait > _TIMES * longest[b, step] + grace[b] and late[b, step] + 1 < _USUAL:
                    late[b, step] += 1
                else:
                    usual = longest[b, step]
                    longest[b, step], late[b, step] = max(wait, usual - (usual - wait) // _FADE), 0
                states[b, step] = min(states[b, step] + 1, _LEARNED)
            began[b] = allowed[b] = 0
        step = sq_num[n]
        if step < STEPS and (begins[n] or goes_on):
            began[b], last_st[b], last_sq[b] = received[n], st_num[n], step
            wait = _TIMES * longest[b, step] + grace[b]
            # What must be heard sooner than that is silent first.
            sooner = live_ms[n] <= 0 or wait < live_ms[n] * 1_000
            known = states[b, step] >= _LEARNED and longest[b, step] <= _SOON_US
            allowed[b] = wait if known and sooner else 0
