"""The regression beside textbook formulas, written out."""

from __future__ import annotations

import numpy as np
import pytest

from flows.line_loss.areas.data import Floats
from flows.line_loss.areas.model import fit, noise_of

SCALES = (0.05, 0.2, 0.5, 1.0)


def problem(seed: int, windows: int = 200, k: int = 6) -> tuple[Floats, Floats, Floats, Floats]:
    """Columns, target, variance, prior; the coefficients are drawn from the prior."""
    chance = np.random.default_rng(seed)
    columns = chance.gamma(2, 1, (windows, k))
    prior = np.array([1e-4] * (k - 1) + [0.01])
    variance = chance.uniform(0.5, 2, windows) * 1e-3
    target = columns @ chance.normal(0, np.sqrt(prior)) + chance.normal(0, np.sqrt(variance))
    return columns, target, variance, prior


def slow(columns: Floats, target: Floats, weight: Floats, prior: Floats, gains: int) -> tuple[Floats, Floats]:
    """Bishop 3.49-3.51, and 3.5 summed over scales: with inverses, one scale after the other."""
    means, covariances, evidences = [], [], []
    for scale in SCALES:
        variance = prior * np.where(np.arange(len(prior)) < gains, scale**2, 1.0)
        covariance = np.linalg.inv(np.diag(1 / variance) + columns.T @ np.diag(weight) @ columns)
        mean = covariance @ columns.T @ np.diag(weight) @ target
        # log N(target | 0, noise + columns prior columns')
        spread = np.diag(1 / weight) + columns @ np.diag(variance) @ columns.T
        evidences.append(-0.5 * np.linalg.slogdet(spread)[1] - 0.5 * target @ np.linalg.solve(spread, target))
        means.append(mean)
        covariances.append(covariance)
    share = np.exp(np.array(evidences) - max(evidences))
    share = np.where(share < 0.01, 0, share)
    share /= share.sum()
    mean = sum(p * one for p, one in zip(share, means, strict=True))
    covariance = sum(
        p * (spread + np.outer(one - mean, one - mean))
        for p, one, spread in zip(share, means, covariances, strict=True)
    )
    return np.asarray(mean), np.asarray(covariance)


@pytest.mark.parametrize("seed", range(5))
def test_the_posterior_is_the_textbooks(seed: int) -> None:
    columns, target, variance, prior = problem(seed)
    found = fit(columns, target, variance, prior, 5)
    mean, covariance = slow(columns, target, found.weight, prior, 5)
    assert found.mean == pytest.approx(mean, abs=1e-10)
    assert found.covariance == pytest.approx(covariance, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_lies_where_the_posterior_says(seed: int) -> None:
    off = []
    for n in range(40):
        chance = np.random.default_rng(1000 * seed + n)
        columns = chance.gamma(2, 1, (100, 6))
        prior = np.full(6, 1e-4)
        truth = chance.normal(0, 0.01, 6)
        target = columns @ truth + chance.normal(0, 0.03, 100)
        found = fit(columns, target, np.full(100, 0.03**2), prior, 6)
        off += list((found.mean - truth) / np.sqrt(np.diag(found.covariance)))
    assert np.mean(np.abs(off) < 2) > 0.9


def test_an_outlier_moves_nothing_but_a_new_level_does() -> None:
    columns, target, variance, prior = problem(1)
    before = fit(columns, target, variance, prior, 5)
    wild = target.copy()
    wild[60] += 50.0
    moved = fit(columns, wild, variance, prior, 5).mean - before.mean
    assert (np.abs(moved) < np.sqrt(np.diag(before.covariance))).all()
    assert fit(columns, wild, variance, prior, 5).weight[60] < 0.01 * before.weight[60]
    shifted = target + 0.2 * (np.arange(200) > 100)
    assert fit(columns, shifted, variance, prior, 5).weight[150] > 0.2 * before.weight[150]


def test_a_window_that_says_nothing_has_no_part_in_it() -> None:
    columns, target, variance, prior = problem(2)
    variance[50:80] = np.inf
    target[50:80] = 1e6
    kept = np.r_[0:50, 80:200]
    found = fit(columns, target, variance, prior, 5)
    assert not found.weight[50:80].any()
    alone = fit(columns[kept], target[kept], variance[kept], prior, 5)
    assert found.mean == pytest.approx(alone.mean, abs=1e-12)


def test_noise_is_that_of_the_quieter_days() -> None:
    columns, target, variance, prior = problem(3, windows=480)
    chance = np.random.default_rng(3)
    target = target + chance.normal(0, 1.0, 480) * (np.arange(480) >= 192)  # from the third day on
    found = fit(columns, target, variance, prior, 5)
    assert noise_of(found, variance, 96) < 3 < found.excess
