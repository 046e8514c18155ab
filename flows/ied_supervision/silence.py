"""How long a control block may be silent: what its messages promise, or else what it has always kept.

A GOOSE message says how long it may be believed, ``timeAllowedtoLive`` (IEC 61850-8-1, 18.1.2.5). Reports and health
come in a rhythm that nobody announces: the integrity period (IEC 61850-7-2, 17.2.3.2.2.10), which the settings say, or
which is learned from the longest intervals. Where these are of one length there is such a period; what is sent only as
events come has none, and is never silent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import Ints

_LEARNED = 6  # intervals, before a rhythm is known
_NEW_RHYTHM = 3  # overlong intervals, between which nothing comes in the old rhythm, are a new one
_REGULAR = 3  # so many of the long intervals, and half of them, are of the longest one's length, to the eighth part
_LATE = 2  # rhythms that must have passed
_OUTLIVED, _OUTLASTED = 32, 10  # so many shorter ones, and for so many times as long, are another rhythm
_JITTER = 8  # a promised interval may be longer by this part
_PROMISES, _LONGER = 30, 4  # after so many, only by this part more than what two have promised is believed
_MANY = 64  # that are counted
_FADE = 64  # a longest interval that is not reached again is forgotten by this part each time


@dataclass(frozen=True, slots=True)
class Awaited:
    """Of each message of a publisher what was before it; all [n], 0 of others' messages.

    Attributes:
        before: when the block was heard before, µs since 1970; 0 for its first message.
        due: by when it had to be heard again; 0 where that is not known.
        st_num: stNum of the message before.
        sq_num: its sqNum.
    """

    before: Ints
    due: Ints
    st_num: Ints
    sq_num: Ints


@dataclass(slots=True)
class Rhythm:
    """When blocks were last heard, and when they must be heard again; [blocks] each.

    Attributes:
        last: µs since 1970, 0 before the first message.
        live: how long the silence after that may last, µs, 0 while unknown.
        longest: longest usual interval, µs.
        intervals: how many were seen.
        overlong: how many in a row were longer than that.
        regular: how many were of its length, to the eighth part, since it is the longest.
        irregular: how many others were longer than half of it.
        long_at: end of the last one that was longer than half of it, µs since 1970.
        since_then: longest one after that.
        short: how many were shorter since.
        st_num: of the last message.
        sq_num: of the last message.
        promises: how many messages have promised something since two of them have promised more.
        once: longest that was ever promised, µs.
        twice: longest that was promised twice, µs.
    """

    last: Ints
    live: Ints
    longest: Ints
    intervals: Ints
    overlong: Ints
    regular: Ints
    irregular: Ints
    long_at: Ints
    since_then: Ints
    short: Ints
    st_num: Ints
    sq_num: Ints
    promises: Ints
    once: Ints
    twice: Ints

    @classmethod
    def none(cls) -> Rhythm:
        """Of no blocks."""
        return cls(*(np.zeros(0, np.int64) for _ in fields(cls)))

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        more = blocks - len(self.last)
        for one in fields(self) if more > 0 else ():
            setattr(self, one.name, np.concatenate([getattr(self, one.name), np.zeros(more, np.int64)]))

    def copy(self) -> Rhythm:
        """A copy that can go its own way."""
        return Rhythm(*(getattr(self, one.name).copy() for one in fields(self)))

    def follow(self, messages: Messages, genuine: npt.NDArray[np.bool_], promised: Ints) -> Awaited:
        """Take note of messages.

        Args:
            messages: ordered.
            genuine: whether they are the publisher's: another one's do not speak for it; [n].
            promised: after how long blocks whose messages do not say so must be heard again, µs; 0 where it is to be
                learned; [blocks].
        """
        n, m = len(messages), messages
        found = Awaited(*(np.zeros(n, np.int64) for _ in fields(Awaited)))
        _follow(
            self.last,
            self.live,
            self.longest,
            self.intervals,
            self.overlong,
            self.regular,
            self.irregular,
            self.long_at,
            self.since_then,
            self.short,
            self.st_num,
            self.sq_num,
            self.promises,
            self.once,
            self.twice,
            m.block,
            m.received,
            m.time_allowed_to_live_ms,
            m.st_num,
            m.sq_num,
            genuine,
            promised,
            found.before,
            found.due,
            found.st_num,
            found.sq_num,
        )
        return found

    def overdue(self, until: int, grace: Ints) -> Ints:
        """Blocks that must have been heard before a time, µs since 1970, and have not.

        Args:
            until: all that was received before is known.
            grace: granted beyond, µs; [blocks].
        """
        return np.flatnonzero((self.live > 0) & (self.last + self.live + grace < until))


@compiled
def _follow(  # noqa: PLR0912 - one pass
    last: Ints,
    live: Ints,
    longest: Ints,
    intervals: Ints,
    overlong: Ints,
    regular: Ints,
    irregular: Ints,
    long_at: Ints,
    since_then: Ints,
    short: Ints,
    last_st: Ints,
    last_sq: Ints,
    promises: Ints,
    once: Ints,
    twice: Ints,
    block: Ints,
    received: Ints,
    live_ms: Ints,
    st_num: Ints,
    sq_num: Ints,
    genuine: npt.NDArray[np.bool_],
    promised: Ints,
    before: Ints,
    due: Ints,
    before_st: Ints,
    before_sq: Ints,
) -> None:
    for n in range(len(block)):
        if not genuine[n]:
            continue
        b = block[n]
        before[n], before_st[n], before_sq[n] = last[b], last_st[b], last_sq[b]
        last_st[b], last_sq[b] = st_num[n], sq_num[n]
        due[n] = last[b] + live[b] if live[b] else 0
        gap = received[n] - last[b] if last[b] else 0
        last[b] = received[n]
        if live_ms[n] > 0:
            live[b] = live_ms[n] * 1_000
            # One message alone, which somebody may have altered, does not let a publisher be silent for an hour.
            longer = min(once[b], live[b])
            promises[b] = 0 if longer > twice[b] else min(promises[b] + 1, _PROMISES)
            twice[b], once[b] = max(twice[b], longer), max(once[b], live[b])
            if promises[b] == _PROMISES:
                live[b] = min(live[b], twice[b] + twice[b] // _LONGER)
            continue
        if promised[b] > 0:
            live[b] = promised[b] + promised[b] // _JITTER
            continue
        if gap > 0:
            silent = live[b] > 0 and gap > live[b]
            if silent and overlong[b] + 1 < _NEW_RHYTHM:
                overlong[b] += 1
            elif silent:
                longest[b], overlong[b], regular[b], irregular[b] = gap, 0, _REGULAR, 0
                long_at[b], since_then[b], short[b] = received[n], 0, 0
            else:
                # What is sent in between, as events come, says nothing of the rhythm.
                if 8 * gap > 9 * longest[b]:
                    longest[b], overlong[b], regular[b], irregular[b] = gap, 0, 1, 0
                    long_at[b], since_then[b], short[b] = received[n], 0, 0
                elif 2 * gap >= longest[b]:
                    if 8 * gap >= 7 * longest[b]:
                        regular[b] = min(regular[b] + 1, _MANY)
                    else:
                        irregular[b] = min(irregular[b] + 1, _MANY)
                    longest[b] = max(gap, longest[b] - longest[b] // _FADE)
                    overlong[b] = 0
                    long_at[b], since_then[b], short[b] = received[n], 0, 0
                else:
                    since_then[b] = max(since_then[b], gap)
                    short[b] += 1
                    if short[b] >= _OUTLIVED and received[n] - long_at[b] >= _OUTLASTED * longest[b]:
                        # A single pause, or a rhythm that has become a faster one.
                        longest[b], regular[b], irregular[b] = since_then[b], 1, 0
                        long_at[b], since_then[b], short[b] = received[n], 0, 0
                intervals[b] += 1
            if intervals[b] >= _LEARNED:
                live[b] = _LATE * longest[b] if regular[b] >= max(_REGULAR, irregular[b]) else 0
