"""The topology of a street: what moves is found, in whatever order the readings come."""

from __future__ import annotations

import random
from functools import cache

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.topology.rows import Row
from tests.flows.topology.grid import INTERVAL, LATENESS, START, Running, Telemetry, disturbed, telemetry


@cache
def street() -> Telemetry:
    return telemetry()


@cache
def in_order() -> Running:
    run = Running(street().network)
    run.take(street().readings)
    run.end()
    return run


def _accepted() -> dict[str, Row]:
    return {row["element_id"]: row for row in in_order().standing().values() if row["state"] == "ACCEPTED"}


def test_who_moved_and_who_was_re_phased_and_nobody_else() -> None:
    move, turn = street().moves
    found = _accepted()
    assert set(found) == {f"U{move.meter:03d}", f"U{turn.meter:03d}"}
    moved, turned = found[f"U{move.meter:03d}"], found[f"U{turn.meter:03d}"]
    assert (moved["kind"], moved["previous"], moved["current"]) == ("METER_TRANSFORMER_CHANGED", "T0", "T1")
    assert turned["kind"] == "METER_PHASE_CHANGED"
    for row, truth in ((moved, move), (turned, turn)):
        at = START + truth.window * INTERVAL
        assert abs(row["effective_time"].timestamp() * 1_000_000 - at) <= 2 * 3600 * 1_000_000
        assert 0 < row["detected_time"].timestamp() * 1_000_000 - at <= 12 * 3600 * 1_000_000
        assert row["confidence"] >= 0.95


def test_who_once_looked_as_if_elsewhere_is_found_when_it_is_elsewhere() -> None:
    """What it shows in the last hours is no worse than it once was; so only all that was seen since tells."""
    run = Running(street().network)
    first = pl.col("time") < pl.lit(START + 190 * INTERVAL).cast(pl.Datetime("us", "UTC"))
    run.take(street().readings.filter(first))
    memory = run.shard._settled.memory  # type: ignore[union-attr]
    memory.low[[memory.points[f"U{move.meter:03d}"] for move in street().moves]] = -1e3
    run.take(street().readings.filter(~first))
    run.end()
    found = {row["element_id"]: row for row in run.standing().values()}
    assert list(found) == list(_accepted())
    for element, row in found.items():
        expected = _accepted()[element]
        assert (row["kind"], row["state"], row["current"]) == (expected["kind"], "ACCEPTED", expected["current"])
        assert (row["detected_time"] - expected["effective_time"]).total_seconds() <= 12 * 3600
        assert row["effective_time"] == expected["effective_time"]


def test_who_was_silent_for_half_a_day_is_followed_as_before() -> None:
    move = street().moves[0]
    silent = pl.col("meter_id") == f"M{move.meter:03d}"
    begin, end = (pl.lit(START + window * INTERVAL).cast(pl.Datetime("us", "UTC")) for window in (100, 152))
    run = Running(street().network)
    run.take(street().readings.filter(~(silent & pl.col("time").is_between(begin, end))))
    run.end()
    found = [row for row in run.standing().values() if row["element_id"] == f"U{move.meter:03d}"]
    assert [(row["kind"], row["state"], row["current"]) for row in found] == [
        ("METER_TRANSFORMER_CHANGED", "ACCEPTED", "T1")
    ]


