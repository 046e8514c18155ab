"""The quadratic forms of signals in the places where they could belong, compiled: few windows, very many signals."""

from __future__ import annotations

import numpy as np

from connectors.compiled import compiled
from flows.topology.signals import Floats, Ints

_BLOCK = 8  # signals that are taken at once: as many numbers as a processor multiplies in one or two instructions


@compiled
def forms(  # noqa: PLR0912, PLR0915 - one pass, and compiled code calls no other with arrays
    voltages: Floats,
    powers: Floats,
    slopes: Floats,
    rows: Ints,
    bounds: Ints,
    asked: Ints,
    centre: Floats,
    precision: Floats,
    found: Floats,
) -> None:
    """Squares by the precision of places: of signals, of their powers, and of these crossed.

    What is unknown takes no part: the forms are those of the known windows alone, by the inverse of a block of the
    precision (Schur complement).

    Args:
        voltages: centred, V, NaN where unknown; [S, L].
        powers: the meters' own, centred, kW and kvar; [S, L, 2].
        slopes: by which standard deviations they may move the voltage, V/kW and V/kvar; [2].
        rows: the signals that are asked about, group by group; [m].
        bounds: where each group begins, and the last one's end; [G + 1].
        asked: the places that a group is asked about, -1 for none; [G, q].
        centre: the places' middles, V; [C, L].
        precision: inverse covariances of a deviation from them, 1/V²; [C, L, L].
        found: gets the square of the signal less the middle; of the active power, of it and the reactive one crossed,
            of that; of the signal crossed with the one and the other; and the log determinant of the block of what is
            unknown; what no place was asked about is left as it is; [7, m, q].
    """
    windows = voltages.shape[1]
    rest, active, reactive = np.zeros((windows, _BLOCK)), np.zeros((windows, _BLOCK)), np.zeros((windows, _BLOCK))
    sums = np.zeros((6, _BLOCK))
    by_rest, by_active, by_reactive = np.zeros(_BLOCK), np.zeros(_BLOCK), np.zeros(_BLOCK)
    missing = np.zeros(windows, np.int64)
    block, sides = np.zeros((windows, windows)), np.zeros((windows, 3))
    for group in range(len(bounds) - 1):
        for column in range(asked.shape[1]):
            place = asked[group, column]
            if place < 0:
                continue
            for start in range(bounds[group], bounds[group + 1], _BLOCK):
                size = min(_BLOCK, bounds[group + 1] - start)
                for lane in range(_BLOCK):
                    row = rows[start + min(lane, size - 1)]
                    total, count = 0.0, 0
                    for window in range(windows):
                        value = voltages[row, window] - centre[place, window]
                        rest[window, lane] = value
                        active[window, lane] = powers[row, window, 0] * slopes[0]
                        reactive[window, lane] = powers[row, window, 1] * slopes[1]
                        if np.isfinite(value):
                            total += value
                            count += 1
                    mean = total / max(count, 1)
                    for window in range(windows):
                        if np.isfinite(rest[window, lane]):
                            rest[window, lane] -= mean
                        else:
                            rest[window, lane] = active[window, lane] = reactive[window, lane] = 0.0
                sums[:] = 0.0
                for window in range(windows):
                    # The part below the diagonal, twice, and the diagonal.
                    by_rest[:] = 0.0
                    by_active[:] = 0.0
                    by_reactive[:] = 0.0
                    for other in range(window):
                        weight = precision[place, window, other]
                        for lane in range(_BLOCK):
                            by_rest[lane] += weight * rest[other, lane]
                            by_active[lane] += weight * active[other, lane]
                            by_reactive[lane] += weight * reactive[other, lane]
                    weight = precision[place, window, window]
                    for lane in range(_BLOCK):
                        mine, draw, swing = rest[window, lane], active[window, lane], reactive[window, lane]
                        sums[0, lane] += mine * (2 * by_rest[lane] + weight * mine)
                        sums[1, lane] += draw * (2 * by_active[lane] + weight * draw)
                        sums[2, lane] += swing * (by_active[lane] + weight * draw) + draw * by_reactive[lane]
                        sums[3, lane] += swing * (2 * by_reactive[lane] + weight * swing)
                        sums[4, lane] += mine * (by_active[lane] + weight * draw) + draw * by_rest[lane]
                        sums[5, lane] += mine * (by_reactive[lane] + weight * swing) + swing * by_rest[lane]
                for lane in range(size):
                    row = rows[start + lane]
                    gaps = 0
                    for window in range(windows):
                        if not np.isfinite(voltages[row, window]):
                            missing[gaps] = window
                            gaps += 1
                    logdet = 0.0
                    # Cholesky's factor of the block, and what the known windows push upon it, solved by it.
                    for one in range(gaps):
                        here = missing[one]
                        first, second, third = 0.0, 0.0, 0.0
                        for window in range(windows):
                            first += precision[place, here, window] * rest[window, lane]
                            second += precision[place, here, window] * active[window, lane]
                            third += precision[place, here, window] * reactive[window, lane]
                        for other in range(one + 1):
                            value = precision[place, here, missing[other]]
                            for before in range(other):
                                value -= block[one, before] * block[other, before]
                            block[one, other] = np.sqrt(value) if one == other else value / block[other, other]
                        for other in range(one):
                            first -= block[one, other] * sides[other, 0]
                            second -= block[one, other] * sides[other, 1]
                            third -= block[one, other] * sides[other, 2]
                        first /= block[one, one]
                        second /= block[one, one]
                        third /= block[one, one]
                        sides[one, 0], sides[one, 1], sides[one, 2] = first, second, third
                        sums[0, lane] -= first * first
                        sums[1, lane] -= second * second
                        sums[2, lane] -= second * third
                        sums[3, lane] -= third * third
                        sums[4, lane] -= first * second
                        sums[5, lane] -= first * third
                        logdet += 2 * np.log(block[one, one])
                    for kind in range(6):
                        found[kind, start + lane, column] = sums[kind, lane]
                    found[6, start + lane, column] = logdet
