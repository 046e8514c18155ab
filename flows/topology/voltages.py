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

from collections.abc import Iterable, Sequence
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
        """How signals fit in; as ``fit_in`` for this place alone, [n]."""
        found = fit_in([self], voltages, powers, member[None])
        return Fit(found.likelihood[0], found.misfit[0])


def fit_in(places: Sequence[Place], voltages: Floats, powers: Floats, member: npt.NDArray[np.bool_]) -> Fit:
    """How signals fit in places, all of them at once; what is unknown takes no part.

    Args:
        places: P of them.
        voltages: centred, V, NaN where unknown; [n, L].
        powers: the meters' own, centred, kW; [n, L].
        member: which are members of a place: they are compared with its other members; [P, n].

    Returns:
        [P, n].
    """
    centre = np.stack([place.centre for place in places])[:, None]
    precision = np.stack([place.precision for place in places])
    known = np.isfinite(voltages)
    rest = np.where(known, voltages - centre, 0.0)
    rest -= np.where(known, rest.sum(axis=2, keepdims=True) / np.maximum(known.sum(axis=1), 1)[:, None], 0.0)
    powers = np.where(known, powers, 0.0)
    rest_weighted, powers_weighted = rest @ precision, powers @ precision
    square, own = (rest_weighted * rest).sum(axis=2), (powers_weighted * powers).sum(axis=2)
    crossed = (powers_weighted * rest).sum(axis=2)
    logdet = np.repeat(np.array([[place.logdet] for place in places]), len(voltages), axis=1)
    some = np.flatnonzero(~known.all(axis=1))
    if len(some):
        # The quadratic forms of the known windows alone, by the inverse of a block (Schur complement).
        most = int((~known[some]).sum(axis=1).max())
        where = np.argsort(known[some], axis=1, kind="stable")[:, :most]  # the unknown ones first
        row = np.arange(len(some))[:, None]
        unknown = ~known[some][row, where]
        block = precision[:, where[:, :, None], where[:, None, :]]
        block = np.where(unknown[:, :, None] & unknown[:, None, :], block, np.eye(most))
        pushed = np.stack([rest_weighted[:, some[:, None], where], powers_weighted[:, some[:, None], where]], axis=-1)
        pushed *= unknown[..., None]
        solved = np.linalg.solve(block, pushed)
        square[:, some] -= (pushed[..., 0] * solved[..., 0]).sum(axis=2)
        own[:, some] -= (pushed[..., 1] * solved[..., 1]).sum(axis=2)
        crossed[:, some] -= (pushed[..., 0] * solved[..., 1]).sum(axis=2)
        logdet[:, some] += np.linalg.slogdet(block)[1]
    misfit = np.maximum(square - crossed**2 / (own + 1 / SLOPE**2), 0.0)
    share = np.array([[place.share] for place in places])
    left = np.where(member, np.maximum(1 - misfit * share, _WITHOUT), 1.0)
    logdet += np.log1p(np.maximum(own, 0.0) * SLOPE**2) + np.log(left)
    misfit /= left
    windows = voltages.shape[1]
    return Fit(-((DF + windows) * np.log1p(misfit / DF) + logdet) / 2, misfit)
