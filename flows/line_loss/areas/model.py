"""A Bayesian linear model of an area's remainder: who has which share in what the heads deliver and nobody registers.

    remainder - technical loss = sum of columns x coefficients + noise

The columns are the energies of the heads and the customers (their coefficients are gain errors, small by the meters'
class), the technical loss (whose data are not exact), and whatever unregistered energy has been found. Coefficients
have normal priors, the noise of each window a known variance: the posterior is normal as well (Bishop, Pattern
Recognition and Machine Learning, 3.3). How large the gain errors are within their class is learned from the evidence
(ibid., 3.5), averaged over a few scales instead of choosing one. Windows that do not fit count less (a Student t
with four degrees of freedom: Lange, Little, Taylor, "Robust statistical modeling using the t distribution", JASA 84,
1989).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.compiled import compiled
from flows.line_loss.areas.data import Floats

_SCALES = (0.05, 0.2, 0.5, 1.0)  # of the class's standard deviation
_FREEDOM = 4.0
_NEGLIGIBLE = 0.01  # share of the best scale's evidence
_GROSS = 60.0  # median deviations
_OUTLIER = 25.0  # squared standard deviations
_QUIET = 0.2  # share of the days
_NEIGHBOURS = 9  # windows over which a level is taken that a lone outlier does not move


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of the coefficients.

    Attributes:
        mean: [k].
        covariance: [k, k].
        wide: the covariance had the gain errors the whole spread of their class; [k, k].
        weight: 1/kWh² of each window, the outliers' less; [W].
        residual: kWh that the columns do not explain then; [W].
        occam: logarithm of what the priors say of the mean, and of how much of them is left (Laplace's approximation).
        excess: by how much the noise is larger than its variances say, at least 1: its mean, outliers limited.
    """

    mean: Floats
    covariance: Floats
    wide: Floats
    weight: Floats
    residual: Floats
    occam: float
    excess: float


def fit(columns: Floats, target: Floats, variance: Floats, prior: Floats, gains: int) -> Posterior:
    """The posterior of the coefficients.

    Args:
        columns: [W, k].
        target: kWh; [W].
        variance: kWh² of the noise of each window; infinite where a window says nothing; [W].
        prior: variance of each coefficient before; [k].
        gains: so many of the first coefficients are gain errors.
    """
    usable = np.isfinite(variance)
    squares = np.zeros(len(target))
    excess = 1.0
    trust = np.ones(len(target))
    # A gross outlier would draw the first solution to itself, and others would seem to be the outliers.
    off = np.abs(target[usable] - _level(target[usable]))
    gross = _GROSS * float(np.median(off)) if len(off) else 0.0
    trust[usable] = np.where(off > gross, (gross / np.maximum(off, 1e-12)) ** 2, 1.0)
    for _ in range(2):
        gram, moment = _sums(columns, target, trust / (variance * excess))
        # An outlier is what its neighbours are not: a new level is no outlier.
        residual = target - columns @ _mean(gram, moment, np.sqrt(prior))
        known = residual[usable]
        squares[usable] = (known - _level(known)) ** 2 / variance[usable]
        if usable.any():
            # The median of a squared standard normal is 0.455.
            excess = max(1.0, float(np.median(squares[usable])) / 0.455)
        trust = np.minimum((_FREEDOM + 1) / (_FREEDOM + squares / excess) / ((_FREEDOM + 1) / _FREEDOM), 1.0)
    posterior, wide, occam = _solved(*_sums(columns, target, trust / (variance * excess)), prior, gains)
    spread = max(excess, float(np.mean(np.minimum(squares, _OUTLIER)[usable]))) if usable.any() else excess
    return Posterior(
        *posterior,
        wide[1],
        trust / (variance * excess),
        target - columns @ wide[0],
        occam,
        spread,
    )


