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

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.topology.signals import Floats, centred, filled

LEAST_MEMBERS = 3
SLOPE = 3.0
"""V/kW, prior standard deviation of the drop that a meter's own power causes."""

PRIOR = 2.0
"""So many members the covariance counts for that places have on the whole."""

DF = 24.0
"""Degrees of freedom of a deviation (Student's t): covariances that few members tell are not believed to the end."""
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
class Members:
    """The members of a place, their middle taken out.

    Attributes:
        centre: their middle, V; [L].
        deviations: of each from it, the drop of its own power taken out, V, 0 where unknown; [k, L].
    """

    centre: Floats
    deviations: Floats

    @classmethod
    def of(cls, voltages: Floats, powers: Floats, variance: float) -> Members | None:
        """From their signals; None if they are fewer than ``LEAST_MEMBERS``.

        Args:
            voltages: centred, V, NaN where unknown; [k, L].
            powers: their own powers, centred, kW; [k, L].
            variance: of a voltage's noise, V².
        """
        if len(voltages) < LEAST_MEMBERS:
            return None
        centre = middle(voltages)
        deviations = np.nan_to_num(filled(centred(voltages - centre)))
        slope = (deviations * powers).sum(axis=1) / ((powers * powers).sum(axis=1) + variance / SLOPE**2)
        return cls(centre, deviations - slope[:, None] * powers)


def usual(places: Iterable[Members], windows: int) -> Floats:
    """The covariance of deviations that places have on the whole; [L, L]."""
    scatter, count = np.zeros((windows, windows)), 0
    for one in places:
        scatter += one.deviations.T @ one.deviations
        count += len(one.deviations)
    return scatter / max(count, 1)


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
    def of(cls, members: Members, usual: Floats, variance: float) -> Place:
        """From its members.

        Args:
            members: of the place.
            usual: covariance that is expected before looking, V²; counts for ``PRIOR`` members; [L, L].
            variance: of a voltage's noise, V².
        """
        count, windows = members.deviations.shape
        covariance = (members.deviations.T @ members.deviations + PRIOR * usual) / (count + PRIOR)
        covariance[np.diag_indices(windows)] += variance
        factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(factor)
        logdet = 2 * float(np.log(np.diagonal(factor)).sum())
        return cls(members.centre, inverse.T @ inverse, logdet, 1 / (count + PRIOR))

    def fit(self, voltages: Floats, powers: Floats, member: npt.NDArray[np.bool_]) -> Fit:
        """How signals fit in.

        Args:
            voltages: centred, V, NaN where unknown; [n, L].
            powers: the meters' own, centred, kW; [n, L].
            member: which are members of the place: they are compared with the other members; [n].
        """
        rest, powers = centred(voltages - self.centre), powers.copy()
        unknown = np.flatnonzero(np.isnan(rest).any(axis=1))
        logdet = np.full(len(rest), self.logdet)
        if len(unknown):
            both = np.stack([rest[unknown], powers[unknown]])
            (rest[unknown], powers[unknown]), logdet[unknown] = self._without_unknown(both, logdet[unknown])
        powers_weighted = powers @ self.precision
        own = (powers * powers_weighted).sum(axis=1)
        crossed = (rest * powers_weighted).sum(axis=1)
        misfit = ((rest @ self.precision) * rest).sum(axis=1) - crossed**2 / (own + 1 / SLOPE**2)
        misfit = np.maximum(misfit, 0.0)
        left = np.where(member, np.maximum(1 - misfit * self.share, _WITHOUT), 1.0)
        logdet += np.log1p(own * SLOPE**2) + np.log(left)
        windows = voltages.shape[1]
        misfit /= left
        return Fit(-((DF + windows) * np.log1p(misfit / DF) + logdet) / 2, misfit)

    def _without_unknown(self, signals: Floats, logdet: Floats) -> tuple[Floats, Floats]:
        """Put in place of what is unknown what is to be expected of the rest: so it takes no part.

        Args:
            signals: deviations and powers, both of them unknown where the deviation is NaN; [2, n, L].
            logdet: of the covariance of all windows; [n].

        Returns:
            The signals, and the log determinant of the covariance of the known windows.
        """
        missing = np.isnan(signals[0])
        known = np.where(missing, 0.0, signals)
        pushed = known @ self.precision  # [2, n, L]
        most = int(missing.sum(axis=1).max())
        where = np.argsort(~missing, axis=1, kind="stable")[:, :most]  # the missing ones first
        real = np.take_along_axis(missing, where, axis=1)
        block = self.precision[where[:, :, None], where[:, None, :]]
        block = np.where(real[:, :, None] & real[:, None, :], block, np.eye(most))
        asked = np.where(real[..., None], np.stack([np.take_along_axis(one, where, axis=1) for one in pushed], -1), 0.0)
        expected = -np.linalg.solve(block, asked)  # [n, most, 2]
        for one, values in zip(known, np.moveaxis(expected, -1, 0), strict=True):
            np.put_along_axis(one, where, np.where(real, values, np.take_along_axis(one, where, axis=1)), axis=1)
        more: Floats = logdet + np.linalg.slogdet(block)[1]
        return known, more
