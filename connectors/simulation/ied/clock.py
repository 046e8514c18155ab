"""The clock of a device: right, but for the times in which it has lost its source and runs freely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from connectors.simulation.ied.faults import Fault
from connectors.simulation.ied.runs import Rhythm, Run

# Crystals of protection devices, in ppm, of which only the bad ones show within hours.
_PPM = (20.0, 200.0)
_STEP_US = (100_000, 5_000_000)


@dataclass(frozen=True)
class TimeLoss:
    """A span in which the clock runs freely.

    Attributes:
        start: µs since 1970.
        end: µs since 1970; from then on it is right again.
        ppm: by how much it is too fast.
        step: device's clock minus true time at the start, µs.
        failed: the clock itself is defective.
    """

    start: int
    end: int
    ppm: float
    step: int
    failed: bool


def time_loss(fault: Fault, stream: np.random.Generator) -> TimeLoss:
    """What becomes of the clock: half of them step when the source goes, a third are defective."""
    ppm = round(float(stream.uniform(*_PPM)), 1) * int(stream.choice((-1, 1)))
    step = int(stream.integers(*_STEP_US)) * int(stream.choice((-1, 0, 0, 1)))
    return TimeLoss(fault.start, fault.end, ppm, step, bool(stream.random() < 1 / 3))


class Clock:
    """The clock of a device.

    Args:
        losses: when it runs freely.
    """

    def __init__(self, losses: Sequence[TimeLoss]) -> None:
        self._losses = losses

    def stamp(self, run: Run, time: int) -> Run:
        """A run whose messages all carry the clock's reading, with its quality, at a time, µs since 1970."""
        for loss in self._losses:
            if loss.start <= time < loss.end:
                reading = time + loss.step + round(loss.ppm * 1e-6 * (time - loss.start))
                return replace(run, state_time=reading, clock_failure=loss.failed, clock_not_synchronized=True)
        return replace(run, state_time=time, clock_failure=False, clock_not_synchronized=False)

    def stamp_each(self, runs: Sequence[Run], rhythm: Rhythm) -> list[Run]:
        """Runs whose messages carry the clock's reading, with its quality, when each is sent: cut where it changes."""
        done, left = [], [replace(run, clock_failure=False, clock_not_synchronized=False) for run in runs]
        for loss in sorted(self._losses, key=lambda loss: loss.start):
            after = []
            for run in left:
                before, rest = rhythm.cut(run, loss.start)
                during, rest = rhythm.cut(rest, loss.end)
                done += [before, _free_running(during, loss)]
                after.append(rest)
            left = [run for run in after if run.begin < run.end]
        return [run for run in (*done, *left) if run.begin < run.end]


def _free_running(run: Run, loss: TimeLoss) -> Run:
    if loss.failed and run.health is not None:
        run = replace(run, health=2, phy_health=2)  # warning
    return replace(
        run,
        clock_step=loss.step,
        clock_ppm=loss.ppm,
        clock_since=loss.start,
        clock_failure=loss.failed,
        clock_not_synchronized=True,
    )
