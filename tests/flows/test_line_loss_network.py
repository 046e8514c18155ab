"""The network as of event time: moved meters, versions that come late, hierarchies, unknown meters."""

from __future__ import annotations

import random
from dataclasses import replace

import polars as pl
import pytest

from tests.flows.harness import Calculation, network_of, versions
from tests.flows.reference import SECOND, Reading

MINUTE = 60 * SECOND
START = 1_475_452_800 * SECOND
AREAS = {"T1": ("H1", ["A", "B"]), "T2": ("H2", ["C"])}
MOVE = START + 3 * 60 * MINUTE + 5 * MINUTE  # within a window


def readings(hours: int = 8) -> list[Reading]:
    """A takes 1.5 kWh a quarter, B 1, C 2; the heads deliver what really flows, plus a loss of 0.1 kWh."""
    found = []
    totals = dict.fromkeys(("H1", "H2", "A", "B", "C"), 0.0)
    for quarter in range(hours * 4 + 1):
        time = START + quarter * 15 * MINUTE
        found += [Reading(m, time, round(v, 6), None, 0, time + SECOND) for m, v in totals.items()]
        moved = max(0.0, min(1.0, (time + 15 * MINUTE - MOVE) / (15 * MINUTE)))
        totals["A"] += 1.5
        totals["B"] += 1.0
        totals["C"] += 2.0
        totals["H1"] += 1.0 + 1.5 * (1 - moved) + 0.1
        totals["H2"] += 2.0 + 1.5 * moved + 0.1
    return found


def from_the_move_on(container: str, device: str) -> pl.DataFrame:
    """A version of A's usage point."""
    return versions(
        [
            {
                "element_id": "UP-A",
                "kind": "UsagePoint",
                "container_id": container,
                "measuring_device_id": device,
                "valid_from": MOVE,
            }
        ]
    )


def moved() -> pl.DataFrame:
    return from_the_move_on("T2", "A")


def losses(calculation: Calculation, element: str) -> list[float]:
    rows = calculation.final_losses.filter(pl.col("element_id") == element).sort("window_start")
    return rows["loss_kwh"].round(9).to_list()


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_a_move_counts_from_its_moment_whenever_it_is_learnt(when: str) -> None:
    calculation = Calculation(shards=2)
    calculation.network(network_of(AREAS))
    if when == "before":
        calculation.network(moved())
    calculation.readings(readings()[:100])
    if when == "between":
        calculation.network(moved())
    calculation.restart()
    calculation.readings(readings()[100:])
    if when == "after":
        calculation.network(moved())
    calculation.end()
    assert losses(calculation, "T1") == pytest.approx([0.1] * 32, abs=1e-6)
    assert losses(calculation, "T2") == pytest.approx([0.1] * 32, abs=1e-6)
    assert losses(calculation, "R") == pytest.approx([0.2] * 32, abs=1e-6)


def test_the_order_of_network_and_readings_does_not_show() -> None:
    results = []
    for seed in range(6):
        chance = random.Random(seed)
        steps: list[list[Reading] | None] = [readings()[i : i + 40] for i in range(0, 165, 40)]
        if seed:
            chance.shuffle(steps)
        steps.insert(chance.randint(0, len(steps)), None)
        calculation = Calculation(shards=1 + seed % 3)
        calculation.network(network_of(AREAS))
        for step in steps:
            if step is None:
                calculation.network(moved())
                calculation.network(moved())  # twice is once
            else:
                calculation.readings(step)
        calculation.end()
        results.append(calculation.final_losses)
    assert all(result.equals(results[0]) for result in results[1:])


def test_when_a_rating_is_learnt_does_not_show() -> None:
    """A jumps by 30 kWh, too much for a customer at 50 kVA, and at one of the readings by 3 kWh, which he may take."""
    jumped = [
        replace(r, imported=r.imported + 30 * (r.time > START + 3600 * SECOND) + 3 * (r.time > START + 7200 * SECOND))
        if r.meter == "A"
        else r
        for r in readings()
    ]
    rated = [
        versions([{"element_id": "T1", "kind": "PowerTransformer", "container_id": "R", "valid_from": 0, **more}])
        for more in (
            {"measuring_device_id": "H1", "rated_kva": 400.0},
            {"measuring_device_id": "H1", "rated_kva": 50.0, "valid_from": 1},
        )
    ]
    results = []
    for seed in range(12):
        chance = random.Random(seed)
        steps: list[list[Reading] | pl.DataFrame] = [jumped[i : i + 20] for i in range(0, 165, 20)]
        if seed:
            chance.shuffle(steps)
        for version in rated[seed % 2 :]:
            steps.insert(chance.randint(0, len(steps)), version)
        calculation = Calculation(shards=1 + seed % 3)
        calculation.network(network_of(AREAS))
        for step in steps:
            if isinstance(step, pl.DataFrame):
                calculation.network(step)
            else:
                calculation.readings(step)
            calculation.restart()
        calculation.end()
        results.append((calculation.final_losses, calculation.final_energies))
    for many in (results[::2], results[1::2]):
        assert all(losses.equals(many[0][0]) and energies.equals(many[0][1]) for losses, energies in many[1:])
    # It can have been at 400 kVA, as some version said; never at 50.
    assert min(losses(calculation, "T1")) == pytest.approx(-2.9)
    assert results[0][0].filter(pl.col("element_id") == "T1")["loss_kwh"].min() == pytest.approx(-29.9)


