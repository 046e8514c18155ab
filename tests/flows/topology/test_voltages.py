"""How well a meter fits among others, against the plain density of a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from flows.topology.signals import Floats
from flows.topology.voltages import LEAST_MEMBERS, Place, middle

VARIANCE = 0.01


def _density(rest: Floats, covariance: Floats) -> float:
    """-1/2 (log det + x' inverse x), written down as it stands."""
    return -float(np.linalg.slogdet(covariance)[1] + rest @ np.linalg.solve(covariance, rest)) / 2


def _place(voltages: Floats, powers: Floats) -> Place:
    place = Place.of(voltages, powers, VARIANCE)
    assert place is not None
    return place


def _members(seed: int = 1, count: int = 7, windows: int = 12) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, windows)) @ rng.normal(0, 0.5, (windows, windows)), np.zeros((count, windows))


def test_a_stranger_has_the_density_of_one_more_draw() -> None:
    voltages, powers = _members()
    stranger = np.random.default_rng(2).normal(0, 1, (1, 12))
    place = _place(voltages, powers)
    centre = np.median(voltages, axis=0)
    covariance = np.cov((voltages - centre).T, bias=True) + np.outer(*[(voltages - centre).mean(axis=0)] * 2)
    covariance += VARIANCE * np.eye(12)
    fit = place.fit(stranger, np.zeros((1, 12)), np.array([False]))
    assert fit.likelihood[0] == pytest.approx(_density(stranger[0] - centre, covariance))


def test_the_drop_by_its_own_power_is_explained_whatever_its_resistance() -> None:
    voltages, powers = _members()
    own = np.random.default_rng(3).normal(0, 1, (1, 12))
    place = _place(voltages, powers)
    near = place.fit(voltages[:1], own, np.array([False]))
    far = place.fit(voltages[:1] - 0.8 * own, own, np.array([False]))
    assert far.likelihood[0] == pytest.approx(near.likelihood[0], abs=2)
    covariance = np.linalg.inv(place.precision) + 9.0 * np.outer(own[0], own[0])
    assert far.likelihood[0] == pytest.approx(_density(voltages[0] - 0.8 * own[0] - place.centre, covariance))


def test_a_member_is_compared_with_the_others_only() -> None:
    voltages, powers = _members()
    place = _place(voltages, powers)
    fit = place.fit(voltages, powers, np.ones(len(voltages), bool))
    rest = voltages - place.centre
    for member in range(len(voltages)):
        others = np.delete(rest, member, axis=0)
        covariance = others.T @ others / len(voltages) + VARIANCE * np.eye(12)
        assert fit.likelihood[member] == pytest.approx(_density(rest[member], covariance))


def test_too_few_members_make_no_place() -> None:
    voltages, powers = _members(count=LEAST_MEMBERS - 1)
    assert Place.of(voltages, powers, VARIANCE) is None


def test_the_middle_passes_over_what_is_unknown() -> None:
    values = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [9.0, 7.0, np.nan], [4.0, np.nan, np.nan]])
    assert middle(values).tolist() == [3.0, 6.0, 0.0]
