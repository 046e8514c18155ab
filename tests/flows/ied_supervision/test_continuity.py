"""Who is genuine: forged states, replays, copies, restarts, test sets."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from tests.flows.ied_supervision.station import MINUTE, SECOND, START, Message, goose, run

_GENUINE = goose(until=20 * MINUTE, changes=[60 * SECOND])
_OTHERS = goose("S1-B", until=20 * MINUTE)


def kinds(frame: pl.DataFrame) -> set[str]:
    return set(frame["kind"])


def accused(frame: pl.DataFrame) -> set[int]:
    """When the accused messages were received."""
    said = [entry["value"] for row in frame["evidence"] for entry in row if entry["key"] == "accused"]
    return {time - START for one in said for time in json.loads(one)}


def forged(at: int, states: int, step: int, goes_on: int = 0) -> list[Message]:
    """New states of somebody else, with the publisher's address, and heartbeats of the last one."""
    made = [
        Message(at + n * step, time=at + n * step, st=3 + n, sq=0, values=(str(n % 2 == 0).lower(), "true"))
        for n in range(states)
    ]
    last = made[-1]
    made += [replace(last, received=last.received + (n + 1) * SECOND, sq=n + 1) for n in range(goes_on)]
    return made


@pytest.mark.parametrize(("states", "step"), [(1, 100_000), (2, 100_000), (3, 100_000), (5, 20_000), (12, 10_000)])
@pytest.mark.parametrize("goes_on", [0, 600])
def test_who_makes_up_states_between_two_heartbeats_is_found_out(states: int, step: int, goes_on: int) -> None:
    false = forged(300 * SECOND + 400_000, states, step, goes_on)
    found = run([*_GENUINE, *_OTHERS, *false])
    assert kinds(found) == {"RIVAL_PUBLISHER"}
    assert not accused(found) & {one.received for one in _GENUINE}
    assert len(accused(found)) == goes_on


def test_the_state_of_the_publisher_after_made_up_ones_is_its_own() -> None:
    genuine = goose(until=20 * MINUTE, changes=[60 * SECOND, 300 * SECOND + 700_000])
    found = run([*genuine, *_OTHERS, *forged(300 * SECOND + 400_000, 2, 100_000, 300)])
    assert "SILENCE" not in kinds(found)
    assert not accused(found) & {one.received for one in genuine}


def test_a_replay_in_place_of_a_dead_device_is_never_believed() -> None:
    for changes in ([3 * MINUTE], [MINUTE * n for n in range(1, 9)]):
        alive = goose(until=10 * MINUTE, changes=changes)
        replayed = [replace(one, received=one.received + 10 * MINUTE + 5 * SECOND) for one in alive[60:]]
        again = [replace(one, received=one.received + 11 * MINUTE) for one in replayed]
        found = run([*alive, *replayed, *again, *goose("S1-B", until=32 * MINUTE)])
        assert kinds(found) == {"SILENCE", "REPLAYED", "RIVAL_PUBLISHER"}
        assert found.filter(kind="SILENCE")["state"].to_list() == ["RAISED"]


def test_a_long_replay_beside_the_device_is_not_believed_when_that_changes_its_state() -> None:
    alive = goose(until=60 * MINUTE, changes=[55 * MINUTE])
    replayed = [replace(one, received=one.received + 34 * MINUTE + 333_000) for one in alive[60:1500]]
    found = run([*alive, *replayed, *goose("S1-B", until=60 * MINUTE)])
    assert kinds(found) == {"REPLAYED", "RIVAL_PUBLISHER"}
    assert found.filter(kind="REPLAYED")["message_count"].to_list() == [len(replayed)]


def test_the_last_message_of_a_dead_device_is_no_sign_of_life() -> None:
    alive = goose(until=5 * MINUTE)
    loop = [replace(alive[-1], received=alive[-1].received + n * SECOND) for n in range(1, 600)]
    found = run([*alive, *loop, *_OTHERS])
    assert kinds(found) == {"SILENCE", "REPEATED"}
    silence = found.row(by_predicate=pl.col("kind") == "SILENCE", named=True)
    assert silence["state"] == "RAISED"
    assert silence["detected_time"].timestamp() * SECOND == START + alive[-1].received + 2_500_000


def test_a_device_that_never_counts_is_not_silent() -> None:
    stuck = [replace(one, sq=0) for one in goose(until=5 * MINUTE)]
    assert kinds(run(stuck)) == {"REPEATED"}


