"""Gates and watermarks."""

from __future__ import annotations

import time

import polars as pl

from connectors.batch import Batch
from flows.streaming.event_time import MINIMUM, SECOND, PartitionGate, Watermark
from tests.flows.harness import NO_LETTERS, frame_of
from tests.flows.reference import Reading

HOUR = 3600 * SECOND
START = 1_475_452_800 * SECOND


def gate() -> PartitionGate:
    return PartitionGate("meter_id", "time", 120 * SECOND, 24 * HOUR)


def at(*hours: float, meter: str | None = None, received: bool = True) -> pl.DataFrame:
    times = [START + int(h * HOUR) for h in hours]
    return frame_of(
        [Reading(meter or f"M{i}", t, 1.0, None, 0, t + SECOND if received else None) for i, t in enumerate(times)]
    )


def batch(partition: int, frontier: int | None, *, idle: bool = False, finished: bool = False) -> Batch:
    taken = 0 if idle or finished else 1
    return Batch(
        "grid.meter.v1", partition, 2, 0, 0, pl.DataFrame(), NO_LETTERS, NO_LETTERS, taken, frontier, idle, finished
    )


def test_lateness_is_judged_row_by_row_wherever_the_log_is_cut() -> None:
    hours = [0.0, 30.0, 5.0, 7.0, 31.0, 6.9]
    whole = gate().admit(at(*hours))
    assert whole.accepted.tolist() == [True, True, False, True, True, False]
    cut, again = gate(), []
    for hour in hours:
        again += cut.admit(at(hour)).accepted.tolist()
        cut.restore(cut.state())
    assert again == whole.accepted.tolist()


def test_a_lone_leap_into_the_future_is_refused_and_makes_nothing_late() -> None:
    one = gate()
    assert one.admit(at(0, 0, 0, received=False)).all_accepted
    verdict = one.admit(at(0.25, 24 * 365 * 90, 0.25, 0.25, received=False))
    assert verdict.accepted.tolist() == [True, False, True, True]
    assert not verdict.late.any()
    assert "2106" in verdict.refused[0].message
    assert one.frontier == START + HOUR // 4


def test_a_century_ahead_is_refused_even_with_a_received_time() -> None:
    one = gate()
    assert one.admit(at(0, 0, 0, 0, 0)).all_accepted
    # A gateway with a wrong clock: two of its meters among four others.
    verdict = one.admit(at(0.25, 876_000, 0.25, 876_000, 0.25, 0.25))
    assert verdict.accepted.tolist() == [True, False, True, False, True, True]
    assert [refusal.row for refusal in verdict.refused] == [1, 3]
    assert one.frontier == START + HOUR // 4


def test_the_first_reading_of_all_may_not_lie_in_the_future() -> None:
    one = gate()
    ahead = (time.time() - START / SECOND) / 3600 + 24 * 365
    assert one.admit(at(ahead)).accepted.tolist() == [False]
    assert one.admit(at(0, 0, 0)).all_accepted
    assert one.frontier == START


def test_a_log_of_two_years_far_apart_goes_on() -> None:
    one = gate()
    one.admit(at(0, 0, 0, 0))
    assert one.admit(at(50_000, 50_000, 50_000, 50_000)).all_accepted


def test_a_gap_after_which_all_go_on_is_no_leap() -> None:
    one = gate()
    one.admit(at(0, 0, 0, received=False))
    assert one.admit(at(100, 100, 100, received=False)).all_accepted


def test_the_watermark_is_the_slowest_partition_that_is_not_idle() -> None:
    mark = Watermark(delay=0)
    assert mark.observe([batch(0, START + 5 * HOUR)]) == MINIMUM, "partition 1 has not said anything yet"
    assert mark.observe([batch(1, START + HOUR)]) == START + HOUR
    assert mark.observe([batch(1, START + HOUR, idle=True)]) == START + 5 * HOUR
    assert mark.observe([batch(1, START + 2 * HOUR)]) == START + 5 * HOUR, "never back"
    assert mark.observe([batch(0, START + 9 * HOUR)]) == START + 5 * HOUR, "awake again, it counts"
    assert mark.observe([batch(1, START + 8 * HOUR)]) == START + 8 * HOUR
    assert mark.observe([batch(1, None, finished=True)]) == START + 9 * HOUR
