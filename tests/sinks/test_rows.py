"""What all sinks do to a frame first."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.errors import SinkError
from sinks.rows import conform, highest_revision
from tests.sinks.frames import DEAD, ENERGY, energy, highest, letters

_rows = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 4)), max_size=30)


@given(_rows)
def test_the_highest_revision_stays_as_the_row_by_row_way_finds_it(rows: list[tuple[str, int, int]]) -> None:
    frame = energy(rows).with_columns(import_kwh=pl.int_range(pl.len()).cast(pl.Float64))
    kept = highest_revision(frame, ENERGY.identity).rows(named=True)
    expected = highest(frame.rows(named=True), ENERGY.identity)
    assert {(row["meter_id"], row["window_start"]): row for row in kept} == expected
    assert len(kept) == len(expected)


@given(_rows)
def test_rows_stay_in_their_order(rows: list[tuple[str, int, int]]) -> None:
    frame = energy(rows).with_columns(import_kwh=pl.int_range(pl.len()).cast(pl.Float64))
    assert highest_revision(frame, ENERGY.identity)["import_kwh"].is_sorted()


def test_without_a_revision_the_last_wins() -> None:
    letter = {"topic": "t", "partition": 0, "offset": 5, "stage": "decode", "error_class": "E"}
    frame = letters([letter | {"error_message": text} for text in ("first", "second")])
    assert highest_revision(frame, DEAD.identity)["error_message"].to_list() == ["second"]


def test_a_null_in_an_identity_is_a_value_like_any_other() -> None:
    frame = pl.DataFrame({"id": [None, None, "a"], "at": [1, 1, 1], "revision": [2, 1, 0]})
    assert highest_revision(frame, ["id", "at"]).rows() == [(None, 1, 2), ("a", 1, 0)]


def test_a_frame_of_the_contract_is_taken_as_it_is() -> None:
    frame = energy([("a", 0, 1)])
    assert conform(frame, ENERGY) is frame


def test_other_columns_go_and_nullable_ones_are_filled() -> None:
    frame = energy([("a", 0, 1)])
    odd = frame.drop("clock_offset_seconds").with_columns(pl.col("revision").cast(pl.Int32), pl.lit(1).alias("_shard"))
    assert conform(odd, ENERGY).equals(frame)
    assert conform(odd, ENERGY).schema == ENERGY.polars


def test_a_required_column_that_is_missing_is_named() -> None:
    with pytest.raises(SinkError, match="MeterEnergy: the frame lacks import_kwh, revision"):
        conform(energy([("a", 0, 1)]).drop("import_kwh", "revision"), ENERGY)


def test_a_column_that_cannot_be_converted_is_an_error() -> None:
    with pytest.raises(SinkError, match=r"MeterEnergy: .*revision"):
        conform(energy([("a", 0, 1)]).with_columns(revision=pl.lit("many")), ENERGY)
