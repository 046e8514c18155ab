"""All runs of a substation in columns: which messages arrive in a span of time, for all publishers at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from connectors.simulation.grid.customers import Bools, Floats, Ints
from connectors.simulation.ied.runs import BACKLOG_GAP_US, ENDLESS, Rhythm, Run

LEAST_LATENCY_US = 200
_NEVER = 1 << 62
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


NONE = -1


def ints(values: Iterable[int | None]) -> Ints:
    """Numbers as a column, NONE for None."""
    return np.fromiter((NONE if value is None else value for value in values), np.int64)


@dataclass(frozen=True)
class Messages:
    """Messages as columns.

    Attributes:
        run: index of the run.
        number: in the run.
        sent: when the device makes it, µs since 1970.
        received: µs since 1970.
    """

    run: Ints
    number: Ints
    sent: Ints
    received: Ints

    def __len__(self) -> int:
        return len(self.run)

    def where(self, these: Bools | Ints) -> Messages:
        """Some of them."""
        return Messages(self.run[these], self.number[these], self.sent[these], self.received[these])


def _chance(keys: Ints, numbers: Ints, use: int) -> Floats:
    """A number in [0, 1) for each message, the same whenever it is asked for: SplitMix64 (Steele et al., 2014)."""
    mixed = keys.astype(np.uint64) + (2 * numbers + use).astype(np.uint64) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
    chance: Floats = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return chance


class RunTable:
    """Runs as columns.

    Args:
        runs: none of them empty.
        rhythm: that of all.
    """

    def __init__(self, runs: Sequence[Run], rhythm: Rhythm) -> None:
        self._rhythm = rhythm
        self.ied = ints(run.ied for run in runs)
        self._key = ints(run.key for run in runs)
        self._first = ints(run.first for run in runs)
        self._period = ints(run.period for run in runs)
        self._begin = ints(run.begin for run in runs)
        self._end = ints(run.end for run in runs)
        self._latency = ints(run.latency - LEAST_LATENCY_US for run in runs)
        self._jitter = ints(run.jitter for run in runs)
        self._backlog = ints(run.backlog for run in runs)
        self.burst = np.array([run.burst for run in runs], np.bool_)
        begins, last = self._due(self._begin), self._due(np.where(self._end < ENDLESS, self._end - 1, self._begin))
        # A message waits longest if it is the first: they leave the buffer faster than they get into it.
        waits = np.maximum(self._backlog + self._begin * BACKLOG_GAP_US - begins, 0) * (self._backlog > 0)
        self._delay = self._latency + LEAST_LATENCY_US + self._jitter + waits
        self._earliest = begins
        self._latest = np.where(self._end < ENDLESS, last + self._delay, _NEVER)

    def between(self, start: int, end: int, among: Bools | None = None) -> Messages:
        """The messages received in a span, in no order.

        Args:
            start: µs since 1970.
            end: µs since 1970, itself not in the span.
            among: the runs to look at; None: all.
        """
        near = (self._earliest < end) & (self._latest >= start)
        runs = np.flatnonzero(near if among is None else near & among)
        begin = np.maximum(self._number(runs, start - self._delay[runs]), self._begin[runs])
        count = np.maximum(np.minimum(self._number(runs, end), self._end[runs]) - begin, 0)
        run = np.repeat(runs, count)
        # Each message's place among all, less that of its run's first.
        number = np.arange(len(run)) + np.repeat(begin - np.cumsum(count) + count, count)
        key, steady = self._key[run], ~self._rhythm.in_burst(self.burst[run], number)
        due = self._first[run] + self._rhythm.offset(self.burst[run], self._period[run], number)
        sent = due + (_chance(key, number, 0) * self._jitter[run]).astype(np.int64) * steady
        leaves = np.maximum(sent, self._backlog[run] + number * BACKLOG_GAP_US * (self._backlog[run] > 0))
        received = leaves + LEAST_LATENCY_US + (_chance(key, number, 1) * self._latency[run]).astype(np.int64)
        return Messages(run, number, sent, received).where((received >= start) & (received < end))

    def _due(self, number: Ints) -> Ints:
        return self._first + self._rhythm.offset(self.burst, self._period, number)

    def _number(self, runs: Ints, time: int | Ints) -> Ints:
        return self._rhythm.number(self.burst[runs], self._period[runs], time - self._first[runs])


class Spans:
    """Spans of time of several devices, to be searched by columns.

    Args:
        ied: index of the device of each.
        begin: µs since 1970.
        end: µs since 1970, itself not in the span.
        origin: a time before all, µs since 1970.
    """

    # Nine years in µs: one number then holds device and time, and sorts by both.
    _BITS = 48

    def __init__(self, ied: Ints, begin: Ints, end: Ints, origin: int) -> None:
        self._origin = origin
        key = self._join(ied, begin)
        self._order = np.argsort(key, kind="stable")
        self._key, self._ied, self._end = key[self._order], ied[self._order], end[self._order]

    def find(self, ied: Ints, time: Ints) -> Ints:
        """Index of the span of a device in which a time lies; -1 if there is none. The latest to begin counts."""
        place = np.searchsorted(self._key, self._join(ied, time), side="right") - 1
        if not len(self._key):
            return place
        inside = (place >= 0) & (self._ied[place] == ied) & (time < self._end[place])
        return np.where(inside, self._order[place], -1)

    def _join(self, ied: Ints, time: Ints) -> Ints:
        return (ied << self._BITS) + (time - self._origin)
