"""What of the members of places differs from their middle, compiled: places are of any number of members."""

from __future__ import annotations

import numpy as np

from connectors.compiled import compiled
from flows.topology.signals import Floats, Ints


@compiled
def deviations(  # noqa: PLR0912 - one pass, and compiled code calls no other with arrays
    voltages: Floats,
    powers: Floats,
    slopes: Floats,
    heads: Floats,
    rows: Ints,
    bounds: Ints,
    damping: float,
    centre: Floats,
    scatter: Floats,
) -> None:
    """The middles of places, and the scatter of their members' deviations from them.

    The middle is the median of the voltages known at a window, 0 where none is. Of a member's deviation its own mean
    and the drops of its own powers are taken out; gaps inside are filled by straight lines, those at its ends by 0.

    Args:
        voltages: of the meters' terminals, centred, V, NaN where unknown; [S, L].
        powers: the meters' own, centred, kW and kvar; [S, L, 2].
        slopes: by which standard deviations they may move the voltage, V/kW and V/kvar; [2].
        heads: voltages of head meters, which have no power of their own; [H, L].
        rows: the members of one place after the other: n < S is a terminal's row, S + n that of a head; [K].
        bounds: where the members of each place begin, and the last one's end; [C + 1].
        damping: V², by which, beside what a deviation varies itself, slopes are drawn to zero.
        centre: gets the middles, V; [C, L].
        scatter: the products of deviations, V², are added to it; [C, L, L].
    """
    places, windows, terminals = len(bounds) - 1, voltages.shape[1], len(voltages)
    column = np.empty(len(rows))
    rest, active, reactive = np.empty(windows), np.empty(windows), np.empty(windows)
    for place in range(places):
        for window in range(windows):
            count = 0
            for member in range(bounds[place], bounds[place + 1]):
                row = rows[member]
                value = voltages[row, window] if row < terminals else heads[row - terminals, window]
                if np.isfinite(value):
                    column[count] = value
                    count += 1
            centre[place, window] = 0.0
            if count:
                ordered = np.sort(column[:count])
                centre[place, window] = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        for member in range(bounds[place], bounds[place + 1]):
            row = rows[member]
            total, count = 0.0, 0
            for window in range(windows):
                value = voltages[row, window] if row < terminals else heads[row - terminals, window]
                rest[window] = value - centre[place, window]
                active[window] = powers[row, window, 0] * slopes[0] if row < terminals else 0.0
                reactive[window] = powers[row, window, 1] * slopes[1] if row < terminals else 0.0
                if np.isfinite(value):
                    total += rest[window]
                    count += 1
            mean = total / max(count, 1)
            last = -1
            for window in range(windows):
                if not np.isfinite(rest[window]):
                    continue
                rest[window] -= mean
                for gap in range(last + 1, window):
                    if last < 0:
                        rest[gap] = 0.0
                    else:
                        share = (gap - last) / (window - last)
                        rest[gap] = rest[last] + (rest[window] - rest[last]) * share
                last = window
            for gap in range(last + 1, windows):
                rest[gap] = 0.0
            damped = damping
            for window in range(windows):
                damped += rest[window] * rest[window] / windows
            first, second, both, one_own, other_own = 0.0, 0.0, 0.0, damped, damped
            for window in range(windows):
                first += rest[window] * active[window]
                second += rest[window] * reactive[window]
                both += active[window] * reactive[window]
                one_own += active[window] * active[window]
                other_own += reactive[window] * reactive[window]
            determinant = one_own * other_own - both * both
            slope = (other_own * first - both * second) / determinant
            other_slope = (one_own * second - both * first) / determinant
            for window in range(windows):
                rest[window] -= slope * active[window] + other_slope * reactive[window]
            for one in range(windows):
                for other in range(windows):
                    scatter[place, one, other] += rest[one] * rest[other]
