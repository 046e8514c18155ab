"""What is injected shows in the messages just as the truth says, and nothing else does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from connectors.simulation.events import Event, EventKind, event_frame
from connectors.simulation.ied.description import POSITION, TRIPPED
from connectors.simulation.ied.reports import BUFFERED_ENTRIES
from connectors.simulation.options import Faults
from tests.connectors.simulation.ied_station import (
    HOUR,
    IEDS,
    in_blocks,
    of_kind,
    options,
    plain,
    position_change,
    streams,
    telemetry,
    values,
    whole,
)

MS, SECOND = 1_000, 1_000_000
SEEDS = pytest.mark.parametrize("seed", range(5))


class Case:
    """The messages of a simulation with one kind of fault, and those without it."""

    def __init__(self, kind: EventKind, per_day: float, seed: int, **changed: Any) -> None:
        chosen = options(Faults(**{f"{kind.lower()}_per_day": per_day}), **changed)
        self.start = chosen.start_us
        # Something also happens while devices are not heard.
        changes = [position_change(0, self.start + n * HOUR // 4, ("off", "on")[n % 2]) for n in range(1, 24)]
        source = telemetry(chosen, changes, seed)
        self.frame = plain(in_blocks(source, chosen.start_us, [chosen.end_us]))
        self.undisturbed = whole(options(**changed), changes, seed)
        self.events = of_kind(source, kind)
        self.false = plain_times(source.false_messages())
        assert event_frame(source.events()).height == len(self.events)

        self._streams = {name: streams(self.frame, name) for name in ("GOOSE", "REPORT", "HEALTH")}

    def rows(self, kind: str, ied_id: str) -> list[dict[str, Any]]:
        return self._streams[kind][ied_id]

    def heard(self, event: Event, frame: pl.DataFrame | None = None) -> pl.DataFrame:
        """What arrives from a device, or from all of the substation, while an event lasts."""
        rows = (self.frame if frame is None else frame).filter(
            pl.col("received_time").is_between(event.start, event.end, closed="left")
        )
        return rows if event.element_id == "S01" else rows.filter(pl.col("ied_id") == event.element_id)


def plain_times(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("received_time").to_physical())


def around(rows: list[dict[str, Any]], time: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last row before a time and the first from then on."""
    return (
        [row for row in rows if row["received_time"] < time][-1],
        next(row for row in rows if row["received_time"] >= time),
    )


@SEEDS
@pytest.mark.parametrize("kind", [EventKind.IED_SILENCE, EventKind.IED_OUTAGE])
def test_out_of_reach(kind: EventKind, seed: int) -> None:
    case = Case(kind, 3 if kind is EventKind.IED_SILENCE else 12, seed)
    for event in case.events:
        assert event.end is not None
        assert case.heard(event).is_empty()
        missed = case.heard(event, case.undisturbed).filter(pl.col("kind") != "REPORT").height
        lasting = (event.end - event.start) / SECOND
        if kind is EventKind.IED_SILENCE:
            assert 120 <= lasting <= 1800
            assert event.amount == missed
        else:
            assert 60 <= lasting <= 900
            assert (event.amount, event.details["messages_not_sent"]) == (4, missed)
        delayed = 0
        for ied_id in [ied.ied_id for ied in IEDS if event.element_id in (ied.ied_id, ied.substation)]:
            before, after = around(case.rows("GOOSE", ied_id), event.end)
            assert (after["st_num"], after["sq_num"]) > (before["st_num"], before["sq_num"])
            reports = case.rows("REPORT", ied_id)
            last, first = around(reports, event.end)
            assert first["sq_num"] == 0  # a new association
            assert int(first["entry_id"], 16) == int(last["entry_id"], 16) + 1
            late = [row for row in reports if event.start - 5 * MS <= row["time"] < event.end]
            assert all(row["received_time"] > event.end + SECOND for row in late)
            delayed += len(late)
        assert (event.details["reports_delayed"], event.details["reports_lost"]) == (delayed, 0)
    # Outside of that nothing is different.
    kinds = ["GOOSE", "HEALTH"]
    outside = case.undisturbed.filter(pl.col("kind").is_in(kinds))
    for event in case.events:
        outside = outside.join(
            case.heard(event, case.undisturbed), on=outside.columns[:9], how="anti", nulls_equal=True
        )
    assert case.frame.filter(pl.col("kind").is_in(kinds)).equals(outside.sort("received_time", maintain_order=True))


