"""Where a meter went, and when, by all windows since: on the street, in which one moves and one is re-phased."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest

from flows.streaming.network import NetworkTable
from flows.topology.estimate import estimate
from flows.topology.identification import Record
from flows.topology.moment import Surroundings, Where
from flows.topology.neighbourhood import Neighbourhood, neighbourhood
from flows.topology.signals import Floats, Ints
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


def _around(end: int, readings: pl.DataFrame | None = None) -> Surroundings:
    """The two that changed and one that did not, over the ``SPAN`` windows before one."""
    slots, near = _street()
    if readings is not None:
        slots = Slots(INTERVAL)
        slots.add(readings)
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


@pytest.mark.parametrize(("minutes", "neighbour"), [(0, 1), (3, 1), (7, 1), (7, -1)])
def test_a_meter_whose_clock_is_minutes_off_fits_where_it_is_all_the_same(minutes: int, neighbour: int) -> None:
    """Its windows hold so much of the one before, or after."""
    n, near = _calm(), _street()[1]
    straight, end = _around(SPAN + 60), START + (SPAN + 60) * INTERVAL
    place = straight.places.row(np.array(3 * _before(n)[0] + _before(n)[1]))
    centre = 235 + straight.places.centre[place] + np.random.default_rng(3).normal(0, 0.08, SPAN)
    share = minutes / 15
    voltage = (1 - share) * centre + share * centre[np.clip(np.arange(SPAN) + neighbour, 0, SPAN - 1)]
    times = pl.Series("time", end - (np.arange(SPAN)[::-1]) * INTERVAL).cast(pl.Datetime("us", "UTC"))
    its = pl.DataFrame({"meter_id": near.meters[n], "time": times, "voltage_l1_v": voltage.round(1)})
    around = _around(SPAN + 60, telemetry().readings.update(its, on=["meter_id", "time"]))
    for beside, _ in around.rivals(n, _before(n), 1.0):
        change, always = around.ratio(n, _before(n), beside)
        assert change < 0
        assert always < 0
    moments = around.moments(n, _before(n), _before(n))
    assert moments is not None
    assert moments[-1] > 95 - 6 * minutes


def test_sides_are_as_a_plain_density_has_them() -> None:
    """Before or after each moment a multivariate t with the level, the own powers and the clock as open causes."""
    around, n = _around(SPAN + 60), _calm()
    moments = around.moments(n, _before(n), _before(n))
    assert moments is not None
    row = int(around.span.signals.rows(np.array([around.row[n]]))[0][0])
    place = int(around.places.row(np.array(3 * _before(n)[0] + _before(n)[1])))
    centre = around.places.centre[place]
    covariance = np.linalg.inv(around.places.precision[place])
    voltage, power = around.span.signals.voltage[row], around.span.signals.power[row]

    def side(windows: Ints) -> float:
        some = windows[np.isfinite(voltage[windows])]
        whole = covariance[np.ix_(some, some)] + 30.0**2
        for cause in (3.0 * power[:, 0], 0.3 * power[:, 1], 0.1 * _steps(centre, -1), 0.1 * _steps(centre, 1)):
            whole = whole + np.outer(cause[some], cause[some])
        rest = voltage[some] - centre[some]
        square = rest @ np.linalg.inv(whole) @ rest if len(some) else 0.0
        return float(-((24 + len(some)) * np.log1p(square / 24) + np.linalg.slogdet(whole)[1]) / 2)

    for moment in (0, 1, 17, 60, SPAN - 1, SPAN):
        plain = side(np.arange(moment)) + side(np.arange(moment, SPAN))
        assert moments[moment] == pytest.approx(plain, abs=1e-6)


def _steps(centre: Floats, towards: int) -> Floats:
    """From each window to the next, or from the one before; at the end there is none."""
    there = np.clip(np.arange(len(centre)) + towards, 0, len(centre) - 1)
    found: Floats = (centre[there] - centre) * (1 if towards > 0 else -1)
    return found


def test_a_place_that_is_not_known_has_no_moments() -> None:
    move = telemetry().moves[0]
    around = _around(move.window + 16)
    assert around.moments(move.meter, _before(move.meter), (0, 7)) is None
    assert around.ratio(move.meter, _before(move.meter), (0, 7)) == (-np.inf, -np.inf)
