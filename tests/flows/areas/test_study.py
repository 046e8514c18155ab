"""What is learned of areas with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.line_loss.areas.clocks import by_arrival, corrected
from flows.line_loss.areas.data import AreaData, Floats
from flows.line_loss.areas.gaps import GapShapes
from flows.line_loss.areas.search import StudyRules
from flows.line_loss.areas.study import Applied, apply, is_plausible, study
from tests.flows.areas.grids import PER_DAY, area, stolen

RULES = StudyRules()


def loss(applied: Applied) -> Floats:
    registered = applied.head.sum(axis=1) - applied.energy.sum(axis=1)
    return np.asarray(registered - applied.head_gain + applied.customer_gain.sum(axis=1))


def learned(data: AreaData, technical: Floats) -> Applied:
    return apply(study(data, technical, RULES), data, technical)


def test_without_errors_nothing_is_corrected_and_nobody_accused() -> None:
    data, technical = area()
    said = learned(data, technical)
    assert loss(said).sum() == pytest.approx(technical.sum(), rel=0.02)
    assert not said.suspects and not said.nobody.any()


@pytest.mark.parametrize("seed", range(1, 6))
def test_gain_errors_are_learned_and_the_truth_lies_within_the_uncertainty(seed: int) -> None:
    data, technical = area(gain=0.006, seed=seed, noise=0.02)
    said = learned(data, technical)
    plain, better = data.remainder.sum() - technical.sum(), loss(said).sum() - technical.sum()
    stated = 2.45 * np.hypot(said.systematic.sum(), np.sqrt(said.random.sum()))
    assert abs(better) <= stated
    implied = 2 * 0.01 / np.sqrt(3) * np.sqrt((data.energy.sum(axis=0) ** 2).sum())
    assert stated <= 1.5 * implied
    assert abs(better) <= max(abs(plain), stated / 2)
    within = np.abs(loss(said) - technical) <= 2.45 * np.sqrt(said.systematic**2 + said.random)
    assert within.mean() >= 0.93


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_thief_is_named_with_what_is_missing_and_since_when(seed: int) -> None:
    data, technical = area(gain=0.0035, seed=seed, noise=0.02)
    start, share, thief = 3 * PER_DAY + 20, 0.4, 7
    robbed = stolen(data, thief, start, share)
    missing = (data.energy - robbed.energy).sum()
    said = learned(robbed, technical)
    assert [who for who, score, _, _ in said.suspects if score >= 0.5] == [thief]
    (_, _, amount, _) = said.suspects[0]
    assert amount.sum() == pytest.approx(missing, rel=0.25)
    assert abs(int(np.flatnonzero(amount)[0]) - start) <= PER_DAY // 2
    assert loss(said).sum() == pytest.approx(missing + technical.sum(), rel=0.15)


def test_a_register_that_stands_still_is_named() -> None:
    data, technical = area(seed=3, noise=0.02)
    robbed = stolen(data, 4, 3 * PER_DAY, 1.0)
    missing = (data.energy - robbed.energy).sum()
    said = learned(robbed, technical)
    assert [who for who, score, _, _ in said.suspects if score >= 0.5] == [4]
    assert said.suspects[0][2].sum() == pytest.approx(missing, rel=0.25)


def test_a_customer_who_goes_on_holiday_is_no_suspect() -> None:
    data, technical = area(seed=3, noise=0.02)
    away = stolen(data, 4, 3 * PER_DAY, 1.0)
    head = data.head - (data.energy - away.energy).sum(axis=1, keepdims=True)
    assert not learned(replace(away, head=head), technical).suspects


def test_what_nobody_of_them_takes_is_not_laid_at_their_door() -> None:
    """A street lamp without a meter: on at night."""
    data, technical = area(seed=2, noise=0.02)
    on = (np.arange(data.windows) >= 2 * PER_DAY) & ((data.slot < 24) | (data.slot >= 80))
    said = learned(replace(data, head=data.head + 0.4 * on[:, None]), technical)
    accused = sum(missing.sum() for _, score, missing, _ in said.suspects if score >= 0.5)
    assert accused < 0.2 * 0.4 * on.sum()
    assert loss(said).sum() == pytest.approx(technical.sum() + 0.4 * on.sum(), rel=0.1)


@pytest.mark.parametrize("seconds", [-300.0, 540.0, 900.0, -1500.0])
def test_a_clock_is_found_by_the_arrivals_and_its_energies_are_put_right(seconds: float) -> None:
    data, technical = area(seed=5)
    chance = np.random.default_rng(5)
    delay = 2 + chance.gamma(2, 8, data.energy.shape)
    delay[:, 3] -= seconds
    wrong = data.energy.copy()
    wrong[:, 3] = corrected(data.energy[:, 3], np.full(data.windows, -seconds), 900.0)
    said = learned(replace(data, energy=wrong, delay=delay), technical)
    assert np.flatnonzero(said.offset.any(axis=0)).tolist() == [3]
    assert said.offset[:, 3] == pytest.approx(np.full(data.windows, seconds), abs=20)
    before, after = wrong[:, 3] - data.energy[:, 3], said.energy[:, 3] - data.energy[:, 3]
    assert (after[1:-1] ** 2).sum() <= 1.01 * (before[1:-1] ** 2).sum()
    assert said.energy[:, 3].sum() == pytest.approx(data.energy[:, 3].sum(), rel=1e-2)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("seconds", [-900.0, -600.0, 600.0, 900.0])
def test_without_arrivals_the_area_tells_a_clock(seconds: float, seed: int) -> None:
    data, technical = area(seed=seed, days=7, customers=20, gain=0.0035, noise=0.01)
    meter = int(np.argmax(data.energy.sum(axis=0)))
    wrong = data.energy.copy()
    wrong[:, meter] = corrected(data.energy[:, meter], np.full(data.windows, -seconds), 900.0)
    said = learned(replace(data, energy=wrong), technical)
    assert np.flatnonzero(said.offset.any(axis=0)).tolist() == [meter]
    assert said.offset[:, meter] == pytest.approx(np.full(data.windows, seconds), abs=120)


@pytest.mark.parametrize("seed", range(1, 5))
def test_without_arrivals_and_with_right_clocks_none_is_told_to_be_wrong(seed: int) -> None:
    data, technical = area(seed=seed, days=7, gain=0.0035, noise=0.02)
    assert not learned(stolen(data, 4, 3 * PER_DAY, 0.5), technical).offset.any()


def test_a_slow_transport_is_no_slow_clock() -> None:
    """A concentrator that delivers once an hour: the delays scatter."""
    chance = np.random.default_rng(1)
    delay = 2 + chance.gamma(2, 8, (PER_DAY, 10))
    delay[:, 0] = 120 + chance.uniform(0, 3600, PER_DAY)
    assert not by_arrival(delay, 1).any()


def test_a_drifting_clock_is_followed_from_day_to_day() -> None:
    chance = np.random.default_rng(1)
    delay = 2 + chance.gamma(2, 8, (5 * PER_DAY, 10))
    delay[:, 2] -= np.linspace(100, 500, 5 * PER_DAY)
    offset = by_arrival(delay, 5)
    assert offset[:, 2] == pytest.approx([140, 220, 300, 380, 460], abs=60)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), begin=st.integers(0, 500), length=st.integers(2, 30))
def test_a_gap_keeps_its_energy_and_only_its_shape_is_new(seed: int, begin: int, length: int) -> None:
    data, _ = area(seed=seed, customers=5)
    sure = data.measured.copy()
    sure[begin : begin + length, 2] = False
    energy = data.energy.copy()
    energy[begin : begin + length, 2] = energy[begin : begin + length, 2].mean()
    total = data.head.sum(axis=1)
    shapes = GapShapes.learned(energy, sure, total, data.slot, PER_DAY)
    filled, variance = shapes.fill(energy, sure, data.present, total, data.slot)
    assert filled.sum(axis=0) == pytest.approx(energy.sum(axis=0))
    assert (filled[sure] == energy[sure]).all()
    assert (variance[~sure] > 0).all() and not variance[sure].any()


def test_the_better_shape_is_taken() -> None:
    """A household's evening is no straight line; a pump that runs evenly is one."""
    data, _ = area(seed=4, customers=3)
    chance = np.random.default_rng(1)
    steep = np.exp(3 * np.sin(2 * np.pi * data.slot / 8))
    energy = np.stack([steep * chance.normal(1, 0.01, data.windows), chance.normal(1, 0.1, data.windows)], axis=1)
    sure = np.ones(energy.shape, bool)
    sure[100:104] = False
    shapes = GapShapes.learned(energy, sure, np.ones(data.windows), data.slot, PER_DAY)
    assert shapes.shape[0] == 1
    assert shapes.shape[1] in (0, 2)


