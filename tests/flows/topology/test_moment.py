"""Where a meter went, and when, by all windows since: on the street, in which one moves and one is re-phased."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from flows.streaming.network import NetworkTable
from flows.topology.estimate import estimate
from flows.topology.identification import Record
from flows.topology.moment import Surroundings, Where
from flows.topology.neighbourhood import Neighbourhood, neighbourhood
from flows.topology.slots import Slots
from tests.flows.topology.grid import INTERVAL, START, WINDOWS, telemetry
from tests.flows.topology.street import street

SPAN = 120
FIRST = START // INTERVAL


@cache
def _street() -> tuple[Slots, Neighbourhood]:
    made = telemetry()
    slots = Slots(INTERVAL)
    slots.add(made.readings)
    network = NetworkTable()
    network.apply(made.network)
    return slots, neighbourhood(network, START)


def _around(end: int) -> Surroundings:
    """The two that changed and one that did not, over the ``SPAN`` windows before one."""
    slots, near = _street()
    record = Record(near.transformer, near.phase, np.ones(len(near.transformers), bool), near.candidates)
    unknown, nobody = np.full(len(near.points), -1), np.zeros(len(near.points), bool)
    some = np.array([*(move.meter for move in telemetry().moves), _calm()])
    return Surroundings.of(slots, near, record, unknown, nobody, some, FIRST + end - SPAN, FIRST + end)


def _calm() -> int:
    made, moves = street(5, WINDOWS), telemetry().moves
    concerned = {move.meter for move in moves} | {move.beside for move in moves}
    return next(n for n, its in enumerate(made.phases) if len(its) == 1 and n not in concerned)


def _before(n: int) -> Where:
    near = _street()[1]
    return int(near.transformer[n]), int(near.phase[n])


def _after(n: int) -> Where:
    made = street(5, WINDOWS)
    beside = next((move.beside for move in telemetry().moves if move.meter == n), None)
    if beside is not None:
        return int(made.transformer[beside]), made.phases[beside][0]
    here, phase = _before(n)
    return here, (phase + 1) % 3


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("hours", [4, 8, 12])
def test_after_some_hours_a_change_is_likelier_than_none_and_it_is_there(which: int, hours: int) -> None:
    move = telemetry().moves[which]
    around = _around(move.window + 4 * hours)
    (place, share), *_ = around.rivals(move.meter, _before(move.meter), 1.0)
    assert place == _after(move.meter)
    assert share > (0.5 if hours < 8 else 0.9)
    change, always = around.ratio(move.meter, _before(move.meter), place)
    assert change > 10
    assert always < 0
    moments = around.moments(move.meter, _before(move.meter), place)
    assert moments is not None
    middle, within = estimate(moments)
    assert abs(middle - (SPAN - 4 * hours)) <= max(within, 2)


def test_before_a_change_and_of_who_never_changed_there_is_none() -> None:
    first, second = telemetry().moves
    around = _around(min(first.window, second.window))
    for n in (first.meter, second.meter, _calm()):
        change, always = around.ratio(n, _before(n), _after(n))
        assert change < 0
        assert always < 0


def test_long_after_a_change_it_has_been_there_all_the_time() -> None:
    move = telemetry().moves[0]
    around = _around(move.window + SPAN + 4)
    change, always = around.ratio(move.meter, _before(move.meter), _after(move.meter))
    assert always > 10 > change
    change, always = around.ratio(move.meter, _after(move.meter), _before(move.meter))
    assert max(change, always) < 0


def test_a_place_that_is_not_known_has_no_moments() -> None:
    move = telemetry().moves[0]
    around = _around(move.window + 16)
    assert around.moments(move.meter, _before(move.meter), (0, 7)) is None
    assert around.ratio(move.meter, _before(move.meter), (0, 7)) == (-np.inf, -np.inf)
