"""Technical losses above the areas: transformers, and the lines of a feeder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.flows.harness import Calculation, versions
from tests.flows.reference import SECOND, Reading

QUARTER = 900 * SECOND
START = 1_475_452_800 * SECOND
VOLTS = 5774.0
DAYS = 2
A, B = 40.0, 60.0  # kWh a quarter that the customers take
NO_LOAD, LOAD, RATED = 0.5, 6.0, 400.0
KVAR = 30.0  # at T1's head
R1, R2 = 0.3, 0.7  # ohm


def lost_in_transformer(kwh: float, kvar: float) -> float:
    """IEC 60076-1: P0 + Pk (S / Sn)^2, in a quarter of an hour."""
    return (NO_LOAD + LOAD * ((kwh * 4) ** 2 + kvar**2) / RATED**2) / 4


def lost_in_line(kwh: float, kvarh: float, ohm: float) -> float:
    """3 I^2 R with I = S / (3 U), kWh in a quarter."""
    ampere = 1000 * np.hypot(kwh * 4, kvarh * 4) / (3 * VOLTS)
    return float(3 * ampere**2 * ohm / 1000 / 4)


def network(terminal: int | None = 2, *, feeder_head: str | None = "HF", open_: bool = False) -> pl.DataFrame:
    """R > bus > F: N0 - breaker - N1 - T1, N1 - N2 - T2; a customer below each transformer."""
    transformer = {
        "kind": "PowerTransformer",
        "container_id": "F",
        "rated_kva": RATED,
        "no_load_loss_kw": NO_LOAD,
        "load_loss_kw": LOAD,
        "measuring_terminal": terminal,
    }
    line = {"kind": "ACLineSegment", "container_id": "F"}
    rows: list[dict[str, object]] = [
        {"element_id": "R", "kind": "SubGeographicalRegion"},
        {"element_id": "BB", "kind": "BusbarSection", "container_id": "R", "terminal_1": "N0"},
        {"element_id": "F", "kind": "Feeder", "container_id": "BB", "measuring_device_id": feeder_head},
        {"element_id": "Q", "kind": "Breaker", "container_id": "F", "terminal_1": "N0", "terminal_2": "N0b"},
        {**line, "element_id": "L1", "terminal_1": "N0b", "terminal_2": "N1", "r_ohm": R1},
        {**line, "element_id": "L2", "terminal_1": "N1", "terminal_2": "N2", "r_ohm": R2, "normal_open": open_},
        {**transformer, "element_id": "T1", "terminal_1": "N1", "measuring_device_id": "H1"},
        {**transformer, "element_id": "T2", "terminal_1": "N2", "measuring_device_id": "H2"},
        {"element_id": "UP-A", "kind": "UsagePoint", "container_id": "T1", "measuring_device_id": "A"},
        {"element_id": "UP-B", "kind": "UsagePoint", "container_id": "T2", "measuring_device_id": "B"},
    ]
    return versions([{"valid_from": 0, **row} for row in rows])


def readings(heads: dict[str, float]) -> list[Reading]:
    """Registers that rise evenly, as far from each other as kWh a quarter say."""
    found = []
    for step in range(DAYS * 96 + 1):
        time = START + step * QUARTER
        for meter, kwh in {"A": A, "B": B, **heads}.items():
            more = {"voltage": VOLTS} if meter == "HF" else {"reactive": KVAR} if meter == "H1" else {}
            found.append(Reading(meter, time, round(step * kwh, 6), None, 0, time + SECOND, **more))
    return found


def technical(frame: pl.DataFrame, heads: dict[str, float], shards: int = 1) -> dict[str, float]:
    calculation = Calculation(shards)
    calculation.network(frame)
    calculation.readings(readings(heads))
    calculation.end()
    rows = calculation.final_losses.group_by("element_id").agg(pl.col("technical_loss_kwh").median())
    return dict(rows.iter_rows())


def expected() -> tuple[float, float, float]:
    one, two = lost_in_transformer(A, KVAR), lost_in_transformer(B, 0)
    lines = lost_in_line(A + B + one + two, KVAR / 4, R1) + lost_in_line(B + two, 0, R2)
    return one, two, lines


@pytest.mark.parametrize("shards", [1, 3])
def test_a_feeder_loses_in_its_lines_and_its_transformers(shards: int) -> None:
    one, two, lines = expected()
    found = technical(network(), {"H1": A, "H2": B, "HF": A + B + one + two + lines}, shards)
    assert found["F"] == pytest.approx(one + two + lines, rel=1e-3)
    assert found["R"] == found["F"]  # it has no head of its own
    assert found["T1"] == found["T2"] == 0  # measured at their secondary sides, without lines


def test_what_a_transformer_loses_goes_by_its_voltage() -> None:
    """At 1.02 of its rated voltage 1.04 of its no-load loss, and load loss by 1.02 times less current."""
    one, two, lines = expected()
    heads = {"H1": A, "H2": B, "HF": A + B + one + two + lines}
    calculation = Calculation(1)
    calculation.network(network())
    told = [replace(r, voltage=1.02 * 400 / 3**0.5) if r.meter == "H2" else r for r in readings(heads)]
    calculation.readings(told)
    calculation.end()
    found = calculation.final_losses.filter(pl.col("element_id") == "F")["technical_loss_kwh"].median()
    more = (NO_LOAD * (1.02**2 - 1) + LOAD * (B * 4 / RATED) ** 2 * (1.02**-2 - 1)) / 4
    assert found == pytest.approx(one + two + lines + more, rel=1e-3)  # the effect is 13 times as large


def test_measured_at_the_primary_side_a_transformer_loses_within_its_own_balance() -> None:
    one, two, _ = expected()
    found = technical(network(1), {"H1": A + one, "H2": B + two, "HF": A + B + one + two + 0.5})
    # Its loading is what its head meters, its own losses included.
    assert found["T1"] == pytest.approx(lost_in_transformer(A + one, KVAR), rel=1e-3)
    lines = lost_in_line(A + B + one + two, KVAR / 4, R1) + lost_in_line(B + two, 0, R2)
    assert found["F"] == pytest.approx(found["T1"] + found["T2"] + lines, rel=1e-3)


def test_without_a_voltage_only_transformers_are_told() -> None:
    one, two, _ = expected()
    found = technical(network(feeder_head="HX"), {"H1": A, "H2": B, "HX": A + B + one + two + 0.5})
    assert found["F"] == pytest.approx(one + two, rel=1e-3)


def test_nothing_flows_through_an_open_switch() -> None:
    one, two, _ = expected()
    found = technical(network(open_=True), {"H1": A, "H2": B, "HF": A + B + one + two + 0.5})
    assert found["F"] == pytest.approx(one + two + lost_in_line(A + one, KVAR / 4, R1), rel=1e-3)


def test_where_an_area_is_not_known_what_is_lost_above_it_is_not() -> None:
    """H2 has no readings: nothing can be said of T2."""
    found: dict[str, float | None] = dict(technical(network(), {"H1": A, "HF": A + B + 2.0}))
    assert found["F"] is None
    assert found["T1"] == 0


def test_above_areas_the_uncertainty_is_that_of_the_own_head_and_of_what_customers_took() -> None:
    one, two, lines = expected()
    heads = {"H1": A, "H2": B, "HF": A + B + one + two + lines}
    calculation = Calculation(1)
    calculation.network(network())
    calculation.readings(readings(heads))
    calculation.end()
    rows = calculation.final_losses.filter(pl.col("element_id").is_in(["F", "R"]))
    half = rows.group_by("element_id").agg(pl.col("systematic_uncertainty_kwh").median()).sort("element_id")
    own, below = 0.005 * heads["HF"] / np.sqrt(3), 0.01 * np.hypot(A, B) / np.sqrt(3)
    # Of customers at most what their class says; of the head all of it.
    for value in half["systematic_uncertainty_kwh"]:
        assert 2.45 * own <= value * 1.001 <= 2.45 * np.hypot(own, below) * 1.02


def test_absurd_reactive_power_and_voltages_change_nothing() -> None:
    one, two, lines = expected()
    heads = {"H1": A, "H2": B, "HF": A + B + one + two + lines}
    calculation = Calculation(1)
    calculation.network(network())
    wild = [
        replace(reading, reactive=1e12 if reading.meter == "H2" else reading.reactive)
        if place % 50
        else replace(reading, voltage=-230.0 if reading.voltage else None, reactive=1e12)
        for place, reading in enumerate(readings(heads))
    ]
    calculation.readings(wild)
    calculation.end()
    rows = calculation.final_losses.filter(pl.col("element_id") == "F")
    assert rows["technical_loss_kwh"].max() < 1.01 * (one + two + lines)  # type: ignore[operator]
    assert rows["technical_loss_kwh"].median() == pytest.approx(one + two + lines, rel=1e-3)


def test_a_customer_right_below_a_feeder_is_a_load_of_its_lines() -> None:
    """And what flows on to the transformers is no loss of the area that he and the feeder's head make."""
    one, two, _ = expected()
    own = 30.0
    point = {"element_id": "UP-C", "kind": "UsagePoint", "container_id": "F", "terminal_1": "N2", "phases": "ABC"}
    frame = pl.concat([network(), versions([{"valid_from": 0, "measuring_device_id": "C", **point}])])
    lines = lost_in_line(A + B + own + one + two, KVAR / 4, R1) + lost_in_line(B + own + two, 0, R2)
    heads = {"H1": A, "H2": B, "HF": A + B + own + one + two + lines, "C": own}
    calculation = Calculation(1)
    calculation.network(frame)
    calculation.readings([replace(r, voltage=VOLTS) if r.meter == "C" else r for r in readings(heads)])
    calculation.end()
    rows = calculation.final_losses.filter(pl.col("element_id") == "F")
    assert rows["technical_loss_kwh"].median() == pytest.approx(one + two + lines, rel=3e-3)
    assert rows["loss_kwh"].median() == pytest.approx(one + two + lines, rel=0.02)
    assert not rows["suspects"].explode().drop_nulls().len()
    assert set(rows["alarm"]) == {"NONE"}


def test_a_loss_that_is_expected_is_no_alarm_however_large_its_share() -> None:
    """At night a transformer's no-load loss is most of what goes in."""
    no_load = NO_LOAD / 4
    found = Calculation(1)
    found.network(network(1))
    taken = {"A": 0.05, "B": 0.05}
    heads = {"H1": 0.05 + no_load, "H2": 0.05 + no_load, "HF": 0.1 + 2 * no_load}
    found.readings([*readings({**heads, **taken})])
    found.end()
    rows = found.final_losses.filter(pl.col("element_id").is_in(["T1", "T2", "F"]))
    assert rows["loss_percent"].min() > 50  # type: ignore[operator]
    assert set(rows["alarm"]) == {"NONE"}
