"""What each rule finds, and what it does not take for a fault."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from flows.ied_supervision.policy import Expected, Override
from flows.ied_supervision.rule import all_rules, explanation
from flows.ied_supervision.values import EntryMeaning
from ops.explain.rules import rules_page
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

NORMAL = goose(until=3 * MINUTE, changes=[20 * SECOND, 61_500_000])


def kinds(frame: pl.DataFrame) -> set[str]:
    return set(frame["kind"])


def evidence(frame: pl.DataFrame, kind: str) -> dict[str, str]:
    entries = frame.row(by_predicate=pl.col("kind") == kind, named=True)["evidence"]
    return {entry["key"]: entry["value"] for entry in entries}


def changed(messages: list[Message], where: Callable[[Message], bool], **more: object) -> list[Message]:
    return [replace(one, **more) if where(one) else one for one in messages]  # type: ignore[arg-type]


def test_a_station_in_order_raises_nothing() -> None:
    healthy = [*NORMAL, *health(until=3 * MINUTE), *report(until=3 * MINUTE), *goose("S1-B", until=3 * MINUTE)]
    assert run(healthy).is_empty()


def test_silence_is_raised_by_time_and_cleared_by_the_first_message() -> None:
    gone = [one for one in NORMAL if not 30 * SECOND < one.received < 50 * SECOND]
    found = run([*gone, *goose("S1-B", until=3 * MINUTE)])
    assert kinds(found) == {"SILENCE", "SEQUENCE_GAP"}  # it went on sending: they were lost on the way
    row = found.row(by_predicate=pl.col("kind") == "SILENCE", named=True)
    assert row["state"] == "CLEARED"
    assert row["start_time"].timestamp() * SECOND == START + 30 * SECOND
    assert row["detected_time"].timestamp() * SECOND == START + 32_500_000  # timeAllowedToLive and half a second
    assert row["end_time"].timestamp() * SECOND == START + 50 * SECOND


def test_silence_is_raised_while_the_device_is_silent() -> None:
    others = goose("S1-B", until=3 * MINUTE)
    supervision = Supervision()
    early = [*goose(until=30 * SECOND), *others]
    supervision.take(sorted((one for one in early if one.received < 34 * SECOND), key=lambda one: one.received))
    supervision.look_ahead()
    (row,) = supervision.final.iter_rows(named=True)
    assert (row["kind"], row["ied_id"], row["state"]) == ("SILENCE", "S1-A", "RAISED")


def test_a_false_publisher_does_not_speak_for_a_silent_device() -> None:
    old = [replace(one, received=one.received + 100 * SECOND + 200_000) for one in NORMAL[2:12]]
    gone = [one for one in NORMAL if not 106 * SECOND < one.received < 130 * SECOND]
    found = run([*gone, *old])
    silent = found.filter(pl.col("kind") == "SILENCE").row(0, named=True)
    assert silent["start_time"].timestamp() * SECOND == START + 106 * SECOND
    assert silent["detected_time"].timestamp() * SECOND == START + 108_500_000


@pytest.mark.parametrize("made", [health, report])
def test_silence_of_what_announces_no_rhythm(made: Callable[..., list[Message]]) -> None:
    silent = [one for one in made(until=10 * MINUTE) if not 5 * MINUTE < one.received < 7 * MINUTE]
    found = run([*silent, *goose("S1-B", until=10 * MINUTE)])
    (row,) = found.filter(pl.col("kind") == "SILENCE").iter_rows(named=True)
    assert row["start_time"].timestamp() * SECOND == START + 5 * MINUTE
    assert row["state"] == "CLEARED"


def test_a_substation_that_falls_silent_is_one_common_cause() -> None:
    names = [f"S1-{letter}" for letter in "ABCD"]
    messages = [one for name in names for one in goose(name, until=3 * MINUTE)]
    silent = [one for one in messages if not 40 * SECOND < one.received < 80 * SECOND]
    found = run([*silent, *goose("S2-A", until=3 * MINUTE)])
    group = found.row(by_predicate=pl.col("kind") == "COMMON_CAUSE", named=True)
    single = found.filter(pl.col("kind") == "SILENCE")
    assert (group["ied_id"], group["state"]) == ("S1", "CLEARED")
    assert sorted(single["ied_id"]) == names
    assert set(single["group_id"]) == {group["anomaly_id"]}
    assert evidence(found, "COMMON_CAUSE")["devices"] == ", ".join(names)


def test_a_slow_block_that_is_missed_later_belongs_to_the_common_cause_too() -> None:
    names = [f"S1-{letter}" for letter in "ABCD"]
    messages = [one for name in names for one in (*goose(name, until=20 * MINUTE), *health(name, until=20 * MINUTE))]
    found = run([*(one for one in messages if one.received < 10 * MINUTE - 500_000), *goose("S2-A", until=20 * MINUTE)])
    single = found.filter(pl.col("kind") == "SILENCE")
    assert single.height == 2 * len(names)
    assert single["group_id"].null_count() == 0


def test_two_silent_devices_have_nothing_in_common() -> None:
    messages = [one for name in ("S1-A", "S1-B") for one in goose(name, until=3 * MINUTE)]
    silent = [one for one in messages if not 40 * SECOND < one.received < 80 * SECOND]
    others = [one for name in ("S1-C", "S1-D") for one in goose(name, until=3 * MINUTE)]
    found = run([*silent, *others])
    assert "COMMON_CAUSE" not in kinds(found)
    assert found["group_id"].null_count() == len(found)


def test_missing_messages_are_a_gap() -> None:
    found = run(one for one in NORMAL if one.received != 40 * SECOND)
    assert kinds(found) == {"SEQUENCE_GAP"}
    assert evidence(found, "SEQUENCE_GAP")["seen"] == "1 messages missing"


def test_the_same_message_again() -> None:
    twin = next(one for one in NORMAL if one.received == 40 * SECOND)
    assert kinds(run([*NORMAL, replace(twin, received=twin.received + 2_000)])) == {"REPEATED"}


def test_old_messages_sent_again_are_replayed_and_not_the_publishers() -> None:
    old = [replace(one, received=one.received + 90 * SECOND + 200_000) for one in NORMAL[5:15]]
    found = run([*NORMAL, *old])
    assert {"REPLAYED", "RIVAL_PUBLISHER"} <= kinds(found)
    said = evidence(found, "RIVAL_PUBLISHER")
    times = {START + one.received for one in old}
    assert int(said["accused_messages"]) >= 9
    assert set(json.loads(said["accused"])) <= times


def test_a_forged_state_is_told_from_the_genuine_line() -> None:
    """Somebody begins a new state out of the publisher's numbers; the publisher goes on with the old one."""
    at = 100 * SECOND + 300_000
    last = next(one for one in NORMAL if one.received == 100 * SECOND)
    forged = [
        replace(last, received=at + n * SECOND, time=at, st=(last.st or 0) + 1, sq=n, values=("true", "true"))
        for n in range(15)
    ]
    found = run([*NORMAL, *forged])
    said = evidence(found, "RIVAL_PUBLISHER")
    assert set(json.loads(said["accused"])) <= {START + one.received for one in forged}
    assert int(said["accused_messages"]) >= 12
    assert float(said["confidence"]) > 0.95
    raised = found.row(by_predicate=pl.col("kind") == "RIVAL_PUBLISHER", named=True)["detected_time"]
    assert START + at <= raised.timestamp() * SECOND <= START + at + 2 * SECOND


