"""What of the members of places differs from their middle, compiled: places are of any number of members."""

from __future__ import annotations

import numpy as np

from connectors.compiled import compiled
from flows.topology.signals import Floats, Ints


@compiled
def deviations(  # noqa: PLR0912 - one pass, and compiled code calls no other with arrays
    voltages: Floats, powers: Floats, heads: Floats, rows: Ints, bounds: Ints, damping: float
) -> tuple[Floats, Floats]:
    """The middles of places, and the scatter of their members' deviations from them.

    The middle is the median of the voltages known at a window, 0 where none is. Of a member's deviation its own mean
    and the drop of its own power are taken out; gaps inside are filled by straight lines, those at its ends by 0.

    Args:
        voltages: of the meters' terminals, centred, V, NaN where unknown; [S, L].
        powers: of the meters, centred, kW; [S, L].
        heads: voltages of head meters, which have no power of their own; [H, L].
        rows: the members of one place after the other: n < S is a terminal's row, S + n that of a head; [K].
        bounds: where the members of each place begin, and the last one's end; [C + 1].
        damping: kW², by which a slope over power is drawn to zero.

    Returns:
        Middles, V, [C, L], and sums of the products of deviations, V², [C, L, L].
    """
    places, windows, terminals = len(bounds) - 1, voltages.shape[1], len(voltages)
    centre = np.zeros((places, windows))
    scatter = np.zeros((places, windows, windows))
    column = np.empty(len(rows))
    rest, power = np.empty(windows), np.empty(windows)
    for place in range(places):
        for window in range(windows):
            count = 0
            for member in range(bounds[place], bounds[place + 1]):
                row = rows[member]
                value = voltages[row, window] if row < terminals else heads[row - terminals, window]
                if np.isfinite(value):
                    column[count] = value
                    count += 1
            if count:
                ordered = np.sort(column[:count])
                centre[place, window] = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
        for member in range(bounds[place], bounds[place + 1]):
            row = rows[member]
            total, count = 0.0, 0
            for window in range(windows):
                value = voltages[row, window] if row < terminals else heads[row - terminals, window]
                rest[window] = value - centre[place, window]
                power[window] = powers[row, window] if row < terminals else 0.0
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
            crossed, own = 0.0, damping
            for window in range(windows):
                crossed += rest[window] * power[window]
                own += power[window] * power[window]
            slope = crossed / own
            for window in range(windows):
                rest[window] -= slope * power[window]
            for one in range(windows):
                for other in range(windows):
                    scatter[place, one, other] += rest[one] * rest[other]
    return centre, scatter