def test_unknown_lines_are_learned_from_squared_load() -> None:
    data, technical = area(seed=6, customers=40, noise=0.01)
    said = learned(data, np.zeros(data.windows))
    assert said.technical.sum() == pytest.approx(technical.sum(), rel=0.3)


def test_a_record_that_cannot_be_right_teaches_nothing() -> None:
    data, _ = area()
    assert is_plausible(data)
    assert not is_plausible(replace(data, head=data.head * 0.5))
    assert not is_plausible(replace(data, complete=np.zeros(data.windows, bool)))


@pytest.mark.parametrize("seed", range(1, 5))
def test_where_lines_are_unknown_the_loss_is_what_meters_say_within_their_class(seed: int) -> None:
    """What goes with the square of the load is lost in lines; nothing is taken for gain errors and put right."""
    data, _ = area(seed=seed, gain=0.003)
    taken = data.energy.sum(axis=1)
    lines = 0.015 * taken**2 / taken.mean()
    true = lines + 0.004 * taken + 0.01
    head = data.energy.sum(axis=1, keepdims=True) + true[:, None]
    said = learned(replace(data, head=head), np.zeros(data.windows))
    assert loss(said).sum() == pytest.approx(true.sum(), rel=1e-6)
    assert said.technical.sum() == pytest.approx(lines.sum(), rel=0.3)
    assert not said.suspects


