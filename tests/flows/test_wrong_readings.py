"""Registers that roll over, reset, jump, or are read wrongly: what is energy, and what is not.

A meter that takes 1 kWh a quarter hour, or about so, with something wrong in the middle. The energies of its windows
must be what it really took, as far as anybody could tell, and what was not measured must not be called so.
"""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

from tests.flows.harness import Calculation, versions
from tests.flows.reference import SECOND, Reading

QUARTER = 15 * 60 * SECOND
START = 1_475_452_800 * SECOND


def calculated(
    registers: list[float | None],
    network: dict[str, Any],
    seed: int | None = None,
    exports: list[float | None] | None = None,
) -> pl.DataFrame:
    """MeterEnergy of a meter that is read every quarter; None is a missing reading, of ``exports`` a missing value."""
    rows: list[dict[str, object]] = [
        {"element_id": "T", "kind": "PowerTransformer", "container_id": "F", "rated_kva": network.get("kva", 630.0)},
        {"element_id": "F", "kind": "Feeder", "container_id": "R", "measuring_device_id": network.get("feeder")},
        {"element_id": "UP", "kind": "UsagePoint", "container_id": "T", "measuring_device_id": network.get("meter")},
    ]
    exported = exports or [None] * len(registers)
    readings = [
        Reading("M", START + place * QUARTER, value, exported[place], 0, START + place * QUARTER + SECOND)
        for place, value in enumerate(registers)
        if value is not None
    ]
    calculation = Calculation()
    calculation.network(versions([{"valid_from": 0, **row} for row in rows]))
    if seed is not None:
        random.Random(seed).shuffle(readings)
    for reading in readings:
        calculation.readings([reading])
    calculation.end()
    return calculation.final_energies


def energies(
    registers: list[float | None], network: dict[str, Any], seed: int | None = None
) -> list[tuple[float, bool]]:
    """(kWh, whether all of it is measured) of each quarter between the registers."""
    found = calculated(registers, network, seed).select("import_kwh", "measured_share").rows()
    return [(round(energy, 6), share == 1) for energy, share in found]


CUSTOMER: dict[str, Any] = {"meter": "M"}
FEEDER: dict[str, Any] = {"feeder": "M"}
UNRATED: dict[str, Any] = {"meter": "M", "kva": None}

