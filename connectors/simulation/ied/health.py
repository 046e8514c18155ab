"""Health of a device as runs: behaviour and health of LLN0 and LPHD, IEC 61850-7-4, told each minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from connectors.simulation.ied.faults import Fault
from connectors.simulation.ied.runs import Rhythm, Run

PERIOD_US = 60_000_000
LATENCY_US = 4_000
_JITTER_US = 50_000
# From the boot to the first message.
_FIRST_US = (500_000, 2_000_000)
_ON, _OK, _WARNING = 1, 1, 2


def health_runs(
    base: Run, boots: Sequence[Fault], rhythm: Rhythm, stream: np.random.Generator, start: int
) -> list[Run]:
    """The runs of a device's health; the clock is yet to be told.

    Args:
        base: what all have in common.
        boots: from when to when the device is down, by time.
        rhythm: for arithmetic with runs.
        stream: where chance comes from.
        start: of the simulation, µs since 1970.
    """
    base = replace(base, period=PERIOD_US, jitter=_JITTER_US, latency=LATENCY_US, beh=_ON, health=_OK, phy_health=_OK)
    last = replace(base, key=int(stream.integers(1 << 62)), first=start + int(stream.integers(PERIOD_US)))
    done = []
    for boot in boots:
        done.append(rhythm.cut(last, boot.start)[0])
        last = replace(base, key=int(stream.integers(1 << 62)), first=boot.end + int(stream.integers(*_FIRST_US)))
        done.append(replace(rhythm.cut(last, last.first + 1)[0], health=_WARNING))  # it has not yet tested itself
        last = replace(last, begin=1)
    return [*done, last]