def test_a_restart_is_no_attack() -> None:
    again = goose(since=90 * SECOND, until=3 * MINUTE, st=1, sq=1)
    found = run([*(one for one in NORMAL if one.received < 70 * SECOND), *again])
    assert kinds(found) == {"SILENCE", "RESTARTED"}
    assert found.filter(pl.col("kind") == "RESTARTED")["severity"].to_list() == ["INFO"]


def test_other_numbers_after_a_silence() -> None:
    later = goose(since=90 * SECOND, until=3 * MINUTE, st=700, sq=30)
    assert "SEQUENCE_JUMP" in kinds(run([*(one for one in NORMAL if one.received < 70 * SECOND), *later]))


def test_a_new_state_without_a_change() -> None:
    same = changed(NORMAL, lambda one: one.st in (1, 2), values=("true", "false"))
    assert kinds(run(same)) == {"STATE_WITHOUT_CHANGE"}


def test_a_change_without_a_new_state() -> None:
    was = next(one.values for one in NORMAL if one.received == 40 * SECOND)
    assert was is not None
    for entries in ((0,), (1,), (0, 1)):
        other = tuple("odd" if place in entries else value for place, value in enumerate(was))
        found = run(changed(NORMAL, lambda one: one.received == 40 * SECOND, values=other))
        assert "CHANGE_WITHOUT_STATE" in kinds(found)
        told = evidence(found, "CHANGE_WITHOUT_STATE")
        assert told["entries"] == ", ".join(map(str, entries))
        assert told["seen"].startswith(f"other data in entr{'y' if len(entries) == 1 else 'ies'} {told['entries']} of ")


@pytest.mark.parametrize("place", [6, 7, 20, 34, 35, 60])
def test_of_many_entries_the_one_that_changed(place: int) -> None:
    many = tuple(str(n) for n in range(64))
    steady = changed(goose(until=3 * MINUTE), lambda _: True, values=many)
    other = (*many[:place], "odd", *many[place + 1 :])
    found = run(changed(steady, lambda one: one.received == 40 * SECOND, values=other))
    told = evidence(found, "CHANGE_WITHOUT_STATE")
    # Of the first 35 that is known.
    assert told.get("entries") == (str(place) if place < 35 else None)


def test_a_frame_that_a_new_state_overtook_is_no_attack() -> None:
    """The last heartbeat of a state, and the first message of the next one, in the other order."""
    for late in (1_000, 40_000):
        first = next(one for one in NORMAL if one.st == 2)
        heartbeat = next(one for one in NORMAL if one.st == 1 and one.received == 20 * SECOND - SECOND)
        overtaken = replace(heartbeat, received=first.received + late, sq=heartbeat.sq)
        swapped = [one for one in NORMAL if one is not heartbeat]
        assert not kinds(run([*swapped, overtaken])) & {"RIVAL_PUBLISHER", "REPLAYED"}


@pytest.mark.parametrize("burst", [1, 5])
def test_a_forged_state_is_told_by_the_next_genuine_message(burst: int) -> None:
    """Between two heartbeats somebody sends the next state, with other data: the spoofed trip."""
    steady = goose(until=3 * MINUTE, every=10 * SECOND)
    steady = changed(steady, lambda _: True, live=25_000)
    last = next(one for one in steady if one.received == 100 * SECOND)
    assert last.st is not None
    assert last.sq is not None
    forged = [
        replace(
            last,
            received=last.received + SECOND + 500_000 * n,
            time=last.received + SECOND,
            st=last.st + 1,
            sq=n,
            values=("true", "true"),
        )
        for n in range(burst)
    ]
    found = run([*steady, *forged])
    assert kinds(found) == {"RIVAL_PUBLISHER"}
    told = evidence(found, "RIVAL_PUBLISHER")
    assert told["seen"].startswith(f"a second one at {last.st + 1}/{burst - 1}@")
    assert told["proved_by"].startswith(f"{last.st}/{last.sq + 1}@")
    row = found.row(0, named=True)
    assert row["detected_time"].timestamp() * SECOND == START + 110 * SECOND
    assert int(told.get("accused_messages", "0")) == 0


@pytest.mark.parametrize("ahead", [3, 6, 10])
def test_who_skips_numbers_that_then_come_when_they_are_due_is_a_rival(ahead: int) -> None:
    before = next(one for one in NORMAL if one.received == 100 * SECOND)
    assert before.sq is not None
    forged = replace(before, received=before.received + 300_000, sq=before.sq + ahead)
    found = run([*NORMAL, forged])
    assert "RIVAL_PUBLISHER" in kinds(found)
    assert not kinds(found) & {"SILENCE", "REPLAYED"}
    told = evidence(found, "RIVAL_PUBLISHER")
    assert f"{forged.st}/{forged.sq}@" in told["seen"]
    assert int(told.get("accused_messages", "0")) == 0


def test_who_says_that_it_has_restarted_while_the_publisher_goes_on_is_a_rival() -> None:
    before = next(one for one in NORMAL if one.received == 100 * SECOND)
    forged = replace(before, received=before.received + 300_000, time=before.received + 300_000, st=1, sq=0)
    found = run([*NORMAL, forged])
    assert kinds(found) == {"RESTARTED", "RIVAL_PUBLISHER"}
    assert "1/0@" in evidence(found, "RIVAL_PUBLISHER")["seen"]


@pytest.mark.parametrize("address", ["02:00:00:00:00:01", "02:00:00:00:00:02"])
def test_of_two_who_are_heard_from_the_first_second_nobody_is_accused(address: str) -> None:
    other = [
        replace(one, received=one.received + 400_000, time=one.time + 7, address=address)
        for one in _numbers(goose(until=3 * MINUTE), st=41)
    ]
    found = run([*goose(until=3 * MINUTE), *other])
    assert "RIVAL_PUBLISHER" in kinds(found)
    told = evidence(found, "RIVAL_PUBLISHER")
    assert float(told["confidence"]) < 0.9
    assert int(told.get("accused_messages", "0")) == 0


def test_copies_by_another_way_through_the_network_are_no_attack_when_a_state_changes() -> None:
    changes = [20 * SECOND + 1_000, 61 * SECOND + 2_000]
    both = goose(until=3 * MINUTE, changes=changes)
    found = run([*both, *(replace(one, received=one.received + 3_000) for one in both)])
    assert kinds(found) == {"REPEATED"}


