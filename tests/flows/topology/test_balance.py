"""Energy balances: who leaves a hole in one transformer and a surplus in another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.topology.balance import Balances, Moves, find
from flows.topology.signals import Floats, Ints
from tests.flows.topology.balances import CUSTOMERS, Loads, loads


def _found(scene: Loads, since: int = 0) -> tuple[Moves, Ints]:
    balances = Balances.of(scene.power, scene.heads, scene.recorded)
    count, transformers = len(scene.power), len(scene.heads)
    everywhere = [np.arange(transformers)] * transformers
    return find(balances, scene.recorded, everywhere, np.arange(count), np.full(count, since))


@pytest.mark.parametrize("seed", range(5))
def test_who_moved_is_named_with_the_place_and_the_time_and_nobody_else(seed: int) -> None:
    found, plain = _found(loads(seed, moves=((4, 2, 150),)))
    assert found.meter.tolist() == [4]
    assert found.other.tolist() == [2]
    assert found.change[0] > 20
    assert found.change[0] > found.always[0] + 10
    assert abs(found.window[0] - 150) <= 3 * max(found.within[0], 4)
    assert len(plain) > 0.5 * len(loads(seed).power)
    assert 4 not in plain


@pytest.mark.parametrize("seed", range(5))
def test_a_record_that_was_wrong_from_the_start(seed: int) -> None:
    found, _ = _found(loads(seed, moves=((4, 2, 0), (25, 0, 0))))
    assert found.meter.tolist() == [4, 25]
    assert found.other.tolist() == [2, 0]
    assert (found.always > np.maximum(found.change - 3, 20)).all()


@pytest.mark.parametrize("seed", range(5))
def test_of_all_roofs_only_the_one_that_moved(seed: int) -> None:
    found, _ = _found(loads(seed, moves=((4, 1, 120),), roofs=(2, 3, 4, 5, 24, 25, 47)))
    assert found.meter.tolist() == [4]
    assert found.other.tolist() == [1]


def test_where_nobody_moved_nobody_is_named() -> None:
    assert [len(_found(loads(seed))[0].meter) for seed in range(10)] == [0] * 10


def test_a_rest_that_shifts_for_good_is_nobody_who_moved() -> None:
    scene = loads(3)
    scene.heads[0, 200:] += 3.0
    scene.heads[1, 200:] -= 3.0
    assert not len(_found(scene)[0].meter)


def test_a_register_that_jumps_proves_nothing() -> None:
    scene = loads(3)
    scene.power[7, 100] = -41_000.0
    scene.power[7, 200] = 38_000.0
    found, plain = _found(scene)
    assert not len(found.meter)
    assert 7 in plain


def test_without_a_head_meter_nothing_is_said_of_its_customers_nor_of_that_place() -> None:
    scene = loads(3, moves=((4, 2, 150), (30, 0, 150)))
    scene.heads[2] = np.nan
    found, plain = _found(scene)
    assert found.meter.tolist() == [30]
    assert not np.isin(np.arange(2 * CUSTOMERS, 3 * CUSTOMERS), plain).any()


def test_what_was_before_it_came_says_nothing_of_where_it_is() -> None:
    """Of a meter that moved and is believed to be where it went, only what came since counts."""
    scene = loads(3, moves=((4, 2, 150),))
    scene.recorded[4] = 2
    believed = Balances.of(scene.power, scene.heads, scene.recorded, [(4, 150, 0)])
    since = np.where(np.arange(len(scene.power)) == 4, 150, 0)
    found, plain = find(believed, scene.recorded, [np.arange(3)] * 3, np.arange(len(scene.power)), since)
    assert not len(found.meter)
    assert 4 in plain


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 100), gaps=st.floats(0, 0.05), shuffled=st.randoms(use_true_random=False))
def test_the_order_of_meters_and_gaps_change_nothing(seed: int, gaps: float, shuffled: object) -> None:
    scene = loads(seed, moves=((4, 2, 100), (25, 0, 0)))
    rng = np.random.default_rng(seed)
    power = np.where(rng.random(scene.power.shape) < gaps, np.nan, scene.power)
    order = list(range(len(power)))
    shuffled.shuffle(order)  # type: ignore[attr-defined]
    one, _ = _found(Loads(power, scene.heads, scene.recorded))
    two, _ = _found(Loads(power[order], scene.heads, scene.recorded[order]))
    named = {(int(n), int(other)) for n, other in zip(one.meter, one.other, strict=True)}
    assert {(order[int(n)], int(other)) for n, other in zip(two.meter, two.other, strict=True)} == named
    assert named == {(4, 2), (25, 0)}


# ----------------------------------------------------------------- against a plain calculation


def _plain_lately(course: Floats) -> Floats:
    return np.array([0.0, *(course[n] - course[max(n - 8, 0) : n].mean() for n in range(1, len(course)))])


def _plain_rest(rest: Floats, load: Floats) -> tuple[Floats, float, Floats]:
    """What least squares leave of a rest, its memory, and the courses that were taken out."""
    rest = _plain_lately(rest)
    memory = min(max(float(rest[1:] @ rest[:-1] / (rest @ rest)), 0.0), 0.95)
    courses = [np.ones(len(load)), _plain_lately(load), _plain_lately(load**2)]
    columns = np.array([course[1:] - memory * course[:-1] for course in courses]).T
    fresh = rest[1:] - memory * rest[:-1]
    return fresh - columns @ np.linalg.lstsq(columns, fresh, rcond=None)[0], memory, columns


def _plain_nats(one: Floats, other: Floats, scale: float) -> Floats:
    return -0.6 * 1.5 * (np.log1p((other / scale) ** 2 / 2) - np.log1p((one / scale) ** 2 / 2))


@pytest.mark.parametrize("seed", range(3))
def test_nats_are_those_of_a_plain_calculation(seed: int) -> None:
    scene = loads(seed, moves=((4, 2, 150),))
    balances = Balances.of(scene.power, scene.heads, scene.recorded)
    told = balances.told_by(np.array([4]), 0, 2)[0]
    expected = np.zeros(len(told))
    for at, sign in ((0, 1), (2, -1)):
        load = scene.power[scene.recorded == at].sum(axis=0)
        rest, memory, columns = _plain_rest(scene.heads[at] - load, load)
        own = _plain_lately(scene.power[4])
        own = own[1:] - memory * own[:-1]
        own -= columns @ np.linalg.lstsq(columns, own, rcond=None)[0]
        scale = float(np.hypot(1.4826 * np.median(np.abs(rest)), 0.01))
        expected += _plain_nats(rest, rest + sign * own, scale)
    np.testing.assert_allclose(told, expected, atol=1e-8)
