"""What the supervision knows of the control blocks of a shard at one moment of event time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flows.ied_supervision.baseline import Baseline
from flows.ied_supervision.continuity import Lines
from flows.ied_supervision.contradictions import Told
from flows.ied_supervision.episode import Episode
from flows.ied_supervision.lone import Company
from flows.ied_supervision.numbers import Ints
from flows.ied_supervision.overcurrent import Currents
from flows.ied_supervision.pace import Pace
from flows.ied_supervision.silence import Rhythm
from flows.ied_supervision.testing import Behaviour
from flows.ied_supervision.unrepeated import Repeats
from flows.streaming.event_time import MINIMUM


@dataclass(slots=True)
class Together:
    """Devices of one substation that are silent.

    Attributes:
        heard: messages of the station so far.
        silent: silent devices, and since when, µs since 1970.
        slack: how much later each may have failed, µs.
        episode: the common cause, while there is one.
        members: the devices that are silent because of it.
        still: how many of them are silent now.
        began: when those fell silent that are so now, µs since 1970.
        ended: the last common cause, which is over.
    """

    heard: int = 0
    silent: dict[int, int] = field(default_factory=dict)
    slack: dict[int, int] = field(default_factory=dict)
    episode: Episode | None = None
    members: set[int] = field(default_factory=set)
    still: int = 0
    began: int = 0
    ended: Episode | None = None

    def copy(self) -> Together:
        """A copy that can go its own way."""
        episode, ended = (None if one is None else one.copy() for one in (self.episode, self.ended))
        return Together(
            self.heard, dict(self.silent), dict(self.slack), episode, set(self.members), self.still, self.began, ended
        )


@dataclass(slots=True)
class State:
    """The state.

    Attributes:
        lines: publishers' lines of continuity.
        rhythm: when blocks were heard.
        baseline: usual configuration.
        pace: how messages follow one another.
        told: what their values have told.
        currents: usual currents, and trips.
        behaviour: which devices are under test.
        repeats: how soon states are repeated.
        company: in what company events come.
        ordinal: messages of each block so far; [blocks].
        first: when each block was heard first, µs since 1970, 0 before; [blocks].
        open: anomalies that last, by block and kind.
        ended: the last silence of each block, which is over; not changed any more.
        past: of the other kinds the last anomaly that is over, by block and kind; not changed any more.
        stations: by index.
        until: all messages received before this, µs since 1970, have been looked at.
    """

    lines: Lines = field(default_factory=Lines.none)
    rhythm: Rhythm = field(default_factory=Rhythm.none)
    baseline: Baseline = field(default_factory=Baseline.none)
    pace: Pace = field(default_factory=Pace.none)
    told: Told = field(default_factory=Told.none)
    currents: Currents = field(default_factory=Currents.none)
    behaviour: Behaviour = field(default_factory=Behaviour.none)
    repeats: Repeats = field(default_factory=Repeats.none)
    company: Company = field(default_factory=Company.none)
    ordinal: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    first: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    open: dict[tuple[int, str], Episode] = field(default_factory=dict)
    ended: dict[int, Episode] = field(default_factory=dict)
    past: dict[tuple[int, str], Episode] = field(default_factory=dict)
    stations: dict[int, Together] = field(default_factory=dict)
    until: int = MINIMUM

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        parts = (self.lines, self.rhythm, self.baseline, self.pace, self.told, self.currents, self.behaviour)
        for part in (*parts, self.repeats, self.company):
            part.reach(blocks)
        more = blocks - len(self.ordinal)
        if more > 0:
            self.ordinal, self.first = (
                np.concatenate([one, np.zeros(more, np.int64)]) for one in (self.ordinal, self.first)
            )

    def copy(self) -> State:
        """A copy that can go its own way."""
        return State(
            self.lines.copy(),
            self.rhythm.copy(),
            self.baseline.copy(),
            self.pace.copy(),
            self.told.copy(),
            self.currents.copy(),
            self.behaviour.copy(),
            self.repeats.copy(),
            self.company.copy(),
            self.ordinal.copy(),
            self.first.copy(),
            {key: episode.copy() for key, episode in self.open.items()},
            dict(self.ended),
            dict(self.past),
            {station: together.copy() for station, together in self.stations.items()},
            self.until,
        )