@pytest.mark.parametrize("every", [100_000, 200_000])
def test_seconds_of_a_fast_heartbeat_that_are_lost_are_a_gap(every: int) -> None:
    fast = goose(until=3 * MINUTE, every=every)
    lost = [one for one in fast if not 100 * SECOND < one.received < 104 * SECOND]
    assert kinds(run(lost)) <= {"SEQUENCE_GAP", "SILENCE"}


def test_a_test_set_does_not_hide_that_the_device_is_silent_nor_speak_for_it() -> None:
    gone = [one for one in NORMAL if one.received < 100 * SECOND]
    simulated = [
        replace(one, simulation=True, nds_com=True)
        for one in _numbers(goose(since=90 * SECOND + 1, until=3 * MINUTE), st=500)
    ]
    assert kinds(run([*gone, *simulated])) == {"SIMULATION", "SILENCE"}


def test_what_lasts_is_one_anomaly_however_rare_its_messages_are() -> None:
    rare = changed(goose(until=60 * MINUTE, every=30 * SECOND), lambda _: True, live=75_000)
    found = run(changed(rare, lambda one: one.received > 10 * MINUTE, announced=5))
    assert found.filter(pl.col("kind") == "ENTRIES_MISSING").height == 1


def test_flooding() -> None:
    burst = goose(since=3 * MINUTE, until=3 * MINUTE + 400 * 2_000, every=2_000, st=4, sq=0)
    assert "FLOODING" in kinds(run([*NORMAL, *burst]))


def test_a_flood_ends_when_it_ends() -> None:
    burst = goose(since=3 * MINUTE, until=3 * MINUTE + 30 * SECOND, every=1_000, st=4, sq=0)
    quiet = goose(since=3 * MINUTE + 31 * SECOND, until=10 * MINUTE, st=4, sq=30_000)
    found = run([*NORMAL, *burst, *quiet])
    row = found.row(by_predicate=pl.col("kind") == "FLOODING", named=True)
    assert abs(row["end_time"].timestamp() * SECOND - START - 3 * MINUTE - 30 * SECOND) <= 2 * SECOND


def test_retransmissions_that_back_off_to_a_slow_heartbeat_are_in_rhythm() -> None:
    messages = goose(until=SECOND)
    for state, since in enumerate((10 * MINUTE, 40 * MINUTE), 2):
        at, interval = since, 4_000
        for number in range(200):
            messages.append(Message(at, time=since, st=state, sq=number, live=130_000, values=(str(state), "false")))
            at, interval = at + interval, min(2 * interval, 60 * SECOND)
            if at >= since + 30 * MINUTE:
                break
    slow = [replace(one, live=1_300_000) for one in messages]
    assert "RETRANSMISSION" not in kinds(run(slow))


def test_retransmission_out_of_rhythm() -> None:
    base = goose(until=3 * MINUTE)
    slow = [replace(one, received=one.received + (900_000 if one.received == 150 * SECOND else 0)) for one in base]
    assert run(slow, Override(kind="RETRANSMISSION", limit=1.5))["kind"].to_list() == ["RETRANSMISSION"]
    assert run(slow, Override(kind="RETRANSMISSION", limit=20.0)).is_empty()


def test_a_foreign_address() -> None:
    foreign = changed(NORMAL, lambda one: one.received == 100 * SECOND, address="02:00:00:00:00:66")
    found = run(foreign)
    assert "FOREIGN_ADDRESS" in kinds(found)
    assert evidence(found, "FOREIGN_ADDRESS")["expected"] == "02:00:00:00:00:01"


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"conf_rev": 2}, "CONFIGURATION_CHANGED"),
        ({"app_id": 9}, "CONFIGURATION_CHANGED"),
        ({"announced": 3}, "ENTRIES_MISSING"),
        ({"nds_com": True}, "NEEDS_COMMISSIONING"),
        ({"simulation": True}, "SIMULATION"),
        ({"clock_failure": True}, "CLOCK_FAILURE"),
        ({"unsynchronised": True}, "NOT_SYNCHRONIZED"),
    ],
)
def test_what_goose_messages_say_of_themselves(more: dict[str, object], kind: str) -> None:
    usual = changed(NORMAL, lambda _: True, clock_failure=False, unsynchronised=False)
    found = run(changed(usual, lambda one: 100 * SECOND <= one.received < 110 * SECOND, **more))
    row = found.row(by_predicate=pl.col("kind") == kind, named=True)
    assert (row["message_count"], row["state"]) == (10, "CLEARED")
    assert row["start_time"].timestamp() * SECOND == START + 100 * SECOND


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"beh": 3}, "BEH"),
        ({"health": 2}, "HEALTH_WARNING"),
        ({"health": 3}, "HEALTH_ALARM"),
        ({"phy_health": 2}, "PHY_HEALTH_WARNING"),
        ({"phy_health": 3}, "PHY_HEALTH_ALARM"),
    ],
)
def test_health(more: dict[str, object], kind: str) -> None:
    found = run(changed(health(until=10 * MINUTE), lambda one: one.received >= 8 * MINUTE, **more))
    (row,) = found.iter_rows(named=True)
    assert (row["kind"], row["message_count"], row["state"]) == (kind, 12, "UPDATED")


def test_reports_that_are_missing_and_a_buffer_that_overflowed() -> None:
    made = report(until=5 * MINUTE)
    assert kinds(run([*made[:20], *made[21:]])) == {"REPORT_GAP", "SILENCE"}
    assert kinds(run(changed(made, lambda one: one.sq == 30, overflow=True))) == {"BUFFER_OVERFLOW"}


def test_entry_ids_that_are_left_out_of_a_device_that_counts_them() -> None:
    made = report(until=10 * MINUTE)

    def entries(step: int, missing: int, after: int) -> list[Message]:
        number = [one.sq * step + (missing if one.sq > after else 0) for one in made if one.sq is not None]
        return [replace(one, entry=f"{entry:016x}") for one, entry in zip(made, number, strict=True)]

    found = run(entries(1, 5, 50))
    assert kinds(found) == {"REPORT_GAP"}
    assert evidence(found, "REPORT_GAP")["expected"] == "EntryID 33"
    assert evidence(found, "REPORT_GAP")["seen"].startswith("EntryID 38 at 51@")
    assert run(entries(1, 5, 10)).is_empty()  # not known to count them yet
    assert run(entries(7, 5, 50)).is_empty()  # its numbers are something else: a time, perhaps
    back = [replace(one, entry="01") if one.sq == 60 else one for one in made]
    assert evidence(run(back), "REPORT_GAP")["expected"] == "an EntryID after 3c"


