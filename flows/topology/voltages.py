"""How well a meter's voltages fit among those of a place: a transformer's LV side, or one of its phases.

The voltages of a place's members differ by what flows in the lines between them. Their deviations from the place's
middle are taken for draws of one Gaussian process in time, whose covariance is that of the members themselves plus
the noise of a meter. So the feeders, by which members differ most, become factors of it without being named. A meter
belongs where its own voltage, less the drop that its own powers cause, is likeliest to be one more draw. Its own part
in the covariance is taken out in closed form (leave one out; Sherman and Morrison).

That what meters of one transformer see differs by their own active and reactive powers only, and that this can be told
by regression of the voltage on both, is from Blakely and Reno, "Identification and correction of errors in pairing AMI
meters and transformers" (IEEE PECI 2021); that correlated changes tell phases, from Blakely, Reno and Jones,
"Identifying errors in service transformer connections" (IEEE PESGM 2020) and Blakely and Reno, "Phase identification
using co-association matrix ensemble clustering" (IET Smart Grid 3, 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.topology.densities import forms
from flows.topology.deviations import deviations
from flows.topology.signals import Floats, Ints
from flows.topology.threads import THREADS, in_threads, pieces, shares

LEAST_MEMBERS = 3
SLOPES = np.array([3.0, 0.3])
"""V/kW and V/kvar, prior standard deviations of the drops that a meter's own powers cause: mostly resistances."""

PRIOR = 2.0
"""So many members the covariance counts for that places have on the whole."""

DF = 24.0
"""Degrees of freedom of a deviation (Student's t): covariances that few members tell are not believed to the end."""
_WITHOUT = 1e-3  # the least part of a member that the others leave
_AT_ONCE = 256  # places whose matrices are inverted together
_ROWS = 8192  # signals that a thread compares at once, about


@dataclass(frozen=True, slots=True)
class Fit:
    """How m signals fit in q places each; [m, q], NaN where there is no such place.

    Attributes:
        likelihood: log likelihood, up to a constant that is the same for all places.
        misfit: squares of what is left, by the variance expected: about the number of windows where a signal fits.
    """

    likelihood: Floats
    misfit: Floats


@dataclass(frozen=True, slots=True)
class Places:
    """What the members of places have in common, of those C that have members enough.

    Attributes:
        index: of each number that a place can have its row here, -1 where too few are there; [N].
        centre: their middle, V; [C, L].
        precision: inverse of the covariance of a deviation from it, 1/V²; [C, L, L].
        logdet: log determinant of that covariance; [C].
        share: of each member in it; [C].
    """

    index: Ints
    centre: Floats
    precision: Floats
    logdet: Floats
    share: Floats

    @classmethod
    def of(cls, voltages: Floats, powers: Floats, heads: Floats, place: Ints, variance: float) -> Places:
        """From the signals of their members.

        Args:
            voltages: of the meters' terminals, centred, V, NaN where unknown; [S, L].
            powers: the meters' own, centred, kW and kvar; [S, L, 2].
            heads: more voltages, of what has no power of its own; [H, L].
            place: number of the place of each of both, -1 for none; [S + H].
            variance: of a voltage's noise, V².
        """
        number = int(place.max(initial=-1)) + 1
        count = np.bincount(place[place >= 0], minlength=number)
        some = np.flatnonzero(count >= LEAST_MEMBERS)
        index = np.full(number, -1)
        index[some] = np.arange(len(some))
        here = np.where(place >= 0, index[np.maximum(place, 0)], -1) if number else place
        order = np.argsort(here, kind="stable")
        rows = order[np.searchsorted(here[order], 0) :]
        bounds = np.append(0, np.cumsum(count[some]))
        windows = voltages.shape[1]
        centre, scatter = np.empty((len(some), windows)), np.zeros((len(some), windows, windows))

        def deviate(part: slice) -> None:
            ends = bounds[part.start : part.stop + 1]
            deviations(voltages, powers, SLOPES, heads, rows, ends, variance, centre[part], scatter[part])

        in_threads(deviate, shares(bounds, THREADS))
        # The covariance of deviations that places have on the whole.
        usual = scatter.sum(axis=0) / max(len(rows), 1)
        weight = count[some] + PRIOR
        logdet = np.empty(len(some))

        def invert(part: slice) -> None:
            covariance = (scatter[part] + PRIOR * usual) / weight[part, None, None]
            covariance[:, np.arange(windows), np.arange(windows)] += variance
            factor = np.linalg.cholesky(covariance)
            inverse = np.linalg.inv(factor)
            logdet[part] = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
            scatter[part] = inverse.transpose(0, 2, 1) @ inverse

        in_threads(invert, pieces(len(some), _AT_ONCE))
        return cls(index, centre, scatter, logdet, 1 / weight)

    def row(self, number: Ints) -> Ints:
        """The rows of places by their numbers, -1 where there is none."""
        there = (number >= 0) & (number < len(self.index))
        return np.where(there, np.append(self.index, -1)[np.where(there, number, -1)], -1)

    def fit(self, voltages: Floats, powers: Floats, rows: Ints, bounds: Ints, asked: Ints, member: Ints) -> Fit:
        """How signals fit in places; what is unknown takes no part.

        Args:
            voltages: centred, V, NaN where unknown; [S, L].
            powers: the meters' own, centred, kW and kvar; [S, L, 2].
            rows: the signals that are asked about, group by group; [m].
            bounds: where each group begins, and the last one's end; [G + 1].
            asked: numbers of the places that a group is asked about; [G, q].
            member: number of the place of which each is a member: there it is compared with the others, -1; [m].
        """
        place = self.row(asked)
        likelihood, misfit = np.empty((2, len(rows), asked.shape[1]))

        def part(groups: slice) -> None:
            ends = bounds[groups.start : groups.stop + 1]
            some = slice(ends[0], ends[-1])
            found = np.full((7, some.stop - some.start, asked.shape[1]), np.nan)
            forms(
                voltages, powers, SLOPES, rows[some], ends - ends[0], place[groups], self.centre, self.precision, found
            )
            sizes = np.diff(ends)
            numbers, at = np.repeat(asked[groups], sizes, axis=0), np.repeat(place[groups], sizes, axis=0)
            belongs = (member[some] >= 0)[:, None] & (member[some][:, None] == numbers)
            likelihood[some], misfit[some] = self._likelihood(found, at, belongs, voltages.shape[1])

        in_threads(part, shares(bounds, max(THREADS, len(rows) // _ROWS)))
        return Fit(likelihood, misfit)

    def _likelihood(
        self, found: Floats, at: Ints, belongs: npt.NDArray[np.bool_], windows: int
    ) -> tuple[Floats, Floats]:
        """From the forms of m signals in the places with rows ``at``, -1 for none; [m, q], [m, q]."""
        square, active, both, reactive, by_active, by_reactive, logdet = found
        # Woodbury's identity for the two courses of the meter's own powers.
        active, reactive = np.maximum(active, 0.0) + 1, np.maximum(reactive, 0.0) + 1
        determinant = np.maximum(active * reactive - both**2, 1.0)
        told = reactive * by_active**2 - 2 * both * by_active * by_reactive + active * by_reactive**2
        misfit = np.maximum(square - told / determinant, 0.0)
        share = np.append(self.share, 0.0)[at]
        left = np.where(belongs, np.maximum(1 - misfit * share, _WITHOUT), 1.0)
        logdet += np.append(self.logdet, 0.0)[at]
        logdet += np.log(determinant) + np.log(left)
        misfit /= left
        return -((DF + windows) * np.log1p(misfit / DF) + logdet) / 2, misfit
