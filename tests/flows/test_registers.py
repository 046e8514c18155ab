"""The store of registers: room, order, forgetting, and its bytes."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.streaming.registers import Readings, RegisterStore


def readings(rows: list[int], times: list[int]) -> Readings:
    row, time = np.array(rows, np.int64), np.array(times, np.int64)
    return Readings(row, time, 10 * time, time + 1)


def store_of(meters: int) -> RegisterStore:
    store = RegisterStore()
    store.rows_of(pl.Series([f"M{number}" for number in range(meters)]))
    return store


def content(store: RegisterStore) -> list[list[tuple[int, int, int]]]:
    return [
        [(int(store.time[r, p]), int(store.value[r, p]), int(store.received[r, p])) for p in range(store.count[r])]
        for r in range(len(store.meters))
    ]


def test_a_reading_that_comes_a_million_times_takes_one_place() -> None:
    store = store_of(1)
    store.insert(readings([0] * 16, list(range(16))))
    repeated = store.insert(readings([0] * 1_000_000, [15] * 1_000_000))
    assert repeated.all()
    assert store.count.tolist() == [16]
    assert store.time.shape[1] == 16


@settings(max_examples=200, deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=40), min_size=1, max_size=6
    ),
    horizon=st.integers(0, 70),
)
def test_any_order_gives_rows_in_order(batches: list[list[tuple[int, int]]], horizon: int) -> None:
    store, seen = store_of(4), [set[int]() for _ in range(4)]
    for batch in batches:
        repeated = store.insert(readings([row for row, _ in batch], [time for _, time in batch]))
        for (row, time), again in zip(batch, repeated.tolist(), strict=True):
            assert again == (time in seen[row])
            seen[row].add(time)
        store = RegisterStore.load(store.dump())
    expected = [[(time, 10 * time, time + 1) for time in sorted(times)] for times in seen]
    assert content(store) == expected
    span = 5
    store.evict(horizon, span)
    for row, times in enumerate(expected):
        kept = content(store)[row]
        assert kept == times[len(times) - len(kept) :]
        last = max((time for time, _, _ in times if time <= horizon), default=None)
        needed = [one for one in times if last is None or one[0] >= last - span]
        assert len(kept) >= len(needed)
