"""How a block's messages follow one another in time, and how the device's clock runs against the capture's.

Flooding is told by the generic cell rate algorithm (ITU-T I.371, annex A): each message takes up a slot of time, and
what is in the queue says how much faster than the slots they come. What does not conform takes up none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.columns import Columns
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN, UNSET, Ints

SLOT_US = 10_000
"""A hundred messages a second are what a control block may send for long."""

_CERTAIN = 4  # messages with a time of their own, before a usual offset is known
_APART_US = 500_000  # messages that follow faster are not asked
_AGREES_US = 100_000  # two offsets that differ by less are of one clock; what has been buffered disagrees
_DRIFTS = 5_000  # a clock that nobody sets drifts by less than this part, 200 ppm
_ADOPT_US = 86_400_000_000  # an offset that has stood still for so long is the usual one,
_NEARER_US = 3_600_000_000  # or for so long, where it is nearer to none: the clock has been put right
_MOST_JITTER_US = 2_000_000  # more is a step, or a delivery after a failure
_COUNTED = 16  # entry ids that were counted one by one, from which on one that is left out is missed


@dataclass(slots=True)
class Pace(Columns):
    """What is kept of each block; [blocks] each.

    Attributes:
        queue: theoretical arrival time of the next message, µs since 1970.
        offset: usual delay from the message's own time to its capture, µs.
        certain: messages that it rests on.
        last_offset: of the message before.
        told_at: when that was received, µs since 1970.
        last_time: its own time, µs since 1970.
        since: since when it has been another one, µs since 1970, 0 while it is the usual one.
        other: that other one, µs.
        sq_num: of the report before, ``UNKNOWN`` before the first.
        entry: entry id of the report before.
        counted: how many entry ids in a row were each the one after that before.
        stood: how many reports in a row had the time of the one before.
        jitter: by how much the delays of two messages in a row differ on the mean, µs.
    """

    BEFORE: ClassVar[Mapping[str, int]] = {"sq_num": UNKNOWN, "entry": UNKNOWN}

    queue: Ints
    offset: Ints
    certain: Ints
    last_offset: Ints
    told_at: Ints
    last_time: Ints
    since: Ints
    other: Ints
    sq_num: Ints
    entry: Ints
    counted: Ints
    stood: Ints
    jitter: Ints


@dataclass(frozen=True, slots=True)
class Paced:
    """What the pace tells of messages; all [n].

    Attributes:
        queued: µs by which the messages are ahead of one in ``SLOT_US``.
        off: µs by which the device's clock is ahead of what it usually is, 0 where nothing can be told.
        late: µs by which the first GOOSE message of a state came later than usual after its own time, and than the one
            before; 0 where it came sooner, or nothing can be told.
        sq_before: ``SqNum`` of the report before, ``UNKNOWN`` without.
        entry_before: entry id of the report before, ``UNKNOWN`` without.
        left_out: entry ids between the two, where the device counts them one by one.
    """

    queued: Ints
    off: Ints
    late: Ints
    sq_before: Ints
    entry_before: Ints
    left_out: Ints


def follow(
    pace: Pace,
    messages: Messages,
    tells_time: npt.NDArray[np.bool_],
    synchronised: npt.NDArray[np.bool_],
    most: Ints,
) -> Paced:
    """Take note of messages.

    Args:
        pace: of at least as many blocks as occur; changed.
        messages: ordered.
        tells_time: whether a message's own time is that of its sending; [n].
        synchronised: whether the device does not say that its clock is wrong: only then can another offset become the
            usual one; [n].
        most: µs that a queue may hold; [blocks].
    """
    n = len(messages)
    found = Paced(
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.full(n, UNKNOWN, np.int64),
        np.full(n, UNKNOWN, np.int64),
        np.zeros(n, np.int64),
    )
    _follow(
        pace.queue,
        pace.offset,
        pace.certain,
        pace.last_offset,
        pace.told_at,
        pace.last_time,
        pace.since,
        pace.other,
        pace.sq_num,
        pace.entry,
        pace.counted,
        pace.stood,
        pace.jitter,
        messages.block,
        messages.received,
        messages.time,
        messages.st_num,
        messages.sq_num,
        messages.entry,
        tells_time,
        synchronised,
        most,
        found.queued,
        found.off,
        found.late,
        found.sq_before,
        found.entry_before,
        found.left_out,
    )
    return found


@compiled
def _follow(  # noqa: PLR0912 - one pass
    queue: Ints,
    offset: Ints,
    certain: Ints,
    last_offset: Ints,
    told_at: Ints,
    last_time: Ints,
    since: Ints,
    other: Ints,
    last_sq: Ints,
    last_entry: Ints,
    counted: Ints,
    stood: Ints,
    jitter: Ints,
    block: Ints,
    received: Ints,
    times: Ints,
    st_num: Ints,
    sq_num: Ints,
    entry: Ints,
    tells_time: npt.NDArray[np.bool_],
    synchronised: npt.NDArray[np.bool_],
    most: Ints,
    out_queued: Ints,
    out_off: Ints,
    out_late: Ints,
    out_sq: Ints,
    out_entry: Ints,
    out_left: Ints,
) -> None:
    for n in range(len(block)):
        b, now = block[n], received[n]
        after = max(queue[b], now) + SLOT_US
        out_queued[n] = after - now
        if out_queued[n] <= most[b]:
            queue[b] = after
        if st_num[n] == UNKNOWN:
            out_sq[n], out_entry[n] = last_sq[b], last_entry[b]
            if sq_num[n] != UNKNOWN:
                last_sq[b] = sq_num[n]
            if entry[n] != UNKNOWN:
                step = entry[n] - last_entry[b] if last_entry[b] != UNKNOWN else 1
                if counted[b] >= _COUNTED and step > 1:
                    out_left[n] = step - 1
                    counted[b] = _COUNTED - 1  # one more that is left out, and it does not count them one by one
                elif step != 0:
                    counted[b] = counted[b] + 1 if step == 1 else 0
                last_entry[b] = entry[n]
        if not tells_time[n]:
            continue
        delay = now - times[n]
        # What is delivered in one go has been buffered together, and its delay is no clock's.
        alike = _AGREES_US + (now - told_at[b]) // _DRIFTS
        agrees = abs(delay - last_offset[b]) <= alike and now - told_at[b] >= _APART_US
        # What has never moved is known of reports: health may carry the time of its last change.
        stands = st_num[n] == UNKNOWN and sq_num[n] != UNKNOWN and times[n] == last_time[b]
        if now - told_at[b] >= _APART_US:
            stood[b] = stood[b] + 1 if stands else 0
        if certain[b] < _CERTAIN and stood[b] >= _CERTAIN:
            out_off[n] = -delay
        elif certain[b] >= _CERTAIN and times[n] == last_time[b] and now - told_at[b] >= _APART_US:
            out_off[n] = offset[b] - delay  # it stands still
        elif certain[b] == 0 or (certain[b] < _CERTAIN and not agrees):
            offset[b], certain[b] = delay, 1
        elif certain[b] < _CERTAIN:
            certain[b] += 1
            offset[b] += (delay - offset[b]) // certain[b]
        elif agrees:
            out_off[n] = offset[b] - delay
            if abs(out_off[n]) <= _AGREES_US:
                since[b] = 0  # the usual one does not follow, or it would run after a drift
            elif since[b] == 0 or not synchronised[n] or abs(delay - other[b]) > _AGREES_US:
                since[b], other[b] = now, delay
            elif now - since[b] >= (_NEARER_US if abs(delay) < abs(offset[b]) else _ADOPT_US):
                offset[b], since[b] = delay, 0
        elif st_num[n] != UNKNOWN and synchronised[n] and times[n] >= UNSET:
            late = delay - max(offset[b], last_offset[b])
            out_late[n] = late if late > 8 * jitter[b] else 0
        # Where deliveries take now longer, now shorter, two alike by chance tell of no clock.
        if abs(out_off[n]) <= 4 * jitter[b]:
            out_off[n] = 0
        if certain[b] > 0 and last_time[b] != times[n]:
            jitter[b] += (min(abs(delay - last_offset[b]), _MOST_JITTER_US) - jitter[b]) // 16
        last_offset[b], told_at[b], last_time[b] = delay, now, times[n]
