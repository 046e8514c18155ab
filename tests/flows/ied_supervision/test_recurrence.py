"""What comes again and again is one anomaly, and what has a rhythm is missed when it does not come."""

from __future__ import annotations

import random
from dataclasses import replace

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows.ied_supervision.policy import Expected, Override
from tests.flows.ied_supervision.station import (
    MINUTE,
    SECOND,
    START,
    Message,
    Supervision,
    goose,
    health,
    report,
    run,
)


def _of(found: pl.DataFrame, kind: str) -> list[dict[str, object]]:
    rows = list(found.filter(pl.col("kind") == kind).sort("start_time").iter_rows(named=True))
    return [row | {"times": {e["key"]: e["value"] for e in row["evidence"]}.get("times")} for row in rows]


def test_a_rival_that_sends_now_and_then_is_ten_anomalies_and_no_more() -> None:
    forged = [
        Message(at + 300_000, time=at, st=900 + n, sq=0, values=("false", "true"), address="02:00:00:00:00:99")
        for n, at in enumerate(range(60 * SECOND, 20 * MINUTE, 15 * SECOND))
    ]
    rivals = _of(run([*goose(until=21 * MINUTE), *forged]), "RIVAL_PUBLISHER")
    assert len(rivals) == 10
    assert sum(int(str(row["message_count"])) for row in rivals) == len(forged)
    assert {row["state"] for row in rivals} == {"CLEARED"}
    assert rivals[-1]["end_time"].timestamp() * SECOND == START + forged[-1].received  # type: ignore[attr-defined]


def test_a_device_that_boots_again_and_again_has_three_restarts_and_no_more() -> None:
    boots = [one for at in range(0, 20 * MINUTE, 50 * SECOND) for one in goose(since=at, until=at + 40 * SECOND, sq=1)]
    restarts = _of(run(boots), "RESTARTED")
    assert [row["message_count"] for row in restarts] == [1, 1, 21]


