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
    rows: Ints,
    bounds: Ints,
    asked: Ints,
    centre: Floats,
    precision: Floats,
    found: Floats,
) -> None:
    """Squares by the precision of places: of signals, of their powers, and of both crossed.

    What is unknown takes no part: the forms are those of the known windows alone, by the inverse of a block of the
    precision (Schur complement).

    Args:
        voltages: centred, V, NaN where unknown; [S, L].
        powers: the meters' own, centred, kW; [S, L].
        rows: the signals that are asked about, group by group; [m].
        bounds: where each group begins, and the last one's end; [G + 1].
        asked: the places that a group is asked about, -1 for none; [G, q].
        centre: the places' middles, V; [C, L].
        precision: inverse covariances of a deviation from them, 1/V²; [C, L, L].
        found: gets the square of the signal less the middle, that of the power, both crossed, and the log determinant
            of the block of what is unknown; what no place was asked about is left as it is; [4, m, q].
    """
    windows = voltages.shape[1]
    rest, power = np.zeros((windows, _BLOCK)), np.zeros((windows, _BLOCK))
    square, own, crossed = np.zeros(_BLOCK), np.zeros(_BLOCK), np.zeros(_BLOCK)
    by_rest, by_power = np.zeros(_BLOCK), np.zeros(_BLOCK)
    missing = np.zeros(windows, np.int64)
    block, sides = np.zeros((windows, windows)), np.zeros((windows, 2))
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
                        power[window, lane] = powers[row, window]
                        if np.isfinite(value):
                            total += value
                            count += 1
                    mean = total / max(count, 1)
                    for window in range(windows):
                        if np.isfinite(rest[window, lane]):
                            rest[window, lane] -= mean
                        else:
                            rest[window, lane] = power[window, lane] = 0.0
                    square[lane] = own[lane] = crossed[lane] = 0.0
                for window in range(windows):
                    # The part below the diagonal, twice, and the diagonal.
                    by_rest[:] = 0.0
                    by_power[:] = 0.0
                    for other in range(window):
                        weight = precision[place, window, other]
                        for lane in range(_BLOCK):
                            by_rest[lane] += weight * rest[other, lane]
                            by_power[lane] += weight * power[other, lane]
                    weight = precision[place, window, window]
                    for lane in range(_BLOCK):
                        mine, draw = rest[window, lane], power[window, lane]
                        square[lane] += mine * (2 * by_rest[lane] + weight * mine)
                        own[lane] += draw * (2 * by_power[lane] + weight * draw)
                        crossed[lane] += mine * (by_power[lane] + weight * draw) + draw * by_rest[lane]
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
                        first, second = 0.0, 0.0
                        for window in range(windows):
                            first += precision[place, here, window] * rest[window, lane]
                            second += precision[place, here, window] * power[window, lane]
                        for other in range(one + 1):
                            value = precision[place, here, missing[other]]
                            for before in range(other):
                                value -= block[one, before] * block[other, before]
                            block[one, other] = np.sqrt(value) if one == other else value / block[other, other]
                        for other in range(one):
                            first -= block[one, other] * sides[other, 0]
                            second -= block[one, other] * sides[other, 1]
                        first /= block[one, one]
                        second /= block[one, one]
                        sides[one, 0], sides[one, 1] = first, second
                        square[lane] -= first * first
                        own[lane] -= second * second
                        crossed[lane] -= first * second
                        logdet += 2 * np.log(block[one, one])
                    found[0, start + lane, column] = square[lane]
                    found[1, start + lane, column] = own[lane]
                    found[2, start + lane, column] = crossed[lane]
                    found[3, start + lane, column] = logdet