def test_a_restart_whose_first_states_were_not_heard() -> None:
    alive = goose(until=10 * MINUTE, changes=[n * 20 * SECOND for n in range(1, 25)])
    back = 11 * MINUTE + 30 * SECOND
    later = goose(since=back, until=20 * MINUTE, changes=[back + n * SECOND for n in range(1, 8)])
    found = run([*alive, *[one for one in later if one.received > back + 20 * SECOND], *_OTHERS])
    assert kinds(found) == {"SILENCE", "RESTARTED"}


def test_a_restart_with_the_clock_of_its_making() -> None:
    back, making = 11 * MINUTE, -16 * 365 * 86_400 * SECOND
    later = [replace(one, time=making) for one in goose(since=back, until=20 * MINUTE)][2:]  # the first two are lost
    found = run([*goose(until=10 * MINUTE, changes=[5 * MINUTE]), *later, *_OTHERS])
    assert kinds(found) == {"SILENCE", "RESTARTED"}


def test_copies_by_another_way_through_the_network_after_several_changes_at_once() -> None:
    changes = [60 * SECOND + n * 4_000 for n in range(4)]
    one = goose(until=5 * MINUTE, changes=changes)
    copies = [replace(message, received=message.received + 20_000) for message in one]
    assert kinds(run([*one, *copies])) == {"REPEATED"}


@pytest.mark.parametrize("address", ["02:00:00:00:00:99", None, "02:00:00:00:00:01"])
def test_a_test_set_that_begins_a_state_of_its_own_is_no_rival(address: str | None) -> None:
    at = 200 * SECOND + 300_000
    tests = [
        Message(at + n * SECOND, time=at, st=3, sq=n, values=("x", "y"), simulation=True, address=address)
        for n in range(100)
    ]
    assert kinds(run([*_GENUINE, *_OTHERS, *tests])) == {"SIMULATION"}


def test_two_different_messages_of_one_number() -> None:
    false = [
        replace(one, received=one.received - 400_000, values=("true", "true"))
        for one in _GENUINE
        if 300 * SECOND < one.received <= 400 * SECOND
    ]
    found = run([*_GENUINE, *_OTHERS, *false])
    assert kinds(found) == {"CHANGE_WITHOUT_STATE", "RIVAL_PUBLISHER", "RETRANSMISSION"}
    assert not accused(found)


def test_what_a_message_does_not_carry_has_not_changed() -> None:
    assert run([replace(one, values=None) if one.sq else one for one in _GENUINE]).is_empty()
    assert run([replace(one, values=None) if one.sq == 0 else one for one in _GENUINE]).is_empty()


def test_a_state_that_was_missed_explains_that_the_data_are_what_they_were() -> None:
    there_and_back = goose(until=5 * MINUTE, changes=[60 * SECOND, 60 * SECOND + 300_000])
    assert kinds(run([one for one in there_and_back if one.st != 2])) == {"SEQUENCE_GAP"}


def test_an_outage_of_many_messages_is_a_gap() -> None:
    fast = goose(until=40 * MINUTE, every=100_000)
    found = run([one for one in fast if not 5 * MINUTE < one.received < 35 * MINUTE])
    assert kinds(found) == {"SILENCE", "SEQUENCE_GAP"}


@pytest.mark.parametrize("unheard", [3, 8, 30, 120, 500])
@pytest.mark.parametrize("goes_on", [0, 1])
def test_who_counts_on_after_it_was_not_heard_is_the_publisher(unheard: int, goes_on: int) -> None:
    """Its beat went on meanwhile, whatever somebody else has sent in its place."""
    since, until = 300 * SECOND + 300_000, 300 * SECOND + 300_000 + unheard * SECOND
    heard = [one for one in _GENUINE if not since < one.received < until]
    found = run([*heard, *_OTHERS, *forged(since + 100_000, 1, 0, goes_on * (unheard - 1))])
    assert "RIVAL_PUBLISHER" in kinds(found)
    assert not accused(found)
    rival = found.row(by_predicate=pl.col("kind") == "RIVAL_PUBLISHER", named=True)
    assert rival["state"] == "CLEARED"
    assert rival["end_time"].timestamp() * SECOND - START <= until + 10 * SECOND
    silences = found.filter(pl.col("kind") == "SILENCE")
    assert set(silences["state"]) <= {"CLEARED"}


