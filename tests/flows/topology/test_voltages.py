"""How well a meter fits among others, against the plain density of a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from flows.topology.signals import Floats, centred
from flows.topology.voltages import DF, LEAST_MEMBERS, PRIOR, SLOPES, Fit, Places

VARIANCE = 0.01


def _density(rest: Floats, covariance: Floats) -> float:
    """Student's t of several dimensions, written down as it stands, less what depends on their number only."""
    square = float(rest @ np.linalg.solve(covariance, rest))
    return -float(np.linalg.slogdet(covariance)[1] + (DF + len(rest)) * np.log1p(square / DF)) / 2


def _members(seed: int = 1, count: int = 7, windows: int = 12) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    voltages = rng.normal(0, 1, (count, windows)) @ rng.normal(0, 0.5, (windows, windows))
    return voltages - voltages.mean(axis=1, keepdims=True), np.zeros((count, windows, 2))


_NO_HEADS = np.zeros((0, 12))


def _place(voltages: Floats, powers: Floats) -> tuple[Places, Floats, Floats]:
    """The place, its members' deviations, and what is expected before looking."""
    place = Places.of(voltages, powers, _NO_HEADS, np.zeros(len(voltages), np.int64), VARIANCE)
    deviations = voltages - np.median(voltages, axis=0)
    deviations -= deviations.mean(axis=1, keepdims=True)
    return place, deviations, deviations.T @ deviations / len(voltages)


def _fit(place: Places, voltages: Floats, powers: Floats, *, member: bool = False) -> Fit:
    count = len(voltages)
    return place.fit(
        voltages,
        powers,
        np.arange(count),
        np.array([0, count]),
        np.zeros((1, 1), np.int64),
        np.full(count, 0 if member else -1),
    )


def _covariance(deviations: Floats, common: Floats, count: int) -> Floats:
    shared: Floats = (deviations.T @ deviations + PRIOR * common) / (count + PRIOR)
    shared[np.diag_indices(len(shared))] += VARIANCE
    return shared


def _powers(seed: int, count: int = 1, windows: int = 12) -> Floats:
    """Active and reactive, as different as they may be."""
    rng = np.random.default_rng(seed)
    return np.stack([centred(rng.normal(0, 1, (count, windows))) for _ in range(2)], axis=2)


def _caused(own: Floats) -> Floats:
    """What slopes of which nothing is known before add to the covariance of a signal with these powers."""
    return sum((np.outer(own[:, kind], own[:, kind]) * SLOPES[kind] ** 2 for kind in range(2)), np.zeros((12, 12)))


def _stranger(windows: int = 12, seed: int = 2) -> Floats:
    return centred(np.random.default_rng(seed).normal(0, 1, (1, windows)))


def test_a_stranger_has_the_density_of_one_more_draw() -> None:
    voltages, powers = _members()
    place, deviations, common = _place(voltages, powers)
    rest = _stranger()[0] - place.centre[0]
    fit = _fit(place, _stranger(), np.zeros((1, 12, 2)))
    covariance = _covariance(deviations, common, len(voltages))
    assert fit.likelihood[0, 0] == pytest.approx(_density(rest - rest.mean(), covariance))


def test_the_drop_by_its_own_power_is_explained_whatever_its_resistance() -> None:
    voltages, powers = _members()
    own = _powers(3)
    drop = own[0] @ np.array([0.8, 0.3])
    place, _, _ = _place(voltages, powers)
    near = _fit(place, voltages[:1], own)
    far = _fit(place, voltages[:1] - drop, own)
    assert far.likelihood[0, 0] == pytest.approx(near.likelihood[0, 0], abs=2)
    covariance = np.linalg.inv(place.precision[0]) + _caused(own[0])
    rest = voltages[0] - drop - place.centre[0]
    assert far.likelihood[0, 0] == pytest.approx(_density(rest - rest.mean(), covariance))


def test_a_member_is_compared_with_the_others_only() -> None:
    voltages, powers = _members()
    place, deviations, common = _place(voltages, powers)
    fit = _fit(place, voltages, powers, member=True)
    for member in range(len(voltages)):
        covariance = _covariance(np.delete(deviations, member, axis=0), common, len(voltages))
        assert fit.likelihood[member, 0] == pytest.approx(_density(deviations[member], covariance))


