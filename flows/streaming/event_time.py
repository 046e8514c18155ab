"""Watermarks, allowed lateness, and the guard against times in the future.

Event time comes from the data alone. Each source partition has a *frontier*, the newest event time that it has
shown. The watermark of a receiver is the minimum of the frontiers of all partitions that are neither idle nor
finished, less a delay. A partition that has not reported yet holds the watermark back.

Lateness is judged per partition, row by row, against the partition's own frontier: it then depends on that
partition's log alone, not on how the partitions happen to interleave or how the log is cut into batches.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.batch import Batch, Refusal, Verdict

Micros = npt.NDArray[np.int64]

SECOND = 1_000_000
MINIMUM = np.iinfo(np.int64).min
MAXIMUM = np.iinfo(np.int64).max

# So many different devices must agree before a leap beyond the allowed lateness is believed.
_WITNESSES = 3
# A leap this far needs them whatever the ``received_time`` says, and more of the devices that are heard than not: a
# gateway whose clock has gone wrong sets both.
_FAR = 35 * 86_400 * SECOND


def to_micros(column: pl.Series, null: int = MINIMUM) -> Micros:
    """A Datetime column as µs since 1970, ``null`` where there is none."""
    physical = column.cast(pl.Datetime("us", "UTC")).to_physical()
    return (physical.fill_null(null) if physical.null_count() else physical).to_numpy()


class PartitionGate:
    """Judges one partition's readings: accepted, late, or too far in the future to be believed.

    A reading is late when it is older than the partition's frontier by more than delay + lateness. A reading with a
    ``received_time`` has been checked against that before. One without, that leaps ahead of all before it by more
    than the lateness (a smaller leap can make nothing late), is believed when ``_WITNESSES`` devices agree. So is any
    leap of more than ``_FAR``; the very first readings are measured against the wall clock.

    Args:
        device: column that names the device.
        time_column: column of the event time.
        delay: watermark delay, µs.
        lateness: allowed lateness, µs.
    """

    def __init__(self, device: str, time_column: str, delay: int, lateness: int) -> None:
        self._device = device
        self._time = time_column
        self._margin = delay + lateness
        self._leap = lateness
        self._frontier: int | None = None
        self._devices: set[str] = set()
        self._remembered: deque[tuple[str, int]] = deque(maxlen=32)

    @property
    def frontier(self) -> int | None:
        """Newest accepted event time, µs since 1970."""
        return self._frontier

    def state(self) -> Any:
        """What to keep over a restart."""
        return (self._frontier, sorted(self._devices), list(self._remembered))

    def restore(self, state: Any) -> None:
        """Take up a kept state."""
        self._frontier, devices, remembered = state
        self._devices = set(devices)
        self._remembered = deque(remembered, maxlen=32)

    def admit(self, frame: pl.DataFrame) -> Verdict:
        """Judge the rows in arrival order and advance the frontier."""
        times = to_micros(frame.get_column(self._time))
        if not len(times):
            return Verdict(np.ones(0, bool), np.zeros(0, bool))
        if len(self._devices) < _WITNESSES:
            fresh = frame.get_column(self._device).unique(maintain_order=True).head(_WITNESSES)
            self._devices.update(fresh.to_list()[: _WITNESSES - len(self._devices)])
        refused = self._unbelievable(frame, times)
        believed = times
        if refused:
            believed = times.copy()
            believed[[refusal.row for refusal in refused]] = MINIMUM
        start = MINIMUM if self._frontier is None else self._frontier
        running = np.maximum(np.maximum.accumulate(believed), start)
        accepted = believed >= running - self._margin
        if refused:
            accepted[[refusal.row for refusal in refused]] = False
        late = ~accepted
        if refused:
            late[[refusal.row for refusal in refused]] = False
        if running[-1] != MINIMUM:
            self._frontier = int(running[-1])
        return Verdict(accepted, late, tuple(refused))

    def _unbelievable(self, frame: pl.DataFrame, times: Micros) -> list[Refusal]:
        latest = int(time.time() * SECOND) + _FAR
        first = self._frontier if self._frontier is not None else min(int(np.median(times)), latest)
        before = np.maximum.accumulate(np.concatenate(([first], times)))[:-1]
        if not (times > before + self._leap).any():
            return []
        # Rare: a leap. Walk on from leap to leap; each is believed by witnesses or taken out.
        has_received = (
            frame.get_column("received_time").is_not_null().to_numpy()
            if ("received_time" in frame.columns)
            else np.zeros(len(times), bool)
        )
        devices = frame.get_column(self._device)
        believed = times.copy()
        refused: list[Refusal] = []
        while True:
            before = np.maximum.accumulate(np.concatenate(([first], believed)))[:-1]
            far = believed > before + _FAR
            leaps = np.flatnonzero(far | ((believed > before + self._leap) & ~has_received))
            leaps = leaps[leaps > (refused[-1].row if refused else -1)]
            believable = True
            for row in leaps.tolist():
                agreeing = believed >= times[row] - self._leap
                witnesses = set(devices.filter(pl.Series(agreeing)).unique().to_list())
                witnesses.update(device for device, at in self._remembered if at >= times[row] - self._leap)
                enough = min(_WITNESSES, len(self._devices))
                if far[row]:
                    heard = set(devices.to_list()) | {device for device, _ in self._remembered}
                    enough = max(enough if self._frontier is not None else _WITNESSES, len(heard) // 2 + 1)
                if len(witnesses) >= enough:
                    continue
                believable = False
                ahead = (int(times[row]) - int(before[row])) / (3600 * SECOND)
                refused.append(
                    Refusal(
                        row,
                        "FutureTime",
                        f"{self._time}: {frame.get_column(self._time)[row]} is {ahead:.1f} h ahead of all readings "
                        f"before it, and too few other devices confirm it",
                    )
                )
                self._remembered.append((str(devices[row]), int(times[row])))
                believed[row] = MINIMUM
                break
            if believable:
                return refused


@dataclass(slots=True)
class Watermark:
    """The watermark of one receiver over the partitions of one topic.

    Args:
        delay: µs that the watermark stays behind the slowest partition's frontier.
    """

    delay: int
    partitions: int = 0
    frontiers: dict[int, int] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)
    finished: set[int] = field(default_factory=set)
    value: int = MINIMUM

    def observe(self, batches: Iterable[Batch]) -> int:
        """Take note of what the partitions report; the watermark, µs since 1970, never goes back."""
        for batch in batches:
            self.partitions = max(self.partitions, batch.partitions)
            if batch.frontier is not None:
                old = self.frontiers.get(batch.partition, MINIMUM)
                self.frontiers[batch.partition] = max(old, batch.frontier)
            if batch.finished:
                self.finished.add(batch.partition)
            # An idle partition, or one drained without ever having shown a reading, holds nobody back.
            if batch.idle or (batch.finished and batch.frontier is None):
                self.absent.add(batch.partition)
            elif batch.taken:
                self.absent.discard(batch.partition)
        waiting = [p for p in range(self.partitions) if p not in self.absent and p not in self.finished]
        if any(p not in self.frontiers for p in waiting):
            return self.value
        # When all are idle or finished none is held back: then the newest tells how far the data is known to reach.
        counted = [self.frontiers[p] for p in waiting] or list(self.frontiers.values())
        reached = min(counted) if waiting else max(counted, default=MINIMUM)
        if reached != MINIMUM:
            self.value = max(self.value, reached - self.delay)
        return self.value

    @property
    def newest(self) -> int:
        """The newest event time that any partition has shown, µs since 1970."""
        return max(self.frontiers.values(), default=MINIMUM)
