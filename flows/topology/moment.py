"""When a meter changed place: before it fits where it was, after it where it is.

Over a span that begins well before, each moment is weighed by the likelihood of the voltages before it where the meter
was, times that of those after it where it is now (a change point of known kinds before and after; all moments are equal
before looking). The level of the voltage is left open on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.topology.evidence import Span
from flows.topology.identification import Record, orders
from flows.topology.signals import Floats
from flows.topology.voltages import DF, SLOPE, Places

_LEVEL = 30.0  # V, prior standard deviation of a side's level


@dataclass(frozen=True, slots=True)
class Transfer:
    """From where to where: number of the transformer and which order of the terminals, -1 where unknown."""

    meter: int
    before: tuple[int, int]
    after: tuple[int, int]


def likelihood(span: Span, places: Places, record: Record, change: Transfer) -> Floats | None:
    """The log likelihood of each moment; None where a place is not known.

    Args:
        span: L windows.
        places: the meter itself not among their members.
        record: which tells whose phases are told apart.
        change: of which meter, and what.

    Returns:
        Of a change before each window, and after the last one; [L + 1].
    """
    rows = span.signals.rows(np.array([change.meter]))[0]
    if not len(rows):
        return None
    whole = np.zeros(span.signals.voltage.shape[1] + 1)
    for terminal, row in enumerate(rows.tolist()):
        sides = []
        for (transformer, order), backward in ((change.before, False), (change.after, True)):
            place = int(places.row(np.array(_code(record, len(rows), terminal, transformer, order))))
            if place < 0:
                return None
            rest = span.signals.voltage[row] - places.centre[place]
            covariance = np.asarray(np.linalg.inv(places.precision[place]), np.float64)
            sides.append(_prefixes(rest, span.signals.power[row], covariance, backward=backward))
        whole += sides[0] + sides[1]
    return whole


def _code(record: Record, terminals: int, terminal: int, transformer: int, order: int) -> int:
    phase = orders(terminals)[order][terminal] if record.phased[transformer] and order >= 0 else 0
    return 3 * transformer + phase


def _prefixes(rest: Floats, power: Floats, covariance: Floats, *, backward: bool) -> Floats:
    """The log likelihood of the windows before each moment, or, backward, of those after it; [L + 1]."""
    known = np.flatnonzero(np.isfinite(rest))
    if backward:
        known = known[::-1]
    some = covariance[np.ix_(known, known)] + _LEVEL**2 + SLOPE**2 * np.outer(power[known], power[known])
    factor = np.linalg.cholesky(some)
    white = np.linalg.solve(factor, rest[known])
    square = np.append(0.0, np.cumsum(white**2))
    logdet = np.append(0.0, np.cumsum(2 * np.log(np.diagonal(factor))))
    windows = np.arange(len(known) + 1)
    told = -((DF + windows) * np.log1p(square / DF) + logdet) / 2
    # How many of the known windows lie before (after) each moment.
    there = np.isfinite(rest).astype(np.int64)
    before = np.append(0, np.cumsum(there))
    found: Floats = told[before[-1] - before] if backward else told[before]
    return found


def estimate(likelihoods: Floats) -> tuple[float, float]:
    """The median of the moments, and half the width of the 95 % interval, in windows.

    Args:
        likelihoods: of the moments, those of meters that changed together added up; [L + 1].
    """
    weight = np.exp(likelihoods - likelihoods.max())
    share = np.cumsum(weight) / weight.sum()
    low, middle, high = (int(np.searchsorted(share, part)) for part in (0.025, 0.5, 0.975))
    return float(middle), (high - low) / 2