@pytest.mark.parametrize("missing", [[3], [0, 5, 6], [11]])
def test_what_is_unknown_takes_no_part(missing: list[int]) -> None:
    voltages, powers = _members()
    place, _, _ = _place(voltages, powers)
    own, stranger = _powers(3), _stranger()
    stranger[0, missing] = np.nan
    known = np.delete(np.arange(12), missing)
    rest = stranger[0, known] - place.centre[0, known]
    covariance = np.linalg.inv(place.precision[0]) + _caused(own[0])
    marginal = covariance[np.ix_(known, known)]
    fit = _fit(place, stranger, own)
    square = float((rest - rest.mean()) @ np.linalg.solve(marginal, rest - rest.mean()))
    assert fit.misfit[0, 0] == pytest.approx(square, rel=0.01)
    expected = -(float(np.linalg.slogdet(marginal)[1]) + (DF + 12) * np.log1p(square / DF)) / 2
    assert fit.likelihood[0, 0] == pytest.approx(expected, rel=0.01)


def test_what_members_draw_themselves_is_no_scatter_of_a_place() -> None:
    """The slopes over both powers are those of ridge regression."""
    voltages, _ = _members()
    powers = _powers(6, len(voltages))
    drops = np.einsum("nlk,nk->nl", powers, np.random.default_rng(7).uniform(0.1, 0.9, (len(voltages), 2)))
    place = Places.of(voltages - drops, powers, _NO_HEADS, np.zeros(len(voltages), np.int64), VARIANCE)
    rest = voltages - drops - place.centre[0]
    rest -= rest.mean(axis=1, keepdims=True)
    for member, own in enumerate(powers * SLOPES):
        damping = VARIANCE + np.mean(rest[member] ** 2)
        slopes = np.linalg.solve(own.T @ own + damping * np.eye(2), own.T @ rest[member])
        rest[member] -= own @ slopes
    covariance = _covariance(rest, rest.T @ rest / len(rest), len(rest))
    assert np.linalg.inv(place.precision[0]) == pytest.approx(covariance)


def test_too_few_members_make_no_place() -> None:
    voltages, powers = _members(count=LEAST_MEMBERS - 1)
    place, _, _ = _place(voltages, powers)
    assert place.row(np.array([0, 1, -1])).tolist() == [-1, -1, -1]
    assert np.isnan(_fit(place, voltages, powers).likelihood).all()


def test_the_middle_passes_over_what_is_unknown() -> None:
    values = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.nan], [9.0, 7.0, np.nan], [4.0, np.nan, np.nan]])
    place = Places.of(values, np.zeros((4, 3, 2)), np.zeros((0, 3)), np.zeros(4, np.int64), VARIANCE)
    assert place.centre.tolist() == [[3.0, 6.0, 0.0]]


def test_heads_are_members_and_places_do_not_touch_one_another() -> None:
    voltages, powers = _members(count=8)
    rng = np.random.default_rng(4)
    powers = rng.normal(0, 1, powers.shape)
    head = voltages[6:7]
    place = np.array([0, 4, 0, 4, 0, -1, 0])
    both = Places.of(voltages[:6], powers[:6], head, place, VARIANCE)
    alone = Places.of(
        np.concatenate([voltages[[0, 2, 4]], head]),
        np.concatenate([powers[[0, 2, 4]], np.zeros((1, 12, 2))]),
        _NO_HEADS,
        np.zeros(4, np.int64),
        VARIANCE,
    )
    assert both.row(np.array([0, 4])).tolist() == [0, -1]
    assert both.precision == pytest.approx(alone.precision)
    assert both.centre == pytest.approx(alone.centre)


def test_signals_of_many_groups_have_what_each_alone_has() -> None:
    voltages, powers = _members(count=12)
    rng = np.random.default_rng(5)
    voltages[rng.random(voltages.shape) < 0.1] = np.nan
    place = Places.of(voltages, powers, _NO_HEADS, np.arange(12) // 4, VARIANCE)
    powers = rng.normal(0, 1, powers.shape)
    rows, bounds = rng.integers(0, 12, 40), np.array([0, 0, 17, 40])
    asked, member = np.array([[0, 1], [2, 0], [1, -1]]), rng.integers(-1, 3, 40)
    many = place.fit(voltages, powers, rows, bounds, asked, member)
    for signal, row in enumerate(rows):
        group = int(np.searchsorted(bounds, signal, side="right")) - 1
        for column, number in enumerate(asked[group]):
            one = place.fit(
                voltages, powers, np.array([row]), np.array([0, 1]), np.array([[number]]), member[signal : signal + 1]
            )
            assert many.likelihood[signal, column] == pytest.approx(one.likelihood[0, 0], nan_ok=True)
            assert many.misfit[signal, column] == pytest.approx(one.misfit[0, 0], nan_ok=True)
