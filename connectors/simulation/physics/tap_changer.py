"""On-load tap changers: each main transformer keeps its busbar's voltage."""

from __future__ import annotations

import numpy as np

from connectors.simulation.grid.catalogue import TAP_RANGE, TAP_STEP
from connectors.simulation.grid.customers import Floats, Ints
from connectors.simulation.grid.layout import Substation

TARGET, DEAD_BAND = 1.02, 0.012
_MOST_STEPS = 2  # in an interval


class TapChanger:
    """Positions of both mains' tap changers, interval by interval.

    The busbar's voltage is forecast from its load and the transformer's reactance; the tap moves when that leaves the
    dead band. A regulator measures instead, with the same outcome within a step.
    """

    def __init__(self, grid: Substation) -> None:
        feeders = [grid.feeders[station.feeder].busbar for station in grid.stations]
        self._busbar = np.array(feeders)[grid.customers.area]
        kind = grid.mains[0][1]
        self._reactance = kind.uk / (kind.rated_kva * 1000)  # per unit of voltage and var
        self._resistance = kind.load_kw / kind.rated_kva / (kind.rated_kva * 1000)
        self._position = np.zeros(2, np.int64)

    def positions(self, power: Floats, reactive: Floats, source: Floats) -> Ints:
        """Positions in consecutive intervals.

        Args:
            power: (steps, customers) W.
            reactive: (steps, customers) var.
            source: (steps,) voltage of the HV grid, per unit.

        Returns:
            (steps, 2), -9 .. 9; one step more is 1.5 % less on the busbar.
        """
        found = np.empty((len(power), 2), np.int64)
        for busbar in (0, 1):
            mine = self._busbar == busbar
            drop = self._resistance * power[:, mine].sum(axis=1) + self._reactance * reactive[:, mine].sum(axis=1)
            for step, (volts, lost) in enumerate(zip(source, drop, strict=True)):
                for _ in range(_MOST_STEPS):
                    error = volts / (1 + TAP_STEP * self._position[busbar]) - lost - TARGET
                    if abs(error) > DEAD_BAND:
                        self._position[busbar] += 1 if error > 0 else -1
                self._position[busbar] = np.clip(self._position[busbar], -TAP_RANGE, TAP_RANGE)
                found[step, busbar] = self._position[busbar]
        return found
