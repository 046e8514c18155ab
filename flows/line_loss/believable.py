"""Electrical values that can be right: wrong ones must not become losses, however well their message is formed."""

from __future__ import annotations

import numpy as np

from flows.line_loss.areas.data import Floats

_VOLTS_OFF = 0.4  # of the usual voltage: farther off it is a wrong reading
_MOST_REACTIVE, _LEAST_KVAR = 2.0, 1.0


def mean_volts(told: Floats) -> Floats | None:
    """The mean of the voltages that can be right, their median where a window has none; None where none is told; [W].

    Args:
        told: V, nan where it is not; [W, n].
    """
    known = np.isfinite(told) & (told > 0)
    if not known.any():
        return None
    usual = float(np.median(told[known]))
    known = np.abs(told / usual - 1) < _VOLTS_OFF
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, told, 0.0).sum(axis=1) / np.maximum(count, 1), usual)


def believable_reactive(told: Floats, active: Floats) -> Floats:
    """Reactive power, 0 where it is not told or cannot be: far beyond what the meter has ever seen of active power.

    Args:
        told: kvar, nan where it is not; [W, n].
        active: kW; [W, n].
    """
    most = _MOST_REACTIVE * np.abs(active).max(axis=0, initial=0.0) + _LEAST_KVAR
    return np.where(np.isfinite(told) & (np.abs(told) <= most), told, 0.0)
