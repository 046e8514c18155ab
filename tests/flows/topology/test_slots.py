"""What is kept of readings at the slots, and who a customer's neighbours are."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.streaming.network import NetworkTable
from flows.topology.flow import in_chunks
from flows.topology.neighbourhood import NEAREST, neighbourhood
from flows.topology.slots import Slots
from schemas import contract
from tests.flows.topology.grid import INTERVAL, START, batch_of

Reading = tuple[str, int, float, float | None, int]


def frame(readings: list[Reading]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "meter_id": [one[0] for one in readings],
            "time": [START + one[1] * 1_000_000 for one in readings],
            "import_kwh": [one[2] for one in readings],
            "export_kwh": pl.Series([None] * len(readings), dtype=pl.Float64),
            "voltage_l1_v": pl.Series([one[3] for one in readings], dtype=pl.Float64),
            "voltage_l2_v": pl.Series([None] * len(readings), dtype=pl.Float64),
            "voltage_l3_v": pl.Series([None] * len(readings), dtype=pl.Float64),
            "reactive_power_kvar": pl.Series([one[2] / 4 for one in readings], dtype=pl.Float64),
            "quality": pl.Series([one[4] for one in readings], dtype=pl.Int32),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def plain(readings: list[Reading], meter: str, slot: int) -> tuple[float, float | None] | None:
    """Register and voltage of a slot: of the usable readings about its end the nearest, the earlier, the least."""
    end = START // INTERVAL + slot + 1
    about = [
        one
        for one in readings
        if one[0] == meter and not one[4] and (START + one[1] * 1_000_000 + INTERVAL // 2) // INTERVAL == end
    ]
    if not about:
        return None
    end_seconds = (slot + 1) * INTERVAL // 1_000_000
    best = min(about, key=lambda r: (abs(r[1] - end_seconds), r[1], r[2], -1.0 if r[3] is None else r[3]))
    return best[2], best[3]


@settings(max_examples=100, deadline=None)
@given(
    readings=st.lists(
        st.tuples(
            st.sampled_from("AB"),
            st.integers(900, 6 * 900),
            st.sampled_from([1.0, 2.0, 3.5]),
            st.sampled_from([None, 229.5, 231.0]),
            st.sampled_from([0, 0, 0, 0x80]),
        ),
        min_size=1,
        max_size=25,
    ),
    seed=st.integers(0, 999),
)
def test_what_is_kept_does_not_depend_on_the_order(readings: list[Reading], seed: int) -> None:
    arriving = readings * 2
    random.Random(seed).shuffle(arriving)
    slots = Slots(INTERVAL)
    slots.first = START // INTERVAL
    for begin in range(0, len(arriving), 7):
        slots.add(frame(arriving[begin : begin + 7]))
    slots = Slots.load(slots.dump())
    volts, _ = slots.span(slots.rows(["A", "B"]), START // INTERVAL, START // INTERVAL + 7)
    for row, meter in enumerate("AB"):
        for slot in range(7):
            expected = plain(readings, meter, slot)
            kept = volts[slot, row, 0]
            assert (None if np.isnan(kept) else kept) == (None if expected is None else expected[1])
            if expected is not None:
                assert slots.register[slots.rows([meter])[0], slot] == expected[0]
                assert slots.reactive[slots.rows([meter])[0], slot] == expected[0] / 4


def test_power_is_from_register_to_register_over_gaps_too() -> None:
    slots = Slots(INTERVAL)
    slots.add(frame([("A", 900, 10.0, 230.0, 0), ("A", 1800, 10.5, 230.0, 0), ("A", 3600, 12.5, 230.0, 0)]))
    first = START // INTERVAL
    _, power = slots.span(slots.rows(["A", "nobody"]), first + 1, first + 4)
    assert power[:, 0, 0].tolist() == [2.0, 4.0, 4.0]
    assert power[[0, 2], 0, 1].tolist() == [10.5 / 4, 12.5 / 4]
    assert np.isnan(power[1, 0, 1])
    assert np.isnan(power[:, 1]).all()


def _table(rows: list[tuple[str, str, str | None, str | None, str | None, str | None]]) -> NetworkTable:
    names = ("element_id", "kind", "container_id", "terminal_1", "terminal_2", "measuring_device_id")
    schema = contract("grid.network.v1").polars
    full = pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows], infer_schema_length=None)
    full = full.with_columns(valid_from=pl.lit(0).cast(pl.Datetime("us", "UTC")))
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in full.columns]
    table = NetworkTable()
    table.apply(full.with_columns(missing).select(list(schema)).cast(schema))
    return table


def test_neighbours_are_the_nearest_along_lines_and_switches() -> None:
    count = 30
    rows: list[tuple[str, str, str | None, str | None, str | None, str | None]] = [
        (f"T{n:02d}", "PowerTransformer", "F", f"n{n}", f"lv{n}", None) for n in range(count)
    ]
    rows += [(f"L{n:02d}", "ACLineSegment", "F", f"n{n}", f"n{n + 1}", None) for n in range(count - 1)]
    rows += [(f"U{n:02d}", "UsagePoint", f"T{n:02d}", f"lv{n}", None, f"M{n:02d}") for n in range(count)]
    near = neighbourhood(_table(rows), 1)
    assert near.points == [f"U{n:02d}" for n in range(count)]
    assert near.candidates[15].tolist() == [11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert max(map(len, near.candidates)) <= 2 * NEAREST
    for n, others in enumerate(near.candidates):
        assert n in others
        assert all(n in near.candidates[other] for other in others.tolist())


def test_without_lines_neighbours_are_those_of_the_smallest_container_that_has_others() -> None:
    rows: list[tuple[str, str, str | None, str | None, str | None, str | None]] = [
        ("R", "SubGeographicalRegion", None, None, None, None),
        *((f"S{n}", "Substation", "R", None, None, None) for n in range(3)),
        *((f"T{n}", "PowerTransformer", f"S{n // 2}", None, None, None) for n in range(5)),
        *((f"U{n}", "UsagePoint", f"T{n}", None, None, f"M{n}") for n in range(5)),
    ]
    near = neighbourhood(_table(rows), 1)
    assert [others.tolist() for others in near.candidates[:4]] == [[0, 1, 4], [0, 1, 4], [2, 3, 4], [2, 3, 4]]
    assert near.candidates[4].tolist() == [0, 1, 2, 3, 4]  # alone in its substation


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 700), spread=st.floats(0.001, 0.5))
def test_where_they_are_on_the_map_the_nearest_are_neighbours(seed: int, count: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    places = np.round(np.array([7.1, 50.7]) + rng.uniform(-spread, spread, (count, 2)), 6)
    near = neighbourhood(_placed(places.tolist()), 1)
    km = places * [111.2 * np.cos(np.radians(places[:, 1].mean())), 111.2]
    apart = np.hypot(*(km[:, None] - km[None]).transpose(2, 0, 1))
    nearest = [np.argsort(row, kind="stable")[: NEAREST + 1] for row in apart]
    close = [{n, *(at[apart[n, at] <= 3.0]).tolist()} for n, at in enumerate(nearest)]
    for n, others in enumerate(near.candidates):
        if len(close[n]) == 1:
            continue  # too far from everybody for a cable; their containers tell then
        assert close[n] <= set(others.tolist())
        assert all(n in near.candidates[other] for other in others.tolist())
    found = sum(map(len, near.candidates))
    assert found <= 2 * (NEAREST + 1) * count


def test_coordinates_that_are_all_zeros_are_none() -> None:
    near = neighbourhood(_placed([[7.1, 50.7], [7.102, 50.7], [0.0, 0.0], [0.0, 0.0]]), 1)
    assert near.candidates[0].tolist() == [0, 1]
    # The others are compared with those of their container.
    assert near.candidates[2].tolist() != [2, 3]


def _placed(places: list[list[float]]) -> NetworkTable:
    schema = contract("grid.network.v1").polars
    rows = [
        {"element_id": f"T{n:03d}", "kind": "PowerTransformer", "longitude_deg": x, "latitude_deg": y}
        for n, (x, y) in enumerate(places)
    ]
    rows += [
        {
            "element_id": f"U{n:03d}",
            "kind": "UsagePoint",
            "container_id": f"T{n:03d}",
            "measuring_device_id": f"M{n:03d}",
        }
        for n in range(len(places))
    ]
    whole = [
        {name: row.get(name) for name in schema} | {"valid_from": datetime(1970, 1, 1, tzinfo=UTC)} for row in rows
    ]
    table = NetworkTable()
    table.apply(pl.DataFrame(whole, schema=schema))
    return table


def test_a_batch_of_days_passes_through_in_hours() -> None:
    hours = [0, 1, 7, 6, 13, 2, 40]
    readings = frame([("A", 3600 * hour, 1.0, 230.0, 0) for hour in hours])
    whole = batch_of(readings, "grid.meter.v1", START + 40 * 3600 * 1_000_000)
    pieces = in_chunks(whole)
    assert pl.concat([piece.frame for piece in pieces]).equals(whole.frame)
    reached = [piece.frontier for piece in pieces]
    assert reached == sorted(reached)  # type: ignore[type-var]
    assert reached[-1] == whole.frontier
    assert sum(piece.taken for piece in pieces) == whole.taken
    assert len(pieces) > 2
