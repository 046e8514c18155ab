"""Runs: stretches of a publisher's messages that differ in nothing but their numbers, times and measured values.

All that happens cuts runs at construction; the messages between are then a matter of arithmetic: message ``number`` of
a run is due at ``first`` + a time that depends on the number alone. So any span of time can be asked for, in any
pieces, and nothing of a message is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from connectors.simulation.grid.customers import Ints
from connectors.simulation.ied.description import Entries

ENDLESS = 1 << 40
# Between two messages that leave a device's buffer: longer than their latencies differ, so that none overtakes another.
BACKLOG_GAP_US = 5_000
# Retransmission after a state change doubles from 4 ms until the heartbeat, as common devices do; IEC 61850-8-1 leaves
# the curve to the maker.
FIRST_INTERVAL_US = 4_000
# timeAllowedToLive is twice the time until the next message, as is usual, so that one may be lost; but at least this:
# receivers' clocks tick in milliseconds.
LEAST_LIVE_MS = 10


@dataclass(frozen=True, slots=True)
class Run:
    """Messages that differ only in number, times and measured values.

    Attributes:
        ied: index of the device.
        kind: of message, as in the contract.
        control_block: as in the contract.
        key: names the chance of its messages; unique together with their number.
        first: when message number 0 would be due, µs since 1970.
        period: between two messages, µs.
        latency: longest way through the network, µs.
        begin: number of the first message.
        end: number after the last.
        burst: the first messages follow each other as after a state change.
        jitter: how late a message may be sent, µs; not in the burst.
        backlog: messages wait until then in the device's buffer, µs since 1970, and leave it one by one.
        state_time: the messages' time, µs since 1970 by the device's clock; None: when they are sent.
        clock_step: device's clock minus true time at ``clock_since``, µs.
        clock_ppm: by how much it is too fast.
        clock_since: µs since 1970.
        entry: entry id of message number 0; None: they have none.
        live_ms: timeAllowedToLive after the burst; None: they have none.
        content: data set entries; None: no data set.
        measured: the measurands follow in the data set.
        false: sent by somebody else.
        sq_base: sqNum of message number 0.
    """

    ied: int
    kind: str
    control_block: str
    key: int = 0
    first: int = 0
    period: int = 1
    latency: int = 0
    begin: int = 0
    end: int = ENDLESS
    burst: bool = False
    jitter: int = 0
    backlog: int = 0
    state_time: int | None = None
    clock_step: int = 0
    clock_ppm: float = 0.0
    clock_since: int = 0
    entry: int | None = None
    live_ms: int | None = None
    content: Entries | None = None
    measured: bool = False
    false: bool = False
    sq_base: int = 0
    source_address: str | None = None
    app_id: int | None = None
    st_num: int | None = None
    conf_rev: int | None = None
    simulation: bool | None = None
    nds_com: bool | None = None
    buffer_overflow: bool | None = None
    clock_failure: bool | None = None
    clock_not_synchronized: bool | None = None
    beh: int | None = None
    health: int | None = None
    phy_health: int | None = None


class Rhythm:
    """When messages are due.

    Args:
        heartbeat_us: between two GOOSE without a change of state, µs.
    """

    def __init__(self, heartbeat_us: int) -> None:
        intervals = [FIRST_INTERVAL_US]
        while 2 * intervals[-1] < heartbeat_us:
            intervals.append(2 * intervals[-1])
        self.count = len(intervals)
        self._offsets: Ints = np.cumsum([0, *intervals])
        self._live: Ints = np.maximum(2 * np.array(intervals) // 1000, LEAST_LIVE_MS)

    def offset(self, burst: npt.ArrayLike, period: npt.ArrayLike, number: npt.ArrayLike) -> Ints:
        """How long after message number 0 a message is due, µs."""
        quick, number = self._quick(burst), np.asarray(number)
        steady = np.where(quick > 0, self._offsets[-1], 0) + (number - quick) * np.asarray(period)
        early = (quick > 0) & (number < quick)
        offset: Ints = np.where(early, self._offsets[np.clip(number, 0, self.count)], steady)
        return offset

    def number(self, burst: npt.ArrayLike, period: npt.ArrayLike, offset: npt.ArrayLike) -> Ints:
        """Number of the first message that is due at an offset or later, µs after message number 0."""
        quick, offset = self._quick(burst), np.asarray(offset)
        steady = quick - (np.where(quick > 0, self._offsets[-1], 0) - offset) // np.asarray(period)
        in_burst = (quick > 0) & (offset <= self._offsets[-1])
        return np.where(in_burst, np.searchsorted(self._offsets, offset), steady)

    def in_burst(self, burst: npt.ArrayLike, number: Ints) -> npt.NDArray[np.bool_]:
        """Whether messages belong to the burst after a state change."""
        early: npt.NDArray[np.bool_] = number < self._quick(burst)
        return early

    def live_ms(self, number: Ints) -> Ints:
        """The timeAllowedToLive of messages of the burst, ms."""
        live: Ints = self._live[np.clip(number, 0, self.count - 1)]
        return live

    def due(self, run: Run, time: int) -> int:
        """Number of a run's first message that is due at a time or later, µs since 1970; not before ``begin``."""
        return max(run.begin, min(run.end, int(self.number(run.burst, run.period, time - run.first))))

    def cut(self, run: Run, time: int) -> tuple[Run, Run]:
        """What of a run is due before a time, and what from then on, µs since 1970; either may be empty."""
        number = self.due(run, time)
        return replace(run, end=number), replace(run, begin=number)

    def stop(self, run: Run, time: int) -> Run:
        """What of a run is sent before a time, µs since 1970, however late it is sent."""
        number = self.due(run, time)
        if number > self.count:
            number = max(self.count, self.due(run, time - run.jitter))
        return replace(run, end=max(run.begin, number))

    def _quick(self, burst: npt.ArrayLike) -> Ints:
        return np.where(np.asarray(burst), self.count, 0)


def shifted(run: Run, by: int) -> Run:
    """The same messages with numbers lower by ``by``."""
    first, entry = run.first + by * run.period, None if run.entry is None else run.entry + by
    return replace(run, first=first, entry=entry, begin=run.begin - by, end=run.end - by)