def test_a_fault_that_comes_back_after_minutes_is_another_one() -> None:
    sick = [*range(30), *range(60, 90), *range(120, 150), *range(1_000, 1_030)]
    told = [
        replace(one, health=3 if one.received // (10 * SECOND) in sick else 1)
        for one in health(until=4 * 60 * MINUTE, every=10 * SECOND)
    ]
    assert len(_of(run(told), "HEALTH_ALARM")) == 4


def test_a_station_that_falls_silent_once_more_within_minutes_has_one_common_cause() -> None:
    names = [f"S1-{letter}" for letter in "ABCD"]
    messages = [one for name in names for one in goose(name, until=12 * MINUTE)]
    outages = [(60, 80), (100, 120), (150, 170), (600, 620)]
    kept = [one for one in messages if not any(a * SECOND < one.received < b * SECOND for a, b in outages)]
    found = run([*kept, *goose("S2-A", until=12 * MINUTE)])
    first, second = _of(found, "COMMON_CAUSE")
    assert (first["message_count"], first["times"], first["state"]) == (3, "3", "CLEARED")
    assert first["end_time"].timestamp() * SECOND == START + 170 * SECOND  # type: ignore[attr-defined]
    assert (second["message_count"], second["times"]) == (1, None)
    silences = found.filter(pl.col("kind") == "SILENCE")
    assert set(silences["group_id"]) == {first["anomaly_id"], second["anomaly_id"]}


def test_what_was_over_stands_when_a_late_message_shows_that_it_was_another_one_that_came() -> None:
    """Until then it seemed to have come again; taken back is only that."""
    names = [f"S1-{letter}" for letter in "ABCD"]
    messages = [one for name in (*names, "S2-A") for one in goose(name, until=10 * MINUTE)]
    outages = [(60, 80), (385, 420)]
    kept = [
        one
        for one in messages
        if one.ied == "S2-A" or not any(a * SECOND < one.received < b * SECOND for a, b in outages)
    ]
    expected = run(kept)
    assert [row["message_count"] for row in _of(expected, "COMMON_CAUSE")] == [1, 1]

    def arrives(one: Message) -> int:
        late = one.ied != "S2-A" and 365 * SECOND < one.received <= 385 * SECOND
        return one.received + (20 * SECOND if late else 0)

    supervision = Supervision()
    for second in range(11 * 60):
        supervision.take([one for one in kept if arrives(one) // SECOND == second])
        supervision.look_ahead()
    said = pl.concat(supervision.rows).filter(pl.col("kind") == "COMMON_CAUSE", pl.col("message_count") == 2)
    assert said.height  # it had seemed so
    supervision.end()
    compared = [name for name in expected.columns if name != "revision"]
    assert_frame_equal(supervision.standing.select(compared), expected.select(compared))


def test_a_station_of_slow_devices_that_falls_silent_is_one_common_cause() -> None:
    names = [f"S1-{letter}" for letter in "ABCDEFGH"]
    messages = [
        replace(one, received=one.received + 7 * n * SECOND, time=one.time + 7 * n * SECOND)
        for n, name in enumerate(names)
        for one in report(name, until=50 * MINUTE, every=60 * SECOND)
    ]
    kept = [one for one in messages if not 20 * MINUTE < one.received < 35 * MINUTE]
    found = run([*kept, *goose("S2-A", until=50 * MINUTE)])
    (common,) = _of(found, "COMMON_CAUSE")
    silences = found.filter(pl.col("kind") == "SILENCE")
    assert sorted(silences["ied_id"]) == names
    assert set(silences["group_id"]) == {common["anomaly_id"]}


def test_a_fault_that_is_not_told_of_for_a_while_is_the_same_one() -> None:
    """Reports carry what has changed: that a start lasts is told now and then."""
    started = [
        replace(one, references=("PTOC1.Str.general", "PTRC1.Tr.general"), values=("true", "false"))
        if one.received in (60 * SECOND, 125 * SECOND, 245 * SECOND, 265 * SECOND)
        else replace(one, references=("MMXU1.TotW.mag.f",), values=(f"{one.sq}",))
        for one in report(until=6 * MINUTE)
    ]
    (row,) = _of(run(started), "PICKUP_WITHOUT_TRIP")
    assert row["message_count"] == 3
    assert row["start_time"].timestamp() * SECOND == START + 60 * SECOND  # type: ignore[attr-defined]


def test_a_clock_that_is_off_now_and_then_is_three_anomalies_and_no_more() -> None:
    off = [
        replace(one, time=one.time + (3 * SECOND if one.received % (20 * MINUTE) < 5 * MINUTE else 0))
        for one in report(until=6 * 60 * MINUTE, every=10 * SECOND)
    ]
    assert len(_of(run(off), "CLOCK_OFFSET")) <= 3


def test_a_pause_before_a_rhythm_is_learned_does_not_hide_it() -> None:
    made = report(until=180 * MINUTE)
    kept = [one for one in made if not 20 * SECOND < one.received < 10 * MINUTE]
    silences = _of(run([*kept, *goose("S1-B", until=190 * MINUTE)]), "SILENCE")
    assert [row["start_time"].timestamp() * SECOND - START for row in silences] == [made[-1].received]  # type: ignore[attr-defined]


def test_a_muted_common_cause_leaves_no_trace() -> None:
    names = [f"S1-{letter}" for letter in "ABCD"]
    messages = [one for name in names for one in goose(name, until=3 * MINUTE)]
    silent = [one for one in messages if not 40 * SECOND < one.received < 80 * SECOND]
    found = run([*silent, *goose("S2-A", until=3 * MINUTE)], Override(kind="COMMON_CAUSE", ied="S1", mute=True))
    assert set(found["kind"]) == {"SILENCE", "SEQUENCE_GAP"}
    assert found["group_id"].null_count() == found.height


def test_two_blocks_of_one_name_have_anomalies_of_their_own() -> None:
    broken = [*goose(until=30 * SECOND), *report(until=30 * SECOND)]
    found = run([_Same(**vars(replace(one, clock_failure=True))) for one in broken])
    failures = _of(found, "CLOCK_FAILURE")
    assert [row["control_block"] for row in failures] == ["same", "same"]
    assert sorted(int(str(row["message_count"])) for row in failures) == [6, 30]


class _Same(Message):
    """A message whose control block has the same name whatever it sends."""

    @property
    def block(self) -> str:
        return "same"


@pytest.mark.parametrize("seed", range(8))
def test_reports_that_come_only_with_events_are_never_silent(seed: int) -> None:
    chance = random.Random(seed)
    starts = [chance.randrange(100 * MINUTE) for _ in range(25)]
    times = [at + round(chance.expovariate(0.1) * SECOND) for at in starts for _ in range(9)]
    made = report(until=len(times) * 5 * SECOND)
    events = [replace(one, received=at, time=at - 3_000) for one, at in zip(made, sorted(times), strict=True)]
    assert _of(run([*events, *goose("S1-B", until=110 * MINUTE)]), "SILENCE") == []


def _reports(times: list[int]) -> list[Message]:
    made = report(until=len(times) * 5 * SECOND)
    return [replace(one, received=at, time=at - 3_000) for one, at in zip(made, sorted(times), strict=True)]


@pytest.mark.parametrize(("count", "apart"), [(12, 500_000), (20, 100_000), (20, SECOND), (40, 60_000)])
def test_reports_in_bursts_are_never_silent(count: int, apart: int) -> None:
    times = [minute * MINUTE + n * apart for minute in range(1, 180, 10) for n in range(count)]
    assert _of(run([*_reports(times), *goose("S1-B", until=190 * MINUTE)]), "SILENCE") == []


@pytest.mark.parametrize("per_minute", [0, 1, 3])
def test_an_integrity_period_is_found_whatever_comes_in_between(per_minute: int) -> None:
    chance = random.Random(per_minute)
    period = [17 * SECOND + n * MINUTE for n in range(60)]
    events = [chance.randrange(59 * MINUTE) for _ in range(60 * per_minute)]
    made = _reports([*period, *events])
    (silence,) = _of(run([*made, *goose("S1-B", until=70 * MINUTE)]), "SILENCE")
    assert silence["start_time"].timestamp() * SECOND == START + made[-1].received  # type: ignore[attr-defined]
    raised = silence["detected_time"].timestamp() * SECOND - START - period[-1]  # type: ignore[attr-defined]
    assert MINUTE < raised <= MINUTE + SECOND


@pytest.mark.parametrize(("period", "spread"), [(60, 1.5), (300, 5.0), (900, 20.0), (10, 0.3)])
def test_a_period_that_is_not_exact_is_not_silent_before_its_time(period: int, spread: float) -> None:
    chance = random.Random(period)
    times = [round((n * period + chance.uniform(0, spread)) * SECOND) for n in range(200)]
    others = [replace(one, ied="S1-B") for one in _reports([n * period * SECOND for n in range(204)])]
    (silence,) = _of(run([*_reports(times), *others]), "SILENCE")
    assert silence["ied_id"] == "S1-A"
    late = silence["detected_time"].timestamp() * SECOND - START - times[-1]  # type: ignore[attr-defined]
    assert late <= (period + 4 * spread + 1) * SECOND


def test_a_new_period_is_learned() -> None:
    times = [n * MINUTE for n in range(30)]
    times += [times[-1] + n * 40 * SECOND for n in range(1, 40)]
    first, last = _of(run([*_reports(times), *goose("S1-B", until=90 * MINUTE)]), "SILENCE")
    assert first["start_time"].timestamp() * SECOND - START == times[30]  # type: ignore[attr-defined] # the old one
    assert last["detected_time"].timestamp() * SECOND - START <= times[-1] + 41 * SECOND  # type: ignore[attr-defined]


@pytest.mark.parametrize("reports", [2, 5])
def test_an_integrity_period_from_the_settings_holds_from_the_first_report_on(reports: int) -> None:
    made = report(until=reports * 5 * SECOND)
    period = Expected(control_block="*REPORT", interval_seconds=5)
    others = goose("S1-B", until=MINUTE)
    assert _of(run([*made, *others]), "SILENCE") == []  # nobody knows
    (silence,) = _of(run([*made, *others], expected=(period,)), "SILENCE")
    assert silence["start_time"].timestamp() * SECOND == START + made[-1].received  # type: ignore[attr-defined]
    raised = START + made[-1].received + 5_900_000  # 0.4 s, and half a second
    assert silence["detected_time"].timestamp() * SECOND == raised  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", [False, True])
def test_what_was_withdrawn_ahead_of_a_kill_is_withdrawn_for_every_sink(lost: bool) -> None:
    """The journal knows of it; whether a sink does, that was written to after it, nobody knows."""
    first, second = goose(until=200 * SECOND), goose("S1-B", until=200 * SECOND)
    run_, held = Supervision(), [one for one in first if 60 * SECOND <= one.received < 75 * SECOND]
    run_.take(sorted([one for one in (*first, *second) if one.received < 60 * SECOND], key=lambda one: one.received))
    run_.take([one for one in second if 60 * SECOND <= one.received < 75 * SECOND])
    run_.look_ahead()
    assert set(run_.final["kind"]) == {"SILENCE"}
    run_.snapshot()
    run_.take(held)
    before = len(run_.rows)
    run_.look_ahead()
    if lost:
        del run_.rows[before:]
        run_.kill()
        run_.take(held)
    run_.take(sorted([one for one in (*first, *second) if one.received >= 75 * SECOND], key=lambda one: one.received))
    run_.look_ahead()
    run_.end()
    assert run_.standing.is_empty()