def test_a_buffer_that_is_too_small_loses_the_oldest() -> None:
    case = Case(EventKind.IED_SILENCE, 3, 2, report_seconds=1)
    overflown = [event for event in case.events if event.details["reports_lost"]]
    assert overflown
    for event in overflown:
        assert event.end is not None
        reports = case.rows("REPORT", event.element_id)
        last, first = around(reports, event.end)
        late = [row for row in reports if event.start - 5 * MS <= row["time"] < event.end]
        lost = int(first["entry_id"], 16) - int(last["entry_id"], 16) - 1
        assert (len(late), lost) == (BUFFERED_ENTRIES, event.details["reports_lost"])
        assert [row["buffer_overflow"] for row in late] == [True] + [False] * (BUFFERED_ENTRIES - 1)
        assert [row["sq_num"] for row in late] == list(range(BUFFERED_ENTRIES))
        missed = case.heard(event, case.undisturbed).filter(pl.col("kind") != "REPORT").height
        assert event.amount == missed + lost
    for ied in IEDS:  # none overtakes another, not even while the buffer is emptied
        rows = case.rows("REPORT", ied.ied_id)
        assert all(int(before["entry_id"], 16) < int(after["entry_id"], 16) for before, after in pairwise(rows))
        assert all(before["time"] < after["time"] for before, after in pairwise(rows))


@SEEDS
def test_restart(seed: int) -> None:
    case = Case(EventKind.IED_RESTART, 3, seed)
    for event in case.events:
        assert event.end is not None
        assert 40 <= (event.end - event.start) / SECOND <= 120
        assert case.heard(event).is_empty()
        rows = case.rows("GOOSE", event.element_id)
        place = rows.index(around(rows, event.end)[1])
        assert [(row["st_num"], row["sq_num"]) for row in rows[place : place + 5]] == [(1, sq) for sq in range(1, 6)]
        assert rows[place]["time"] == event.end
        assert 0 < rows[place]["received_time"] - event.end < 6 * MS
        gaps = [after["received_time"] - before["received_time"] for before, after in pairwise(rows[place : place + 5])]
        assert all(abs(gap - 4 * MS * 2**power) < 2 * MS for power, gap in enumerate(gaps))
        last, first = around(case.rows("REPORT", event.element_id), event.end)
        assert first["sq_num"] == 0
        assert first["buffer_overflow"] is False
        assert int(first["entry_id"], 16) - int(last["entry_id"], 16) in (1, 2)
        health = case.rows("HEALTH", event.element_id)
        place = health.index(around(health, event.end)[1])
        assert [row["health"] for row in health[place - 1 : place + 2]] == [1, 2, 1]


@SEEDS
def test_config_change(seed: int) -> None:
    case = Case(EventKind.IED_CONFIG_CHANGE, 4, seed)
    for event in case.events:
        assert event.end is None
        rows = case.rows("GOOSE", event.element_id)
        back = event.start + round(float(event.details["silent_seconds"]) * SECOND)
        before, after = around(rows, back)
        assert before["received_time"] < event.start
        assert (after["st_num"], after["sq_num"]) == (1, 1)
        assert (str(before["conf_rev"]), str(after["conf_rev"])) == (event.previous, event.current)
        assert after["conf_rev"] == before["conf_rev"] + 1
        assert after["num_entries"] == before["num_entries"] + 1
        new, old = values(after), values(before)
        assert new.keys() > old.keys()
        told = [row for row in rows if row["nds_com"] and 0 <= row["received_time"] - back < 60 * SECOND]
        assert told[0] == after
        assert told[-1]["received_time"] - back <= 10 * SECOND + 20 * MS
    for ied in IEDS:
        changes = sum(event.element_id == ied.ied_id for event in case.events)
        rows = case.rows("GOOSE", ied.ied_id)
        assert rows[-1]["conf_rev"] == rows[0]["conf_rev"] + changes
        assert sum(not before["nds_com"] and after["nds_com"] for before, after in pairwise(rows)) == changes


