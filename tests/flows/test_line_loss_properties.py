"""The core property: the same readings in any order, duplicated, cut, sharded and restarted give the same rows."""

from __future__ import annotations

import random

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flows.harness import RULES, Calculation, network_of
from tests.flows.reference import SECOND, Reading, line_losses

MINUTE = 60 * SECOND
START = 1_475_452_800 * SECOND
AREAS = {"T1": ("H1", ["A", "B"]), "T2": ("H2", ["C", "D", "E"])}
METERS = ["H1", "A", "B", "H2", "C", "D", "E"]


@st.composite
def registers(draw: st.DrawFn) -> list[Reading]:
    """Up to 20 hours of readings: odd times, gaps, resets, roll-overs, jumps, wrong ones, corrections, bad quality."""
    readings: list[Reading] = []
    for meter in METERS:
        if draw(st.integers(0, 9)) == 0:
            continue
        minute: float = draw(st.integers(0, 200))
        value = draw(st.sampled_from([0.0, 12.5, 9_990.0, 99_999.0]))
        exported = draw(st.sampled_from([None, 3.0]))
        for _ in range(draw(st.integers(1, 24))):
            time = START + int(minute * MINUTE) + draw(st.sampled_from([0, 0, 7 * SECOND, 1500]))
            wrong = draw(st.sampled_from([0.0] * 12 + [-30.0, -0.7, 0.7, 60.0, 200.0]))
            readings.append(
                Reading(
                    meter,
                    time,
                    max(round(value + wrong, 3), 0.0),
                    draw(st.sampled_from([exported] * 4 + [None])),
                    draw(st.sampled_from([0] * 9 + [0x80, 0x20])),
                    time + SECOND,
                )
            )
            kind = draw(st.integers(0, 29))
            if kind == 0:
                readings.append(
                    Reading(meter, time, round(value + 1, 3), exported, 0, time + draw(st.integers(0, 2)) * SECOND)
                )
            minute += draw(st.sampled_from([15] * 6 + [0.5, 5, 7, 30, 47, 420]))
            value += draw(st.floats(0, 5).map(lambda x: round(x, 3)))
            if kind == 1:
                value = 0.0
            elif kind == 2:
                value += 100_000
            elif kind == 3:
                value %= 10_000
            if exported is not None:
                exported = round(exported + draw(st.integers(0, 3)) / 10, 3)
    return [r for r in readings if r.time < START + 22 * 60 * MINUTE]


def run(readings: list[Reading], seed: int, shards: int) -> Calculation:
    """Arrival in random order, with copies, in random batches, with restarts in between."""
    chance = random.Random(seed)
    arriving = readings + chance.choices(readings, k=len(readings) // 3)
    chance.shuffle(arriving)
    calculation = Calculation(shards)
    calculation.network(network_of(AREAS))
    calculation.feed(arriving, chance, [1, 3, 20, 200])
    calculation.end()
    return calculation


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(readings=registers().filter(bool), seed=st.integers(0, 2**32), shards=st.sampled_from([1, 2, 3]))
def test_any_order_gives_the_reference_rows(readings: list[Reading], seed: int, shards: int) -> None:
    in_order = Calculation()
    in_order.network(network_of(AREAS))
    in_order.readings(readings)
    in_order.end()
    shuffled = run(readings, seed, shards)

    assert shuffled.final_losses.equals(in_order.final_losses)
    assert shuffled.final_energies.equals(in_order.final_energies)
    expected = line_losses(readings, AREAS, RULES)
    rows = in_order.final_losses
    found = {}
    if rows.height:
        areas = rows.filter(pl.col("element_id") != "R")
        found = {
            (r["element_id"], int(r["start"])): (
                round(r["energy_in_kwh"] * 1e9),
                round(r["energy_out_kwh"] * 1e9),
                r["expected_meters"],
                r["reporting_meters"],
                round(r["completeness"], 9),
                r["status"],
            )
            for r in areas.with_columns(pl.col("window_start").to_physical().alias("start")).to_dicts()
        }
    assert found == expected
    counts = shuffled.counts
    assert (
        counts["taken"] == counts["used"] + counts["duplicate"] + counts["late"] == len(readings) + len(readings) // 3
    )


def long_history(chance: random.Random, step: int) -> list[Reading]:
    """A fortnight of two areas, with bursts of wrong readings, long gaps, resets, corrections, exports now and then."""
    readings = []
    for meter in METERS:
        minute, value, exported = (
            chance.randint(0, 100),
            chance.choice([0.0, 9_900.0, 500.0]),
            chance.choice([None, 3.0]),
        )
        wrong, burst = 0.0, 0
        while minute < 14 * 1440:
            if chance.random() < 0.05:
                wrong, burst = chance.choice([-50, -5, -1, 1, 5, 50, 200, -1e9]), chance.randint(1, 10)
            time = START + minute * MINUTE
            imported = max(round(value + (wrong if burst else 0.0), 3), 0.0)
            export = None if exported is None or chance.random() < 0.03 else round(exported, 3)
            readings.append(Reading(meter, time, imported, export, 0, time + SECOND))
            if chance.random() < 0.05:
                other = max(round(imported + chance.choice([-1.0, 1.0, 30.0, -wrong]), 3), 0.0)
                readings.append(Reading(meter, time, other, export, 0, time + chance.choice([1, 2, 900]) * SECOND))
            burst = max(burst - 1, 0)
            minute += chance.choice([step] * 15 + [step * 3, step * 10, 2000 if chance.random() < 0.3 else step])
            value += chance.choice([0.0, 0.1, 1.0, 3.0])
            if exported is not None:
                exported += chance.choice([0.0, 0.2, 1.0])
            if chance.random() < 0.01:
                value = chance.choice([0.0, 2.0, value % 10_000])
    return sorted(readings, key=lambda r: r.time)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), step=st.sampled_from([15, 30, 60]))