def test_what_is_accepted_becomes_a_version_of_the_network() -> None:
    move, turn = street().moves
    versions = pl.concat(in_order().versions).sort("element_id")
    assert set(versions["element_id"]) == {f"U{move.meter:03d}", f"U{turn.meter:03d}"}
    moved = versions.row(by_predicate=pl.col("element_id") == f"U{move.meter:03d}", named=True)
    assert (moved["container_id"], moved["measuring_device_id"]) == ("T1", f"M{move.meter:03d}")
    assert moved["valid_from"] == _accepted()[moved["element_id"]]["effective_time"]
    turned = versions.row(by_predicate=pl.col("element_id") == f"U{turn.meter:03d}", named=True)
    assert turned["phases"] == _accepted()[turned["element_id"]]["current"] + "N"


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**6),
    lateness=st.sampled_from([0.0, 2.0, 23.9]),
    twice=st.sampled_from([0.0, 0.2]),
    looks=st.booleans(),
)
@example(seed=1, lateness=23.9, twice=0.0, looks=True)  # the last word is a settled row that was not said so far
def test_order_duplicates_and_restarts_change_nothing(seed: int, lateness: float, twice: float, looks: bool) -> None:
    chance = random.Random(seed)
    arriving = disturbed(street().readings, chance, lateness, twice)
    run = Running(street().network)
    at = kept = 0
    kills = chance.choice([0, 0, 2])
    before = dict(run.counts)
    while at < arriving.height:
        size = chance.choice([500, 3_000, 9_000])
        run.take(arriving[at : at + size])
        at += size
        if looks and chance.random() < 0.4:
            run.look_ahead()
        if chance.random() < 0.3:
            chance.choice([run.snapshot, run.restart])()
            kept, before = at, dict(run.counts)
        if kills and chance.random() < 0.2:
            run.kill()
            at, kills, run.counts = kept, kills - 1, dict(before)
    run.end()
    without = {"revision"} if looks else set()
    assert _plain(run.standing(), without) == _plain(in_order().standing(), without)
    assert run.counts["late"] == 0
    assert run.counts["used"] + run.counts["duplicate"] == arriving.height


def _plain(standing: dict[str, Row], without: set[str]) -> dict[str, Row]:
    return {key: {name: value for name, value in row.items() if name not in without} for key, row in standing.items()}


@pytest.mark.parametrize("rounds", [1, 4])
def test_own_versions_that_come_back_change_nothing(rounds: int) -> None:
    """On Kafka the flow reads from the network's topic what it has written there."""
    run, written = Running(street().network), 0
    for part in street().readings.iter_slices(2_000):
        run.take(part)
        if len(run.versions) >= written + rounds:
            run.read_back(run.versions[written:])
            written = len(run.versions)
    run.end()
    assert run.versions
    assert _plain(run.standing(), set()) == _plain(in_order().standing(), set())


def test_the_first_hours_may_come_in_any_order() -> None:
    early = START + 40 * INTERVAL
    first = pl.col("time") < pl.lit(early).cast(pl.Datetime("us", "UTC"))
    run = Running(street().network)
    for part in (street().readings.filter(~first).head(3_000), street().readings.filter(first)):
        run.take(part)
    run.take(street().readings.filter(~first)[3_000:])
    run.end()
    assert _plain(run.standing(), set()) == _plain(in_order().standing(), set())
    assert run.counts["late"] == 0


@pytest.mark.parametrize("first", [True, False])
def test_a_clock_that_is_years_off_harms_nobody(first: bool) -> None:
    odd = (
        street().readings.head(1).with_columns(pl.lit(946_684_800_000_000).cast(pl.Datetime("us", "UTC")).alias("time"))
    )
    readings = street().readings
    run = Running(street().network)
    for part in (odd, readings) if first else (readings.head(8_000), odd, readings[8_000:]):
        run.take(part)
    run.end()
    assert _plain(run.standing(), {"revision"}) == _plain(in_order().standing(), {"revision"})
    assert run.counts["late"] == (0 if first else 1)


def test_after_days_without_any_reading_all_is_compared_anew() -> None:
    gone = [START + window * INTERVAL for window in (200, 200 + 96 * 6)]
    later = (gone[1] - gone[0]) * (pl.col("time") >= pl.lit(gone[0]).cast(pl.Datetime("us", "UTC"))).cast(pl.Int64)
    shifted = street().readings.with_columns((pl.col("time").to_physical() + later).cast(pl.Datetime("us", "UTC")))
    whole, parts = Running(street().network), Running(street().network)
    whole.take(shifted)
    whole.end()
    for part in shifted.iter_slices(5_000):
        parts.take(part)
        parts.restart()
    parts.end()
    assert _plain(whole.standing(), set()) == _plain(parts.standing(), set())
    assert whole.shard.dump() is not None


