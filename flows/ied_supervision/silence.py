"""How long a control block may be silent: what its messages promise, or else what it has always kept.

A GOOSE message says how long it may be believed, ``timeAllowedtoLive`` (IEC 61850-8-1, 18.1.2.5). Reports and health
come in a rhythm that nobody announces: the integrity period (IEC 61850-7-2, 17.2.3.2.2.10), which the settings say, or
which is learned from the longest intervals. Where these are of one length there is such a period; what is sent only as
events come has none, and is never silent. Where hardly any of the long ones is another one by more than a thirty-second
part, what is late by more than an eighth of the period, or by 0.4 s, is silent; else after two of them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.columns import Columns
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import Ints

_LATE = 2  # rhythms that must have passed, where it is not an exact one
_ALIKE, _ALIKE_US = 32, 100_000  # exact is what differs by less than this part, or by less than that
_EXACT, _MOST_EXACT, _INEXACT = (
    8,
    32,
    3,
)  # so many have been, at most so many count, and one that is not counts for three
_LEARNED = 6  # intervals, before a rhythm is known
_NEW_RHYTHM = 3  # overlong intervals, between which nothing comes in the old rhythm, are a new one
_REGULAR = 3  # so many of the long intervals, and half of them, are of the longest one's length, to the eighth part
_OUTLIVED, _OUTLASTED = 32, 10  # so many shorter ones, and for so many times as long, are another rhythm
_JITTER, _MOST_JITTER_US = 8, 400_000  # an interval may be longer by this part, but not by more
_PROMISES, _LONGER = 30, 4  # after so many, only by this part more than what two have promised is believed
_MANY = 64  # that are counted
_FADE = (
    64  # a longest interval comes down by this part of what the next one is shorter, or of itself where that is much
)
_MISSED = 2  # an interval that is longer by this part and more has lost a message

RHYTHM, TIME_ALLOWED_TO_LIVE, INTERVAL = 0, 1, 2
"""What says how long a silence may last: the usual rhythm, the last message, or the settings."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Of each message of a publisher what was before it; all [n], 0 of others' messages.

    Attributes:
        before: when the block was heard before, µs since 1970; 0 for its first message.
        due: by when it had to be heard again; 0 where that is not known.
        source: what says so: ``RHYTHM``, ``TIME_ALLOWED_TO_LIVE`` or ``INTERVAL``.
        st_num: stNum of the message before.
        sq_num: its sqNum.
    """

    before: Ints
    due: Ints
    source: Ints
    st_num: Ints
    sq_num: Ints


@dataclass(slots=True)
class Rhythm(Columns):
    """When blocks were last heard, and when they must be heard again; [blocks] each.

    Attributes:
        last: µs since 1970, 0 before the first message.
        live: how long the silence after that may last, µs, 0 while unknown.
        source: what says so, as in ``Awaited``.
        longest: longest usual interval, µs.
        intervals: how many were seen.
        overlong: how many in a row were longer than that.
        regular: how many were of its length, to the eighth part, since it is the longest.
        irregular: how many others were longer than half of it.
        exact: how many were of its length exactly, less those that were not.
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
    source: Ints
    longest: Ints
    intervals: Ints
    overlong: Ints
    regular: Ints
    irregular: Ints
    exact: Ints
    long_at: Ints
    since_then: Ints
    short: Ints
    st_num: Ints
    sq_num: Ints
    promises: Ints
    once: Ints
    twice: Ints

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
            self.source,
            self.longest,
            self.intervals,
            self.overlong,
            self.regular,
            self.irregular,
            self.exact,
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
            found.source,
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
def _follow(  # noqa: PLR0912, PLR0915 - one pass
    last: Ints,
    live: Ints,
    source: Ints,
    longest: Ints,
    intervals: Ints,
    overlong: Ints,
    regular: Ints,
    irregular: Ints,
    exact: Ints,
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
    due_by: Ints,
    before_st: Ints,
    before_sq: Ints,
) -> None:
    for n in range(len(block)):
        if not genuine[n]:
            continue
        b = block[n]
        before[n], before_st[n], before_sq[n] = last[b], last_st[b], last_sq[b]
        last_st[b], last_sq[b] = st_num[n], sq_num[n]
        due[n], due_by[n] = last[b] + live[b] if live[b] else 0, source[b]
        gap = received[n] - last[b] if last[b] else 0
        last[b] = received[n]
        if live_ms[n] > 0:
            live[b], source[b] = live_ms[n] * 1_000, TIME_ALLOWED_TO_LIVE
            # One message alone, which somebody may have altered, does not let a publisher be silent for an hour.
            longer = min(once[b], live[b])
            promises[b] = 0 if longer > twice[b] else min(promises[b] + 1, _PROMISES)
            twice[b], once[b] = max(twice[b], longer), max(once[b], live[b])
            if promises[b] == _PROMISES:
                live[b] = min(live[b], twice[b] + twice[b] // _LONGER)
            continue
        if promised[b] > 0:
            live[b], source[b] = promised[b] + min(promised[b] // _JITTER, _MOST_JITTER_US), INTERVAL
            continue
        if gap > 0:
            silent = live[b] > 0 and gap > live[b]
            if silent and _MISSED * gap < (_MISSED + 1) * longest[b]:
                # Later than ever, but none is missing: they vary by so much.
                longest[b], overlong[b], exact[b] = gap, 0, max(exact[b] - _INEXACT, 0)
                long_at[b], since_then[b], short[b] = received[n], 0, 0
                intervals[b] += 1
            elif silent and overlong[b] + 1 < _NEW_RHYTHM:
                overlong[b] += 1
            elif silent:
                longest[b], overlong[b], regular[b], irregular[b], exact[b] = gap, 0, _REGULAR, 0, 0
                long_at[b], since_then[b], short[b] = received[n], 0, 0
            else:
                # What is sent in between, as events come, says nothing of the rhythm.
                if 8 * gap > 9 * longest[b]:
                    longest[b], overlong[b], regular[b], irregular[b], exact[b] = gap, 0, 1, 0, 0
                    long_at[b], since_then[b], short[b] = received[n], 0, 0
                elif 2 * gap >= longest[b]:
                    if abs(longest[b] - gap) <= max(longest[b] // _ALIKE, _ALIKE_US):
                        exact[b] = min(exact[b] + 1, _MOST_EXACT)
                    else:
                        exact[b] = max(exact[b] - _INEXACT, 0)
                    if 8 * gap >= 7 * longest[b]:
                        regular[b] = min(regular[b] + 1, _MANY)
                        longest[b] = max(gap, longest[b] - (longest[b] - gap) // _FADE)
                    else:
                        irregular[b] = min(irregular[b] + 1, _MANY)
                        # An event that came in between does not make an exact period shorter.
                        longest[b] -= 0 if exact[b] >= _EXACT else longest[b] // _FADE
                    overlong[b] = 0
                    long_at[b], since_then[b], short[b] = received[n], 0, 0
                else:
                    since_then[b] = max(since_then[b], gap)
                    short[b] += 1
                    if short[b] >= _OUTLIVED and received[n] - long_at[b] >= _OUTLASTED * longest[b]:
                        # A single pause, or a rhythm that has become a faster one.
                        longest[b], regular[b], irregular[b], exact[b] = since_then[b], 1, 0, 0
                        long_at[b], since_then[b], short[b] = received[n], 0, 0
                intervals[b] += 1
            if intervals[b] >= _LEARNED:
                source[b] = RHYTHM
                if exact[b] >= _EXACT:
                    live[b] = longest[b] + min(longest[b] // _JITTER, _MOST_JITTER_US)
                else:
                    live[b] = _LATE * longest[b] if regular[b] >= max(_REGULAR, irregular[b]) else 0