# What is read after 100, 101, 102, 103 and before 10x, 10x+1, ...; and how many quarters cannot be measured.
WRONG = {
    "a dip": ([50.0], 2),
    "a small dip, or one before it a small spike": ([102.3], 3),
    "zero once": ([0.0], 2),
    "a spike": ([304.0], 2),
    "a small spike, or one after it a small dip": ([105.5], 3),
    "a spike to no more than what comes next": ([104.9], 0),
    "a spike and a dip": ([300.0, 50.0], 3),
    "a dip and a spike": ([50.0, 300.0], 3),
    "zeros for three hours": ([0.0] * 12, 2),
    "the same wrong value for three hours": ([180.0] * 12, 2),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_what_is_read_wrongly_is_not_energy(wrong: str, seed: int | None) -> None:
    values, doubtful = WRONG[wrong]
    registers = [float(value) for value in range(100, 104)]
    registers += values
    registers += [float(value) for value in range(104 + len(values), 112 + len(values))]
    found = energies(list(registers), CUSTOMER, seed)
    assert [measured for _, measured in found].count(False) == doubtful
    # Between the wrong values themselves nothing was seen to be taken.
    assert sum(energy for energy, _ in found) == pytest.approx(len(registers) - 1, abs=len(values) + 0.6)
    assert all(0 <= energy < 2 for energy, _ in found)


@pytest.mark.parametrize(
    ("top", "gap"), [(9_900.0, 0), (9_950.0, 0), (99_900.0, 0), (9_319.0, 20), (9_900.0, 20), (99_000.0, 20)]
)
@pytest.mark.parametrize("who", ["customer", "unrated"])
def test_a_reset_is_not_a_roll_over(top: float, gap: int, who: str) -> None:
    network = CUSTOMER if who == "customer" else UNRATED
    before = [top - 3 + value for value in range(4)]
    found = energies([*before, *[None] * gap, 0.0, 1.0, 2.0, 3.0], network)
    assert [energy for energy, _ in found] == pytest.approx([1.0] * (len(before) + gap + 3))
    assert [measured for _, measured in found].count(False) == gap + 1


@pytest.mark.parametrize("modulus", [1e4, 1e5])
@pytest.mark.parametrize("power", [1.0, 250.0])
def test_a_roll_over_is_seen_through(modulus: float, power: float) -> None:
    registers: list[float | None] = [(modulus - 3.4 * power + power * value) % modulus for value in range(8)]
    found = energies(registers, CUSTOMER)
    assert [energy for energy, _ in found] == pytest.approx([power] * 7)
    assert all(measured for _, measured in found)


def test_a_roll_over_within_a_gap_is_seen_through() -> None:
    registers: list[float | None] = [9_990.0, 9_991.0, *[None] * 11, 3.0, 4.0]
    assert [energy for energy, _ in energies(registers, CUSTOMER)] == pytest.approx([1.0] * 14)


@pytest.mark.parametrize(
    ("network", "jump"),
    [(CUSTOMER, 330.0), (UNRATED, 5_000.0), (FEEDER, 330.0), ({**CUSTOMER, "kva": 50.0}, 40.0)],
)
def test_a_jump_is_not_energy(network: dict[str, Any], jump: float) -> None:
    found = energies([100.0, 101.0, 102.0, 103.0 + jump, 104.0 + jump, 105.0 + jump], network)
    assert found == [(1.0, True), (1.0, True), (pytest.approx(1.0), False), (1.0, True), (1.0, True)]


def test_a_feeder_that_reads_zero_once_delivers_what_it_did() -> None:
    registers: list[float | None] = [72_000.0, 72_150.0, 72_300.0, 0.0, 72_600.0, 72_750.0]
    found = energies(registers, FEEDER)
    assert [energy for energy, _ in found] == pytest.approx([150.0] * 5)
    assert [measured for _, measured in found] == [True, True, False, False, True]


def test_a_short_great_load_is_energy() -> None:
    """A fast charging station: idle, a quarter hour at 150 kW, idle."""
    registers: list[float | None] = [100.0, 100.1, 100.2, 137.7, 137.8, 137.9]
    assert energies(registers, CUSTOMER)[2] == (37.5, True)


def test_after_a_reset_a_register_that_had_been_low_counts_again() -> None:
    low: list[float | None] = [float(value) for value in range(20)]
    found = energies([*low, *low], CUSTOMER)
    assert [energy for energy, _ in found] == pytest.approx([1.0] * 39)
    assert [measured for _, measured in found].count(False) < 10


@pytest.mark.parametrize("gap", [4, 8, 12, 20, 22])
@pytest.mark.parametrize("wrong", [250.0, -100.0])
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("seed", [None, 1])
def test_a_wrong_reading_beside_a_gap_is_not_energy(gap: int, wrong: float, where: str, seed: int | None) -> None:
    registers: list[float | None] = [100.0 + place for place in range(20 + gap)]
    registers[10 : 10 + gap] = [None] * gap
    at = 9 if where == "before" else 10 + gap
    registers[at] = registers[at] + wrong  # type: ignore[operator]
    found = energies(registers, CUSTOMER, seed)
    assert [energy for energy, _ in found] == pytest.approx([1.0] * (19 + gap))
    assert [measured for _, measured in found].count(False) == gap + 2


@pytest.mark.parametrize("usual", [1.0, 150.0])
@pytest.mark.parametrize("wrong", [0.0, 5.0])
@pytest.mark.parametrize("modulus", [1e4, 1e5])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_low_once_near_the_top_is_no_roll_over(usual: float, wrong: float, modulus: float, seed: int | None) -> None:
    registers: list[float | None] = [modulus - 8.5 * usual + usual * place for place in range(8)]
    registers[5] = wrong
    found = energies(registers, CUSTOMER, seed)
    assert [energy for energy, _ in found] == pytest.approx([usual] * 7)
    assert [measured for _, measured in found] == [True] * 4 + [False] * 2 + [True]


def test_high_once_after_a_roll_over_is_no_other_roll_over() -> None:
    registers: list[float | None] = [9_998.0, 9_999.0, 0.0, 1.0, 9_999.5, 3.0, 4.0, 5.0]
    found = energies(registers, CUSTOMER)
    assert [energy for energy, _ in found] == pytest.approx([1.0] * 7)


EXPORTS = [10.0 + 0.5 * place for place in range(13)]


@pytest.mark.parametrize(
    "missing", [[], [6], [4, 5, 6], [1, 2, 3, 5, 6, 7, 9, 10, 11], [0, 4], [12], list(range(6, 13))]
)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_message_without_the_export_register_says_nothing_of_it(missing: list[int], seed: int | None) -> None:
    exports: list[float | None] = [None if place in missing else value for place, value in enumerate(EXPORTS)]
    frame = calculated([100.0 + place for place in range(13)], CUSTOMER, seed, exports)
    assert frame["import_kwh"].to_list() == pytest.approx([1.0] * 12)
    assert frame["export_kwh"].to_list() == pytest.approx([0.5] * 12)
    measured = [place not in missing and place + 1 not in missing for place in range(12)]
    assert (frame["measured_share"] == 1).to_list() == measured


def test_the_export_register_may_be_wrong_while_the_other_is_right() -> None:
    exports: list[float | None] = [*EXPORTS[:6], 100.0, *EXPORTS[7:]]
    frame = calculated([100.0 + place for place in range(13)], CUSTOMER, None, exports)
    assert frame["import_kwh"].to_list() == pytest.approx([1.0] * 12)
    assert frame["export_kwh"].to_list() == pytest.approx([0.5] * 12)
    assert (frame["measured_share"] < 1).sum() == 2


@pytest.mark.parametrize("every", [2, 4, 8])
@pytest.mark.parametrize("late", [0.0, 2 / 900])
def test_a_meter_that_falls_silent_is_not_zero(every: int, late: float) -> None:
    """It is read every half hour, hour or two hours, maybe some seconds later each time, and then no more."""
    readings = [
        Reading("M", START + round(place * (1 + late) * QUARTER), 100.0 + place * (1 + late), None, 0, None)
        for place in range(0, 24, every)
    ]
    other = [Reading("X", START + place * QUARTER, 5.0 * place, None, 0, None) for place in range(41)]
    calculation = Calculation()
    calculation.readings(readings + other)
    calculation.end()
    silent = calculation.final_energies.filter(pl.col("meter_id") == "M")
    assert silent.height == 40
    assert silent["import_kwh"].to_list() == pytest.approx([1.0] * 40)
    assert silent["measured_share"].to_list()[24:] == [0.0] * 16