@pytest.mark.parametrize("first", ["rating", "move", "network"])
def test_a_move_from_a_small_transformer_to_one_of_unknown_rating(first: str) -> None:
    """At T1, which turns out to have 10 kVA, A could not take 6 kWh a quarter; at T2 it can."""
    jumped = [replace(r, imported=round(4 * r.imported, 6)) if r.meter == "A" else r for r in readings()]
    rating = versions(
        [
            {
                "element_id": "T1",
                "kind": "PowerTransformer",
                "container_id": "R",
                "measuring_device_id": "H1",
                "rated_kva": 10.0,
                "valid_from": START,
            }
        ]
    )
    calculation = Calculation(shards=2)
    calculation.network(network_of(AREAS))
    changes = [moved(), rating] if first == "move" else [rating, moved()]
    if first == "network":
        for change in changes:
            calculation.network(change)
    calculation.readings(jumped[:120])
    if first != "network":
        for change in changes:
            calculation.network(change)
            calculation.restart()
    calculation.readings(jumped[120:])
    calculation.end()
    energies = calculation.final_energies.filter(pl.col("meter_id") == "A")
    assert energies["import_kwh"].to_list() == pytest.approx([6.0] * 32)
    assert set(energies["measured_share"]) == {1.0}
    assert losses(calculation, "T1") == pytest.approx([-4.4] * 12 + [-1.4] + [0.1] * 19, abs=1e-6)
    total = calculation.final_losses.filter(pl.col("element_id") == "R")["loss_kwh"]
    assert total.to_list() == pytest.approx([-4.3] * 32, abs=1e-6)


def test_a_region_without_a_meter_of_its_own_is_the_sum_of_its_areas() -> None:
    calculation = Calculation()
    calculation.network(network_of(AREAS))
    calculation.readings(readings())
    calculation.end()
    rows = calculation.final_losses
    region = rows.filter(pl.col("element_id") == "R").sort("window_start")
    areas = (
        rows.filter(pl.col("element_id") != "R")
        .group_by("window_start")
        .agg(pl.col("energy_in_kwh", "energy_out_kwh", "expected_meters", "reporting_meters").sum())
        .sort("window_start")
    )
    for name in ("energy_in_kwh", "energy_out_kwh", "expected_meters", "reporting_meters"):
        assert region[name].to_list() == pytest.approx(areas[name].to_list())
    assert set(region["region_id"]) == {"R"}


def test_a_region_is_as_complete_as_what_is_measured_for_it() -> None:
    """The heads of its areas measure nothing for an element with a head of its own: they do not make up for others."""
    heads = {"F": "HF", "T1": "H1", "T2": "H2"}
    containers = {"F": "R", "T1": "F", "T2": "F"}
    rows: list[dict[str, object]] = [{"element_id": "R", "kind": "SubGeographicalRegion"}]
    rows += [
        {
            "element_id": element,
            "kind": "Feeder" if element == "F" else "PowerTransformer",
            "container_id": containers[element],
            "measuring_device_id": head,
        }
        for element, head in heads.items()
    ]
    rows += [
        {"element_id": f"UP-{meter}", "kind": "UsagePoint", "container_id": area, "measuring_device_id": meter}
        for meter, area in {"A": "T1", "B": "T1", "C": "T2"}.items()
    ]
    calculation = Calculation()
    calculation.network(versions([{"valid_from": 0, **row} for row in rows]))
    for meter in ("HF", "H1", "H2", "A", "B", "C"):
        missing = {"A", "B"} if meter in ("A", "B") else set()
        calculation.readings(
            [
                Reading(meter, START + step * 15 * MINUTE, float(step), None, 0, START + step * 15 * MINUTE + SECOND)
                for step in range(9)
                if not (meter in missing and step == 4)
            ]
        )
    calculation.end()
    at = pl.col("window_start").dt.epoch("us") == START + 45 * MINUTE
    rows_then = calculation.final_losses.filter(at)
    found = dict(rows_then.select("element_id", "completeness").iter_rows())
    assert found == pytest.approx({"R": 2 / 4, "F": 2 / 4, "T1": 1 / 3, "T2": 1})
    assert dict(rows_then.select("element_id", "reporting_meters").iter_rows())["F"] == 2


