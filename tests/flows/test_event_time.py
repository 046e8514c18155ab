"""Watermarks."""

from __future__ import annotations

import polars as pl

from connectors.batch import Batch
from flows.streaming.event_time import MINIMUM, SECOND, Watermark
from tests.flows.harness import NO_LETTERS

HOUR = 3600 * SECOND
START = 1_475_452_800 * SECOND


def batch(partition: int, frontier: int | None, *, idle: bool = False, finished: bool = False) -> Batch:
    taken = 0 if idle or finished else 1
    return Batch(
        "grid.meter.v1", partition, 2, 0, 0, pl.DataFrame(), NO_LETTERS, NO_LETTERS, taken, frontier, idle, finished
    )


def test_who_is_idle_must_say_so_again_when_what_was_held_up_is_delivered_or_after_a_restart() -> None:
    mark = Watermark(0)
    assert mark.observe([batch(0, START), batch(1, START)], jump=HOUR) == START
    later = START + HOUR // 2
    assert mark.observe([batch(1, None, idle=True), batch(0, later)], jump=HOUR) == later
    assert mark.observe([batch(0, START + 3 * HOUR)], jump=HOUR) == later  # it may have as much to come
    assert mark.observe([batch(1, START + 2 * HOUR)], jump=HOUR) == START + 2 * HOUR
    assert mark.observe([batch(1, None, idle=True)], jump=HOUR) == START + 3 * HOUR
    mark.resumed()
    assert mark.observe([batch(0, START + 4 * HOUR)]) == START + 3 * HOUR
    assert mark.observe([batch(1, None, idle=True)]) == START + 4 * HOUR


def test_the_watermark_is_the_slowest_partition_that_is_not_idle() -> None:
    mark = Watermark(delay=0)
    assert mark.observe([batch(0, START + 5 * HOUR)]) == MINIMUM, "partition 1 has not said anything yet"
    assert mark.observe([batch(1, START + HOUR)]) == START + HOUR
    assert mark.observe([batch(1, START + HOUR, idle=True)]) == START + 5 * HOUR
    assert mark.observe([batch(1, START + 2 * HOUR)]) == START + 5 * HOUR, "never back"
    assert mark.observe([batch(0, START + 9 * HOUR)]) == START + 5 * HOUR, "awake again, it counts"
    assert mark.observe([batch(1, START + 8 * HOUR)]) == START + 8 * HOUR
    assert mark.observe([batch(1, None, finished=True)]) == START + 9 * HOUR
