"""Alarms from accumulated evidence."""

from __future__ import annotations

import numpy as np

from flows.line_loss.alarms import HIGH, NEGATIVE, NONE, evidence, raised
from flows.line_loss.areas.data import Floats, Ints

RANDOM, SYSTEMATIC = 0.05, 0.02


def alarms(unaccounted: Floats, counts: Floats | None = None) -> Ints:
    n = len(unaccounted)
    counted = np.ones(n, bool) if counts is None else counts > 0
    high, low = evidence(unaccounted, np.full(n, SYSTEMATIC), np.full(n, RANDOM), np.zeros(n, bool), counted)
    return np.asarray(raised(high[None], low[None])[0])


def test_noise_within_its_uncertainty_raises_none_in_a_year() -> None:
    chance = np.random.default_rng(1)
    assert not alarms(chance.normal(0.01, RANDOM, 365 * 96)).any()


def test_a_slow_leak_that_no_window_shows_is_found_within_a_day() -> None:
    chance = np.random.default_rng(2)
    leak = np.concatenate([np.zeros(200), np.full(200, 0.11)]) + chance.normal(0, RANDOM, 400)
    found = alarms(leak)
    assert not found[:200].any()
    first = int(np.flatnonzero(found == HIGH)[0])
    assert 200 <= first < 296
    assert (found[first:] == HIGH).all()


def test_a_large_loss_is_found_within_the_hour_and_ends_within_hours() -> None:
    steps = np.concatenate([np.zeros(20), np.full(20, 2.0), np.zeros(60)])
    found = alarms(steps)
    assert not found[:20].any()
    assert found[22] == HIGH
    assert found[-1] == NONE


def test_too_little_is_its_own_kind() -> None:
    found = alarms(np.full(20, -1.0))
    assert found[-1] == NEGATIVE


def test_what_does_not_count_says_nothing_and_forgets_nothing() -> None:
    steps, counts = np.full(30, 2.0), np.ones(30)
    counts[:20] = 0
    assert not alarms(steps, counts)[:20].any()
    counts = np.ones(30)
    counts[10:20] = 0
    assert (alarms(steps, counts)[5:] == HIGH).all()