def test_a_missing_reading_is_not_zero() -> None:
    calculation = Calculation()
    calculation.network(network_of(AREAS))
    calculation.readings([r for r in readings(3) if not (r.meter == "B" and r.time == START + 60 * MINUTE)])
    calculation.end()
    rows = calculation.final_losses.filter(pl.col("element_id") == "T1").sort("window_start")
    around = rows.filter(pl.col("window_start").dt.epoch("us").is_in([START + 45 * MINUTE, START + 60 * MINUTE]))
    assert around["loss_kwh"].to_list() == pytest.approx([0.1, 0.1], abs=1e-9)
    assert around["status"].to_list() == ["INCOMPLETE", "INCOMPLETE"]
    assert around["reporting_meters"].to_list() == [2, 2]
    assert around["completeness"].to_list() == pytest.approx([2 / 3, 2 / 3])
    others = rows.filter(pl.col("status") == "COMPLETE")
    assert others.height == rows.height - 2
    assert around["uncertainty_kwh"].min() > others["uncertainty_kwh"].max()  # type: ignore[operator]


def test_a_century_without_readings_is_passed_over() -> None:
    calculation = Calculation(shards=2)
    calculation.network(network_of(AREAS))
    calculation.network(moved())
    century = 100 * 365 * 24 * 60 * MINUTE
    calculation.readings(readings())
    later = [replace(r, time=r.time + century, imported=r.imported + 50) for r in readings(2)]
    later = [replace(r, received=r.time + SECOND) for r in later]
    calculation.readings(later[:20])
    calculation.restart()
    calculation.readings(later[20:])
    calculation.end()
    rows = calculation.final_losses.filter(pl.col("element_id") == "T2")
    years = rows.group_by(pl.col("window_start").dt.year()).len().sort("window_start").rows()
    # Behind the last reading its energy is estimated for the forecast, 8 h; before the next one for the backcast, 1 h.
    assert years == [(2016, (8 + 8) * 4 + 1), (2116, (1 + 2) * 4)]


def test_after_a_long_silence_it_does_not_matter_how_the_log_was_cut() -> None:
    hours = 24 * 9
    rows = [
        Reading(meter, START + hour * 60 * MINUTE, round(level + rate * hour, 6), None, 0, None)
        for hour in range(hours)
        for meter, level, rate in (("H1", 100.0, 3.0), ("M1", 10.0, 1.0), ("M2", 20.0, 2.0))
        # One reading, then seven days of silence.
        if meter != "M1" or hour == 0 or hour > 24 * 7
    ]
    found = []
    for size in (len(rows), 12):
        calculation = Calculation(shards=2)
        calculation.network(network_of({"T1": ("H1", ["M1", "M2"])}))
        for begin in range(0, len(rows), size):
            calculation.readings(rows[begin : begin + size])
        calculation.end()
        found.append((calculation.final_losses, calculation.final_energies))
    assert found[0][0].equals(found[1][0])
    assert found[0][1].equals(found[1][1])


def exchanged() -> pl.DataFrame:
    """A second meter, A2, takes the place of A."""
    return from_the_move_on("T1", "A2")


def test_a_meter_that_was_taken_out_is_not_estimated_whenever_that_is_learnt() -> None:
    """Else its energies and those of the new one would count twice in a sum over meters."""
    old = [r for r in readings() if r.meter != "A" or r.time <= MOVE]
    at_move = 1.5 * (MOVE - START) / (15 * MINUTE)
    new = [
        Reading("A2", max(MOVE, START + n * 15 * MINUTE), 0.0, None, 0, None)
        for n in range(int((MOVE - START) // (15 * MINUTE)), 33)
    ]
    new = [replace(r, imported=round(1.5 * (r.time - START) / (15 * MINUTE) - at_move, 6)) for r in new]
    last = Reading("A", MOVE, round(at_move, 6), None, 0, None)
    every = sorted([*old, last, *new], key=lambda r: r.time)
    results = []
    for seed in range(16):
        chance = random.Random(seed)
        steps: list[list[Reading] | pl.DataFrame] = [every[i : i + 20] for i in range(0, len(every), 20)]
        if seed:
            chance.shuffle(steps)
        for version in (network_of(AREAS), exchanged()):
            steps.insert(0 if seed % 4 == 0 else chance.randint(0, len(steps)), version)
        calculation = Calculation(shards=1 + seed % 3)
        for step in steps:
            if isinstance(step, pl.DataFrame):
                calculation.network(step)
            else:
                calculation.readings(step)
            calculation.restart()
        calculation.end()
        results.append(calculation.final_energies)
    assert all(energies.equals(results[0]) for energies in results[1:])
    window = 15 * MINUTE
    own = results[0].filter(pl.col("meter_id").is_in(["A", "A2"])).sort("window_start")
    by_window = (
        own.group_by("window_start", maintain_order=True).agg(pl.col("import_kwh").sum())["import_kwh"].to_list()
    )
    inside = int((MOVE - START) // window)
    assert by_window[:inside] == pytest.approx([1.5] * inside)
    assert by_window[inside + 1 :] == pytest.approx([1.5] * (32 - inside - 1))
    # In the window of the exchange each is stated for all of it.
    assert 1.5 <= by_window[inside] <= 3.0 + 1e-6
