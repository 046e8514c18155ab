"""The voltages of meters over one span of windows, terminal by terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SHARE = 0.6
"""Of a span's windows that must have a voltage."""

_BELIEVED = (100.0, 320.0)  # V, phase to neutral: outside of it a meter is without supply, or wrong


def centred(values: Floats) -> Floats:
    """Each row less its own mean; NaN stays. [n, L]."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    deviations: Floats = values - mean[:, None]
    return deviations


def filled(values: Floats) -> Floats:
    """Gaps inside of rows filled by straight lines; what is unknown at their ends stays NaN. [n, L]."""
    known = np.isfinite(values)
    if known.all():
        return values
    length = values.shape[1]
    at = np.arange(length)
    before = np.maximum.accumulate(np.where(known, at, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, at, length)[:, ::-1], axis=1)[:, ::-1]
    inside = (before >= 0) & (after < length)
    row = np.arange(len(values))[:, None]
    low, high = values[row, np.maximum(before, 0)], values[row, np.minimum(after, length - 1)]
    share = (at - before) / np.maximum(after - before, 1)
    return np.where(inside, low + (high - low) * share, np.nan)


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
    def of(cls, voltages: Floats, powers: Floats, terminals: Ints, least: float | Floats = LEAST_SHARE) -> Signals:
        """From the columns of meters.

        Args:
            voltages: mean over the window at terminals l1, l2, l3, V, NaN where unknown; [L, n, 3].
            powers: mean over the window, kW and kvar, NaN where unknown; [L, n, 2].
            terminals: how many terminals each meter has; [n].
            least: share of the windows that must have a voltage, of all meters or each; [n].
        """
        low, high = _BELIEVED
        believed = np.where((voltages > low) & (voltages < high), voltages, np.nan)
        share = np.isfinite(believed).mean(axis=0)
        counted = np.arange(3) < terminals[:, None]
        usable = np.where(counted, share >= np.broadcast_to(least, len(terminals))[:, None], True).all(axis=1)
        terminals = np.where(usable, terminals, 0)
        meter = np.repeat(np.arange(len(terminals)), terminals)
        first = np.cumsum(terminals) - terminals
        terminal = np.arange(len(meter)) - first[meter]
        power = np.stack([np.nan_to_num(centred(powers[:, :, kind].T)) for kind in range(2)], axis=2)
        return cls(centred(believed[:, meter, terminal].T), power[meter], meter, first, terminals)

    def rows(self, meters: Ints) -> Ints:
        """The rows of meters that all have as many terminals as the first one; [len(meters), terminals]."""
        count = int(self.terminals[meters[0]]) if len(meters) else 0
        return self.first[meters][:, None] + np.arange(count)
