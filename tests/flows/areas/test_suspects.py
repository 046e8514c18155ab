"""Who is accused, and who is not, in areas with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.line_loss.areas import search
from flows.line_loss.areas.data import AreaData, Bools, Floats
from flows.line_loss.areas.model import student
from flows.line_loss.areas.search import StudyRules
from flows.line_loss.areas.standstills import DRAWS, begun, standing
from flows.line_loss.areas.study import Applied, apply, study
from flows.line_loss.areas.unregistered import Unregistered
from tests.flows.areas.grids import PER_DAY, area, stolen

RULES = StudyRules()
START = 3 * PER_DAY + 30


def learned(data: AreaData, technical: Floats) -> Applied:
    return apply(study(data, technical, RULES), data, technical)


def accused(said: Applied) -> list[int]:
    return [who for who, score, _, _ in said.suspects if score >= 0.5]


def at_night(data: AreaData) -> Bools:
    return (data.slot < 24) | (data.slot >= 88)


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_register_that_stands_still_at_night_is_named(seed: int) -> None:
    data, technical = area(seed=seed, noise=0.01, gain=0.0035)
    energy = data.energy.copy()
    energy[:, 9] *= np.where((np.arange(data.windows) >= START) & at_night(data), 0.0, 1.0)
    said = learned(replace(data, energy=energy), technical)
    assert accused(said) == [9]
    missing = said.suspects[0][2]
    assert missing.sum() == pytest.approx((data.energy - energy).sum(), rel=0.3)
    assert not missing[~at_night(data)].any()


def test_somebody_on_holiday_is_not_taken_for_the_thief() -> None:
    data, technical = area(seed=5, noise=0.01, customers=25)
    away = stolen(data, 4, START, 1.0)
    head = data.head - (data.energy - away.energy).sum(axis=1, keepdims=True)
    robbed = stolen(replace(away, head=head), 11, START + 10, 0.5)
    assert accused(learned(robbed, technical)) == [11]


def test_a_supply_interruption_makes_no_suspects() -> None:
    data, technical = area(seed=6, noise=0.01)
    off = (np.arange(data.windows) >= START) & (np.arange(data.windows) < START + 30)
    on = np.where(off, 0.0, 1.0)[:, None]
    dark = replace(data, energy=data.energy * on, head=data.head * on)
    assert not begun(dark, standing(dark, np.full(len(data.customers), 0.001), dark.energy.mean(axis=0)))
    assert not accused(learned(dark, technical * on[:, 0]))


@pytest.mark.parametrize("start", [0, START])
@pytest.mark.parametrize("seed", range(1, 4))
def test_one_who_is_fed_from_elsewhere_makes_nobody_a_suspect(seed: int, start: int) -> None:
    data, technical = area(seed=seed, noise=0.01, gain=0.0035)
    moved = np.where(np.arange(data.windows) >= start, data.energy[:, 5], 0.0)
    assert not accused(learned(replace(data, head=data.head - moved[:, None]), technical))


@pytest.mark.parametrize("start", [0, START])
@pytest.mark.parametrize("seed", range(1, 4))
def test_a_household_that_nobody_recorded_makes_nobody_a_suspect(seed: int, start: int) -> None:
    data, technical = area(seed=seed, noise=0.01, gain=0.0035, customers=31)
    foreign = np.where(np.arange(data.windows) >= start, data.energy[:, 30], 0.0)
    unknown = replace(
        data,
        customers=data.customers[:30],
        energy=data.energy[:, :30],
        measured=data.measured[:, :30],
        present=data.present[:, :30],
        delay=data.delay[:, :30],
        head=data.head - (data.energy[:, 30] - foreign)[:, None],
    )
    said = learned(unknown, technical)
    assert not accused(said)
    # No gain errors may swallow it.
    loss = (said.head.sum(axis=1) - said.energy.sum(axis=1) - said.head_gain + said.customer_gain.sum(axis=1)).sum()
    assert loss == pytest.approx(technical.sum() + foreign.sum(), rel=0.1)


def test_of_a_thief_who_feeds_in_only_what_is_taken_is_missing() -> None:
    data, technical = area(seed=2, noise=0.01)
    energy = data.energy.copy()
    energy[:, 8] -= 0.3 * ((data.slot > 36) & (data.slot < 60))
    head = data.head + (energy - data.energy).sum(axis=1, keepdims=True)
    robbed = energy.copy()
    robbed[START:, 8] = np.where(energy[START:, 8] > 0, 0.5 * energy[START:, 8], energy[START:, 8])
    said = learned(replace(data, energy=robbed, head=head), technical)
    assert accused(said) == [8]
    assert said.suspects[0][2].sum() == pytest.approx((energy - robbed).sum(), rel=0.3)


def test_where_no_reading_ends_a_gap_an_estimate_that_is_off_accuses_nobody() -> None:
    """The last readings have not come yet; what stands for them may be far off."""
    data, technical = area(seed=3, noise=0.005)
    measured, energy = data.measured.copy(), data.energy.copy()
    measured[-1, 3] = False
    energy[-1, 3] = max(energy[-1, 3] - 0.5, 0.0)
    head = data.head.copy()
    head[-1] += 0.5
    late = replace(data, measured=measured, energy=energy, head=head)
    assert not learned(late, technical).suspects


def test_a_register_with_coarse_steps_does_not_stand_still_between_them() -> None:
    data, _ = area(seed=1, step=1.0)
    assert (data.energy == 0).mean() > 0.8
    assert not standing(data, np.full(len(data.customers), 1.0), data.energy.mean(axis=0)).any()


def test_a_standstill_begins_where_it_begins_and_not_where_it_always_was() -> None:
    data, _ = area(seed=1, customers=3)
    energy = data.energy.copy()
    energy[START:, 0] = 0  # for good
    energy[at_night(data) & (np.arange(data.windows) >= 2 * PER_DAY), 1] = 0
    energy[at_night(data), 2] = 0  # ever since
    still = replace(data, energy=energy)
    found = begun(still, standing(still, np.full(3, 0.001), energy.mean(axis=0)))
    assert [(one.customer, one.always) for one in found] == [(0, True), (1, False)]
    assert found[0].start == START


def test_what_a_study_says_of_days_does_not_depend_on_which_others_it_is_asked_of() -> None:
    """A register that stands still all the time of which it is asked."""
    data, technical = area(seed=3, noise=0.02)
    robbed = stolen(data, 4, 2 * PER_DAY + 5, 1.0)
    robbed = stolen(robbed, 9, 2 * PER_DAY + 30, 0.5)
    learned_of = study(robbed, technical, RULES)
    whole = apply(learned_of, robbed, technical)
    begin, end = 4 * PER_DAY, 5 * PER_DAY
    part = apply(learned_of, robbed.part(begin, end), technical[begin:end])
    assert sorted(accused(part)) == sorted(accused(whole)) == [4, 9]
    for (_, _, some, _), (_, _, every, _) in zip(part.suspects, whole.suspects, strict=True):
        assert some == pytest.approx(every[begin:end])
    assert part.technical == pytest.approx(whole.technical[begin:end])
    assert part.head_gain == pytest.approx(whole.head_gain[begin:end])
    assert part.systematic == pytest.approx(whole.systematic[begin:end])
    assert part.random == pytest.approx(whole.random[begin:end])


class TestUnregistered:
    """Draws of what standing registers do not count."""

    @pytest.fixture
    def two(self) -> Unregistered:
        chance = np.random.default_rng(4)
        on = np.array([True, True, False, True])
        none = Unregistered.none(4)
        return none.plus(np.sort(chance.gamma(1, 0.1, (4, DRAWS))), on).plus(
            np.sort(chance.gamma(1, 0.3, (4, DRAWS))), np.array([True, False, False, True])
        )

    def test_density(self, two: Unregistered) -> None:
        """The mean over the pairs of draws, one by one."""
        residual, variance = np.array([0.3, 0.1, 0.02, 5.0]), np.array([0.01, 0.02, 0.01, np.inf])
        slow = [
            np.log(
                np.mean(
                    [
                        np.exp(
                            student(
                                np.array(residual[w] - two.draws[:, w, k].sum()),
                                np.array(variance[w] + two.width[:, w, k].sum()),
                            )
                        )
                        for k in range(DRAWS)
                    ]
                )
            )
            for w in range(3)
        ]
        assert two.density(residual, variance) == pytest.approx([*slow, 0.0])

    def test_every_draw_takes_part_once(self, two: Unregistered) -> None:
        assert len(np.unique(two.draws[1, 0])) == DRAWS

    def test_what_is_expected_adds_up_to_what_remains(self, two: Unregistered) -> None:
        residual = np.array([0.5, 0.2, 0.0, 0.4])
        mean, variance = two.expected(residual, np.full(4, 1e-8))
        assert mean.sum(axis=0)[[0, 1, 3]] == pytest.approx(residual[[0, 1, 3]], abs=0.05)
        assert mean[1, 1] == 0 and not mean[:, 2].any() and (variance >= 0).all()

    def test_without_a_remainder_the_past_is_expected(self, two: Unregistered) -> None:
        mean, _ = two.expected(np.zeros(4), np.full(4, np.inf))
        assert mean == pytest.approx(two.draws.mean(axis=2))


def test_a_head_that_stands_still_for_a_day_neither_accuses_nor_spoils_other_days() -> None:
    data, technical = area(seed=4, noise=0.01, gain=0.003, days=7)
    head = data.head.copy()
    head[3 * PER_DAY : 4 * PER_DAY] = 0.02 * head[3 * PER_DAY : 4 * PER_DAY]
    said = learned(replace(data, head=head), technical)
    assert not said.suspects
    loss = said.head.sum(axis=1) - said.energy.sum(axis=1) - said.head_gain + said.customer_gain.sum(axis=1)
    others = np.r_[0 : 3 * PER_DAY, 4 * PER_DAY : 7 * PER_DAY]
    stated = 2.45 * np.hypot(said.systematic[others].sum(), np.sqrt(said.random[others].sum()))
    assert abs(loss[others].sum() - technical[others].sum()) < stated


def test_a_head_far_out_of_its_class_makes_nobody_a_suspect() -> None:
    data, technical = area(seed=6, noise=0.01, gain=0.003, days=7)
    assert not accused(learned(replace(data, head=data.head * 1.03), technical))


def test_a_search_ends_where_each_round_takes_out_what_the_last_has_put_in(monkeypatch: pytest.MonkeyPatch) -> None:
    data, technical = area(seed=1, noise=0.01)
    robbed = stolen(data, 5, START, 0.5)
    rounds = 0
    more = search._Search.more

    def again(of: search._Search) -> bool:
        nonlocal rounds
        rounds += 1
        of.findings = []
        of.model = of._base
        return more(of)

    monkeypatch.setattr(search._Search, "more", again)
    said = learned(robbed, technical)
    assert rounds == 2
    assert accused(said) == [5]
