"""Blocks that fall silent, and are heard again: anomalies in the making."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.ied_supervision.blocks import Blocks
from flows.ied_supervision.episode import Episode
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.policy import Policy
from flows.ied_supervision.rules.silence import RULE as SILENCE
from flows.ied_supervision.seen import numbered, shown
from flows.ied_supervision.silence import INTERVAL, RHYTHM, TIME_ALLOWED_TO_LIVE, Awaited
from flows.ied_supervision.state import State

_SAYS_SO = {
    RHYTHM: "as has been usual",
    TIME_ALLOWED_TO_LIVE: "as its timeAllowedtoLive says",
    INTERVAL: "as interval_seconds says",
}


@dataclass(frozen=True, slots=True)
class Fallen:
    """A block has fallen silent.

    Attributes:
        time: when that was seen, µs since 1970.
        block: index.
        episode: the anomaly; one that has ended where it has come again.
        last: when the block was heard last, µs since 1970.
        last_message: and by what.
        unseen: how long after that it may have failed, without that being seen, µs.
    """

    time: int
    block: int
    episode: Episode
    last: int
    last_message: str
    unseen: int


@dataclass(frozen=True, slots=True)
class Heard:
    """A silent block has been heard again: when, µs since 1970."""

    time: int
    block: int
    episode: Episode


@dataclass(slots=True)
class Silences:
    """The silences of one round.

    Attributes:
        state: with the round's messages in its rhythm.
        blocks: of at least the messages' indices.
        policy: how the rules are tuned.
        messages: the round's, ordered.
        until: what was received before, µs since 1970, is known.
    """

    state: State
    blocks: Blocks
    policy: Policy
    messages: Messages
    until: int

    def found(self, awaited: Awaited) -> tuple[list[Fallen], list[Heard]]:
        """Blocks that have fallen silent, and those that have been heard again; in no order."""
        state, m, due = self.state, self.messages, awaited.due
        grace = self.policy.grace(SILENCE, self.blocks.names)
        fallen: list[Fallen] = []
        heard: list[Heard] = []
        silent = {block: episode for (block, kind), episode in state.open.items() if kind == SILENCE.kind}
        ended = {block: (episode, episode.end or 0) for block, episode in state.ended.items()}
        late = np.flatnonzero((due > 0) & (m.received > due + grace[m.block]))
        for row in late.tolist():
            block, raised_at = int(m.block[row]), int(due[row] + grace[m.block[row]])
            episode = silent.pop(block, None)
            if episode is None:
                last, numbers = int(awaited.before[row]), (int(awaited.st_num[row]), int(awaited.sq_num[row]))
                live = int(due[row]) - last, int(awaited.source[row])
                fallen.append(self._fallen(block, last, live, raised_at, numbers, ended.get(block)))
                episode = fallen[-1].episode
            heard.append(Heard(int(m.received[row]), block, episode))
            ended[block] = episode, int(m.received[row])
        for one in state.rhythm.overdue(self.until, grace).tolist():
            if one not in silent:
                last, live = int(state.rhythm.last[one]), (int(state.rhythm.live[one]), int(state.rhythm.source[one]))
                numbers = int(state.rhythm.st_num[one]), int(state.rhythm.sq_num[one])
                raised_at = last + live[0] + int(grace[one])
                fallen.append(self._fallen(one, last, live, raised_at, numbers, ended.get(one)))
        return fallen, heard

    def _fallen(
        self,
        block: int,
        last: int,
        live: tuple[int, int],
        raised_at: int,
        numbers: tuple[int, int],
        ended: tuple[Episode, int] | None,
    ) -> Fallen:
        """A silence.

        Args:
            block: its index.
            last: when it was heard last, µs since 1970.
            live: how long that held, µs, and what says so, as in ``Awaited``.
            raised_at: when the silence shows, µs since 1970.
            numbers: stNum and sqNum of the last message.
            ended: the silence before, and when it ended; one that flaps is one anomaly.
        """
        last_message = f"{numbered(*numbers)}{shown(last)}"
        held, source = live
        # It may have failed until its next message was due: after half of what a GOOSE message promises, as a rule.
        unseen = held // 2 if source == TIME_ALLOWED_TO_LIVE else held
        ied, control_block = self.blocks.names[block]
        nth = 1
        if ended is not None and last - ended[1] <= self.policy.of(SILENCE, ied, control_block).hold:
            episode, nth = ended[0], ended[0].nth + 1
            if nth > SILENCE.single:
                shared = self.state.ended.get(block) is episode  # with the state that this one is a copy of
                return Fallen(raised_at, block, episode.copy() if shared else episode, last, last_message, unseen)
        evidence = {"expected": f"a message within {held / 1e6:.3f} s, {_SAYS_SO[source]}", "seen": "none"}
        kind = self.blocks.message_kind(block)
        episode = Episode(
            SILENCE.kind, ied, control_block, last, raised_at, raised_at, last, 0, 0, evidence, nth=nth, messages=kind
        )
        return Fallen(raised_at, block, episode, last, last_message, unseen)