@pytest.mark.parametrize("wrong", [0.03, -0.03])
def test_a_head_far_beyond_its_class_is_not_put_right_but_stated(wrong: float) -> None:
    """Whether the head, or so much energy, is wrong nobody can tell: it stays in the loss, and in its uncertainty."""
    data, technical = area(seed=3, noise=0.01)
    said = learned(replace(data, head=data.head * (1 + wrong)), technical)
    error = wrong * data.head.sum()
    assert abs(loss(said).sum() - technical.sum()) > 0.5 * abs(error)
    assert abs(loss(said).sum() - technical.sum()) <= said.beyond.sum() + 2.45 * said.systematic.sum()
    assert not [score for _, score, _, _ in said.suspects if score >= 0.5]


def test_what_is_stolen_is_no_gain_error_where_readings_are_rarer_than_windows() -> None:
    data, technical = area(seed=4, noise=0.01)
    robbed = stolen(data, 5, 3 * PER_DAY, 0.5)
    missing = (data.energy - robbed.energy).sum()
    rules = replace(RULES, most=0)
    said = apply(study(robbed, technical, rules), robbed, technical)
    assert loss(said).sum() == pytest.approx(technical.sum() + missing, rel=0.02)
    assert loss(said)[: 3 * PER_DAY].sum() == pytest.approx(technical[: 3 * PER_DAY].sum(), rel=0.1)
    assert not said.suspects


def test_over_a_gap_a_head_follows_its_customers_even_where_the_flow_turns_round() -> None:
    """By day the sun feeds more than all take: what the registers tell of the gap is no measure of its parts."""
    data, technical = area(seed=5, noise=0.01)
    hour = np.arange(data.windows) % PER_DAY / 4
    sun = 0.4 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0)[:, None] * (np.arange(30) < 15)
    energy = data.energy - sun
    head = data.head - sun.sum(axis=1, keepdims=True)
    gap = slice(4 * PER_DAY + 36, 4 * PER_DAY + 76)
    told, measured = head.copy(), data.head_measured.copy()
    told[gap], measured[gap] = head[gap].mean(), False
    said = learned(replace(data, energy=energy, head=told, head_measured=measured), technical)
    assert head[gap].min() < -1 < 1 < head[gap].max()
    assert np.abs(said.head[gap] - head[gap]).max() < 0.1
    half = 2.45 * np.sqrt(said.systematic**2 + said.random)
    assert np.mean(np.abs(loss(said) - technical)[gap] <= half[gap]) > 0.9


def test_so_little_is_no_case() -> None:
    """A register's coarse steps look like shares now and then; nobody asks for a few Wh a day."""
    data, technical = area(seed=2, noise=0.002)
    robbed = stolen(data, 5, 3 * PER_DAY, 0.5)
    scale = 0.1 / (data.energy - robbed.energy).sum() * 3
    trifling = replace(robbed, energy=data.energy - (data.energy - robbed.energy) * scale)
    assert not [score for _, score, _, _ in learned(trifling, technical).suspects if score >= 0.1]