@SEEDS
def test_time_loss(seed: int) -> None:
    case = Case(EventKind.IED_TIME_LOSS, 3, seed, days=1)
    lost = set()
    for event in case.events:
        assert event.end is not None
        assert 3600 <= (event.end - event.start) / SECOND <= 14400
        assert 20 <= abs(event.amount or 0) <= 200
        for row in case.heard(event).filter(pl.col("kind") != "GOOSE").to_dicts():
            if row["received_time"] < event.start + 60 * MS:
                continue  # made before
            lost.add((row["ied_id"], row["control_block"], row["received_time"]))
            assert row["clock_not_synchronized"]
            assert row["clock_failure"] == bool(event.details["clock_failure"])
            assert row["kind"] == "REPORT" or row["health"] == row["phy_health"] == 1 + row["clock_failure"]
            assert event.amount is not None
            off = float(event.details["step_ms"]) * MS + event.amount * 1e-6 * (row["received_time"] - event.start)
            assert 0 <= row["received_time"] - (row["time"] - off) <= 5 * MS
        goose = case.heard(event).filter((pl.col("kind") == "GOOSE") & (pl.col("sq_num") == 0)).to_dicts()
        assert all(row["clock_not_synchronized"] for row in goose)
    for row in case.frame.filter(pl.col("kind") != "GOOSE").to_dicts():
        if (row["ied_id"], row["control_block"], row["received_time"]) not in lost:
            assert 0 < row["received_time"] - row["time"] <= 5 * MS
    # GOOSE tells the time of the last change, and how good that was: only those of the first device change.
    for ied in IEDS[1:]:
        assert not any(row["clock_not_synchronized"] for row in case.rows("GOOSE", ied.ied_id))


@SEEDS
def test_false_publisher(seed: int) -> None:
    case = Case(EventKind.IED_FALSE_PUBLISHER, 4, seed)
    identity = ["ied_id", "control_block", "received_time", "st_num", "sq_num"]
    assert case.false.columns == identity
    # Without the false messages the rest is undisturbed.
    genuine = case.frame.join(case.false, on=identity, how="anti", maintain_order="left", nulls_equal=True)
    assert genuine.equals(case.undisturbed)
    false = case.frame.join(case.false, on=identity, how="semi", maintain_order="left")
    assert false.height == case.false.height == sum(int(event.amount or 0) for event in case.events)
    for event in case.events:
        assert event.end is not None
        assert 5 <= (event.end - event.start) / SECOND <= 60
        rows = case.heard(event, false).to_dicts()
        assert [row["sq_num"] for row in rows] == list(range(int(event.amount or 0)))
        assert {row["source_address"] for row in rows} == {event.details["source_address"]}
        assert {row["st_num"] for row in rows} == {event.details["st_num"]}
        model = around(streams(genuine, "GOOSE")[event.element_id], event.start)[0]
        assert (model["source_address"] == event.details["source_address"]) == bool(event.details["same_address"])
        assert 1 <= int(event.details["st_num"]) - model["st_num"] <= 3
        for row in rows:
            told, true = values(row), values(model)
            assert told[TRIPPED] == "true"
            assert POSITION not in told or {told[POSITION], true[POSITION]} == {"on", "off"}
            assert (row["conf_rev"], row["app_id"]) == (model["conf_rev"], model["app_id"])
        gaps = [after["received_time"] - before["received_time"] for before, after in pairwise(rows)]
        assert all(0 < gap < rows[0]["time_allowed_to_live_ms"] * MS for gap in gaps)


def test_about_half_of_the_false_publishers_forge_the_address() -> None:
    source = telemetry(options(Faults(ied_false_publisher_per_day=50)))
    events = of_kind(source, EventKind.IED_FALSE_PUBLISHER)
    assert len(events) == 50
    assert 15 <= sum(int(event.details["same_address"]) for event in events) <= 35
