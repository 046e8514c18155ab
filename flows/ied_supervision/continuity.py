"""Who sends the messages of a GOOSE control block: lines of continuity.

A publisher counts: ``sqNum`` with every retransmission, ``stNum`` with every change of its data set, whose time ``t``
then stands still (IEC 61850-8-1, 18.1; IEC 61850-7-2, 18.2). So each message continues what one publisher has sent
before, or begins something new. Where somebody else sends under the same reference there are two such lines. What the
lines have in common before they part is the trunk: the genuine publisher goes on from there, in its own rhythm.

The walk is made message by message, in the order of event time; all else in the supervision is columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN, UNSET, Ints
from flows.ied_supervision.values import OF_PART, PARTS

LINES = 4
"""Publishers that are told apart under one reference."""

# How a message goes on from its line.
FIRST, NEXT, LOST, STATE, LOST_STATE, REPEATED, RESTART, JUMP, FORK, TWIN, RIVAL, OVERTAKEN, RETIMED = range(13)

_FIELDS = (
    "used",
    "received",
    "time",
    "st",
    "sq",
    "address",
    "state_payload",
    "count",
    "born",
    "trunk",
    "strikes",
    "unchanged",
    "kept_beat",
    "missed_beat",
    "restarted",
    "interval",
    "skipped_sq",
    "skipped_received",
    "plan_sq",
    "plan_received",
    "plan_period",
    "renews",
    "other_time",
    "mixed",
    "begins_with",
    "lost_first",
    "last_payload",
    "simulated",
    "simulates_not",
    *(f"part_{n}" for n in range(PARTS)),
)
_F = {name: place for place, name in enumerate(_FIELDS)}
(
    _USED,
    _RECEIVED,
    _TIME,
    _ST,
    _SQ,
    _ADDRESS,
    _PAYLOAD,
    _COUNT,
    _BORN,
    _TRUNK,
    _STRIKES,
    _UNCHANGED,
    _KEPT,
    _MISSED,
    _RESTARTED,
    _INTERVAL,
    _SKIPPED_SQ,
    _SKIPPED_RECEIVED,
    _PLAN_SQ,
    _PLAN_RECEIVED,
    _PLAN_PERIOD,
    _RENEWS,
    _OTHER_TIME,
    _MIXED,
    _BEGINS_WITH,
    _LOST_FIRST,
    _LAST_PAYLOAD,
    _SIMULATED,
    _SIMULATES_NOT,
) = range(len(_FIELDS) - PARTS)
_PART = len(_FIELDS) - PARTS

# Behind the fields, the states that a line has left, the latest first: each with its last message's numbers, and how
# many messages the line had by then. The last place is for the last one left that had lasted, before a burst of others.
_PAST, _STATES, _OF_STATE = len(_FIELDS), 6, 6
_B_TIME, _B_ST, _B_SQ, _B_RECEIVED, _B_PAYLOAD, _B_COUNT = range(_OF_STATE)
_WIDTH = _PAST + _STATES * _OF_STATE

_ACTIVE_US = 5_000_000  # a line that has been silent for longer speaks no more
_STEADY = 8  # sqNum from which on retransmissions have their steady interval
_BACKED_OFF = 20  # sqNum by which the longest back-off is over: 2 ms doubled so often are half an hour
_BEAT_OFF = 8  # an interval farther off than the eighth part is not the publisher's
_DRIFT = 50  # by so little of the time a publisher's beat may be other than it was
_MOST_LOST = 10_000_000
_LONG_KNOWN = 20  # messages of a line that may come back
_BURST, _BURST_US = 5, 1_000_000  # sqNum up to which retransmissions follow at once, and within so long
_FEW_LOST = 3  # messages before one whose time has been altered
_COPIED_US = 50_000  # a copy by another way through the network is not later than this
_RENEWED_US = 1_100_000  # so far the time in messages may be from the time between them: it may be of whole seconds
_HANDED_OVER_US = 600_000_000  # when a publisher has been silent for so long, whoever else sends is believed
_BEATS = 10  # or so many that were in the publisher's own rhythm
_FEW_STATES = 4  # that a publisher has had when it is first heard after a restart,
_NEAR_STATES = 3  # that a publisher may have had unheard
_SECONDS_OF_A_STATE = 10  # and one more for so long that it was not heard
_LAST = 0xFFFF_FFFF
_ZERO, _ONE = 1, 2  # with what sqNum the last state has begun

# Strikes against a line, in thousandths of a logarithm of the odds.
_NO_ORIGIN, _LEFT_THE_TRUNK, _NO_CHANGE, _FOREIGN, _UNEXPECTED = 6_000, 12_000, 4_000, 8_000, 40_000
_BEHIND = 6_000  # it sends what has been sent before
_UNPROVED = 2_000  # most lead of one that has not been heard since the other has
_EITHER = 2_900  # and of one whose states may be the other's: less than what accuses


@dataclass(slots=True)
class Lines:
    """The lines of blocks.

    Attributes:
        table: [blocks, LINES, fields].
        period: the steady interval of each block's publisher, µs, 0 while unknown; [blocks].
        trusted: the line that is taken for the genuine one; [blocks].
        oldest: the least ``t`` of a publisher's messages, µs, 0 before the first; [blocks].
    """

    table: Ints
    period: Ints
    trusted: Ints
    oldest: Ints

    @classmethod
    def none(cls) -> Lines:
        """Of no blocks."""
        return cls(np.zeros((0, LINES, _WIDTH), np.int64), *(np.zeros(0, np.int64) for _ in range(3)))

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        more = blocks - len(self.period)
        if more > 0:
            self.table = np.concatenate([self.table, np.zeros((more, LINES, _WIDTH), np.int64)])
            for name in ("period", "trusted", "oldest"):
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros(more, np.int64)]))

    def copy(self) -> Lines:
        """A copy that can go its own way."""
        return Lines(self.table.copy(), self.period.copy(), self.trusted.copy(), self.oldest.copy())


@dataclass(frozen=True, slots=True)
class Walked:
    """What the walk tells of each message; all [n].

    Attributes:
        line: which line it belongs to.
        how: how it goes on from it: ``FIRST`` to ``RETIMED``.
        gap: µs since the message before it of the same line; 0 without one.
        lost: messages that were not seen between the two.
        altered: the data are not those with which its state began.
        changed: which entries of them are others, a bit for each of the first ones, 0 where that is not known.
        unchanged: its state has begun without any change of data.
        interleaved: another line has spoken since the message before it.
        trusted: the line that was taken for the genuine one then.
        lead: by how much that was likelier than the likeliest other one, as a logarithm of the odds, in thousandths;
            0 where there was no other.
        old: its numbers are behind those of the trusted line, and it is not of it.
        period: steady interval of the publisher, µs, 0 while unknown.
        restarted: its line has begun with the numbers of a restart, and nobody goes on with the old ones.
        parted: where it proves that what was taken for the publisher's was not: stNum, sqNum, received_time and
            number of the address of the last of those; else 0; [n, 4].
    """

    line: Ints
    how: Ints
    gap: Ints
    lost: Ints
    altered: npt.NDArray[np.bool_]
    changed: Ints
    unchanged: npt.NDArray[np.bool_]
    interleaved: npt.NDArray[np.bool_]
    trusted: Ints
    lead: Ints
    old: npt.NDArray[np.bool_]
    period: Ints
    restarted: npt.NDArray[np.bool_]
    parted: Ints

    @property
    def genuine(self) -> npt.NDArray[np.bool_]:
        """Messages of the line that is taken for the publisher's, or of the publisher that has restarted; [n]."""
        genuine: npt.NDArray[np.bool_] = (self.line == self.trusted) | self.restarted
        return genuine

    @classmethod
    def nothing(cls, n: int) -> Walked:
        """Of messages without any numbers: each is its publisher's."""
        numbers = [np.zeros(n, np.int64) for _ in range(7)]
        flags = [np.zeros(n, bool) for _ in range(5)]
        how = np.full(n, UNKNOWN, np.int64)
        return cls(
            numbers[0],
            how,
            numbers[1],
            numbers[2],
            flags[0],
            numbers[6],
            flags[1],
            flags[2],
            numbers[3],
            numbers[4],
            flags[3],
            numbers[5],
            flags[4],
            np.zeros((n, 4), np.int64),
        )


