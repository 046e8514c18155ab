"""Reports of a device as runs: a buffered report control block after IEC 61850-7-2.

It reports all of its data set at each integrity period, and the breaker's position when that changes. While the client
is out of reach it goes on, into its buffer; the client fetches that when it is back, oldest first. EntryIDs go on;
SqNum begins at 0 with each new association, which sets RptEna.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from connectors.simulation.ied.description import POSITION
from connectors.simulation.ied.faults import Fault
from connectors.simulation.ied.moments import Moment
from connectors.simulation.ied.runs import ENDLESS, Run, shifted

LATENCY_US = 4_000
# So far apart that none overtakes another.
_APART_US = 5_000
# BufTm, and the device's processing: from a change to its report.
_REPORTING_US = (10_000, 40_000)
# Until the client has found out, associated anew and enabled the control block.
_RECONNECTING_US = (1_000_000, 10_000_000)
BUFFERED_ENTRIES = 500

# What happens at a time comes in this order.
_LOST, _BACK, _BOOT, _CHANGE = range(4)


@dataclass
class ReportRuns:
    """Reports of a device.

    Attributes:
        runs: all of them.
        delayed: reports that came late, by the fault that delayed them.
        lost: reports for which the buffer had no room, by fault.
    """

    runs: list[Run] = field(default_factory=list)
    delayed: dict[Fault, int] = field(default_factory=dict)
    lost: dict[Fault, int] = field(default_factory=dict)


class _ReportControl:
    """The control block while time goes on."""

    def __init__(self, base: Run, stream: np.random.Generator, start: int) -> None:
        self.done = ReportRuns()
        self._stream = stream
        self._template = replace(base, key=self._key(), entry=int(stream.integers(1 << 40)))
        # The grid of the integrity period and its next point; as after long running.
        self._origin, self._next_point = start + int(stream.integers(base.period)), 0
        self._number = int(stream.integers(1 << 16))
        self._last = start - _APART_US
        self._running = True
        self._held: list[Run] = []

    def _key(self) -> int:
        return int(self._stream.integers(1 << 62))

    def go_on(self, until: int) -> None:
        """Reports of the integrity period, up to a time."""
        point = max(self._next_point, -(-(until - self._origin) // self._template.period))
        if self._running:
            self._tell(
                self._template, self._origin + self._next_point * self._template.period, point - self._next_point
            )
        self._next_point = point

    def go_on_for_good(self) -> None:
        """Reports of the integrity period without end."""
        self._tell(self._template, self._origin + self._next_point * self._template.period, ENDLESS - self._number)

    def free(self, time: int) -> int:
        """When a change can be reported: a little later if another report is due."""
        time, period = max(time, self._last + _APART_US), self._template.period
        near = self._origin + (time - self._origin + period // 2) // period * period
        return near + _APART_US if abs(near - time) < _APART_US else time

    def change(self, time: int, position: str) -> None:
        """A report of the breaker's position."""
        content = ((POSITION, position),)
        self._template = replace(self._template, content=content)
        if self._running:
            self._tell(replace(self._template, measured=False), time, 1)
            self._last = time

    def associate(self, backlog: int) -> None:
        """The client is to enable the control block anew, and then fetches what is waiting, at a time."""
        assert self._template.entry is not None
        self._template = replace(
            self._template, key=self._key(), entry=self._template.entry + self._number, backlog=backlog
        )
        self._number = 0

    def lose(self, fault: Fault) -> None:
        """The client is out of reach for the duration of a fault."""
        self._held, self.done.runs = self.done.runs, []
        self.associate(fault.end + int(self._stream.integers(*_RECONNECTING_US)))

    def find(self, fault: Fault) -> None:
        """The client is back in reach: of the buffer's oldest entries those without room have been lost."""
        lost = max(0, self._number - BUFFERED_ENTRIES)
        self.done.lost[fault], self.done.delayed[fault] = lost, self._number - lost
        if lost:
            kept = [shifted(replace(run, begin=max(run.begin, lost)), lost) for run in self.done.runs]
            kept = [run for run in kept if run.begin < run.end]
            overflown, rest = replace(kept[0], end=1, buffer_overflow=True), replace(kept[0], begin=1)
            self.done.runs = [overflown, rest, *kept[1:]]
            assert self._template.entry is not None
            self._template = replace(self._template, entry=self._template.entry + lost)
            self._number -= lost
        self._held.extend(self.done.runs)
        self.done.runs = self._held

    def stop(self) -> None:
        """The device goes down."""
        self._running = False

    def boot(self, time: int, position: str | None) -> None:
        """The device is back, with an empty buffer."""
        self._running = True
        self._origin, self._next_point = time + int(self._stream.integers(*_RECONNECTING_US)), 0
        self.associate(self._origin)
        if position is not None:
            self._template = replace(self._template, content=((POSITION, position),))

    def _tell(self, template: Run, time: int, count: int) -> None:
        if count > 0:
            begin, first = self._number, time - self._number * template.period
            self.done.runs.append(replace(template, first=first, begin=begin, end=begin + count))
            self._number += count


def report_runs(
    base: Run,
    states: Sequence[Moment],
    silences: Sequence[Fault],
    stream: np.random.Generator,
    start: int,
) -> ReportRuns:
    """The runs of a device's report control block; the clock is yet to be told.

    Args:
        base: what all have in common, with the integrity period.
        states: from ``moments``.
        silences: faults during which the device is out of reach, but running.
        stream: where chance comes from.
        start: of the simulation, µs since 1970.
    """
    position = states[0].values.get(POSITION)
    content = () if position is None else ((POSITION, position),)
    base = replace(
        base,
        latency=LATENCY_US,
        conf_rev=int(stream.integers(1, 6)),
        buffer_overflow=False,
        content=content,
        measured=True,
    )
    control = _ReportControl(base, stream, start)
    happenings: list[tuple[int, int, int, Fault | None, str | None]] = []
    for fault in silences:
        # What is on its way when the link goes is not acknowledged, and so is sent again.
        happenings += [(fault.start - _APART_US, _LOST, 0, fault, None), (fault.end, _BACK, 0, fault, None)]
    reported = start
    for number, state in enumerate(states[1:]):
        current = state.values.get(POSITION)
        if state.boot is not None:
            happenings.append((state.boot.start - _APART_US, _LOST, 0, None, None))
            happenings.append((state.boot.end, _BOOT, 0, None, current))
        elif current != position:
            reported = max(reported, state.time + int(stream.integers(*_REPORTING_US)))  # in their order
            happenings.append((reported, _CHANGE, number, None, current))
        position = current
    heapq.heapify(happenings)
    while happenings:
        time, what, number, happening, current = heapq.heappop(happenings)
        if what == _CHANGE and control.free(time) > time:
            heapq.heappush(happenings, (control.free(time), what, number, happening, current))
            continue
        control.go_on(time)
        if what == _CHANGE and current is not None:
            control.change(time, current)
        elif what == _BOOT:
            control.boot(time, current)
        elif happening is None:
            control.stop()
        elif what == _LOST:
            control.lose(happening)
        else:
            control.find(happening)
    control.go_on_for_good()
    return control.done
