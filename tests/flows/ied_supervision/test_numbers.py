"""Numbers that are left out, come late or begin anew, and clocks that drift between messages."""

from __future__ import annotations

import random
from dataclasses import replace

import polars as pl
import pytest

from tests.flows.ied_supervision.station import MINUTE, SECOND, Message, goose, report, run
from tests.flows.ied_supervision.test_rules import evidence, kinds


def test_the_first_message_of_a_state_is_missed_where_states_begin_with_0() -> None:
    made = goose(until=2 * MINUTE, changes=[20_500_000, 60_500_000])
    found = run([one for one in made if (one.st, one.sq) != (3, 0)])
    assert kinds(found) == {"SEQUENCE_GAP"}
    assert evidence(found, "SEQUENCE_GAP")["seen"] == "1 messages missing"


def test_states_of_a_publisher_that_counts_from_1_are_complete() -> None:
    made = goose(until=2 * MINUTE, changes=[20_500_000, 60_500_000], sq=1)
    assert run([replace(one, sq=one.sq + 1) if one.st != 1 and one.sq is not None else one for one in made]).is_empty()


def test_after_a_restart_states_may_begin_with_another_number() -> None:
    before = goose(until=MINUTE, changes=[20_500_000])
    after = [
        replace(one, sq=(one.sq or 0) + 1)
        for one in goose(since=80 * SECOND, until=4 * MINUTE, changes=[at * SECOND + 500_000 for at in (100, 130, 160)])
    ]
    assert kinds(run([*before, *after])) == {"SILENCE", "RESTARTED"}


def test_who_no_longer_counts_entries_one_by_one_leaves_none_out() -> None:
    made = [replace(one, entry=f"{n if n < 40 else 2 * n:016x}") for n, one in enumerate(report(until=20 * MINUTE), 1)]
    found = run(made)
    assert kinds(found) == {"REPORT_GAP"}
    assert found["message_count"].to_list() == [1]


def test_the_first_message_of_a_state_that_was_overtaken_is_not_said_to_have_come_twice() -> None:
    made = goose(until=2 * MINUTE, changes=[20_500_000, 60_500_000])
    first = next(one for one in made if (one.st, one.sq) == (3, 0))
    second = next(one for one in made if (one.st, one.sq) == (3, 1))
    swapped = {first: replace(first, received=second.received + 2_000)}
    assert kinds(run([swapped.get(one, one) for one in made])) == {"SEQUENCE_GAP"}


def test_of_a_publisher_that_counts_from_1_the_right_number_is_missed() -> None:
    made = goose(until=2 * MINUTE, changes=[20_500_000, 60_500_000, 80_500_000], sq=1)
    made = [replace(one, sq=one.sq + 1) if one.st != 1 and one.sq is not None else one for one in made]
    found = run([one for one in made if (one.st, one.sq) != (3, 1)])
    assert evidence(found, "SEQUENCE_GAP")["seen"] == "1 messages missing"


def test_the_time_of_reports_that_has_never_moved_is_a_wrong_clock() -> None:
    assert kinds(run([replace(one, time=-5_000) for one in report(until=30 * MINUTE)])) == {"CLOCK_OFFSET"}


def test_deliveries_that_take_now_longer_now_shorter_tell_of_no_clock() -> None:
    chance = random.Random(2)
    made = report(until=24 * 60 * MINUTE, every=5 * MINUTE)
    assert run([replace(one, received=one.received + chance.randrange(2 * SECOND)) for one in made]).is_empty()


def test_a_message_that_was_overtaken_is_not_said_to_have_come_twice() -> None:
    made = goose(until=MINUTE, changes=[30_300_000])
    state = next(one for one in made if one.st == 2)
    burst = [
        replace(state, received=state.received + after, sq=sq) for sq, after in ((1, 4_000), (3, 12_000), (2, 13_000))
    ]
    later = [replace(one, sq=one.sq + 3) if one.st == 2 and one.sq else one for one in made]
    assert kinds(run([*later, *burst])) == {"SEQUENCE_GAP"}


def test_a_number_that_begins_anew_behind_a_lost_message_is_no_restart() -> None:
    last = 2**32 - 1
    made = [replace(one, sq=(last - 20 + n) % 2**32) for n, one in enumerate(goose(until=MINUTE))]
    found = run([one for one in made if one.sq != last])
    assert kinds(found) == {"SEQUENCE_GAP"}
    assert evidence(found, "SEQUENCE_GAP")["seen"] == "1 messages missing"


@pytest.mark.parametrize("sq", [False, True])
def test_entry_ids_are_followed_with_and_without_sq_num(*, sq: bool) -> None:
    made = [one if sq else replace(one, sq=None) for one in report(until=5 * MINUTE)]
    again = [replace(one, received=one.received + 200_000) for one in made[40:41]]
    back = [*made, *(replace(one, entry=made[10].entry, sq=None if one.sq is None else one.sq) for one in again)]
    found = run(back)
    assert "REPORT_GAP" in kinds(found)
    assert "instead of an EntryID after" in found.filter(pl.col("kind") == "REPORT_GAP")["message"][0]
    assert run(made).is_empty()


def test_a_clock_that_drifts_between_messages_an_hour_apart_is_seen() -> None:
    hour = 60 * MINUTE
    drift = 150e-6
    events: list[Message] = []
    for n in range(30):
        at = n * hour
        events.append(Message(at, time=at - 4_000 - int(at * drift), st=n + 1, sq=0, live=2 * 3_600_000))
    events = [replace(one, values=(str(n % 2 == 0).lower(), "false")) for n, one in enumerate(events)]
    found = run(events)
    assert "CLOCK_OFFSET" in kinds(found)
