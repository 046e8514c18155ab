"""The core property with everything that is learned: any order, copies, shards, restarts and interim studies.

The areas are such as can be studied: their heads deliver what their customers take, and what lines lose. There are
gain errors, missing readings, a theft, a register that stands still, a wrong clock, and a customer who moves.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flows.harness import Calculation, versions
from tests.flows.reference import SECOND, Reading

QUARTER = 900 * SECOND
START = 1_475_452_800 * SECOND  # midnight, UTC
HOUR = 3600 * SECOND
LATE = 20 * HOUR  # within the allowed lateness


@dataclass(frozen=True)
class City:
    readings: list[Reading]
    network: pl.DataFrame


def city(seed: int, *, days: int = 3, kinds: frozenset[str] = frozenset()) -> City:
    """Three areas of four customers below a feeder.

    Args:
        seed: of chance.
        days: how long.
        kinds: of what goes wrong: gains, gaps, theft, still, clock, move.
    """
    chance = np.random.default_rng(seed)
    steps = days * 96
    names = [f"{area}{n}" for area in "ABC" for n in range(4)]
    hour = np.arange(steps) % 96 / 4
    evening = 0.5 + np.exp(-((hour - 19) ** 2) / 8)
    true = chance.lognormal(-1.5, 0.5, 12) * evening[:, None] * chance.gamma(3, 1 / 3, (steps, 12))
    area = np.repeat([0, 1, 2], 4)
    at = np.tile(area, (steps, 1))
    change = START + (days - 1) * 24 * HOUR + 7 * HOUR
    if "move" in kinds:
        at[(np.arange(steps) * QUARTER + START) >= change, 2] = 1
    delivered = np.stack([(true * (at == k)).sum(axis=1) for k in range(3)], axis=1)
    delivered += 0.01 * delivered**2 / delivered.mean()
    counted = true.copy()
    if "gains" in kinds:
        counted *= 1 + chance.normal(0, 0.004, 12)
    if "theft" in kinds:
        counted[steps // 2 :, 4] *= 0.4
    if "still" in kinds:
        counted[steps // 2 + 9 :, 8] = 0.0
    columns = {
        **dict(zip(names, counted.T, strict=True)),
        **{f"H{name}": delivered[:, k] for k, name in enumerate("ABC")},
    }
    columns["HF"] = 1.02 * delivered.sum(axis=1)
    readings = []
    for name, energies in columns.items():
        register = np.concatenate([[100.0], 100.0 + np.cumsum(energies)])
        offset = 240 * SECOND if "clock" in kinds and name == "A1" else 0
        ticks = np.arange(steps + 1) * QUARTER
        # By a clock that is fast registers are frozen too early.
        frozen = np.interp(ticks - offset, ticks, register)
        for step in range(steps + 1):
            time = START + int(ticks[step])
            if "gaps" in kinds and 0 < step < steps and chance.random() < 0.03:
                continue
            arrived = time - offset + int(chance.integers(2, 20)) * SECOND
            more = {"voltage": 5774.0} if name == "HF" else {"reactive": 0.1}
            readings.append(Reading(name, time, round(float(frozen[step]), 3), None, 0, arrived, **more))
    return City(sorted(readings, key=lambda r: (r.received, r.meter)), _network(names, change, "move" in kinds))


def _network(names: list[str], change: int, moved: bool) -> pl.DataFrame:
    rows: list[dict[str, object]] = [
        {"element_id": "R", "kind": "SubGeographicalRegion"},
        {"element_id": "F", "kind": "Feeder", "container_id": "R", "measuring_device_id": "HF", "terminal_1": "N0"},
        {"element_id": "L", "kind": "ACLineSegment", "container_id": "F", "terminal_1": "N0", "terminal_2": "N1"},
    ]
    for name in "ABC":
        rows.append(
            {
                "element_id": f"T{name}",
                "kind": "PowerTransformer",
                "container_id": "F",
                "measuring_device_id": f"H{name}",
                "terminal_1": "N1",
                "terminal_2": f"{name}-0",
                "no_load_loss_kw": 0.1,
                "load_loss_kw": 1.0,
                "rated_kva": 100.0,
            }
        )
        line = {"kind": "ACLineSegment", "container_id": f"T{name}", "r_ohm": 0.05}
        rows += [
            {**line, "element_id": f"L{name}{k}", "terminal_1": f"{name}-{k}", "terminal_2": f"{name}-{k + 1}"}
            for k in range(4)
        ]
    points: list[dict[str, object]] = [
        {
            "element_id": f"UP-{name}",
            "kind": "UsagePoint",
            "container_id": f"T{name[0]}",
            "measuring_device_id": name,
            "terminal_1": f"{name[0]}-{int(name[1]) + 1}",
        }
        for name in names
    ]
    rows += points
    if moved:
        rows.append({**points[2], "container_id": "TB", "terminal_1": "B-3", "valid_from": change})
    return versions([{"valid_from": 0, **row} for row in rows])


def in_order(of: City) -> Calculation:
    calculation = Calculation()
    calculation.network(of.network)
    calculation.readings(of.readings)
    calculation.end()
    return calculation


def shuffled(of: City, seed: int, shards: int, every: int) -> Calculation:
    """Late by up to most of what is allowed, with copies, in random batches, with restarts in between."""
    chance = random.Random(seed)
    copies = chance.choices(of.readings, k=len(of.readings) // 4)
    # A message that is sent again arrives again.
    arriving = of.readings + [replace(one, received=(one.received or 0) + HOUR) for one in copies]

    def arrival(reading: Reading) -> float:
        return reading.time + (chance.random() * LATE if chance.random() < 0.1 else chance.random() * HOUR)

    arriving.sort(key=arrival)
    calculation = Calculation(shards, every=every)
    parts = [of.network] if chance.random() < 0.5 else [of.network.head(9), of.network.tail(of.network.height - 9)]
    for part in parts:
        calculation.network(part)
    calculation.feed(arriving, chance, [50, 400, 2_000])
    calculation.end()
    return calculation


KINDS = st.frozensets(st.sampled_from(["gains", "gaps", "theft", "still", "clock", "move"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    city_seed=st.integers(0, 1000),
    kinds=KINDS,
    seed=st.integers(0, 2**32),
    shards=st.sampled_from([1, 3]),
    every=st.sampled_from([0, 12 * HOUR]),
)
def test_what_is_learned_does_not_depend_on_how_readings_come(
    city_seed: int, kinds: frozenset[str], seed: int, shards: int, every: int
) -> None:
    of = city(city_seed, kinds=kinds)
    one, other = in_order(of), shuffled(of, seed, shards, every)
    assert one.final_losses["technical_loss_kwh"].null_count() == 0
    assert other.final_losses.equals(one.final_losses)
    assert other.final_energies.equals(one.final_energies)


def test_everything_at_once_is_found() -> None:
    """So that the property above is one of studies that find something."""
    of = city(3, kinds=frozenset({"gains", "gaps", "theft", "still", "clock", "move"}))
    calculation = in_order(of)
    rows = calculation.final_losses
    named = rows.select("suspects").explode("suspects").unnest("suspects").drop_nulls()
    assert set(named.filter(pl.col("score") > 0.5)["meter_id"]) == {"B0", "C0"}
    clocks = calculation.final_energies.drop_nulls("clock_offset_seconds")
    assert set(clocks["meter_id"]) == {"A1"}
    assert clocks["clock_offset_seconds"].median() == pytest.approx(240, abs=15)
    assert (rows["uncertainty_kwh"] > 0).all()
    assert rows.filter(pl.col("element_id") == "F")["technical_loss_kwh"].min() > 0  # type: ignore[operator]
