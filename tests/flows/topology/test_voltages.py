"""How well a meter fits among others, against the plain density of a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from flows.topology.signals import Floats, centred
from flows.topology.voltages import DF, LEAST_MEMBERS, PRIOR, SLOPE, Members, Place, middle, usual

VARIANCE = 0.01


def _density(rest: Floats, covariance: Floats) -> float:
    """Student's t of several dimensions, written down as it stands, less what depends on their number only."""
    square = float(rest @ np.linalg.solve(covariance, rest))
    return -float(np.linalg.slogdet(covariance)[1] + (DF + len(rest)) * np.log1p(square / DF)) / 2


def _members(seed: int = 1, count: int = 7, windows: int = 12) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    voltages = rng.normal(0, 1, (count, windows)) @ rng.normal(0, 0.5, (windows, windows))
    return voltages - voltages.mean(axis=1, keepdims=True), np.zeros((count, windows))


def _place(voltages: Floats, powers: Floats) -> tuple[Place, Floats, Floats]:
    """The place, its members' deviations, and what is expected before looking."""
    members = Members.of(voltages, powers, VARIANCE)
    assert members is not None
    common = usual([members], voltages.shape[1])
    return Place.of(members, common, VARIANCE), members.deviations, common


def _covariance(deviations: Floats, common: Floats, count: int) -> Floats:
    shared: Floats = (deviations.T @ deviations + PRIOR * common) / (count + PRIOR)
    shared[np.diag_indices(len(shared))] += VARIANCE
    return shared


def _stranger(windows: int = 12, seed: int = 2) -> Floats:
    return centred(np.random.default_rng(seed).normal(0, 1, (1, windows)))


def test_a_stranger_has_the_density_of_one_more_draw() -> None:
    voltages, powers = _members()
    place, deviations, common = _place(voltages, powers)
    rest = _stranger()[0] - place.centre
    fit = place.fit(_stranger(), np.zeros((1, 12)), np.array([False]))
    covariance = _covariance(deviations, common, len(voltages))
    assert fit.likelihood[0] == pytest.approx(_density(rest - rest.mean(), covariance))


def test_the_drop_by_its_own_power_is_explained_whatever_its_resistance() -> None:
    voltages, powers = _members()
    own = _stranger(seed=3)
    place, _, _ = _place(voltages, powers)
    near = place.fit(voltages[:1], own, np.array([False]))
    far = place.fit(voltages[:1] - 0.8 * own, own, np.array([False]))
    assert far.likelihood[0] == pytest.approx(near.likelihood[0], abs=2)
    covariance = np.linalg.inv(place.precision) + SLOPE**2 * np.outer(own[0], own[0])
    rest = voltages[0] - 0.8 * own[0] - place.centre
    assert far.likelihood[0] == pytest.approx(_density(rest - rest.mean(), covariance))


def test_a_member_is_compared_with_the_others_only() -> None:
    voltages, powers = _members()
    place, deviations, common = _place(voltages, powers)
    fit = place.fit(voltages, powers, np.ones(len(voltages), bool))
    for member in range(len(voltages)):
        covariance = _covariance(np.delete(deviations, member, axis=0), common, len(voltages))
        assert fit.likelihood[member] == pytest.approx(_density(deviations[member], covariance))


@pytest.mark.parametrize("missing", [[3], [0, 5, 6], [11]])
def test_what_is_unknown_takes_no_part(missing: list[int]) -> None:
    voltages, powers = _members()
    place, _, _ = _place(voltages, powers)
    own, stranger = _stranger(seed=3), _stranger()
    stranger[0, missing] = np.nan
    known = np.delete(np.arange(12), missing)
    rest = stranger[0, known] - place.centre[known]
    covariance = np.linalg.inv(place.precision) + SLOPE**2 * np.outer(own[0], own[0])
    marginal = covariance[np.ix_(known, known)]
    fit = place.fit(stranger, own, np.array([False]))
    square = float((rest - rest.mean()) @ np.linalg.solve(marginal, rest - rest.mean()))
    assert fit.misfit[0] == pytest.approx(square, rel=0.01)
    expected = -(float(np.linalg.slogdet(marginal)[1]) + (DF + 12) * np.log1p(square / DF)) / 2
    assert fit.likelihood[0] == pytest.approx(expected, rel=0.01)


def test_too_few_members_make_no_place() -> None:
    voltages, powers = _members(count=LEAST_MEMBERS - 1)
    assert Members.of(voltages, powers, VARIANCE) is None


def test_the_middle_passes_over_what_is_unknown() -> None:
    values = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [9.0, 7.0, np.nan], [4.0, np.nan, np.nan]])
    assert middle(values).tolist() == [3.0, 6.0, 0.0]
