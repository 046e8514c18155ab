"""The voltages of meters over one span of windows, terminal by terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.topology.threads import in_threads, pieces

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SHARE = 0.6
"""Of a span's windows that must have a voltage."""

_BELIEVED = (100.0, 320.0)  # V, phase to neutral: outside of it a meter is without supply, or wrong
_AT_ONCE = 8192  # rows that a thread takes at once


def centred(values: Floats) -> Floats:
    """Each row less its own mean; NaN stays. [n, L]."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    deviations: Floats = values - mean[:, None]
    return deviations


@compiled
def known(voltages: Floats, bounds: tuple[float, float], there: Ints, within: Ints) -> None:
    """How many voltages there are, and how many of them are within bounds.

    Args:
        voltages: NaN where unknown; [L, n, 3].
        bounds: not within, V.
        there: the counts are added to it; [n, 3].
        within: the counts are added to it; [n, 3].
    """
    low, high = bounds
    windows, meters, terminals = voltages.shape
    for meter in range(meters):
        for window in range(windows):
            for terminal in range(terminals):
                value = voltages[window, meter, terminal]
                there[meter, terminal] += np.isfinite(value)
                within[meter, terminal] += low < value < high


@compiled
def deviating(
    voltages: Floats,
    powers: Floats,
    meter: Ints,
    terminal: Ints,
    bounds: tuple[float, float],
    found: Floats,
    own: Floats,
) -> None:
    """Deviations from means, terminal by terminal.

    Args:
        voltages: V, NaN where unknown; [L, n, 3].
        powers: kW and kvar, NaN where unknown; [L, n, 2].
        meter: of each terminal; [S].
        terminal: of the meter; [S].
        bounds: of voltages that count, V.
        found: gets the voltages, NaN where unknown or out of bounds; [S, L].
        own: gets the powers, 0 where unknown; [S, L, 2].
    """
    low, high = bounds
    windows, kinds = found.shape[1], own.shape[2]
    for row in range(len(meter)):
        one, at = meter[row], terminal[row]
        total, count = 0.0, 0
        for window in range(windows):
            value = voltages[window, one, at]
            if low < value < high:
                total += value
                count += 1
            else:
                value = np.nan
            found[row, window] = value
        mean = total / max(count, 1)
        for window in range(windows):
            found[row, window] -= mean
        for kind in range(kinds):
            total, count = 0.0, 0
            for window in range(windows):
                value = powers[window, one, kind]
                if np.isfinite(value):
                    total += value
                    count += 1
            mean = total / max(count, 1)
            for window in range(windows):
                value = powers[window, one, kind]
                own[row, window, kind] = value - mean if np.isfinite(value) else 0.0


@dataclass(frozen=True, slots=True)
class Signals:
    """Deviations of voltages and powers from their means over a span of L windows; one row per terminal.

    Rows of one meter follow one another, its terminals in order.

    Attributes:
        voltage: V, NaN where unknown; [S, L].
        power: of the meter, kW and kvar, 0 where unknown; [S, L, 2].
        meter: of each row; [S].
        first: first row of each meter; [n].
        terminals: rows of each meter, 0 where its voltages are not known well enough; [n].
    """

    voltage: Floats
    power: Floats
    meter: Ints
    first: Ints
    terminals: Ints

    @classmethod
    def of(
        cls, voltages: Floats, powers: Floats, terminals: Ints | None = None, least: float | Floats = LEAST_SHARE
    ) -> Signals:
        """From the columns of meters.

        Args:
            voltages: mean over the window at terminals l1, l2, l3, V, NaN where unknown; [L, n, 3].
            powers: mean over the window, kW and kvar, NaN where unknown; [L, n, 2].
            terminals: how many terminals each meter has; [n]. None: those whose voltages are known well enough.
            least: share of the windows that must have a voltage, of all meters or each; [n].
        """
        windows, meters, _ = voltages.shape
        there, within = np.zeros((2, meters, 3), np.int64)
        in_threads(
            lambda some: known(voltages[:, some], _BELIEVED, there[some], within[some]), pieces(meters, _AT_ONCE)
        )
        enough = np.broadcast_to(least, meters)[:, None]
        if terminals is None:
            seen = there / windows >= enough
            terminals = np.where(seen[:, 0], 1 + seen[:, 1] + (seen[:, 1] & seen[:, 2]), 1)
        counted = np.arange(3) < terminals[:, None]
        usable = np.where(counted, within / windows >= enough, True).all(axis=1)
        terminals = np.where(usable, terminals, 0)
        meter = np.repeat(np.arange(len(terminals)), terminals)
        first = np.cumsum(terminals) - terminals
        terminal = np.arange(len(meter)) - first[meter]
        voltage, power = np.empty((len(meter), windows)), np.empty((len(meter), windows, 2))
        in_threads(
            lambda some: deviating(
                voltages, powers, meter[some], terminal[some], _BELIEVED, voltage[some], power[some]
            ),
            pieces(len(meter), _AT_ONCE),
        )
        return cls(voltage, power, meter, first, terminals)

    def rows(self, meters: Ints) -> Ints:
        """The rows of meters that all have as many terminals as the first one; [len(meters), terminals]."""
        count = int(self.terminals[meters[0]]) if len(meters) else 0
        return self.first[meters][:, None] + np.arange(count)
