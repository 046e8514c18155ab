"""An undisturbed device's messages keep to the standards, and follow from what happens and what is measured."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulation.chance import Chance
from connectors.simulation.ied.description import MEASURANDS, OPERATED, POSITION, STARTED, TRIPPED, StateChange
from connectors.simulation.ied.telemetry import IedTelemetry
from connectors.simulation.options import preset
from tests.connectors.simulation.ied_station import (
    HOUR,
    IEDS,
    QUARTER,
    in_blocks,
    load,
    options,
    plain,
    position_change,
    streams,
    telemetry,
    values,
    whole,
)

OPTIONS = options(days=1 / 24)
START = OPTIONS.start_us
MS = 1000


@st.composite
def change_lists(draw: st.DrawFn) -> list[StateChange]:
    """Changes of the first two devices, from their first heartbeat on, at least 10 ms apart: no two make one state."""
    moments = draw(st.lists(st.integers(1_100, HOUR // (10 * MS) - 100), unique=True, max_size=12))
    near = draw(st.lists(st.integers(1, 90), max_size=12))
    moments = sorted({*moments, *(moment + gap for moment, gap in zip(moments, near, strict=False))})
    new = st.one_of(
        st.fixed_dictionaries({POSITION: st.sampled_from(["on", "off", "intermediate"])}),
        st.fixed_dictionaries({STARTED: st.sampled_from(["true", "false"])}),
        st.fixed_dictionaries({OPERATED: st.just("true"), TRIPPED: st.just("true")}),
    )
    return [
        StateChange(START + moment * 10 * MS, IEDS[draw(st.integers(0, 1))].ied_id, draw(new)) for moment in moments
    ]


def expected_states(ied: int, changes: list[StateChange]) -> list[tuple[int, dict[str, str]]]:
    """Time and values of each state after the first."""
    now, found = IEDS[ied].first_values(), []
    for change in sorted(changes, key=lambda change: change.time):
        following = {**now, **change.values}
        if change.ied_id == IEDS[ied].ied_id and following != now:
            now = following
            found.append((change.time, now))
    return found


@settings(max_examples=30, deadline=None)
@given(change_lists(), st.integers(0, 1000))
def test_goose_numbers_and_rhythm(changes: list[StateChange], seed: int) -> None:
    messages = streams(whole(OPTIONS, changes, seed), "GOOSE")
    for number, ied in enumerate(IEDS):
        rows = messages[ied.ied_id]
        told = [(rows[0], values(rows[0]))]
        assert 1 <= rows[0]["st_num"] <= 200
        assert 1 <= rows[0]["conf_rev"] <= 5
        interval = 0
        for before, after in pairwise(rows):
            gap = after["received_time"] - before["received_time"]
            assert 0 < gap < before["time_allowed_to_live_ms"] * MS
            assert (before["simulation"], before["nds_com"], before["conf_rev"]) == (False, False, rows[0]["conf_rev"])
            if after["sq_num"] == 0:
                assert after["st_num"] == before["st_num"] + 1
                told.append((after, values(after)))
                interval = 4 * MS
                continue
            assert after["sq_num"] == before["sq_num"] + 1
            assert (after["st_num"], after["time"], after["data"]) == (before["st_num"], before["time"], before["data"])
            expected = min(interval or 10_000 * MS, 10_000 * MS)
            assert abs(gap - expected) < 8 * MS
            interval *= 2
        assert [state for _, state in told[1:]] == [state for _, state in expected_states(number, changes)]
        for (row, _), (time, _) in zip(told[1:], expected_states(number, changes), strict=True):
            assert row["time"] == time
            assert 1 * MS < row["received_time"] - time < 6 * MS


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["GOOSE", "REPORT"])
def test_no_message_overtakes_another(kind: str, seed: int) -> None:
    """Also when the state changes just as a heartbeat or an integrity report is due."""
    end = START + 4 * 60_000 * MS

    def rows_with(changes: list[StateChange]) -> list[dict[str, Any]]:
        source = telemetry(OPTIONS, changes, seed)
        return streams(plain(in_blocks(source, START, [end])), kind)[IEDS[0].ied_id]

    due = rows_with([])[2]["received_time"]
    for step in range(-55, 10):
        off, on = due + step * MS, due + step * MS + 6 * MS
        rows = rows_with([position_change(0, off, "off"), position_change(0, on, "on")])
        if kind == "GOOSE":
            numbers = [(row["st_num"], row["sq_num"]) for row in rows]
            assert [row["st_num"] - rows[0]["st_num"] for row in rows if row["sq_num"] == 0] == [1, 2]
        else:
            numbers = [(0, int(row["entry_id"], 16)) for row in rows]
            assert numbers == [(0, numbers[0][1] + place) for place in range(6)]
            assert [values(row)[POSITION] for row in rows if len(row["data"]) == 1] == ["off", "on"]
            assert all(after["time"] - before["time"] >= 5 * MS for before, after in pairwise(rows))
        assert all(before < after for before, after in pairwise(numbers))
        assert all(before["received_time"] < after["received_time"] for before, after in pairwise(rows))


def test_changes_in_one_pass_of_the_logic_are_one_state() -> None:
    times = [START + QUARTER, START + QUARTER + 3 * MS, START + QUARTER + 8 * MS]
    changes = [
        StateChange(times[0], IEDS[0].ied_id, {OPERATED: "true"}),
        StateChange(times[1], IEDS[0].ied_id, {TRIPPED: "true"}),
        StateChange(times[2], IEDS[0].ied_id, {POSITION: "off"}),
    ]
    rows = [row for row in streams(whole(OPTIONS, changes), "GOOSE")[IEDS[0].ied_id] if row["sq_num"] == 0]
    assert [row["time"] for row in rows] == [times[0], times[2]]
    assert values(rows[0]) | {"none": ""} == {
        POSITION: "on", STARTED: "false", OPERATED: "true", TRIPPED: "true", "none": "",
    }  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(change_lists(), st.integers(0, 1000))
def test_reports_follow_what_is_measured(changes: list[StateChange], seed: int) -> None:
    chosen = options(days=1 / 24, report_seconds=20)
    measured = {(row["ied_id"], row["begin"]): row for row in load(START, chosen.end_us).to_dicts()}
    for number, ied in enumerate(IEDS):
        rows = streams(whole(chosen, changes, seed), "REPORT")[ied.ied_id]
        states = [(START, ied.first_values()), *expected_states(number, changes)]
        for before, after in pairwise(rows):
            assert after["sq_num"] == (before["sq_num"] + 1) % 65536
            assert int(after["entry_id"], 16) == int(before["entry_id"], 16) + 1
            assert len(after["entry_id"]) == 16
            assert after["time"] >= before["time"] + 5 * MS
        positions = [
            (time, state[POSITION])
            for (_, before), (time, state) in pairwise(states)
            if before.get(POSITION) != state.get(POSITION)
        ]
        spontaneous = [row for row in rows if set(values(row)) == {POSITION}]
        assert [values(row)[POSITION] for row in spontaneous] == [position for _, position in positions]
        assert len(rows) - len(spontaneous) in (179, 180)
        for row, (time, _) in zip(spontaneous, positions, strict=True):
            # At most once per change that is still waiting it makes room for another report.
            assert 10 * MS <= row["time"] - time <= (50 + 5 * len(changes)) * MS
        for row in rows:
            assert 0 < row["received_time"] - row["time"] <= 4 * MS
            assert row["buffer_overflow"] is False
            if row in spontaneous:
                continue
            entries, now = values(row), measured[ied.ied_id, row["time"] // QUARTER * QUARTER]
            assert len(entries) == (6 if ied.breaker is None else 7)
            for column, reference, places in MEASURANDS:
                assert abs(float(entries[reference]) - now[column]) <= 0.5001 * 10**-places
                assert 1 <= len(entries[reference].partition(".")[2]) <= places
                assert float(entries[reference]) != 0 or entries[reference] == "0.0"


def test_health_is_told_each_minute() -> None:
    for rows in streams(whole(OPTIONS), "HEALTH").values():
        assert len(rows) == 60
        for before, after in pairwise(rows):
            assert abs(after["received_time"] - before["received_time"] - 60_000 * MS) < 60 * MS
        assert {(row["beh"], row["health"], row["phy_health"]) for row in rows} == {(1, 1, 1)}
        assert {(row["clock_failure"], row["clock_not_synchronized"]) for row in rows} == {(False, False)}


def test_each_device_has_its_own_addresses() -> None:
    goose = whole(OPTIONS).filter(pl.col("kind") == "GOOSE")
    columns = ["ied_id", "control_block", "source_address", "app_id"]
    once = goose.unique(columns).sort("ied_id")
    assert once["app_id"].to_list() == [1, 2, 3, 4]
    assert once["control_block"].to_list() == [f"{ied.ied_id}PROT/LLN0$GO$gcb01" for ied in IEDS]
    assert once["source_address"].n_unique() == 4
    assert all(address.startswith("02:") for address in once["source_address"])


@pytest.mark.parametrize("heartbeat", [0.1, 1.0, 60.0])
def test_any_heartbeat(heartbeat: float) -> None:
    chosen = options(days=1 / 24, goose_heartbeat_seconds=heartbeat)
    changes = [
        position_change(0, START + QUARTER + number * 5 * MS, "off" if number % 2 else "on") for number in range(9)
    ]
    for rows in streams(whole(chosen, changes), "GOOSE").values():
        assert abs(len(rows) - 3600 / heartbeat) < 30
        for before, after in pairwise(rows):
            gap = after["received_time"] - before["received_time"]
            assert 0 < gap < before["time_allowed_to_live_ms"] * MS
            assert (after["st_num"], after["sq_num"]) > (before["st_num"], before["sq_num"])


def test_same_seed_same_messages_other_seed_other() -> None:
    chosen = options(preset("trouble"))
    assert whole(chosen, seed=1).equals(whole(chosen, seed=1))
    assert not whole(chosen, seed=1).equals(whole(chosen, seed=2))


def test_other_substations_draw_other_numbers() -> None:
    first = telemetry(OPTIONS)
    second = IedTelemetry(IEDS, [], OPTIONS, Chance(1), 2)
    frames = [in_blocks(source, START, [OPTIONS.end_us]) for source in (first, second)]
    assert not frames[0]["received_time"].equals(frames[1]["received_time"])


def test_what_is_wrong_with_the_arguments_is_said() -> None:
    with pytest.raises(ValueError, match="no device 'X' in substation 1"):
        telemetry(OPTIONS, [StateChange(START, "X", {})])
    with pytest.raises(ValueError, match=r"S01-F04-P1: CTRL/XCBR1\.Pos\.stVal is not in its GOOSE data set"):
        telemetry(OPTIONS, [position_change(3, START + HOUR, "off")])
    with pytest.raises(ValueError, match="no measurement of S01-F"):
        telemetry(OPTIONS).messages(START + HOUR, load(START, START + QUARTER))
    with pytest.raises(ValueError, match="measurements of S01-F01-P1 are not finite"):
        telemetry(OPTIONS).messages(START + HOUR, load(START, START + HOUR).with_columns(p_kw=float("nan")))


def test_a_substation_without_devices_says_nothing() -> None:
    source = IedTelemetry([], [], options(preset("trouble")), Chance(1), 1)
    assert source.messages(START + HOUR, load(START, START + HOUR).clear()).is_empty()
    assert source.events() == []
    assert source.false_messages().is_empty()
