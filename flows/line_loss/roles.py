"""For what meters measure, flattened into arrays: which element, from when to when, as its head or as a customer's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flows.streaming.network import Segment
from flows.streaming.registers import Ints


@dataclass
class Roles:
    """Segments of all rows; those of row r are ``first[r] : first[r] + size[r]``."""

    first: Ints
    size: Ints
    begin: Ints
    end: Ints
    element: Ints
    head: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, per_row: list[list[Segment]], codes: dict[str, int]) -> Roles:
        """Flatten; elements without a code get the next ones."""
        size = np.array([len(segments) for segments in per_row], np.int64)
        flat = [segment for segments in per_row for segment in segments]
        return cls(
            first=np.cumsum(size) - size,
            size=size,
            begin=np.array([s.begin for s in flat], np.int64),
            end=np.array([s.end for s in flat], np.int64),
            element=np.array([codes.setdefault(s.element, len(codes)) for s in flat], np.int64),
            head=np.array([s.head for s in flat], bool),
        )

    def plus(self, more: Roles) -> Roles:
        """These rows, followed by more."""
        return Roles(
            first=np.concatenate([self.first, more.first + len(self.begin)]),
            size=np.concatenate([self.size, more.size]),
            begin=np.concatenate([self.begin, more.begin]),
            end=np.concatenate([self.end, more.end]),
            element=np.concatenate([self.element, more.element]),
            head=np.concatenate([self.head, more.head]),
        )

    def overlap(self, rows: Ints, begin: Ints, end: Ints) -> npt.NDArray[np.bool_]:
        """Of each row whether any of its segments has something of an interval.

        Args:
            rows: n rows.
            begin: n times, µs.
            end: n times, µs.
        """
        which, segment = self.expand(rows)
        hit = (self.begin[segment] < end[which]) & (self.end[segment] > begin[which])
        if isinstance(which, slice):
            return np.asarray(hit)
        found = np.zeros(len(rows), bool)
        found[which[hit]] = True
        return found

    @cached_property
    def single(self) -> bool:
        """Every row has exactly one segment."""
        return len(self.begin) == len(self.size) and bool((self.size == 1).all())

    @cached_property
    def latest_begin(self) -> int:
        """The latest begin of a segment, µs."""
        return int(self.begin.max(initial=np.iinfo(np.int64).min))

    @cached_property
    def earliest_end(self) -> int:
        """The earliest end of a segment, µs."""
        return int(self.end.min(initial=np.iinfo(np.int64).max))

    def expand(self, rows: Ints) -> tuple[Ints | slice, Ints]:
        """For each row all its segments: index of the row in ``rows``, and of the segment."""
        if self.single:
            return slice(None), self.first[rows]
        return _expanded(self.first[rows], self.size[rows])


def _expanded(first: Ints, size: Ints) -> tuple[Ints, Ints]:
    """Of n stretches, each ``first[i] : first[i] + size[i]``, all members: which stretch each is of, and its place."""
    which = np.repeat(np.arange(len(size)), size)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    return which, first[which] + offset


@dataclass
class Moments:
    """Ascending times of all rows; those of row r are ``time[first[r] : first[r] + size[r]]``."""

    first: Ints
    size: Ints
    time: Ints

    @classmethod
    def of(cls, per_row: list[list[int]]) -> Moments:
        """Flatten."""
        size = np.array([len(times) for times in per_row], np.int64)
        return cls(np.cumsum(size) - size, size, np.array([time for times in per_row for time in times], np.int64))

    def plus(self, more: Moments) -> Moments:
        """These rows, followed by more."""
        return Moments(
            first=np.concatenate([self.first, more.first + len(self.time)]),
            size=np.concatenate([self.size, more.size]),
            time=np.concatenate([self.time, more.time]),
        )

    def before(self, rows: Ints, end: Ints) -> Ints:
        """How many of each row's times are before an end, µs."""
        size = self.size[rows]
        if not len(rows) or int(self.time.max(initial=np.iinfo(np.int64).min)) < int(end.min()):
            return size  # the usual case
        which, place = _expanded(self.first[rows], size)
        earlier = self.time[place] < end[which]
        return np.bincount(which[earlier], minlength=len(rows)).astype(np.int64)