def walk(lines: Lines, messages: Messages, expected: Ints) -> Walked:
    """Follow the lines through messages, and bring them up to date.

    Args:
        lines: of at least as many blocks as occur; changed.
        messages: ordered; those without ``stNum``, which are no GOOSE, are passed over.
        expected: number of the source address that each block must have, ``UNKNOWN`` where nothing says; [blocks].
    """
    found = Walked.nothing(len(messages))
    _walk(
        lines.table,
        lines.period,
        lines.trusted,
        lines.oldest,
        messages.block,
        messages.received,
        messages.time,
        messages.st_num,
        messages.sq_num,
        messages.address,
        messages.payload,
        messages.parts,
        messages.time_allowed_to_live_ms,
        messages.simulation,
        expected,
        found.line,
        found.how,
        found.gap,
        found.lost,
        found.altered,
        found.changed,
        found.unchanged,
        found.interleaved,
        found.trusted,
        found.lead,
        found.old,
        found.period,
        found.restarted,
        found.parted,
    )
    return found


@compiled
def _score(line: Ints) -> int:
    """How likely a line is the genuine publisher's, as a logarithm of odds, in thousandths."""
    trunk = line[_TRUNK] + line[_COUNT]
    rhythm = min(max(500 * (line[_KEPT] - line[_MISSED]), -8_000), 8_000)
    score: int = int(1_000 * np.log1p(trunk)) + rhythm - line[_STRIKES]
    return score