def test_delays_of_a_day_over_a_fortnight_change_nothing(seed: int, step: int) -> None:
    chance = random.Random(seed)
    readings = long_history(chance, step)
    in_order = Calculation()
    in_order.network(network_of(AREAS))
    in_order.readings(readings)
    in_order.end()
    arriving = [(r.time + chance.choice([0, 0, chance.randint(0, 86_000)]) * SECOND, r) for r in readings]
    arriving += [
        (r.time + chance.randint(0, 86_000) * SECOND, r) for r in chance.choices(readings, k=len(readings) // 5)
    ]
    arriving.sort(key=lambda one: one[0])
    delayed = Calculation(chance.choice([1, 2, 3]))
    delayed.network(network_of(AREAS))
    while arriving:
        size = chance.choice([1, 20, 200, 1000])
        delayed.readings([r for _, r in arriving[:size]])
        del arriving[:size]
        if chance.random() < 0.05:
            delayed.restart()
    delayed.end()
    assert delayed.final_losses.equals(in_order.final_losses)
    assert delayed.final_energies.equals(in_order.final_energies)
    assert delayed.counts["late"] == 0


@pytest.mark.parametrize(("versions", "second"), [(1, 1), (2, 40), (3, 40), (4, 60), (8, 200)])
def test_a_nearer_reading_outweighs_the_one_it_replaces(versions: int, second: int) -> None:
    """What is estimated rests on the last reading at least an hour before; that one was corrected some times."""

    def reading(at: int, value: float, receipt: int = 1) -> Reading:
        return Reading("A", START + at * SECOND, value, None, 0, START + (at + receipt) * SECOND)

    heads = [Reading("H1", START + n * 15 * MINUTE, 500.0 + 2 * n, None, 0, None) for n in range(33)]
    readings = [reading(0, 1000.0), *(reading(0, 1000.2, receipt) for receipt in range(2, versions + 1))]
    readings += [reading(165 * 60, 1004.0), reading(180 * 60, 1004.3), *heads]
    nearer = reading(second, 1002.0)
    results = []
    for parts in ([[*readings, nearer]], [readings, [nearer]]):
        calculation = Calculation()
        calculation.network(network_of({"T1": ("H1", ["A"])}))
        for part in parts:
            calculation.readings(part)
        calculation.end()
        results.append((calculation.final_losses, calculation.final_energies))
    assert results[0][0].equals(results[1][0])
    assert results[0][1].equals(results[1][1])
