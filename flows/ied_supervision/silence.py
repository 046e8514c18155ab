"""How long a control block may be silent: what its messages promise, or else what it has always kept.

A GOOSE message says how long it may be believed, ``timeAllowedtoLive`` (IEC 61850-8-1, 18.1.2.5). Reports and health
come in a rhythm that nobody announces: the integrity period (IEC 61850-7-2, 17.2.3.2.2.10), which the settings say, or
which is learned: see ``period``. Where there is none but the longest intervals are of about one length, twice that is
silence. What is sent only as events come has no rhythm, and is never silent.
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
from flows.ied_supervision.period import KEPT_OF_PERIOD, REMEMBERED, due_after

_LATE = 2  # rhythms that must have passed, where there is no period
_LEARNED = 6  # intervals, before a rhythm is known
_LASTS_US, _MOST_MISSED = (
    60_000_000,
    100,
)  # for so long it must have been kept; and so much, in intervals, a gap takes off
_NEW_RHYTHM = 3  # overlong intervals, between which nothing comes in the old rhythm, are a new one
_REGULAR = 3  # so many of the long intervals, and half of them, are of the longest one's length, to the eighth part
_OUTLIVED, _OUTLASTED = 32, 10  # so many shorter ones, and for so many times as long, are another rhythm
_JITTER, _MOST_JITTER_US = 8, 400_000  # what the settings say may be longer by this part, but not by more
_LONGER, _YOUNG_US, _REPEATED = 4, 60_000_000, 5  # what is promised, once that has stood for so long, is longer only by
# this part, until so many messages in a row have promised more
_MANY = 64  # that are counted
_FADE = 64  # a longest interval that is not reached again is forgotten by this part each time

RHYTHM, TIME_ALLOWED_TO_LIVE, INTERVAL = 0, 1, 2
"""What says how long a silence may last: the usual rhythm, the last message, or the settings."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Of each message of a publisher what was before it; all [n], 0 of others' messages.

    Attributes:
        before: when the block was heard before, µs since 1970; 0 for its first message.
        due: by when it had to be heard again; 0 where that is not known.
        source: what says so: ``RHYTHM``, ``TIME_ALLOWED_TO_LIVE`` or ``INTERVAL``.
        longer: 1 where the message promises longer than can be believed of it.
        st_num: stNum of the message before.
        sq_num: its sqNum.
    """

    before: Ints
    due: Ints
    source: Ints
    longer: Ints
    st_num: Ints
    sq_num: Ints


@dataclass(slots=True)
class Rhythm(Columns):
    """When blocks were last heard, and when they must be heard again; [blocks] each, where nothing else is said.

    Attributes:
        last: µs since 1970, 0 before the first message.
        live: how long the silence after that may last, µs, 0 while unknown.
        source: what says so, as in ``Awaited``.
        slow: the same of the rhythm, where there is no period.
        lasted: for how long that has been kept, less what was longer, µs.
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
        believed: longest that is promised, µs.
        since: since when, µs since 1970.
        more: how many messages in a row have promised more than can be believed.
        pending: the least of that, µs.
        period: see ``period``; [blocks, ``KEPT_OF_PERIOD``].
        times: of the latest messages; [blocks, ``REMEMBERED``].
    """

    WIDTHS: ClassVar[Mapping[str, int]] = {"period": KEPT_OF_PERIOD, "times": REMEMBERED}

    last: Ints
    live: Ints
    source: Ints
    slow: Ints
    lasted: Ints
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
    believed: Ints
    since: Ints
    more: Ints
    pending: Ints
    period: Ints
    times: Ints

    def follow(
        self, messages: Messages, genuine: npt.NDArray[np.bool_], anew: npt.NDArray[np.bool_], promised: Ints
    ) -> Awaited:
        """Take note of messages.

        Args:
            messages: ordered.
            genuine: whether they are the publisher's: another one's do not speak for it; [n].
            anew: whether the publisher has begun anew with them; [n].
            promised: after how long blocks whose messages do not say so must be heard again, µs; 0 where it is to be
                learned; [blocks].
        """
        n, m = len(messages), messages
        found = Awaited(*(np.zeros(n, np.int64) for _ in fields(Awaited)))
        _follow(
            self.last,
            self.live,
            self.source,
            self.slow,
            self.lasted,
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
            self.believed,
            self.since,
            self.more,
            self.pending,
            self.period,
            self.times,
            m.block,
            m.received,
            m.time_allowed_to_live_ms,
            m.st_num,
            m.sq_num,
            genuine,
            anew,
            promised,
            found.before,
            found.due,
            found.source,
            found.longer,
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
    slow: Ints,
    lasted: Ints,
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
    believed: Ints,
    since: Ints,
    more: Ints,
    pending: Ints,
    period: Ints,
    times: Ints,
    block: Ints,
    received: Ints,
    live_ms: Ints,
    st_num: Ints,
    sq_num: Ints,
    genuine: npt.NDArray[np.bool_],
    anew: npt.NDArray[np.bool_],
    promised: Ints,
    before: Ints,
    due: Ints,
    due_by: Ints,
    longer: Ints,
    before_st: Ints,
    before_sq: Ints,
) -> None:
    for n in range(len(block)):
        if not genuine[n]:
            continue
        b, now = block[n], received[n]
        before[n], before_st[n], before_sq[n] = last[b], last_st[b], last_sq[b]
        last_st[b], last_sq[b] = st_num[n], sq_num[n]
        due[n], due_by[n] = last[b] + live[b] if live[b] else 0, source[b]
        gap = now - last[b] if last[b] else 0
        last[b] = now
        if live_ms[n] > 0:
            live[b], source[b] = live_ms[n] * 1_000, TIME_ALLOWED_TO_LIVE
            # A few messages, which somebody may have altered, do not let a publisher be silent for an hour.
            most = believed[b] + believed[b] // _LONGER
            if live[b] <= most:
                more[b] = 0
            elif believed[b] == 0 or anew[n] or now - since[b] < _YOUNG_US:
                believed[b], since[b], more[b] = live[b], now, 0
            else:
                needed = more[b] > 0 and most < gap <= pending[b]  # it has been silent for so long, and is there
                pending[b] = min(pending[b], live[b]) if more[b] > 0 else live[b]
                more[b] += 1
                if needed or more[b] >= _REPEATED:
                    believed[b], since[b], more[b] = pending[b], now, 0
                else:
                    live[b], longer[n] = most, 1
            continue
        if promised[b] > 0:
            live[b], source[b] = promised[b] + min(promised[b] // _JITTER, _MOST_JITTER_US), INTERVAL
            continue
        if gap > 0:
            silent = slow[b] > 0 and gap > slow[b]
            if silent:
                lasted[b] = max(lasted[b] - min(gap, _MOST_MISSED * longest[b]), 0)
            if silent and overlong[b] + 1 < _NEW_RHYTHM:
                overlong[b] += 1
            elif silent:
                longest[b], lasted[b], overlong[b], regular[b], irregular[b] = gap, gap, 0, _REGULAR, 0
                long_at[b], since_then[b], short[b] = now, 0, 0
            else:
                # What is sent in between, as events come, says nothing of the rhythm.
                if 8 * gap > 9 * longest[b]:
                    longest[b], lasted[b], overlong[b], regular[b], irregular[b] = gap, gap, 0, 1, 0
                    long_at[b], since_then[b], short[b] = now, 0, 0
                elif 2 * gap >= longest[b]:
                    if 8 * gap >= 7 * longest[b]:
                        regular[b] = min(regular[b] + 1, _MANY)
                        lasted[b] = min(lasted[b] + gap, _MOST_MISSED * _LASTS_US)
                    else:
                        irregular[b] = min(irregular[b] + 1, _MANY)
                    longest[b] = max(gap, longest[b] - longest[b] // _FADE)
                    overlong[b] = 0
                    long_at[b], since_then[b], short[b] = now, 0, 0
                else:
                    since_then[b] = max(since_then[b], gap)
                    short[b] += 1
                    if short[b] >= _OUTLIVED and now - long_at[b] >= _OUTLASTED * longest[b]:
                        # A single pause, or a rhythm that has become a faster one.
                        longest[b], lasted[b], regular[b], irregular[b] = since_then[b], since_then[b], 1, 0
                        long_at[b], since_then[b], short[b] = now, 0, 0
                intervals[b] += 1
            if intervals[b] >= _LEARNED:
                known = lasted[b] >= _LASTS_US and regular[b] >= max(_REGULAR, irregular[b])
                slow[b] = _LATE * longest[b] if known else 0
        moment = due_after(period[b], times[b], now)
        live[b], source[b] = moment - now if moment else slow[b], RHYTHM
