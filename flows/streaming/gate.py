"""Which readings of a source partition event time admits: accepted, late, or too far in the future to be believed.

A partition's *frontier* is the event time that it has reached. A reading is late when it is older than the frontier
by more than the watermark's delay and the allowed lateness together. So one wrong clock must not move the frontier:
all that came after would be late. A reading that leaps ahead opens a *trial*: those that follow confirm the leap, or
speak against it, and the frontier moves only when at least three devices have confirmed it, and more than twice as
many as have not. A leap of more than ``FAR`` takes a longer hearing too: a gateway sends many meters in a row. As
long as the partition has shown fewer than three devices, readings count instead; of all its devices, or else after
the longer hearing. And where of three or more devices two are left, they are believed when nobody else has spoken for
the longest hearing.

What leaps, and what then becomes of the reading itself:

* With a ``received_time`` it has been checked against that, and is accepted whatever the gap to the one before it. Its
  frontier is doubted only beyond ``FAR``: a gateway whose clock has gone wrong sets both times.
* Without one the frontier is doubted beyond the allowed lateness (a smaller leap can make nothing late): meters may be
  read every other day, so the reading is accepted. Beyond ``FAR`` it is refused as long as too few confirm it.
* Where the event time is the received time itself, nothing can check it but the others. Streams of that kind do not
  pause for long, so a leap of more than the limit that is set is refused as long as too few confirm it.

All is judged row by row, from the rows before: the verdicts depend on the partition's log alone, not on how it is cut
into batches, when it is read, or how partitions interleave.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from connectors.batch import Refusal, Verdict
from flows.streaming.event_time import MINIMUM, SECOND, Micros, to_micros

FAR = 35 * 86_400 * SECOND
"""A leap of more than this, µs, is doubted even where ``received_time`` agrees with it."""

_WITNESSES = 3  # so many devices outweigh a wrong clock
_FIRST_ROWS = 4  # or so many readings, stand firm at the begin
_LONGEST_TRIAL = 64  # rows
_LONGER_HEARING = 32  # rows, so that the others can speak, too
_BLOCK = 1 << 14  # rows: where there are many leaps, the rows behind each are looked at again


@dataclass(slots=True)
class Trial:
    """A leap on trial.

    Attributes:
        anchor: the earliest event time among those that confirm it, µs since 1970.
        confirming: (device, time) of the readings that do.
        dissenting: of those that do not.
        rows: how many rows have been heard since it began.
        taken: whether a reading that confirms it was accepted.
    """

    anchor: int
    confirming: set[tuple[str, int]] = field(default_factory=set)
    dissenting: set[tuple[str, int]] = field(default_factory=set)
    rows: int = 0
    taken: bool = False

    def hear(self, device: str, time: int, *, confirms: bool) -> None:
        """Take note of a reading."""
        self.rows += 1
        if confirms:
            self.anchor = min(self.anchor, time)
        (self.confirming if confirms else self.dissenting).add((device, time))

    def won(self, frontier: int, devices: int) -> bool:
        """Whether the leap is to be believed; ``devices``: how many the partition has shown, counted up to three."""
        confirming, dissenting = _weight(self.confirming, devices), _weight(self.dissenting, devices)
        if self.rows >= _LONGEST_TRIAL and not dissenting and _devices_in(self.confirming) > 1:
            return True
        enough = confirming >= _WITNESSES and confirming > 2 * dissenting
        near = self.anchor <= frontier + FAR
        heard = _devices_in(self.confirming) == devices if devices < _WITNESSES else near
        return enough and (heard or self.rows >= _LONGER_HEARING)

    def lost(self, devices: int) -> bool:
        """Whether it is to be forgotten; ``devices`` as in ``won``."""
        confirming, dissenting = _weight(self.confirming, devices), _weight(self.dissenting, devices)
        return self.rows > _LONGEST_TRIAL or (dissenting >= _WITNESSES and 2 * dissenting >= confirming)


def _weight(heard: set[tuple[str, int]], devices: int) -> int:
    return len(heard) if devices < _WITNESSES else _devices_in(heard)


def _devices_in(heard: set[tuple[str, int]]) -> int:
    return len({device for device, _ in heard})


class PartitionGate:
    """Judges one partition's readings.

    Args:
        device: column that names the device.
        time_column: column of the event time.
        delay: watermark delay, µs.
        lateness: allowed lateness, µs.
        limit: how far ahead of the others a reading may be, µs, where only they can tell; None: as the module says.
    """

    def __init__(self, device: str, time_column: str, delay: int, lateness: int, limit: int | None = None) -> None:
        self._device = device
        self._time = time_column
        self._margin = delay + lateness
        self._leap = lateness if limit is None else limit
        self._limit = limit
        self._frontier: int | None = None
        self._first: list[tuple[str, int]] = []  # the first readings, until enough have been heard to stand firm
        self._devices: set[str] = set()  # the first ones that were seen; more than three make no difference
        self._firm = False
        self._trial: Trial | None = None

    @property
    def frontier(self) -> int | None:
        """The event time that the partition has reached, µs since 1970; None until that is sure."""
        return self._frontier if self._firm else None

    def state(self) -> Any:
        """What to keep over a restart."""
        trial = self._trial
        kept = trial and (trial.anchor, sorted(trial.confirming), sorted(trial.dissenting), trial.rows, trial.taken)
        return self._frontier, self._firm, list(self._first), sorted(self._devices), kept

    def restore(self, state: Any) -> None:
        """Take up a kept state."""
        self._frontier, self._firm, first, devices, trial = state
        self._first, self._devices = list(first), set(devices)
        self._trial = trial and Trial(trial[0], set(trial[1]), set(trial[2]), *trial[3:])

    def settle(self) -> None:
        """No more will come: what was accepted, and nobody has spoken against, is where the partition has come to."""
        self._firm = True
        if self._trial is not None and self._trial.taken and not self._trial.dissenting:
            newest = max(time for _, time in self._trial.confirming)
            self._frontier, self._trial = newest, None

    def admit(self, frame: pl.DataFrame) -> Verdict:
        """Judge the rows in arrival order and advance the frontier."""
        times = to_micros(frame.get_column(self._time))
        count = len(times)
        devices = frame.get_column(self._device)
        if not count or self._all_usual(int(times.min()), int(times.max())):
            self._see(devices)
            return Verdict(np.ones(count, bool), np.zeros(count, bool))
        walk = _Walk(times, self._leaps(frame), devices)
        at = 0
        while at < count:
            if self._firm and self._trial is None:
                at = self._run(walk, at)
            else:
                self._step(walk, at)
                at += 1
        accepted = times >= walk.reached - self._margin
        accepted[walk.refused] = False
        late = ~accepted
        late[walk.refused] = False
        return Verdict(accepted, late, tuple(self._refusal(frame, times, walk, row) for row in walk.refused))

    def _see(self, devices: pl.Series) -> None:
        """Get to know devices, row by row until there are enough."""
        if len(self._devices) < _WITNESSES:
            for device in devices.unique(maintain_order=True).head(_WITNESSES):
                if len(self._devices) < _WITNESSES:
                    self._devices.add(str(device))

    def _all_usual(self, oldest: int, newest: int) -> bool:
        """Whether, by the oldest and the newest, no row leaps and none is late; then the frontier is advanced."""
        if not self._firm or self._trial is not None or self._frontier is None or newest > self._frontier + self._leap:
            return False
        reached = max(self._frontier, newest)
        if oldest < reached - self._margin:
            return False
        self._frontier = reached
        return True

    def _leaps(self, frame: pl.DataFrame) -> Micros:
        """By how much each reading may lie ahead of the frontier without a doubt."""
        received = frame.get_column("received_time") if "received_time" in frame.columns else None
        if received is None or self._limit is not None:
            return np.full(frame.height, self._leap, np.int64)
        if not received.null_count():
            return np.full(frame.height, FAR, np.int64)
        return np.where(received.is_null().to_numpy(), self._leap, FAR)

    def _run(self, walk: _Walk, start: int) -> int:
        """Rows up to the next leap all at once, a block at the most; where the next row is."""
        assert self._frontier is not None
        times, leaps = walk.times[start : start + _BLOCK], walk.leaps[start : start + _BLOCK]
        reached = np.maximum(np.maximum.accumulate(times), self._frontier)
        leaping = times > np.concatenate(([self._frontier], reached[:-1])) + leaps
        count = len(times)
        if leaping.any():
            count = int(leaping.argmax())
            self._trial = Trial(int(times[count]))
        if count:
            self._see(walk.devices.slice(start, count))
            walk.reached[start : start + count] = reached[:count]
            self._frontier = int(reached[count - 1])
        return start + count

    def _step(self, walk: _Walk, row: int) -> None:
        """One row, while a leap is on trial or the first readings are coming in."""
        device, time = str(walk.devices[row]), int(walk.times[row])
        if len(self._devices) < _WITNESSES:
            self._devices.add(device)
        if self._frontier is None:
            self._frontier = time
        leaps = time > self._frontier + int(walk.leaps[row])
        if not self._firm:
            self._hear_first(device, time)
        if leaps and self._trial is None:
            self._trial = Trial(time)
        if self._trial is not None:
            self._trial.hear(device, time, confirms=leaps)
        if not leaps:
            self._frontier = max(self._frontier, time)
        known = len(self._devices)
        if self._trial is not None and self._trial.won(self._frontier, known):
            self._frontier, self._trial = self._trial.anchor, None
        elif leaps and walk.leaps[row] != FAR and time > self._frontier + (self._limit or FAR):
            walk.refused.append(row)
        elif leaps and self._trial is not None:
            self._trial.taken = True
        if self._trial is not None and self._trial.lost(known):
            self._trial = None
        walk.reached[row] = self._frontier

    def _hear_first(self, device: str, time: int) -> None:
        """The very first reading may be the wrong one: where others lie far before it, the frontier goes back."""
        assert self._frontier is not None
        if time < self._frontier - self._margin:
            if self._trial is None:
                self._trial = Trial(self._frontier, set(self._first))
            self._frontier = time
        self._first.append((device, time))
        self._firm = len(self._devices) >= _WITNESSES or len(self._first) >= _FIRST_ROWS

    def _refusal(self, frame: pl.DataFrame, times: Micros, walk: _Walk, row: int) -> Refusal:
        ahead = (int(times[row]) - int(walk.reached[row])) / (3600 * SECOND)
        return Refusal(
            row,
            "FutureTime",
            f"{self._time}: {frame.get_column(self._time)[row]} is {ahead:.1f} h ahead of the readings before it, and "
            "too few others confirm it",
        )


@dataclass(slots=True)
class _Walk:
    """One frame on its way through: of each row its time, leap allowed, device, and what the frontier was then."""

    times: Micros
    leaps: Micros
    devices: pl.Series
    reached: Micros = field(init=False)
    refused: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reached = np.full(len(self.times), MINIMUM, np.int64)
