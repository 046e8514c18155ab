"""Alarms: evidence of unaccounted energy that accumulates from window to window.

Page's cumulative sum ("Continuous inspection schemes", Biometrika 41, 1954) of how far the unaccounted energy lies
beyond what systematic errors can explain, in standard deviations of the rest: a slow leak is found when its windows
together leave no doubt, days before a single one would; a large one at once. Two thresholds give hysteresis. A window
that is not complete enough, or whose head was not measured, says nothing and leaves the sum as it is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.line_loss.areas.data import Bools, Floats

NONE, HIGH, NEGATIVE = 0, 1, 2
NAMES = np.array(["NONE", "HIGH_LOSS", "NEGATIVE_LOSS"])

_SLACK = 0.5  # standard deviations of each window that are no evidence
_MOST = 4.0  # no single window says more than this
_RAISED = 12.0
_CLEARED = 4.0
_CEILING = 30.0  # so that an alarm ends within hours of its cause
_COVERED = 2.0


def evidence(
    unaccounted: Floats, systematic: Floats, random: Floats, extreme: Bools, counts: Bools
) -> tuple[Floats, Floats]:
    """What each window adds to the sums of HIGH_LOSS and of NEGATIVE_LOSS.

    Args:
        unaccounted: kWh.
        systematic: standard uncertainty that is common to all windows, kWh.
        random: standard uncertainty of the rest, kWh.
        extreme: loss beyond the set percentage, its uncertainty taken off.
        counts: windows that may say anything.
    """
    scale = np.maximum(random, 1e-6)
    high = (unaccounted - _COVERED * systematic) / scale - _SLACK
    low = (-unaccounted - _COVERED * systematic) / scale - _SLACK
    high = np.where(extreme, np.maximum(high, _MOST), high)
    return (
        np.where(counts, np.clip(high, -_MOST, _MOST), 0.0),
        np.where(counts, np.clip(low, -_MOST, _MOST), 0.0),
    )


def raised(high: Floats, low: Floats) -> npt.NDArray[np.int64]:
    """The alarm of each element after each window, from the first on.

    Args:
        high: evidence of HIGH_LOSS; [elements, windows].
        low: of NEGATIVE_LOSS; [elements, windows].

    Returns:
        ``NONE``, ``HIGH`` or ``NEGATIVE``; [elements, windows].
    """
    found = np.zeros(high.shape, np.int64)
    _raise(np.ascontiguousarray(high), np.ascontiguousarray(low), found)
    return found


@compiled
def _raise(high: Floats, low: Floats, found: npt.NDArray[np.int64]) -> None:
    for element in range(high.shape[0]):
        high_sum = low_sum = 0.0
        high_on = low_on = False
        for window in range(high.shape[1]):
            high_sum = min(max(high_sum + high[element, window], 0.0), _CEILING)
            low_sum = min(max(low_sum + low[element, window], 0.0), _CEILING)
            high_on = high_sum >= (_CLEARED if high_on else _RAISED)
            low_on = low_sum >= (_CLEARED if low_on else _RAISED)
            if high_on:
                found[element, window] = HIGH
            elif low_on:
                found[element, window] = NEGATIVE