def test_who_moves_back_after_some_hours_has_moved_twice() -> None:
    moved = telemetry(back=76)
    run = Running(moved.network)
    run.take(moved.readings)
    run.end()
    name = f"U{moved.moves[0].meter:03d}"
    rows = sorted((row["effective_time"], row) for row in run.standing().values() if row["element_id"] == name)
    assert [(row["state"], row["previous"], row["current"]) for _, row in rows] == [
        ("ACCEPTED", "T0", "T1"),
        ("ACCEPTED", "T1", "T0"),
    ]
    for (found, _), window in zip(rows, (moved.moves[0].window, moved.moves[0].window + 76), strict=True):
        assert abs(found.timestamp() * 1_000_000 - START - window * INTERVAL) <= 2 * 3600 * 1_000_000
    versions = pl.concat(run.versions).filter(pl.col("element_id") == name).sort("valid_from")
    assert versions["container_id"].to_list() == ["T1", "T0"]


def test_who_moved_while_it_was_silent_did_so_at_any_time_of_it() -> None:
    move = street().moves[0]
    silent = pl.col("meter_id") == f"M{move.meter:03d}"
    begin, end = (pl.lit(START + (move.window + off) * INTERVAL).cast(pl.Datetime("us", "UTC")) for off in (-60, 20))
    run = Running(street().network)
    run.take(street().readings.filter(~(silent & pl.col("time").is_between(begin, end))))
    run.end()
    (row,) = (row for row in run.standing().values() if row["element_id"] == f"U{move.meter:03d}")
    off = abs(row["effective_time"].timestamp() * 1_000_000 - START - move.window * INTERVAL) / 60_000_000
    stated = next(float(one["value"]) for one in row["evidence"] if one["key"] == "effective_within_minutes")
    assert 240 < stated < 900
    assert off <= stated


def test_a_reading_that_comes_after_the_lateness_is_late() -> None:
    run = Running(street().network)
    readings = street().readings
    run.take(readings)
    last = readings["time"].to_physical()[-1]
    old = readings.filter(readings["time"].to_physical() < last - LATENESS - 3600 * 1_000_000 * 2)
    run.take(old)
    assert run.counts["late"] == old.height


def test_what_was_found_ahead_is_taken_back_when_it_was_nothing() -> None:
    """A proposal that rests on readings which others replace is withdrawn."""
    run = Running(street().network)
    move = street().moves[0]
    name = f"M{move.meter:03d}"
    at = START + (move.window + 30) * INTERVAL
    early = street().readings.filter(street().readings["time"].to_physical() <= at)
    run.take(early)
    run.look_ahead()
    ahead = [row for row in run.standing().values() if row["element_id"] == f"U{move.meter:03d}"]
    assert ahead
    # The meter's voltages after the move turn out to have been sent by a clock that was off.
    run.journal = run.journal[:]
    run.kill()
    without = street().readings.filter(
        (pl.col("meter_id") != name) | (pl.col("time").to_physical() <= START + move.window * INTERVAL)
    )
    run.take(without.filter(without["time"].to_physical() <= at))
    run.look_ahead()
    assert not [row for row in run.standing().values() if row["element_id"] == f"U{move.meter:03d}"]


@pytest.mark.parametrize("hours", [1, 5])
def test_a_change_is_said_before_it_is_settled(hours: int) -> None:
    run = Running(street().network)
    move = street().moves[0]
    found = next(row for row in in_order().standing().values() if row["element_id"] == f"U{move.meter:03d}")
    until = int(found["detected_time"].timestamp() * 1_000_000) + hours * 3600 * 1_000_000
    run.take(street().readings.filter(street().readings["time"].to_physical() <= until))
    assert not run.standing()
    run.look_ahead()
    assert [row["state"] for row in run.standing().values() if row["element_id"] == found["element_id"]] == ["ACCEPTED"]
    run.look_ahead()
    assert len(run.said) == len(run.standing())
