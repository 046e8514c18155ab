"""What is remembered of usage points from step to step."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.topology.neighbourhood import Neighbourhood
from flows.topology.signals import Floats, Ints

SPANS = (16, 24)
"""Lengths of the spans that are looked at, in slots: what moved shows in the short one first, in the long one surer."""

LAG = 24
"""So many steps old a margin counts as what a meter has always shown."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Belief:
    """Where a usage point is believed to be, as long as the record says what it said then.

    Attributes:
        recorded: transformer and phase by that record.
        transformer: element id.
        phase: 0, 1, 2 for A, B, C, -1 for several or unknown.
    """

    recorded: tuple[str, int]
    transformer: str
    phase: int


@dataclass
class Memory:
    """Arrays over usage points, in order of first sight.

    Attributes:
        points: row of each element id.
        order: of the meter's terminals, -1 where unknown; [n].
        turned: the order that the last day told; [n].
        ring: the last margins at each span; [n, spans, LAG].
        low: the lowest margins before them, 0 at most; [n, spans].
        good: steps before them in which the meter fitted; [n].
        usual: misfit of each, as a running mean over about a day; [n].
        doubted: who vouches for nobody; [n].
        gathered: nats for a change of each, of all steps of late, by how much of their spans is new; 0 at least; [n].
        since: slot from which the place is believed; [n].
        seen: last step at which the voltages told where it is; [n].
        came: by usage point since which slot it has been where it is believed to be, and the transformer before.
        beliefs: of those that are not where the record says.
        recorded: what the record last said of each: transformer and phase.
        updated: of whom it has said something new since decisions were last made.
        held: of whom a change is proposed: what they show is not what they have always shown.
        first: slot of the first reading.
        started: slot of the first step, -1 before it.
        moves: the last ones that were accepted: slot, and transformers from which to which.
    """

    points: dict[str, int] = field(default_factory=dict)
    order: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    turned: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    ring: Floats = field(default_factory=lambda: np.zeros((0, len(SPANS), LAG)))
    low: Floats = field(default_factory=lambda: np.zeros((0, len(SPANS))))
    good: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    usual: Floats = field(default_factory=lambda: np.zeros(0))
    doubted: Bools = field(default_factory=lambda: np.zeros(0, bool))
    gathered: Floats = field(default_factory=lambda: np.zeros(0))
    since: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    seen: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    came: dict[str, tuple[int, str]] = field(default_factory=dict)
    beliefs: dict[str, Belief] = field(default_factory=dict)
    recorded: dict[str, tuple[str, int]] = field(default_factory=dict)
    updated: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    moves: list[tuple[int, str, str]] = field(default_factory=list)
    first: int = 0
    started: int = -1
    _followed: tuple[Neighbourhood, Ints] | None = None  # the last record, and its rows

    def __getstate__(self) -> dict[str, object]:
        # It is looked up anew after a restart, and by a copy.
        return self.__dict__ | {"_followed": None}

    @property
    def rows(self) -> Ints:
        """The row of each usage point of the record that was followed last; [n]."""
        assert self._followed is not None
        return self._followed[1]

    def copy(self) -> Memory:
        """One that goes its own way."""
        return deepcopy(self)

    def follow(self, near: Neighbourhood, slot: int) -> Ints:
        """Take note of the record as of a slot: what changed in it is believed.

        Returns:
            The row of each of its usage points; [n].
        """
        last, rows = self._followed or (None, None)
        if last is None or rows is None or last.points != near.points or last.transformers != near.transformers:
            fresh = [point for point in near.points if point not in self.points]
            if fresh:
                self._grow(fresh, slot)
            rows = np.array([self.points[point] for point in near.points], np.int64)
            asked = np.arange(len(rows))
        else:
            asked = np.flatnonzero((last.transformer != near.transformer) | (last.phase != near.phase))
        self._followed = near, rows
        for n in asked.tolist():
            point = near.points[n]
            now = near.transformers[near.transformer[n]], int(near.phase[n])
            before = self.recorded.get(point)
            if before == now:
                continue
            self.recorded[point] = now
            belief = self.beliefs.pop(point, None)
            if before is not None:
                self.updated.append(point)
            if before is not None and (belief is None or (belief.transformer, belief.phase) != now):
                self.forget(point, slot)
                if before[0] != now[0]:
                    self.came[point] = slot, before[0]
        return rows

    def begun(self, point: str) -> int:
        """Since which slot the place of a usage point is believed: from the first reading on where it always was."""
        since = int(self.since[self.points[point]])
        return self.first if since == self.started else since

    def forget(self, point: str, slot: int) -> None:
        """What a usage point showed where it was says nothing of where it is believed to be now."""
        row = self.points[point]
        self.order[row] = self.turned[row] = -1
        self.good[row], self.doubted[row], self.since[row] = 0, False, slot
        self.ring[row], self.low[row], self.gathered[row] = np.nan, 0.0, 0.0

    def believed(self, near: Neighbourhood) -> tuple[Ints, Ints]:
        """Where each usage point of a record is believed to be: transformer and phase; [n], [n]."""
        transformer, phase = near.transformer.copy(), near.phase.copy()
        if self.beliefs:
            number = {element: n for n, element in enumerate(near.transformers)}
            index = dict(zip(near.points, range(len(near.points)), strict=True))
            for point, belief in self.beliefs.items():
                if point in index and belief.transformer in number:
                    transformer[index[point]], phase[index[point]] = number[belief.transformer], belief.phase
        return transformer, phase

    def moved(self, near: Neighbourhood, begin: int) -> list[tuple[int, int, int]]:
        """Who came since a slot: number in a record, slot since when it is there, number of the transformer before."""
        if not self.came:
            return []
        number = {element: n for n, element in enumerate(near.transformers)}
        index = dict(zip(near.points, range(len(near.points)), strict=True))
        return [
            (index[point], slot, number[transformer])
            for point, (slot, transformer) in sorted(self.came.items())
            if slot > begin and point in index and transformer in number
        ]

    def note(self, rows: Ints, span: int, margin: Floats) -> None:
        """Remember the margins of a step; NaN where nothing was asked or known.

        Args:
            rows: of the usage points; [n].
            span: number of the span.
            margin: nats; [n].
        """
        left = self.ring[rows, span, 0]
        held = self.low[[self.points[point] for point in self.held], span]
        self.low[rows, span] = np.fmin(self.low[rows, span], left)
        self.low[[self.points[point] for point in self.held], span] = held
        if span == len(SPANS) - 1:
            self.good[rows] += left > 0
        self.ring[rows, span, :-1] = self.ring[rows, span, 1:]
        self.ring[rows, span, -1] = margin

    def _grow(self, fresh: list[str], slot: int) -> None:
        count = len(fresh)
        for point in fresh:
            self.points[point] = len(self.points)
        self.order = np.append(self.order, np.full(count, -1))
        self.turned = np.append(self.turned, np.full(count, -1))
        self.ring = np.concatenate([self.ring, np.full((count, len(SPANS), LAG), np.nan)])
        self.low = np.concatenate([self.low, np.zeros((count, len(SPANS)))])
        self.good = np.append(self.good, np.zeros(count, np.int64))
        self.usual = np.append(self.usual, np.ones(count))
        self.doubted = np.append(self.doubted, np.zeros(count, bool))
        self.gathered = np.append(self.gathered, np.zeros(count))
        self.since = np.append(self.since, np.full(count, slot))
        self.seen = np.append(self.seen, np.zeros(count, np.int64))