@pytest.mark.parametrize(("ahead", "every", "step"), [(3, 20_000, 1), (9, 20_000, 1), (5, 90_000, 3), (3, 350_000, 5)])
@pytest.mark.parametrize("other_data", [False, True])
def test_numbers_sent_ahead_of_the_beat_are_not_the_publishers(
    ahead: int, every: int, step: int, other_data: bool
) -> None:
    begun = 300 * SECOND + 400_000
    last = next(one for one in reversed(_GENUINE) if one.received < begun)
    assert last.sq is not None
    false = [
        replace(
            last,
            received=begun + n * every,
            sq=last.sq + (n + 1) * step,
            values=("true", "true") if other_data else last.values,
        )
        for n in range(ahead)
    ]
    found = run([*_GENUINE, *_OTHERS, *false])
    assert "RIVAL_PUBLISHER" in kinds(found)
    assert "SILENCE" not in kinds(found)
    assert not accused(found) & {one.received for one in _GENUINE}


@pytest.mark.parametrize("apart", [100, 4_000])
def test_copies_stay_with_who_sent_them_while_somebody_replays(apart: int) -> None:
    copies = [replace(one, received=one.received + apart) for one in _GENUINE]
    replayed = [replace(one, received=one.received + 120 * SECOND + 300_000) for one in _GENUINE[170:185]]
    found = run([*_GENUINE, *copies, *_OTHERS, *replayed])
    assert {"RIVAL_PUBLISHER", "REPLAYED"} <= kinds(found)
    assert not accused(found) & {one.received for one in (*_GENUINE, *copies)}
    rival = found.row(by_predicate=pl.col("kind") == "RIVAL_PUBLISHER", named=True)
    assert (rival["state"], rival["message_count"] <= len(replayed)) == ("CLEARED", True)


@pytest.mark.parametrize("lost", [0, 1, 2, 4])
@pytest.mark.parametrize("data", [True, False])
def test_a_publisher_whose_time_stands_still_may_lose_the_first_of_a_state(lost: int, data: bool) -> None:
    begun = 300 * SECOND
    made = [
        replace(one, time=0, values=one.values if data else None)
        for one in goose(until=10 * MINUTE, changes=[100 * SECOND, begun])
        if not begun <= one.received < begun + lost * SECOND
    ]
    found = run([*made, *goose("S1-B", until=10 * MINUTE)])
    silent = {"SILENCE"} if lost > 1 else set()  # for longer than the last message has promised
    assert kinds(found) == silent | ({"SEQUENCE_GAP"} if lost else set())


def test_one_message_does_not_promise_an_hour_of_silence() -> None:
    alive = goose(until=5 * MINUTE)
    last = alive[-1]
    assert last.sq is not None
    false = replace(last, received=last.received + 300_000, sq=last.sq + 1, live=3_600_000)
    found = run([*alive, false, *goose("S1-B", until=8 * MINUTE)])
    silence = found.row(by_predicate=pl.col("kind") == "SILENCE", named=True)
    assert silence["detected_time"].timestamp() * SECOND - START <= false.received + 3 * SECOND


def test_a_publisher_that_promises_longer_from_now_on_is_believed() -> None:
    sooner, later = goose(until=5 * MINUTE), goose(since=5 * MINUTE, until=20 * MINUTE, every=4 * SECOND, st=2)
    found = run([*sooner, *(replace(one, live=8_000) for one in later), *goose("S1-B", until=20 * MINUTE)])
    assert len(found.filter(pl.col("kind") == "SILENCE")) <= 1


@pytest.mark.parametrize("resolution", [1, 1_000, SECOND])
def test_a_publisher_that_puts_the_present_into_each_message_is_one_publisher(resolution: int) -> None:
    made = [
        replace(one, time=(one.received - 2_000) // resolution * resolution)
        for one in goose(until=20 * MINUTE, changes=[100 * SECOND, 300 * SECOND + 500_000])
    ]
    lost = [one for one in made if not 400 * SECOND <= one.received < 401 * SECOND]
    assert kinds(run([*lost, *_OTHERS])) == {"SEQUENCE_GAP"}
    replayed = replace(made[90], received=500 * SECOND + 400_000)
    found = run([*made, *_OTHERS, replayed])
    assert kinds(found) == {"RIVAL_PUBLISHER", "REPLAYED"}
    assert not accused(found) & {one.received for one in made}
