"""From messages to anomalies: what a state becomes, and what is said, when event time goes on.

All is judged in the order of event time, so that neither the order of arrival nor how the messages are cut into rounds
makes a difference: a round of the messages received before a moment gives what two rounds of them give.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flows.ied_supervision import contradictions, overcurrent, pace, unrepeated
from flows.ied_supervision.baseline import FIELDS
from flows.ied_supervision.blocks import Blocks
from flows.ied_supervision.common_cause import CommonCauses
from flows.ied_supervision.continuity import JUMP, LOST_STATE, REPEATED, RESTART, STATE, Walked, walk
from flows.ied_supervision.episode import MOST_ACCUSED, Episode
from flows.ied_supervision.lone import WITHIN_US, Events, Presence
from flows.ied_supervision.messages import GOOSE, Messages
from flows.ied_supervision.moments import Moments
from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.policy import Policy
from flows.ied_supervision.rule import AGAIN, STAYS, UNTIL_GONE, Bools, Rule, all_rules
from flows.ied_supervision.rules.flooding import RULE as FLOODING
from flows.ied_supervision.rules.lone_event import RULE as LONE
from flows.ied_supervision.rules.overcurrent_without_trip import RULE as OVERCURRENT
from flows.ied_supervision.rules.unrepeated import RULE as UNREPEATED
from flows.ied_supervision.seen import Seen, numbered, shown
from flows.ied_supervision.silences import Silences
from flows.ied_supervision.state import State
from flows.ied_supervision.testing import under_test

Row = dict[str, Any]

_MOST_VALUES = 8  # wrong values that one anomaly names after the first


@dataclass(frozen=True, slots=True)
class _Missed:
    """What should have followed a message, and has not.

    Attributes:
        time: when the message was received, µs since 1970.
        seen_at: when that shows, µs since 1970.
        st_num: of the message, and
        sq_num: its sqNum.
        expected: what should have followed.
        seen: what is so instead, before the message's name.
    """

    time: int
    seen_at: int
    st_num: int
    sq_num: int
    expected: str
    seen: str

    @property
    def name(self) -> str:
        """The message as stNum/sqNum@received_time."""
        return f"{numbered(self.st_num, self.sq_num)}{shown(self.time)}"


def advance(
    state: State, blocks: Blocks, policy: Policy, messages: Messages, until: int, settled: State | None = None
) -> list[Row]:
    """Look at messages, and let event time go on.

    Args:
        state: changed.
        blocks: of at least the messages' indices.
        policy: how the rules are tuned.
        messages: ordered; all that was received from the state's ``until`` on and before ``until``, and that is not yet
            in the state.
        until: µs since 1970; what was received then is not among the messages.
        settled: what the state was copied from, where later messages may still be put before these.

    Returns:
        rows of ``IedAnomaly``, times in µs; of one anomaly in the order of their revisions.
    """
    state.reach(len(blocks))
    return _Round(state, blocks, policy, messages, until, settled).rows()


@dataclass(slots=True)
class _Round:
    """One round; see ``advance``."""

    state: State
    blocks: Blocks
    policy: Policy
    messages: Messages
    until: int
    settled: State | None
    said: list[Row] = field(default_factory=list)
    moments: Moments = field(init=False)

    def rows(self) -> list[Row]:
        state, m = self.state, self.messages
        self.moments = moments = Moments(m, state.ordinal.copy(), self.settled)
        last_before = state.rhythm.last.copy()
        expected = self.policy.expectations(self.blocks.names)
        addresses = (
            np.full(len(self.blocks), UNKNOWN) if expected is None else expected[:, FIELDS.index("address")].copy()
        )
        walked = walk(state.lines, m, addresses)
        genuine = walked.genuine & (m.simulation != 1)
        # A report carries those entries that have changed, a GOOSE message all of its data set.
        entries = np.where(m.st_num == UNKNOWN, UNKNOWN, m.num_entries)
        values = np.column_stack([m.conf_rev, entries, m.app_id, m.address])
        usual = state.baseline.compare(m.block, m.received, values, genuine.astype(np.int64))
        if expected is not None:
            due = expected[m.block]
            # Of a report's entries none are counted.
            usual = np.where((values == UNKNOWN) | (due == UNKNOWN), usual, due)
        kinds = np.array(self.blocks.kinds, np.int64)[m.block]
        tells_time = (kinds != GOOSE) | ((walked.how == STATE) & (m.sq_num == 0) & genuine)
        flood = np.asarray(self.policy.limits(FLOODING, self.blocks.names), np.float64)
        most = np.broadcast_to(np.rint(flood * pace.SLOT_US).astype(np.int64), len(self.blocks)).copy()
        synchronised = (m.clock_failure != 1) & (m.clock_not_synchronized != 1)
        paced = pace.follow(state.pace, m, tells_time, synchronised, most)
        device = np.array(self.blocks.device, np.int64)
        own = m.told_by(genuine)
        tested = under_test(state.behaviour, own, device)
        own = own.told_by(~tested)
        far = overcurrent.follow(state.currents, own, device, self.policy.limits(OVERCURRENT, self.blocks.names))
        told = contradictions.follow(state.told, own)
        named = ChainMap(self.blocks.addresses, self.policy.addresses)
        # One that counts and is heard only with the number it had speaks no more: its last message goes round.
        alive = genuine & ((walked.how != REPEATED) | (walked.period == 0))
        anew = np.isin(walked.how, (RESTART, JUMP))
        awaited = state.rhythm.follow(m, alive, anew, self.policy.promised(self.blocks.names))
        seen = Seen(m, own, walked, paced, told, far, usual, awaited.longer == 1, named)
        for rule in all_rules().values():
            if rule.shows is not None:
                self._of_rule(rule, seen)
        self._lone_events(walked, lambda: Presence.of(last_before, m.block[alive], m.received[alive], device))
        self._unrepeated(walked, genuine)
        fallen, heard = Silences(state, self.blocks, self.policy, m, self.until).found(awaited)
        np.add.at(state.ordinal, m.block, 1)
        fresh = np.flatnonzero((moments.ends > moments.starts) & (state.first == 0))
        state.first[fresh] = m.received[moments.starts[fresh]]
        causes = CommonCauses(state, self.blocks, self.policy, moments, genuine, last_before)
        for row in causes.rows(fallen, heard):
            self._say(*row)
        state.until = self.until
        return self.said

    # ----------------------------------------------------------------- anomalies

    def _say(self, episode: Episode, revision: int) -> None:
        episode.revision = revision
        tuned = self.policy.of(episode.rule, episode.ied_id, episode.control_block or "")
        if not tuned.mute:
            self.said.append(episode.row(tuned.severity))

    # --------------------------------------------------------------------- rules

    def _of_rule(self, rule: Rule, seen: Seen) -> None:
        assert rule.shows is not None
        m = self.messages
        limit = self.policy.limits(rule, self.blocks.names)
        shows = rule.shows(seen, limit if isinstance(limit, float | int) else limit[m.block])
        touched = self._touched(rule, m.block[shows])
        if not touched:
            return
        accuses = None if rule.accuses is None else rule.accuses(seen)
        gone = ~shows & seen.genuine if rule.hold == UNTIL_GONE else None
        if gone is not None and rule.tells is not None:
            gone &= rule.tells(seen)
        for block in touched:
            self._of_block(rule, seen, block, shows, accuses, gone)

    def _touched(self, rule: Rule, blocks: Ints) -> list[int]:
        """The blocks, and those of which an anomaly of the rule lasts, each once and in order."""
        lasting = {block for block, kind in self.state.open if kind == rule.kind}
        return sorted(lasting.union(np.unique(blocks).tolist()))

    def _of_block(
        self, rule: Rule, seen: Seen, block: int, shows: Bools, accuses: Bools | None, gone: Bools | None
    ) -> None:
        """The anomalies of one rule and block in this round."""
        low, high = self.moments.span(block)
        rows = low + np.flatnonzero(shows[low:high])
        ends = low + np.flatnonzero(~shows[low:high] if gone is None else gone[low:high])
        received, hold = self.messages.received, self.policy.of(rule, *self.blocks.names[block]).hold
        episode = self.state.open.pop((block, rule.kind), None)
        if len(rows) and gone is not None:
            parts = np.split(rows, np.flatnonzero(np.diff(np.searchsorted(ends, rows))) + 1)
        elif len(rows):
            # What every message shows lasts, however far apart they are.
            apart = (np.diff(received[rows]) > hold) & (np.diff(rows) > 1)
            parts = np.split(rows, np.flatnonzero(apart) + 1)
        else:
            parts = []
        if episode is not None:
            first = int(parts[0][0]) if parts else None
            closing = self._closing(episode, -1, first, ends, hold)
            if closing is not None:
                self._clear(episode, block, closing)
                episode = None
        for place, part in enumerate(parts):
            if episode is None:
                episode = self._raise(rule, seen, block, int(part[0]))
                self._go_on(episode, seen, block, part[:1], accuses)
                if len(part) > 1:
                    self._go_on(episode, seen, block, part[1:], accuses)
            else:
                self._go_on(episode, seen, block, part, accuses)
            following = int(parts[place + 1][0]) if place + 1 < len(parts) else None
            closing = self._closing(episode, int(part[-1]), following, ends, hold)
            if closing is not None:
                self._clear(episode, block, closing)
                episode = None
        if episode is not None:
            self.state.open[block, rule.kind] = episode

    def _closing(self, episode: Episode, row: int, following: int | None, ends: Ints, hold: int) -> int | None:
        """When it shows that an anomaly is over, before the following row that shows it; None: not yet.

        Some message must not show it, whatever it is of that is wrong: of a block that has fallen silent nobody knows.
        """
        m = self.messages
        at = int(np.searchsorted(ends, row, side="right"))
        if episode.gone is None and at < len(ends) and (following is None or ends[at] < following):
            episode.gone = int(m.received[ends[at]])
        if episode.gone is None:
            return None
        if episode.rule.hold == UNTIL_GONE:
            next_one = self.until - 1 if following is None else int(m.received[following])
            return episode.gone + STAYS if next_one - episode.gone > STAYS else None
        if following is not None and m.received[following] - episode.last <= hold:
            return None
        over = max(episode.last + hold, episode.gone)
        return over if over < self.until else None

    def _raise(self, rule: Rule, seen: Seen, block: int, row: int) -> Episode:
        ied, control_block = self.blocks.names[block]
        time = int(self.messages.received[row])
        begun = time if rule.since is None else rule.since(seen, row)
        again, nth = self._again(rule, block, begun)
        if again is not None:
            return again
        return Episode(
            rule.kind,
            ied,
            control_block,
            begun,
            time,
            time,
            time,
            0,
            0,
            rule.says(seen, row),
            seen.named(row),
            nth=nth,
            messages=self.blocks.message_kind(block),
        )

    def _again(self, rule: Rule, block: int, begun: int) -> tuple[Episode | None, int]:
        """The anomaly that is raised again, if this is not one of its own; and how manieth of its own it is."""
        past = self.state.past.pop((block, rule.kind), None)
        hold = max(self.policy.of(rule, *self.blocks.names[block]).hold, 0)
        if past is None or past.end is None or begun - past.end > hold + AGAIN:
            return None, 1
        if past.nth < rule.single and begun > past.start:  # else the same fault has only not been told of for a while
            return None, past.nth + 1
        again = past.copy()  # the state that this one is a copy of has it, too
        again.end = again.gone = None
        return again, past.nth

    def _go_on(self, episode: Episode, seen: Seen, block: int, rows: Ints, accuses: Bools | None) -> None:
        """More messages show an anomaly."""
        last = int(rows[-1])
        episode.gone = None
        latest = episode.rule.says(seen, last)
        kept = ("expected", "seen", "then", "confidence") if episode.accused_count else ("expected", "seen", "then")
        first = {name: episode.evidence[name] for name in kept if name in episode.evidence}
        episode.evidence = {**latest, **first}
        if episode.count and latest.get("seen") != first.get("seen"):
            episode.evidence["latest"] = latest.get("seen", "")
        if episode.rule.value is not None:
            self._turned(episode, seen, rows, episode.rule.value(seen)[rows])
        episode.count += len(rows)
        episode.last = episode.updated = int(self.messages.received[last])
        episode.last_message = seen.named(last)
        if accuses is not None:
            accused = rows[accuses[rows]]
            room = MOST_ACCUSED - len(episode.accused)
            episode.accused += self.messages.received[accused[:room]].tolist()
            episode.accused_count += len(accused)
            if len(accused) and "confidence" in latest:  # that with which it was accused, not what it is now
                episode.evidence["confidence"] = episode.rule.says(seen, int(accused[-1]))["confidence"]
        self._say(
            episode, self.moments.revision(block, int(self.moments.base[block] + last - self.moments.starts[block]) + 1)
        )

    def _turned(self, episode: Episode, seen: Seen, rows: Ints, values: Ints) -> None:
        """The wrong value has become another wrong one: say which, and when."""
        known = episode.value if episode.count else int(values[0])
        for place in np.flatnonzero(np.diff(values, prepend=known)).tolist():
            told = episode.evidence.get("then")
            if told is not None and told.count(";") >= _MOST_VALUES - 1:
                break
            fresh = episode.rule.says(seen, int(rows[place]))["seen"]
            at = seen.named(int(rows[place]))
            fresh = fresh if at in fresh else f"{fresh} at {at}"
            episode.evidence = {**episode.evidence, "then": fresh if told is None else f"{told}; {fresh}"}
        episode.value = int(values[-1])

    def _clear(self, episode: Episode, block: int, time: int) -> None:
        """Time has shown that an anomaly is over."""
        until_gone = episode.rule.hold == UNTIL_GONE and episode.gone is not None
        episode.end = episode.gone if until_gone else episode.last
        episode.updated = time
        self._say(episode, self.moments.revision(block, self.moments.ordinal(block, time), timer=True))
        self.state.past[block, episode.kind] = episode

    # --------------------------------------------------------------- lone events

    def _lone_events(self, walked: Walked, heard: Callable[[], Presence]) -> None:
        """Events that should have come with others."""
        m, station = self.messages, np.array(self.blocks.station, np.int64)
        begun = (walked.how == STATE) | (walked.how == LOST_STATE)
        rows = np.flatnonzero(begun & walked.genuine & ~walked.unchanged)
        block = m.block[rows]
        lost = (walked.how[rows] == LOST_STATE).astype(np.int64)
        fresh = Events(station[block], m.received[rows], block, m.st_num[rows], m.sq_num[rows], lost)
        limit = np.broadcast_to(np.asarray(self.policy.limits(LONE, self.blocks.names)), len(self.blocks))
        lone = self.state.company.judge(fresh, heard, self.blocks, self.state.until, self.until, limit.astype(np.int64))
        for one in self._touched(LONE, lone.block):
            mine = lone.take(lone.block == one)
            missed = [
                _Missed(time, time + WITHIN_US, st, sq, "others that tell of it within a second", "an event at")
                for time, st, sq in zip(mine.time.tolist(), mine.st_num.tolist(), mine.sq_num.tolist(), strict=True)
            ]
            self._after(LONE, one, missed)

    def _unrepeated(self, walked: Walked, genuine: Bools) -> None:
        """States whose first messages should have been repeated."""
        grace = self.policy.grace(UNREPEATED, self.blocks.names)
        begins = genuine & ((walked.how == STATE) | (walked.how == LOST_STATE))
        found = unrepeated.follow(self.state.repeats, self.messages, genuine, begins, grace, self.until)
        for one in self._touched(UNREPEATED, found.block):
            missed = [
                _Missed(at, at + wait, st, sq, f"one within {wait / 1e6:.3f} s, as has been usual", "no repetition of")
                for at, wait, st, sq in found.of(one)
            ]
            self._after(UNREPEATED, one, missed)

    def _after(self, rule: Rule, block: int, missed: list[_Missed]) -> None:
        """The anomaly of a rule that is shown by what has not come for a while after a message.

        Args:
            rule: the rule.
            block: index of the control block.
            missed: in the order of time.
        """
        episode = self.state.open.pop((block, rule.kind), None)
        ied, control_block = self.blocks.names[block]
        hold = self.policy.of(rule, ied, control_block).hold
        for one in missed:
            if episode is not None and one.time - episode.last > hold:
                self._over(episode, block, min(episode.updated + hold, one.seen_at))
                episode = None
            if episode is None:
                episode, nth = self._again(rule, block, one.time)
            if episode is None:
                evidence = {"expected": one.expected, "seen": f"{one.seen} {one.name}"}
                kind = self.blocks.message_kind(block)
                times = one.time, one.seen_at, one.seen_at, one.time
                episode = Episode(
                    rule.kind, ied, control_block, *times, 0, 0, evidence, one.name, nth=nth, messages=kind
                )
            episode.count += 1
            episode.last, episode.updated, episode.last_message = one.time, one.seen_at, one.name
            messages = self.moments.ordinal(block, one.seen_at)
            self._say(episode, self.moments.revision(block, messages, timer=True, more=2 * episode.count))
        if episode is None:
            return
        if episode.updated + hold < self.until:
            self._over(episode, block, episode.updated + hold)
        else:
            self.state.open[block, rule.kind] = episode

    def _over(self, episode: Episode, block: int, time: int) -> None:
        episode.end, episode.updated = episode.last, time
        messages = self.moments.ordinal(block, time)
        self._say(episode, self.moments.revision(block, messages, timer=True, more=2 * episode.count + 1))
        self.state.past[block, episode.kind] = episode