def noise_of(posterior: Posterior, variance: Floats, per_day: int) -> float:
    """By how much noise is larger than its variances say, at least 1, on the quieter days.

    What begins to be missing, and comes and goes, is no noise: it is what is looked for.

    Args:
        posterior: of a first fit.
        variance: as given to it; [W].
        per_day: windows in a day.
    """
    squares = posterior.residual**2 / variance
    days = []
    for begin in range(0, len(variance), per_day):
        some = squares[begin : begin + per_day][np.isfinite(variance[begin : begin + per_day])]
        if len(some) >= per_day // 4:
            days.append(float(np.median(some)) / 0.455)
    return max(1.0, float(np.quantile(days, _QUIET))) if days else max(1.0, posterior.excess)


def student(residual: Floats, variance: Floats) -> Floats:
    """Logarithm of the density of residuals, up to a constant; of the same shape."""
    return np.asarray(-0.5 * np.log(variance) - 0.5 * (_FREEDOM + 1) * np.log1p(residual**2 / variance / _FREEDOM))


def _sums(columns: Floats, target: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weighted sums of the products of columns with each other, [k, k], and with the target, [k]."""
    root = np.sqrt(weight)
    weighted = root[:, None] * columns
    return weighted.T @ weighted, weighted.T @ (root * target)  # of a matrix by itself BLAS works out one half


def _mean(gram: Floats, moment: Floats, root: Floats) -> Floats:
    return np.asarray(root * _substituted(_triangle(_scaled(gram, root)), root * moment))


def _scaled(gram: Floats, root: Floats) -> Floats:
    """Scaled by the priors' standard deviations the matrix is well conditioned: no eigenvalue below 1."""
    matrix = root[:, None] * gram * root
    matrix[np.diag_indices_from(matrix)] += 1
    return matrix


def _solved(
    gram: Floats, moment: Floats, prior: Floats, gains: int
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats], float]:
    """Mean and covariance, averaged over the scales of gains and for the widest; and what the priors say of it."""
    scaled = []
    evidences, occams, means = [], [], []
    for scale in _SCALES:
        variance = prior.copy()
        variance[:gains] *= scale**2
        root = np.sqrt(variance)
        matrix = _scaled(gram, root)
        triangle = _triangle(matrix)
        determinant = 2 * float(np.log(np.diag(triangle)).sum())
        mean = root * _substituted(triangle, root * moment)
        evidences.append(0.5 * float(moment @ mean) - 0.5 * determinant)
        occams.append(-0.5 * float((mean**2 / variance).sum()) - 0.5 * determinant)
        means.append(mean)
        scaled.append((root, matrix))
    share = np.exp(np.array(evidences) - max(evidences))
    share = np.where(share < _NEGLIGIBLE, 0.0, share)
    share /= share.sum()
    covariances = [
        root[:, None] * np.linalg.inv(matrix) * root if p > 0 or place == len(_SCALES) - 1 else None
        for place, (p, (root, matrix)) in enumerate(zip(share.tolist(), scaled, strict=True))
    ]
    mean = np.asarray(sum(p * m for p, m in zip(share, means, strict=True)))
    covariance = np.zeros((len(prior), len(prior)))
    for p, one, spread in zip(share.tolist(), means, covariances, strict=True):
        if p > 0:
            covariance += p * (np.asarray(spread) + np.outer(one - mean, one - mean))
    return (mean, covariance), (means[-1], np.asarray(covariances[-1])), float(share @ np.array(occams))


def _triangle(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.cholesky(matrix), np.float64)


@compiled
def _substituted(triangle: Floats, right: Floats) -> Floats:
    """Solve a system with the Cholesky factor of its matrix: forward, then backward; [k]."""
    k = len(right)
    result = right.copy()
    for row in range(k):
        for column in range(row):
            result[row] -= triangle[row, column] * result[column]
        result[row] /= triangle[row, row]
    for row in range(k - 1, -1, -1):
        result[row] /= triangle[row, row]
        for column in range(row):
            result[column] -= triangle[row, column] * result[row]
    return result


def _level(values: Floats) -> Floats:
    """A running median."""
    reach = _NEIGHBOURS // 2
    if len(values) <= reach:
        return np.full(len(values), np.median(values) if len(values) else 0.0)
    padded = np.pad(values, reach, mode="reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _NEIGHBOURS), axis=1))