@compiled
def _is_unset(t: int, oldest: int) -> bool:
    """Whether a clock has never been set, or not since a restart: of a time in which the publisher was not heard."""
    return t < UNSET or t < oldest


@compiled
def _begins_anew(keeper: Ints, oldest: int, t: int, st: int, sq: int, now: int) -> bool:
    """Whether numbers are those of a restarted publisher, whose first messages may have been lost."""
    gone = (now - keeper[_RECEIVED]) // 1_000_000
    few = st <= _FEW_STATES + gone // _SECONDS_OF_A_STATE and sq <= 10 + 2 * gone
    later = t >= keeper[_TIME] or _is_unset(t, oldest)  # after a restart a clock may not have been set yet
    return (st <= 1 and sq <= 1) or (few and later and st < keeper[_ST])


@compiled
def _follows(sq: int, last: int) -> bool:
    return sq == last + 1 or (last == _LAST and sq in (0, 1))


@compiled
def _walk(  # noqa: PLR0912, PLR0915 - one pass, and compiled code calls no other with arrays
    table: Ints,
    period: Ints,
    trusted: Ints,
    oldest: Ints,
    block: Ints,
    received: Ints,
    times: Ints,
    st_num: Ints,
    sq_num: Ints,
    address: Ints,
    payload: Ints,
    parts: Ints,
    live_ms: Ints,
    simulation: Ints,
    expected: Ints,
    out_line: Ints,
    out_how: Ints,
    out_gap: Ints,
    out_lost: Ints,
    out_altered: npt.NDArray[np.bool_],
    out_changed: Ints,
    out_unchanged: npt.NDArray[np.bool_],
    out_interleaved: npt.NDArray[np.bool_],
    out_trusted: Ints,
    out_lead: Ints,
    out_old: npt.NDArray[np.bool_],
    out_period: Ints,
    out_restarted: npt.NDArray[np.bool_],
    out_parted: Ints,
) -> None:
    for n in range(len(block)):
        if st_num[n] == UNKNOWN or sq_num[n] == UNKNOWN:
            continue
        b, now, t, st, sq = block[n], received[n], times[n], st_num[n], sq_num[n]
        of_block = table[b]
        active_us = max(_ACTIVE_US, 3_000 * live_ms[n])
        best, how, rank, lost = -1, FIRST, 0, 0
        returned = False
        any_used, any_active = False, False
        for place in range(LINES):
            line = of_block[place]
            if not line[_USED]:
                continue
            any_used = True
            gone = now - line[_RECEIVED]
            active, copied = gone <= active_us, gone <= _COPIED_US
            any_active |= active
            # Whoever has been silent for long is back only if it was trusted, or has long been known.
            if not active and place != trusted[b] and line[_TRUNK] + line[_COUNT] < _LONG_KNOWN:
                continue
            if address[n] != line[_ADDRESS] and address[n] != UNKNOWN and line[_ADDRESS] != UNKNOWN:
                continue
            # A publisher that wrongly puts the present into each message always does so, from its first ones on.
            renews = (line[_RENEWS] == 1 or line[_COUNT] == 1) and t > line[_TIME]
            renews &= abs(t - line[_TIME] - gone) <= _RENEWED_US
            same_state = st == line[_ST] and (t == line[_TIME] or renews)
            same_data = payload[n] == line[_PAYLOAD] or payload[n] == 0 or line[_PAYLOAD] == 0
            same_number = same_state and sq == line[_SQ]
            other_data = payload[n] != line[_LAST_PAYLOAD] and payload[n] != 0 and line[_LAST_PAYLOAD] != 0
            begins = (st == line[_ST] + 1 or (line[_ST] == _LAST and st <= 1)) and sq <= 1
            missed = sq - line[_SQ] - 1
            if missed < _MOST_LOST - _LAST:
                missed += _LAST + 1  # it has begun anew after the last number
            this_how, this_rank, this_lost = RIVAL, 0, 0
            # Numbers that somebody has sent ahead of the publisher's beat, when they are due.
            steps, beat = sq - line[_PLAN_SQ], line[_PLAN_PERIOD]
            comes_back = same_state and same_data and beat > 0 and 0 < steps <= line[_SQ] - line[_PLAN_SQ]
            comes_back &= abs(now - line[_PLAN_RECEIVED] - steps * beat) * _BEAT_OFF <= steps * beat
            comes_back &= sq < line[_SQ] or not copied
            if comes_back:
                this_how, this_rank = NEXT, 9
            elif same_state and _follows(sq, line[_SQ]):
                this_how, this_rank = NEXT, 9 if same_data else 5
            elif begins and (t > line[_TIME] or not same_data or payload[n] == 0):
                this_lost = int(sq > 0 and line[_BEGINS_WITH] == _ZERO)
                this_how = LOST_STATE if this_lost else STATE
                this_rank = 7  # its clock has been set back, or has none
                if t > line[_TIME]:
                    this_rank = 5 if same_data else 8
            elif same_state and same_data and 0 < -missed - 1 <= 8 and copied:
                this_how, this_rank = REPEATED, 8
            elif same_number and same_data and other_data:
                this_how, this_rank = OVERTAKEN, 3  # by what somebody else has sent with its number
            elif same_number:
                # A copy by another way through the network is of who has just sent it, whoever else may count on.
                this_how, this_rank = (REPEATED, 8 if copied else 3) if same_data else (TWIN, 2)
            elif same_state and 0 < missed <= _MOST_LOST:
                this_how, this_rank, this_lost = LOST, 6 if same_data else 0, missed
            elif line[_ST] < st <= line[_ST] + 50 and t >= line[_TIME]:
                later = t > line[_TIME]
                this_lost = st - line[_ST] - 1 + sq - (line[_BEGINS_WITH] == _ONE)
                this_how = LOST_STATE if later or this_lost > 0 else STATE
                this_rank = 4 if later else 1  # of a publisher that does not say when its states began
            elif st == line[_ST] and same_data and 0 <= missed <= _FEW_LOST:
                # What is due now, and differs in its time alone, which somebody has altered.
                due = (missed + 1) * line[_INTERVAL]
                is_due = abs(gone - due) * _BEAT_OFF <= due
                is_due |= missed == 0 and sq < _BACKED_OFF and 0 <= gone - due <= 2 * due
                is_due |= sq <= _BURST and gone <= _BURST_US
                this_how, this_rank, this_lost = RETIMED, int(is_due), missed
            # More than can have been sent in the time, even in the publisher's own rhythm.
            beats = 3 * gone // (2 * period[b]) if period[b] else 0
            if this_lost > 10 + max(2 * gone // 1_000_000, beats):
                this_rank = 0
            if this_rank == 0:
                continue
            this_rank = 2 * this_rank + (place == trusted[b])
            if this_rank > rank:
                best, how, rank, lost = place, this_how, this_rank, this_lost
                returned = comes_back
        others = best >= 0 and how in (STATE, LOST_STATE) and of_block[best, _SIMULATES_NOT] == 1
        if simulation[n] == 1 and (best < 0 or how == TWIN or others):
            continue  # a test set's, beside the publisher (IEC 61850-7-1, LPHD.Sim)
        source = best if how == TWIN else -1
        if rank < 2 * 7:
            # What was sent before a state began that somebody else may have made up.
            left = _PAST
            for one in range(LINES * _STATES):
                place, left = one // _STATES, _PAST + one % _STATES * _OF_STATE
                line = of_block[place]
                if not line[_USED] or line[left + _B_COUNT] == 0:
                    continue
                if address[n] != line[_ADDRESS] and address[n] != UNKNOWN and line[_ADDRESS] != UNKNOWN:
                    continue
                silent, steps = now - line[left + _B_RECEIVED], sq - line[left + _B_SQ]
                moved = t - line[left + _B_TIME]
                renews = line[_RENEWS] == 1 and moved > 0 and abs(moved - silent) <= _RENEWED_US
                same_state = st == line[left + _B_ST] and (moved == 0 or renews)
                goes_on = same_state and 0 < steps <= 20 and silent <= active_us
                # After however long: whoever has counted on meanwhile has as many numbers as the time has beats.
                off = abs(silent - steps * period[b])
                goes_on |= same_state and steps > 0 and period[b] > 0 and off <= period[b] // 2 + silent // _DRIFT
                copied = same_state and 0 <= line[left + _B_SQ] - sq <= 8
                copied = copied and silent <= _COPIED_US
                if copied or (goes_on and line[_SQ] <= _BURST and now - line[_RECEIVED] <= _COPIED_US):
                    best, how, rank = place, REPEATED, 2 * 7  # overtaken by the new state on the way
                    break
                forks = st == line[left + _B_ST] + 1 and sq <= 1 and t > line[left + _B_TIME] and t != line[_TIME]
                forks &= silent <= active_us and how != RETIMED
                if left > _PAST:
                    forks &= t != line[left - _OF_STATE + _B_TIME]
                if (goes_on or forks) and line[_SIMULATED] and simulation[n] != 1:
                    # The new state was a test set's: the publisher goes on from the one before.
                    line[_TIME], line[_ST], line[_SQ] = line[left], line[left + _B_ST], line[left + _B_SQ]
                    line[_RECEIVED], line[_PAYLOAD] = line[left + _B_RECEIVED], line[left + _B_PAYLOAD]
                    line[_PART:_PAST] = 0
                    older = left + _OF_STATE - _PAST
                    line[_PAST : _WIDTH - older] = line[_PAST + older :].copy()
                    line[_WIDTH - older :] = 0
                    line[_SIMULATED], line[_SIMULATES_NOT] = 0, 1
                    best, rank, lost = place, 2 * 7, max(sq - line[_SQ] - 1, 0) if goes_on else 0
                    how = STATE if forks else LOST if lost else NEXT
                    break
                if goes_on or forks:
                    source, best, how, lost = place, -1, FORK, 0
                    # Who goes on in the old rhythm says that the new state is somebody else's.
                    if goes_on and (not period[b] or off * _BEAT_OFF <= steps * period[b]):
                        line[_STRIKES] += _LEFT_THE_TRUNK
                    break
        if how == TWIN:
            best = -1
        if best < 0 and source < 0 and any_used and not any_active:
            # Nobody else is there: the same publisher, whose numbers have started again, or jumped.
            keeper = of_block[trusted[b]]
            past = st < keeper[_ST] or (st == keeper[_ST] and sq < keeper[_SQ])
            begins_anew = _begins_anew(keeper, oldest[b], t, st, sq, now)
            if (address[n] == keeper[_ADDRESS] or address[n] == UNKNOWN) and (not past or begins_anew):
                best, how = trusted[b], RESTART if begins_anew else JUMP
        if best < 0:
            best = 0
            for place in range(LINES):
                if not of_block[place, _USED]:
                    best = place
                    break
                if place not in (trusted[b], source) and (
                    best in (trusted[b], source) or of_block[place, _RECEIVED] < of_block[best, _RECEIVED]
                ):
                    best = place
            line = of_block[best]
            if source >= 0:
                parent = of_block[source].copy()
                line[:] = 0
                left = left if how == FORK else _PAST
                line[_TRUNK] = parent[left + _B_COUNT]
                line[_RECEIVED] = parent[left + _B_RECEIVED] if how == FORK else parent[_RECEIVED]
                line[_TIME], line[_ST] = parent[left + _B_TIME], parent[left + _B_ST]
                line[_SQ], line[_PAYLOAD] = parent[left + _B_SQ], parent[left + _B_PAYLOAD]
                # Which entries those were is not kept.
                if how == TWIN:
                    line[_PAST:] = parent[_PAST:]
                else:
                    older = left + _OF_STATE - _PAST
                    line[_PAST : _WIDTH - older] = parent[_PAST + older :]
            else:
                keeper_address, since = of_block[trusted[b], _ADDRESS], of_block[trusted[b], _RECEIVED]
                begins_anew = _begins_anew(of_block[trusted[b]], oldest[b], t, st, sq, now)
                gone_by = st < of_block[trusted[b], _ST] or t < of_block[trusted[b], _TIME]
                gone_by |= st == of_block[trusted[b], _ST] and sq < of_block[trusted[b], _SQ]
                # Who has only just been heard itself proves little against another one.
                known = min(of_block[trusted[b], _TRUNK] + of_block[trusted[b], _COUNT], _LONG_KNOWN)
                line[:] = 0
                line[_ST] = -2
                how = FIRST
                if any_used:
                    how = RESTART if begins_anew else RIVAL
                    line[_RECEIVED] = since if begins_anew else 0
                    line[_STRIKES] = _NO_ORIGIN * known // _LONG_KNOWN
                    if how == RIVAL and gone_by:
                        line[_STRIKES] += _BEHIND * known // _LONG_KNOWN
                    line[_RESTARTED] = how == RESTART and (address[n] == keeper_address or address[n] == UNKNOWN)
                    if address[n] != keeper_address and address[n] != UNKNOWN:
                        line[_STRIKES] += _FOREIGN * known // _LONG_KNOWN
            if expected[b] != UNKNOWN and address[n] != UNKNOWN:
                line[_STRIKES] = 0 if address[n] == expected[b] else line[_STRIKES] + _UNEXPECTED
            line[_USED] = 1
            line[_BORN] = now
            line[_ADDRESS] = address[n]
        if how in (STATE, LOST_STATE, FORK):
            # Where both begin a state at once, nobody knows which is whose.
            for place in range(LINES):
                other = of_block[place]
                same = other[_USED] == 1 and place != best and other[_ST] == st and other[_SQ] <= _BURST
                if same and now - other[_RECEIVED] <= _COPIED_US and of_block[best, _COUNT] > 0:
                    other[_MIXED] = of_block[best, _MIXED] = 1
        keeper = of_block[trusted[b]]
        behind = st < keeper[_ST] or (st == keeper[_ST] and (t < keeper[_TIME] or sq < keeper[_SQ]))
        either = keeper[_MIXED] == 1 and of_block[best, _MIXED] == 1
        out_old[n] = behind and keeper[_USED] and best != trusted[b] and not either
        out_period[n] = period[b]
        line = of_block[best]
        gap = now - line[_RECEIVED] if line[_RECEIVED] else 0
        # Has somebody else spoken since this line last did?
        interleaved = False
        for place in range(LINES):
            other = of_block[place]
            if place != best and other[_USED] and line[_COUNT] > 0 and line[_RECEIVED] < other[_RECEIVED]:
                interleaved |= now - other[_RECEIVED] <= active_us
        overtaken = how == REPEATED and (st != line[_ST] or t != line[_TIME])
        if returned:
            out_parted[n, 0], out_parted[n, 1], out_parted[n, 2] = line[_ST], line[_SQ], line[_RECEIVED]
            out_parted[n, 3] = line[_ADDRESS]
            gap = (now - line[_PLAN_RECEIVED]) // (sq - line[_PLAN_SQ])
            period[b] = line[_PLAN_PERIOD]  # not what it seemed to be since
        if how == OVERTAKEN:
            out_parted[n, 0], out_parted[n, 1], out_parted[n, 2] = line[_ST], line[_SQ], line[_RECEIVED]
            out_parted[n, 3] = line[_ADDRESS]
        missed_before = line[_SKIPPED_RECEIVED] > 0 and line[_SKIPPED_SQ] < sq < line[_SQ]
        missed_before |= line[_LOST_FIRST] == 1 and sq == 0
        if how == REPEATED and not overtaken and missed_before:
            how = OVERTAKEN  # by a later one on the way
            line[_LOST_FIRST] = 0 if sq == 0 else line[_LOST_FIRST]
        if how == LOST:
            line[_SKIPPED_SQ], line[_SKIPPED_RECEIVED] = line[_SQ], line[_RECEIVED]
        elif how not in (NEXT, OVERTAKEN) or returned:
            line[_SKIPPED_RECEIVED] = 0
        renewed = how in (NEXT, LOST) and st == line[_ST] and t != line[_TIME]
        if renewed or (how in (NEXT, LOST) and gap > _RENEWED_US):
            line[_RENEWS] = renewed
        if (st != line[_ST] or t != line[_TIME]) and not overtaken and not renewed and how != RETIMED:
            begun = line[_ST] >= 0 and how in (STATE, LOST_STATE, FORK, TWIN)
            same = begun and payload[n] == line[_PAYLOAD] and payload[n] != 0
            same &= st <= line[_ST] + 1 or line[_ST] == _LAST  # else a state was missed, with other data
            if how in (STATE, LOST_STATE):
                lasted = _WIDTH - _OF_STATE
                oldest_left = lasted - _OF_STATE
                kept = line[oldest_left + _B_SQ] >= _STEADY or now - line[lasted + _B_RECEIVED] > active_us
                if kept or line[lasted + _B_COUNT] == 0:
                    line[lasted:_WIDTH] = line[oldest_left:lasted]
                for at in range(oldest_left - 1, _PAST - 1, -1):
                    line[at + _OF_STATE] = line[at]
                line[_PAST + _B_TIME], line[_PAST + _B_ST], line[_PAST + _B_SQ] = line[_TIME], line[_ST], line[_SQ]
                line[_PAST + _B_RECEIVED], line[_PAST + _B_PAYLOAD] = line[_RECEIVED], line[_PAYLOAD]
                line[_PAST + _B_COUNT] = line[_TRUNK] + line[_COUNT]
            # So does the next state, too, else its first message is missed.
            line[_BEGINS_WITH] = (_ZERO if sq == 0 else _ONE) if how == STATE else 0
            line[_LOST_FIRST] = how == LOST_STATE and sq == 1
            if begun and how != FORK:
                line[_KEPT] = line[_MISSED] = 0
            # Where the state before began with old data, this one only says so, too.
            explained = same and line[_UNCHANGED] == 1
            line[_UNCHANGED] = 1 if same and not explained else 0
            if same and not explained:
                line[_STRIKES] += _NO_CHANGE
            line[_PAYLOAD] = payload[n]
            line[_PART:_PAST] = parts[n]
        elif line[_PAYLOAD] == 0 and not overtaken:
            line[_PAYLOAD] = payload[n]
            line[_PART:_PAST] = parts[n]
        elif payload[n] not in (0, line[_PAYLOAD]) and not overtaken:
            out_altered[n] = True
            for part in range(PARTS):
                for place in range(OF_PART):
                    here, there = (parts[n, part] >> 8 * place) & 0xFF, (line[_PART + part] >> 8 * place) & 0xFF
                    if here != there and line[_PART] != 0 and parts[n, 0] != 0:
                        out_changed[n] |= 1 << (OF_PART * part + place)
            if line[_UNCHANGED]:
                # The state began with the old data: these are what the device meant.
                line[_UNCHANGED] = 0
                line[_PAYLOAD] = payload[n]
                line[_PART:_PAST] = parts[n]
        growing = sq < _BACKED_OFF and 2 * gap > 3 * line[_INTERVAL]  # the retransmissions still back off
        on_beat = abs(line[_INTERVAL] - period[b]) * _BEAT_OFF <= period[b]
        line[_INTERVAL] = gap
        # Ahead of the beat: the publisher may be yet to send these numbers.
        beat = line[_PLAN_PERIOD] if line[_PLAN_PERIOD] > 0 else period[b]
        in_time = (gap - (lost + 1) * beat) * _BEAT_OFF >= -(lost + 1) * beat
        # What was due has not come: the publisher's beat is another one now.
        in_time |= line[_PLAN_PERIOD] > 0 and 2 * (now - line[_PLAN_RECEIVED]) > 3 * beat
        if returned or in_time or how not in (NEXT, LOST, OVERTAKEN, REPEATED):
            line[_PLAN_PERIOD] = 0
        elif how in (NEXT, LOST) and on_beat and line[_PLAN_PERIOD] == 0:
            line[_PLAN_SQ], line[_PLAN_RECEIVED], line[_PLAN_PERIOD] = line[_SQ], line[_RECEIVED], period[b]
        if how == NEXT and sq >= _STEADY and gap > 0 and not growing:
            if period[b] and abs(gap - period[b]) * _BEAT_OFF > period[b]:
                line[_MISSED] = min(line[_MISSED] + 1, 40)
            elif period[b]:
                line[_KEPT] = min(line[_KEPT] + 1, 40)
            if best == trusted[b] and not interleaved and line[_PLAN_PERIOD] == 0:
                off = gap - period[b]
                period[b] = gap if not period[b] else period[b] + off // 16
        if how == RETIMED and t != line[_OTHER_TIME]:
            line[_OTHER_TIME], t = t, line[_TIME]  # the publisher may still go on with the old one
        else:
            line[_OTHER_TIME] = 0
        if not overtaken and how != OVERTAKEN and (how != REPEATED or sq >= line[_SQ]):
            line[_TIME], line[_ST], line[_SQ], line[_RECEIVED] = t, st, sq, now
            line[_LAST_PAYLOAD], line[_SIMULATED] = payload[n], simulation[n] == 1
            if best == trusted[b] and (oldest[b] == 0 or t < oldest[b]):
                oldest[b] = t
        # Who goes on says that whoever seems to have restarted meanwhile is somebody else.
        for place in range(LINES):
            other = of_block[place]
            if place != best and other[_USED] and other[_BORN] > line[_BORN]:
                if other[_RESTARTED] == 1 and line[_TRUNK] + line[_COUNT] > other[_COUNT]:
                    out_parted[n, 0], out_parted[n, 1], out_parted[n, 2] = other[_ST], other[_SQ], other[_RECEIVED]
                    out_parted[n, 3] = other[_ADDRESS]
                other[_RESTARTED] = 0
        line[_COUNT] += 1
        # Who is genuine?
        leader, lead, second = trusted[b], _score(of_block[trusted[b]]), np.iinfo(np.int64).min
        for place in range(LINES):
            other = of_block[place]
            if not other[_USED] or now - other[_RECEIVED] > active_us:
                continue
            score = _score(other)
            gone = now - of_block[leader, _RECEIVED]
            # What the publisher had left behind before it fell silent proves nothing, however long it is repeated.
            fresh = other[_TIME] > of_block[leader, _TIME] or _is_unset(other[_TIME], oldest[b])
            believed = other[_STRIKES] < _NO_ORIGIN or other[_RESTARTED] == 1
            believed |= gone > _HANDED_OVER_US and fresh
            # Sooner if it has only been heard since: in the same rhythm, or in a state that comes next, with a clock
            # that has been set back.
            alone = other[_BORN] >= of_block[leader, _RECEIVED]
            in_rhythm = other[_KEPT] - other[_MISSED] >= _BEATS
            ahead = other[_ST] - of_block[leader, _ST]
            near = 0 < ahead <= _NEAR_STATES and other[_ADDRESS] == of_block[leader, _ADDRESS]
            believed |= alone and ((fresh and in_rhythm) or near)
            # Who takes over has spoken: that the publisher's beats begin anew with an event is no proof against it.
            better = score > lead and (place == best or gone > 0)
            if place != leader and (better or (gone > active_us and believed)):
                leader, lead = place, score
        for place in range(LINES):
            other = of_block[place]
            if place != leader and other[_USED] and now - other[_RECEIVED] <= active_us:
                second = max(second, _score(other))
        if how == FORK and leader == best and trusted[b] == source:
            other = of_block[source]
            out_parted[n, 0], out_parted[n, 1], out_parted[n, 2] = other[_ST], other[_SQ], other[_RECEIVED]
            out_parted[n, 3] = other[_ADDRESS]
        trusted[b] = leader
        out_line[n], out_how[n], out_gap[n], out_lost[n] = best, how, gap, lost
        out_unchanged[n] = line[_UNCHANGED] == 1
        out_restarted[n] = line[_RESTARTED] == 1
        out_interleaved[n] = interleaved
        out_trusted[n] = leader
        out_lead[n] = lead - second if second != np.iinfo(np.int64).min else 0
        if best != leader and line[_MIXED] == 1 and of_block[leader, _MIXED] == 1:
            out_lead[n] = min(out_lead[n], _EITHER)
        # As long as the one that is trusted has not gone on beside another, that may be the same publisher.
        if best != leader and line[_BORN] >= of_block[leader, _RECEIVED] and line[_STRIKES] < _UNEXPECTED:
            out_lead[n] = min(out_lead[n], _UNPROVED)
