"""How well a meter's voltages fit among those of a place: a transformer's LV side, or one of its phases.

The voltages of a place's members differ by what flows in the lines between them. Their deviations from the place's
middle are taken for draws of one Gaussian process in time, whose covariance is that of the members themselves plus
the noise of a meter. So the feeders, by which members differ most, become factors of it without being named. A meter
belongs where its own voltage, less the drop that its own power causes, is likeliest to be one more draw. Its own part
in the covariance is taken out in closed form (leave one out; Sherman and Morrison).

That what meters of one transformer see differs by their own powers only, and that this can be told by regression, is
from Blakely and Reno, "Identification and correction of errors in pairing AMI meters and transformers" (IEEE PECI
2021); that correlated changes tell phases, from Blakely, Reno and Jones, "Identifying errors in service transformer
connections" (IEEE PESGM 2020) and Blakely and Reno, "Phase identification using co-association matrix ensemble
clustering" (IET Smart Grid 3, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.topology.signals import Floats

LEAST_MEMBERS = 3
_SLOPE = 3.0  # V/kW, prior standard deviation of the drop that a meter's own power causes
_WITHOUT = 1e-3  # the least part of a member that the others leave


@dataclass(frozen=True, slots=True)
class Fit:
    """How signals fit in a place; [n].

    Attributes:
        likelihood: log likelihood, up to a constant that is the same for all places.
        misfit: squares of what is left, by the variance expected: about the number of windows where a signal fits.
    """

    likelihood: Floats
    misfit: Floats


def middle(signals: Floats) -> Floats:
    """The median at each window of those that are known, 0 where none is; [n, L] -> [L]."""
    ordered = np.sort(signals, axis=0)  # NaN last
    count = np.isfinite(signals).sum(axis=0)
    column = np.arange(signals.shape[1])
    low = ordered[np.maximum(count - 1, 0) // 2, column]
    high = ordered[np.minimum(count // 2, len(ordered) - 1), column]
    return np.where(count > 0, (low + high) / 2, 0.0)


@dataclass(frozen=True, slots=True)
class Place:
    """What the members of a place have in common.

    Attributes:
        centre: their middle, V; [L].
        precision: inverse of the covariance of a deviation from it, 1/V²; [L, L].
        logdet: log determinant of that covariance.
        share: of each member in it.
    """

    centre: Floats
    precision: Floats
    logdet: float
    share: float

    @classmethod
    def of(cls, voltages: Floats, powers: Floats, variance: float) -> Place | None:
        """From its members; None if they are fewer than ``LEAST_MEMBERS``.

        Args:
            voltages: their voltages, centred, V, NaN where unknown; [k, L].
            powers: their own powers, centred, kW; [k, L].
            variance: of a voltage's noise, V².
        """
        count, windows = voltages.shape
        if count < LEAST_MEMBERS:
            return None
        centre = middle(voltages)
        deviations = np.nan_to_num(voltages - centre)
        slope = (deviations * powers).sum(axis=1) / ((powers * powers).sum(axis=1) + variance / _SLOPE**2)
        deviations -= slope[:, None] * powers
        covariance = deviations.T @ deviations / count
        covariance[np.diag_indices(windows)] += variance
        factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(factor)
        logdet = 2 * float(np.log(np.diagonal(factor)).sum())
        return cls(centre, inverse.T @ inverse, logdet, 1 / count)

    def fit(self, voltages: Floats, powers: Floats, member: npt.NDArray[np.bool_]) -> Fit:
        """How signals fit in.

        Args:
            voltages: centred, V, NaN where unknown; [n, L].
            powers: the meters' own, centred, kW; [n, L].
            member: which are members of the place: they are compared with the other members; [n].
        """
        rest = np.nan_to_num(voltages - self.centre)
        powers_weighted = powers @ self.precision
        own = (powers * powers_weighted).sum(axis=1)
        crossed = (rest * powers_weighted).sum(axis=1)
        misfit = ((rest @ self.precision) * rest).sum(axis=1) - crossed**2 / (own + 1 / _SLOPE**2)
        misfit = np.maximum(misfit, 0.0)
        left = np.where(member, np.maximum(1 - misfit * self.share, _WITHOUT), 1.0)
        logdet = self.logdet + np.log1p(own * _SLOPE**2) + np.log(left)
        return Fit(-(misfit / left + logdet) / 2, misfit / left)