def test_a_report_of_what_has_changed_is_no_other_data_set() -> None:
    made = report(until=5 * MINUTE)
    assert run(changed(made, lambda one: one.sq == 30, values=("off",))).is_empty()


def test_a_clock_that_steps_and_one_that_drifts() -> None:
    made = report(until=30 * MINUTE)
    stepped = [replace(one, time=one.time + (2 * SECOND if one.received > 10 * MINUTE else 0)) for one in made]
    drifting = [replace(one, time=one.time + one.received // 2_000) for one in made]
    for messages in (stepped, drifting):
        found = run(messages)
        assert kinds(found) == {"CLOCK_OFFSET"}
        assert float(evidence(found, "CLOCK_OFFSET")["offset_seconds"]) > 0.25


def test_a_quartz_that_runs_free_drifts_slowly_and_is_not_the_usual_clock() -> None:
    made = report(until=8 * 60 * MINUTE)
    (row,) = run([replace(one, time=one.time + one.received // 50_000) for one in made]).iter_rows(named=True)
    assert (row["kind"], row["state"]) == ("CLOCK_OFFSET", "UPDATED")
    raised = row["detected_time"].timestamp() * SECOND - START
    assert 3.4 * 60 * MINUTE < raised < 3.6 * 60 * MINUTE  # 20 ppm make a quarter of a second in 3.5 hours


def test_a_clock_that_has_been_put_right_is_soon_the_usual_one() -> None:
    made = report(until=3 * 60 * MINUTE)
    right = [replace(one, time=one.time + (0 if one.received > 60 * MINUTE else 5 * SECOND)) for one in made]
    wrong = [replace(one, time=one.time + (5 * SECOND if one.received > 60 * MINUTE else 0)) for one in made]
    (row,) = run(right).iter_rows(named=True)
    assert (row["kind"], row["state"]) == ("CLOCK_OFFSET", "CLEARED")
    (row,) = run(wrong).iter_rows(named=True)
    assert (row["kind"], row["state"]) == ("CLOCK_OFFSET", "UPDATED")


def test_a_device_that_flaps_is_ten_silences_and_then_one_that_comes_again() -> None:
    flaps = [one for one in goose(until=60 * MINUTE) if one.received % (10 * SECOND) < 5 * SECOND]
    found = run([*flaps, *goose("S1-B", until=60 * MINUTE)]).filter(pl.col("kind") == "SILENCE").sort("start_time")
    assert found["message_count"].to_list() == [1] * 9 + [351]
    last = found.row(9, named=True)
    assert (last["state"], last["end_time"]) == ("UPDATED", None)  # silent once more
    assert {one["key"]: one["value"] for one in last["evidence"]}["times"] == "351"


def test_buffered_reports_are_no_wrong_clock() -> None:
    made = report(until=30 * MINUTE)
    late = [
        replace(one, received=15 * MINUTE + n * 1_000) if 10 * MINUTE < one.received < 15 * MINUTE else one
        for n, one in enumerate(made)
    ]
    assert "CLOCK_OFFSET" not in kinds(run(late))


def test_thousands_of_identical_faults_are_one_anomaly() -> None:
    found = run(changed(goose(until=60 * MINUTE), lambda one: one.received > MINUTE, simulation=True))
    row = found.row(by_predicate=pl.col("kind") == "SIMULATION", named=True)
    assert row["message_count"] == 59 * 60 - 1
    # To all who are not in simulation the device says nothing.
    assert kinds(found) == {"SIMULATION", "SILENCE"}
    assert found.height == 2


@pytest.mark.parametrize(("told", "kind"), [("nds_com", "NEEDS_COMMISSIONING"), ("clock_failure", "CLOCK_FAILURE")])
@pytest.mark.parametrize("between", [None, False])
def test_what_comes_and_goes_is_one_anomaly(told: str, kind: str, between: bool | None) -> None:
    flapping = [replace(one, **{told: True if n % 2 else between}) for n, one in enumerate(NORMAL)]  # type: ignore[arg-type]
    found = run([*flapping, *changed(goose("S1-B", until=4 * MINUTE), lambda _: True)])
    assert found.filter(pl.col("kind") == kind).height == 1


def test_rules_are_tuned_by_device_and_block() -> None:
    simulated = changed(NORMAL, lambda one: one.received > MINUTE, simulation=True)
    other = [replace(one, ied="S1-B") for one in simulated]
    both = [*simulated, *other]
    quiet = (Override(kind="SILENCE", mute=True), Override(kind="COMMON_CAUSE", mute=True))
    assert run(both, Override(kind="SIMULATION", ied="*-A", mute=True), *quiet)["ied_id"].to_list() == ["S1-B"]
    louder = run(both, Override(severity="ALARM", control_block="S1-B/*"), *quiet)
    assert dict(louder.select("ied_id", "severity").iter_rows()) == {"S1-A": "WARNING", "S1-B": "ALARM"}


def test_a_second_change_of_the_configuration_is_named_too() -> None:
    first = changed(NORMAL, lambda one: 60 * SECOND <= one.received < 90 * SECOND, conf_rev=7)
    twice = changed(first, lambda one: one.received >= 90 * SECOND, conf_rev=8, app_id=9)
    (row,) = run(twice).iter_rows(named=True)
    assert row["message"].startswith("conf_rev 7 instead of conf_rev 1; then conf_rev 8, app_id 9 at 3/29@")
    flapping = [replace(one, conf_rev=one.conf_rev if one.sq is None else 2 + one.sq % 2) for one in twice]
    assert evidence(run(flapping, expected=(Expected(conf_rev=1),)), "CONFIGURATION_CHANGED")["then"].count(";") == 7


def test_a_single_forged_state_is_seen_because_nobody_repeats_it() -> None:
    changes = [(20 + 17 * n) * SECOND for n in range(5)]
    made = goose(until=3 * MINUTE, every=8 * SECOND, changes=changes, repeats=(4_000, 12_000, 300_000), live=20_000)
    other = goose("S1-B", until=3 * MINUTE)
    at = 121 * SECOND  # 1 s after a heartbeat
    forged = Message(at, time=at, st=7, sq=0, values=("false", "true"), live=20_000)
    found = run([*made, *other, forged])
    assert {"UNREPEATED", "RIVAL_PUBLISHER"} <= kinds(found)
    row = found.row(by_predicate=pl.col("kind") == "UNREPEATED", named=True)
    assert row["message"].startswith("no repetition of 7/0@2027-01-15T08:02:01.000000Z, expected one within 0.508 s")
    seconds = [row[name].timestamp() - START / SECOND for name in ("start_time", "detected_time", "end_time")]
    assert seconds == pytest.approx([121, 121.508, 121], abs=1e-3)
    assert run([*made, *other]).is_empty()
    twice = [forged, replace(forged, received=at + 4_000, sq=1)]
    assert "UNREPEATED" in kinds(run([*made, *other, *twice]))  # it repeats more often
    few = [one for one in made if one.received >= changes[3]]  # it is not known how soon
    assert "UNREPEATED" not in kinds(run([*few, *other, forged]))
    lossy = [one for one in made if (one.received - 4_000) not in changes]
    assert run([*lossy, *other]).filter(kind="UNREPEATED").is_empty()


@pytest.mark.parametrize("by", [3_600 * SECOND, -60 * SECOND])
def test_a_time_that_is_altered_on_the_way_over_an_event(by: int) -> None:
    made = goose(until=5 * MINUTE, changes=[30 * SECOND, 130 * SECOND], repeats=(4_000, 12_000, 28_000))
    span = range(120 * SECOND, 150 * SECOND)
    altered = [replace(one, time=one.time + by) if one.received in span else one for one in made]
    found = run([*altered, *goose("S1-B", until=5 * MINUTE)])
    assert kinds(found) == {"TIME_WITHOUT_STATE"}
    seconds = [moment.timestamp() - START / SECOND for moment in found.sort("start_time")["start_time"]]
    assert seconds == [120, 150]
    assert set(found["state"]) == {"CLEARED"}


def test_whoever_sends_ahead_of_the_beat_with_another_time_is_not_taken_for_the_publisher() -> None:
    made = goose(until=3 * MINUTE, changes=[20 * SECOND])
    forged = [
        replace(one, received=one.received - 5_000, time=one.time + 60 * SECOND)
        for one in made
        if 60 * SECOND <= one.received < 70 * SECOND
    ]
    found = run([*made, *forged, *goose("S1-B", until=3 * MINUTE)])
    assert kinds(found) == {"TIME_WITHOUT_STATE", "REPEATED", "RIVAL_PUBLISHER"}
    assert set(found["state"]) == {"CLEARED"}
    accused = json.loads(evidence(found, "RIVAL_PUBLISHER")["accused"])
    assert len(accused) == 8
    assert set(accused) <= {START + one.received for one in forged}


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_time_that_is_altered_in_some_messages_accuses_nobody(step: int) -> None:
    made = goose(until=4 * MINUTE, changes=[30 * SECOND, 100 * SECOND], repeats=(4_000, 12_000, 28_000, 60_000))
    altered = [
        replace(one, time=one.time + 1_000) if one.st == 3 and (one.sq or 0) % (step + 1) == step - 1 else one
        for one in made
    ]
    assert kinds(run([*altered, *goose("S1-B", until=4 * MINUTE)])) == {"TIME_WITHOUT_STATE"}


@pytest.mark.parametrize("copies", [2, 8, 12, 60])
def test_who_has_sent_copies_with_other_data_does_not_take_over_with_the_next_event(copies: int) -> None:
    changes = [300 * SECOND, 600 * SECOND]
    made = goose(until=15 * MINUTE, changes=changes, repeats=(4_000, 12_000, 28_000, 60_000))
    before = [one for one in made if one.received < changes[1]][-copies:]
    forged = [replace(one, received=one.received + 1_500, values=("x", "y")) for one in before]
    found = run([*made, *forged, *goose("S1-B", until=15 * MINUTE)])
    assert kinds(found) == {"CHANGE_WITHOUT_STATE", "RIVAL_PUBLISHER"} or kinds(found) == {"RIVAL_PUBLISHER"}
    accused = set(json.loads(evidence(found, "RIVAL_PUBLISHER")["accused"]))
    assert accused <= {START + one.received for one in forged}


@pytest.mark.parametrize("by", [SECOND, -SECOND])
@pytest.mark.parametrize("lead", [1_500, -1_500])
def test_who_is_ahead_of_the_publisher_from_the_first_message_on_has_nobody_accused(by: int, lead: int) -> None:
    made = goose(until=15 * MINUTE, changes=[100 * SECOND, 500 * SECOND], repeats=(4_000, 12_000, 28_000, 60_000))
    forged = [
        replace(one, received=one.received - lead, time=one.time + by)
        for one in made
        if 400 * SECOND < one.received < 700 * SECOND
    ]
    found = run([*made, *forged, *goose("S1-B", until=15 * MINUTE)])
    accused = set(json.loads(evidence(found, "RIVAL_PUBLISHER")["accused"]))
    assert accused <= {START + one.received for one in forged}


@pytest.mark.parametrize("messages", [1, 2, 4])
def test_a_few_messages_that_promise_an_hour_are_not_believed(messages: int) -> None:
    made = goose(until=3 * MINUTE, changes=[20 * SECOND])
    last = [replace(one, live=3_600_000) if n >= len(made) - messages else one for n, one in enumerate(made)]
    found = run([*last, *goose("S1-B", until=4 * MINUTE)])
    assert kinds(found) == {"TIME_ALLOWED_TO_LIVE", "SILENCE"}
    raised = found.filter(kind="SILENCE")["detected_time"].item().timestamp() - START / SECOND
    assert raised == pytest.approx(made[-1].received / SECOND + 3.0)


def test_a_restarted_publisher_may_promise_what_it_likes() -> None:
    before = goose(until=3 * MINUTE, changes=[20 * SECOND])
    after = goose(since=200 * SECOND, until=6 * MINUTE, every=8 * SECOND, live=16_000)
    found = run([*before, *after, *goose("S1-B", until=6 * MINUTE)])
    assert kinds(found) == {"SILENCE", "RESTARTED"}
    assert len(found.filter(kind="SILENCE")) == 1


@pytest.mark.parametrize(("late", "found"), [(400_000, {"DELAYED"}), (200_000, set())])
def test_a_state_that_is_held_back_is_delayed(late: int, found: set[str]) -> None:
    changes = [(20 + 17 * n) * SECOND for n in range(7)]
    made = goose(until=3 * MINUTE, changes=changes, repeats=(4_000, 12_000, 300_000))
    held = range(changes[5], changes[5] + 400_000)
    some = [replace(one, received=one.received + late) if one.received in held else one for one in made]
    assert kinds(run([*some, *goose("S1-B", until=3 * MINUTE)])) == found
    early = [replace(one, received=one.received + late) if one.received // SECOND == 37 else one for one in made]
    assert "DELAYED" not in kinds(run([*early, *goose("S1-B", until=3 * MINUTE)]))  # it is not known how long they take


def test_a_health_that_the_enumeration_does_not_have_is_told() -> None:
    odd = [replace(one, health=7, beh=2 if one.received < 30 * SECOND else 6) for one in health(until=60 * SECOND)]
    found = run(odd)
    assert kinds(found) == {"HEALTH_WARNING", "BEH"}
    assert evidence(found, "HEALTH_WARNING")["seen"].startswith("unknown (7)")
    (beh,) = found.filter(kind="BEH")["message"]
    assert beh.startswith("Beh is blocked (2); then unknown (6) at ")


@pytest.mark.parametrize("spelling", ["02-00-00-00-00-01", "0200.0000.0001", "02:00:00:00:00:01"])
def test_an_address_is_the_same_however_it_is_spelt(spelling: str) -> None:
    assert run(NORMAL, expected=(Expected(source_address=spelling),)).is_empty()
    mixed = changed(NORMAL, lambda one: one.received > 60 * SECOND, address=spelling)
    assert run(mixed).is_empty()


def test_other_than_expected_is_seen_from_the_first_message_on() -> None:
    """What has always been so need not be right: the settings say what the station's SCD has."""
    both = [*NORMAL, *goose("S1-B", until=3 * MINUTE)]
    found = run(both, expected=(Expected(ied="*-B", conf_rev=2, app_id=1), Expected(ied="*-A", conf_rev=1)))
    (row,) = found.iter_rows(named=True)
    assert (row["ied_id"], row["kind"], row["state"]) == ("S1-B", "CONFIGURATION_CHANGED", "UPDATED")
    assert row["start_time"].timestamp() * SECOND == START
    assert evidence(found, "CONFIGURATION_CHANGED")["expected"] == "conf_rev 2"


def test_an_address_other_than_expected_is_foreign_from_the_first_message_on() -> None:
    right, wrong = "02:00:00:00:00:01", "02:00:00:00:00:77"
    assert run(NORMAL, expected=(Expected(source_address=right),)).is_empty()
    found = run(NORMAL, expected=(Expected(source_address=wrong),))
    (row,) = found.iter_rows(named=True)
    assert (row["kind"], row["message_count"]) == ("FOREIGN_ADDRESS", len(NORMAL))
    said = evidence(found, "FOREIGN_ADDRESS")
    assert (said["expected"], said["seen"], said["accused_messages"]) == (wrong, right, "0")


def test_the_address_that_is_expected_is_the_genuine_one_even_if_it_comes_later() -> None:
    right, wrong = "02:00:00:00:00:0A", "02:00:00:00:00:99"
    foreign = [replace(one, address=wrong, st=7, received=one.received + 300_000) for one in goose(until=3 * MINUTE)]
    genuine = [replace(one, address=right) for one in goose(until=3 * MINUTE) if one.received >= MINUTE]
    found = run([*foreign, *genuine], expected=(Expected(source_address=right.lower()),))
    assert kinds(found) == {"FOREIGN_ADDRESS", "RIVAL_PUBLISHER"}
    said = evidence(found, "RIVAL_PUBLISHER")
    assert (said["false_address"], said["confidence"]) == (wrong, "1.000")
    after = [one for one in foreign if one.received > MINUTE]
    assert said["accused_messages"] == str(len(after))


def test_every_rule_is_explained() -> None:
    for kind in all_rules():
        assert "Clause: IEC" in explanation(kind)
        assert "Remedy:" in explanation(kind)


def test_the_page_of_the_rules_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "flows" / "ied_supervision" / "RULES.md"
    assert page.read_text(encoding="utf-8").rstrip() == rules_page().rstrip(), "make docs"


def test_a_drift_that_the_device_admits_never_becomes_its_usual_time() -> None:
    made = report(until=180 * MINUTE)
    lost = [
        replace(one, time=one.time + 4 * SECOND, unsynchronised=True)
        if 20 * MINUTE < one.received < 150 * MINUTE
        else one
        for one in made
    ]
    found = run(lost)
    assert kinds(found) == {"CLOCK_OFFSET", "NOT_SYNCHRONIZED"}
    (row,) = found.filter(pl.col("kind") == "CLOCK_OFFSET").iter_rows(named=True)
    assert row["end_time"].timestamp() * SECOND < START + 151 * MINUTE


_BAY = (
    "CTRL/XCBR1.Pos.stVal",
    *(f"CTRL/MMXU1.A.phs{phase}.cVal.mag.f" for phase in "ABC"),
    "CTRL/MMXU1.TotW.mag.f",
)


def _bay(until: int) -> list[Message]:
    """Reports of a bay: position, three currents, a power, all of which move."""
    chance = random.Random(3)
    return [
        replace(
            one,
            references=_BAY,
            values=("on", *(f"{chance.uniform(80, 90):.2f}" for _ in range(3)), f"{chance.uniform(1, 2):.4f}"),
        )
        for one in report(until=until)
    ]


def _with(one: Message, place: int, value: str) -> Message:
    entries = list(one.values or ())
    entries[place] = value
    return replace(one, values=tuple(entries))


def test_a_bay_in_order_contradicts_nothing() -> None:
    assert run(_bay(60 * MINUTE)).is_empty()


def test_an_open_breaker_that_carries_current() -> None:
    wrong = [_with(one, 0, "off") if 200 < (one.sq or 0) < 210 else one for one in _bay(30 * MINUTE)]
    found = run(wrong)
    assert kinds(found) == {"BREAKER_CONTRADICTED"}
    assert evidence(found, "BREAKER_CONTRADICTED")["seen"].split(" A")[0] > "80"
    dead = [
        replace(one, values=("off", "0.00", "0.00", "0.00", "0.0000")) if (one.sq or 0) > 200 else one for one in wrong
    ]
    assert run(dead).is_empty()


def test_the_current_of_an_arc_contradicts_no_breaker_that_has_just_opened() -> None:
    bay = _bay(30 * MINUTE)
    arc = [
        replace(_with(bay[200], 0, "off"), received=bay[200].received + at, sq=0, entry=None) for at in (4_000, 12_000)
    ]
    dead = [replace(one, values=("off", "0.00", "0.00", "0.00", "0.0000")) for one in bay[201:210]]
    assert "BREAKER_CONTRADICTED" not in kinds(run([*bay[:201], *arc, *dead]))


def test_a_measurement_that_is_frozen_or_impossible() -> None:
    frozen = [_with(one, 2, "85.55") if (one.sq or 0) > 200 else one for one in _bay(30 * MINUTE)]
    assert kinds(run(frozen)) == {"FROZEN"}
    impossible = [_with(one, 3, "-3.1") if one.sq == 200 else one for one in _bay(30 * MINUTE)]
    found = run(impossible)
    assert kinds(found) == {"OUT_OF_RANGE"}
    said = evidence(found, "OUT_OF_RANGE")
    assert said["seen"].startswith("-3.1 A in entry 3 of 200@")
    assert said["expected"] == "a current of 0 to 200,000 A"


@pytest.mark.parametrize(("value", "shown"), [("nan", "no number"), ("abc", "no number"), ("-0.001", "-0.001 A")])
def test_what_is_no_number_is_impossible_too(value: str, shown: str) -> None:
    found = run([_with(one, 3, value) if one.sq == 200 else one for one in _bay(30 * MINUTE)])
    assert kinds(found) == {"OUT_OF_RANGE"}
    assert evidence(found, "OUT_OF_RANGE")["value"] == shown


def test_a_device_that_is_switched_off_measures_zero() -> None:
    assert run([_with(one, 3, "0") if one.sq == 200 else one for one in _bay(30 * MINUTE)]).is_empty()


_PROTECTION = ("CTRL/XCBR1.Pos.stVal", "PROT/PTOC1.Str.general", "PROT/PTRC1.Tr.general")


def _protection(*states: tuple[int, tuple[str, str, str]]) -> list[Message]:
    """A protection's GOOSE that goes through states, each from a time on."""
    made = []
    for number, (since, values) in enumerate(states):
        until = states[number + 1][0] if number + 1 < len(states) else 5 * MINUTE
        made += [
            Message(at, time=since, st=number + 1, sq=sq, values=values, references=_PROTECTION)
            for sq, at in enumerate(range(since, until, SECOND))
        ]
    return made


def test_a_trip_after_a_pickup_is_in_order_and_one_without_is_not() -> None:
    calm, started, tripped = ("on", "false", "false"), ("on", "true", "false"), ("off", "true", "true")
    done = ("off", "false", "false")
    fault = [(0, calm), (60 * SECOND, started), (61 * SECOND, tripped), (70 * SECOND, done)]
    assert run(_protection(*fault)).is_empty()
    assert kinds(run(_protection((0, calm), (60 * SECOND, ("off", "false", "true"))))) == {"TRIP_WITHOUT_PICKUP"}
    found = run(_protection((0, calm), (60 * SECOND, started)))
    assert kinds(found) == {"PICKUP_WITHOUT_TRIP"}
    assert found["start_time"].dt.timestamp("us").to_list() == [START + 60 * SECOND]
    assert found["detected_time"].dt.timestamp("us").to_list() == [START + 121 * SECOND]


def _measuring(until: int, amperes: Callable[[int], float]) -> list[Message]:
    """Reports of three currents once a second."""
    references = tuple(f"CTRL/MMXU1.A.phs{phase}.cVal.mag.f" for phase in "ABC")
    made = report(until=until, every=SECOND)
    return [
        replace(one, references=references, values=(f"{amperes(one.received):.2f}", "70.00", "71.00")) for one in made
    ]


def test_a_fault_current_without_a_trip() -> None:
    chance = random.Random(5)

    def fault(at: int) -> float:
        return 4_000 if 120 * SECOND <= at < 150 * SECOND else chance.uniform(70, 90)

    calm, tripped, done = ("on", "false", "false"), ("off", "true", "true"), ("off", "false", "false")
    currents = _measuring(5 * MINUTE, fault)
    found = run([*currents, *_protection((0, calm))])
    assert kinds(found) == {"OVERCURRENT_WITHOUT_TRIP"}
    assert found["start_time"].dt.timestamp("us").to_list() == [START + 120 * SECOND]
    assert found["detected_time"].dt.timestamp("us").to_list() == [START + 135 * SECOND]
    assert evidence(found, "OVERCURRENT_WITHOUT_TRIP")["seen"].startswith("4000.0 A for 15.0 s")
    assert run([*currents, *_protection((0, calm), (120 * SECOND, tripped), (131 * SECOND, done))]).is_empty()
    assert run(currents).is_empty()  # it tells of no trips
    assert run([*currents, *_protection((0, calm))], Override("OVERCURRENT_*", limit=60)).is_empty()


def test_a_load_that_stays_is_no_fault_for_long() -> None:
    load = _measuring(20 * MINUTE, lambda at: 75 + at / SECOND / 100 + (900 if at >= 120 * SECOND else 0))
    guard = goose("S1-A", until=20 * MINUTE)
    calm = [
        replace(one, references=("CTRL/XCBR1.Ind", "PROT/PTRC1.Tr.general"), values=("on", "false")) for one in guard
    ]
    (row,) = run([*load, *calm]).iter_rows(named=True)
    assert (row["kind"], row["state"]) == ("OVERCURRENT_WITHOUT_TRIP", "CLEARED")
    assert row["end_time"].timestamp() * SECOND < START + 725 * SECOND


def test_entries_without_references_mean_what_the_settings_say() -> None:
    plain = [
        replace(one, references=None)
        for one in _protection((0, ("on", "false", "false")), (60 * SECOND, ("off", "false", "true")))
    ]
    assert run(plain).is_empty()
    told = Supervision(meanings=(EntryMeaning("S1-*", 1, "pickup"), EntryMeaning("S1-*", 2, "trip")))
    told.take(plain)
    told.end()
    assert kinds(told.final) == {"TRIP_WITHOUT_PICKUP"}


def test_an_event_that_only_one_of_two_neighbours_tells_of() -> None:
    common = [(n + 1) * 30 * SECOND for n in range(8)]
    first = goose("S1-A", until=7 * MINUTE, changes=[*common, 300 * SECOND])
    second = goose("S1-B", until=7 * MINUTE, changes=[at + 40_000 for at in common])
    far = goose("S2-A", until=7 * MINUTE, changes=[300 * SECOND])
    found = run([*first, *second, *far])
    (row,) = found.iter_rows(named=True)
    assert (row["kind"], row["ied_id"]) == ("LONE_EVENT", "S1-A")
    assert row["start_time"].timestamp() * SECOND == START + 300 * SECOND
    assert row["detected_time"].timestamp() * SECOND == START + 301 * SECOND


def test_events_that_have_always_come_alone_are_nothing_new() -> None:
    first = goose("S1-A", until=7 * MINUTE, changes=[(n + 1) * 30 * SECOND for n in range(10)])
    assert run([*first, *goose("S1-B", until=7 * MINUTE)]).is_empty()


def _numbers(messages: list[Message], **more: int) -> list[Message]:
    return [replace(one, **{name: getattr(one, name) + by for name, by in more.items()}) for one in messages]


def test_a_quick_restart_is_no_attack() -> None:
    before = goose(until=61 * SECOND, st=7, sq=100)
    found = run([*before, *goose(since=64 * SECOND, until=3 * MINUTE, st=1, sq=1)])
    assert kinds(found) == {"SILENCE", "RESTARTED"}


@pytest.mark.parametrize(("st", "sq"), [(1, 2), (1, 5), (2, 0), (3, 4)])
@pytest.mark.parametrize("outage", [3, 21])
def test_a_restart_whose_first_messages_are_lost_is_no_attack(st: int, sq: int, outage: int) -> None:
    before = goose(until=61 * SECOND, st=7, sq=100)
    again = goose(since=(61 + outage) * SECOND, until=10 * MINUTE, st=st, sq=sq)
    found = run([*before, *again])
    assert kinds(found) == {"SILENCE", "RESTARTED"}
    assert evidence(found, "RESTARTED")["seen"].endswith(f"after {outage + 1}.0 s")
    assert found.filter(pl.col("kind") == "SILENCE")["state"].to_list() == ["CLEARED"]


def test_a_restart_within_the_time_that_its_messages_hold() -> None:
    slow = [replace(one, live=40_000) for one in goose(until=200 * SECOND, every=20 * SECOND, st=7, sq=100)]
    again = goose(since=215 * SECOND, until=10 * MINUTE, every=20 * SECOND, st=1, sq=1)
    found = run([*slow, *(replace(one, live=40_000) for one in again)])
    assert kinds(found) == {"RESTARTED"}


@pytest.mark.parametrize("off", [0, -800_000, -55 * SECOND])
def test_a_state_whose_time_is_not_after_the_one_before(off: int) -> None:
    """A clock that has been set back, or stands still, is no second publisher."""
    made = [
        replace(one, time=one.time + off if off else 0) if one.received >= 50 * SECOND else one
        for one in goose(until=3 * MINUTE, changes=[50 * SECOND, 100 * SECOND])
    ]
    assert not kinds(run(made)) & {"RIVAL_PUBLISHER", "REPLAYED"}


def test_state_numbers_that_begin_again_after_the_last() -> None:
    made = goose(until=3 * MINUTE, changes=[50 * SECOND], st=0xFFFF_FFFF, sq=5)
    rolled = [replace(one, st=1) if one.st == 0x1_0000_0000 else one for one in made]
    assert run(rolled).is_empty()


def test_copies_by_another_way_through_the_network_are_no_rival() -> None:
    burst = [60 * SECOND + step for step in (0, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)]
    made = goose(until=60 * SECOND)
    made += [replace(made[-1], received=at, time=burst[0], st=2, sq=n, values=("x", "y")) for n, at in enumerate(burst)]
    made += [replace(made[-1], received=at, sq=7 + n) for n, at in enumerate(range(61 * SECOND, 3 * MINUTE, SECOND))]
    found = run([*made, *(replace(one, received=one.received + 3_000) for one in made)])
    assert kinds(found) == {"REPEATED"}


def test_a_publisher_that_comes_back_after_a_gap_is_known_again() -> None:
    mine = [one for one in goose(until=5 * MINUTE, st=7) if not 100 * SECOND < one.received < 120 * SECOND]
    other = _numbers(goose(since=60 * SECOND + 200_000, until=5 * MINUTE), st=900)
    found = run([*mine, *other])
    genuine = {START + one.received for one in mine}
    accused = json.loads(evidence(found, "RIVAL_PUBLISHER")["accused"])
    assert len(accused) > 100
    assert not genuine & set(accused)


def test_a_replay_into_an_outage_is_a_replay() -> None:
    mine = [one for one in goose(until=6 * MINUTE) if not 100 * SECOND < one.received < 230 * SECOND]
    old = [replace(one, received=one.received + 200 * SECOND + 300_000) for one in mine[10:50]]
    found = run([*mine, *old])
    assert "REPLAYED" in kinds(found)
    accused = {one for text in _accusations(found) for one in json.loads(text)}
    assert not {START + one.received for one in mine} & accused


def _accusations(found: pl.DataFrame) -> list[str]:
    return [entry["value"] for entries in found["evidence"] for entry in entries if entry["key"] == "accused"]


def test_the_genuine_one_is_silent_while_the_false_one_goes_on() -> None:
    false = _numbers(goose(since=60 * SECOND + 300_000, until=5 * MINUTE), st=900)
    found = run([*goose(until=100 * SECOND), *false])
    silent = found.row(by_predicate=pl.col("kind") == "SILENCE", named=True)
    assert (silent["state"], silent["start_time"].timestamp() * SECOND) == ("RAISED", START + 99 * SECOND)
    rival = found.row(by_predicate=pl.col("kind") == "RIVAL_PUBLISHER", named=True)
    assert rival["state"] == "UPDATED"


def test_a_test_set_beside_the_publisher_is_a_simulation_and_nothing_else() -> None:
    simulated = [
        replace(one, simulation=True) for one in _numbers(goose(since=60 * SECOND + 1, until=90 * SECOND), st=50)
    ]
    assert kinds(run([*NORMAL, *simulated])) == {"SIMULATION"}


def test_a_device_that_falls_silent_block_by_block() -> None:
    messages = [*goose(until=100 * SECOND + 1), *health(until=125 * SECOND), *goose("S1-B", until=6 * MINUTE)]
    assert kinds(run(messages)) == {"SILENCE"}


def test_devices_that_still_speak_are_not_silent_together() -> None:
    names = ("S1-A", "S1-B", "S1-C")
    messages = [one for name in names for one in (*goose(name, until=100 * SECOND), *health(name, until=5 * MINUTE))]
    common = run(messages).filter(pl.col("kind") == "COMMON_CAUSE")
    assert set(common["state"]) <= {"CLEARED"}


def test_a_new_rhythm_of_health_is_learned() -> None:
    fast = health(until=5 * MINUTE)
    slow = health(until=65 * MINUTE, every=MINUTE)
    found = run([*fast, *(one for one in slow if one.received >= 5 * MINUTE), *goose("S1-B", until=65 * MINUTE)])
    assert found.height <= 3


def test_events_between_two_integrity_reports_say_nothing_of_their_rhythm() -> None:
    made = report(until=40 * MINUTE, every=MINUTE)
    burst = [replace(made[9], received=made[9].received + 100_000 * n, sq=0, entry=None) for n in range(1, 101)]
    found = run([*made, *burst])
    assert "SILENCE" not in kinds(found)


def test_references_that_only_look_like_a_breaker_or_a_current() -> None:
    references = ("CTRL/XSWI3.Pos.stVal", "CTRL/XCBR1.Pos.stVal", _BAY[1], "CTRL/MMXU1.A.phsA.cVal.ang.f")
    made = [
        replace(one, references=references, values=("off", "on", "300.1", "-30.5")) for one in report(until=5 * MINUTE)
    ]
    assert run(made).is_empty()


def test_a_name_with_any_character_is_a_name() -> None:
    odd = [replace(one, ied="S1\x1fA") for one in NORMAL if one.received != 40 * SECOND]
    assert run(odd)["ied_id"].to_list() == ["S1\x1fA"]


@pytest.mark.parametrize("made", [health, report])
def test_a_clock_that_stands_still(made: Callable[..., list[Message]]) -> None:
    frozen = [replace(one, time=min(one.time, 5 * MINUTE)) for one in made(until=15 * MINUTE)]
    found = run(frozen)
    assert kinds(found) == {"CLOCK_OFFSET"}
    assert float(evidence(found, "CLOCK_OFFSET")["offset_seconds"]) < -500


def test_segments_of_a_report_and_messages_without_numbers_are_no_fault() -> None:
    made = report(until=5 * MINUTE)
    assert run([*made, *(replace(one, received=one.received + 2_000) for one in made)]).is_empty()
    assert run(changed(goose(until=3 * MINUTE), lambda one: True, sq=None)).is_empty()
