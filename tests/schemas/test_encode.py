"""Rows to bodies: what fastavro and a JSON reader make of them are the rows again."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Contract, SchemaError, all_contracts, contract
from schemas.avro_types import without_rules
from schemas.encode import Encoder, JsonEncoder, confluent_prefix
from tests.schemas.strategies import EVERYTHING, PATIENT, physical, to_columns, values

METER = contract("grid.meter.v1")
ROW = {"meter_id": "m1", "time": datetime(2026, 1, 1, tzinfo=UTC), "import_kwh": 5.0, "quality": 0}


@pytest.mark.parametrize("found", [*all_contracts().values(), EVERYTHING], ids=lambda found: found.record)
@PATIENT
@given(data=st.data())
def test_fastavro_reads_back_what_was_encoded(found: Contract, data: st.DataObject) -> None:
    records = data.draw(st.lists(values(found.wire), max_size=4))
    frame = to_columns(found, records)
    schema = fastavro.parse_schema(without_rules(found.wire, frozenset({"logicalType"})))
    bodies = Encoder(found, 258).encode(frame)
    read: list[Any] = []
    for body in bodies:
        assert body[:5] == b"\x00\x00\x00\x01\x02"
        stream = io.BytesIO(body[5:])
        read.append(fastavro.schemaless_reader(stream, schema, None))
        assert stream.tell() == len(body) - 5
    assert physical(to_columns(found, read)) == physical(frame)


def test_columns_are_taken_by_name_and_missing_nullable_ones_are_null() -> None:
    frame = pl.DataFrame([ROW]).select("quality", "time", "import_kwh", "meter_id", pl.lit(1).alias("_row"))
    (body,) = Encoder(METER, 1).encode(frame)
    record: Any = fastavro.schemaless_reader(io.BytesIO(body[5:]), METER.wire, None)
    assert record["meter_id"] == "m1"
    assert record["time"] == ROW["time"]
    assert record["export_kwh"] is None


@pytest.mark.parametrize("encoder", [Encoder(METER, 1), JsonEncoder(METER)], ids=["avro", "json"])
def test_a_missing_required_column_is_named(encoder: Encoder | JsonEncoder) -> None:
    with pytest.raises(SchemaError, match="MeterReading: column import_kwh is missing"):
        encoder.encode(pl.DataFrame([ROW]).drop("import_kwh"))


def test_a_null_that_may_not_be_is_refused_with_its_row() -> None:
    frame = pl.DataFrame([ROW, ROW | {"import_kwh": None}])
    with pytest.raises(SchemaError, match="MeterReading: row 1: field import_kwh"):
        Encoder(METER, 1).encode(frame)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pl.lit("5").alias("import_kwh"), "column import_kwh is String, not Float64"),
        (pl.lit(1 << 40).alias("quality"), "MeterReading: conversion"),
        (pl.lit(value=True).alias("time"), "column time is Boolean"),
    ],
)
def test_a_column_that_does_not_fit_is_named(column: pl.Expr, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        Encoder(METER, 1).encode(pl.DataFrame([ROW]).with_columns(column))


def test_times_of_another_unit_are_converted_and_unknown_symbols_are_not_written() -> None:
    ftu = contract("grid.ftu.v1")
    row = {"ftu_id": "f", "point": "p", "time": ROW["time"], "value": 1.0, "quality": 0, "cause": "OTHER"}
    frame = pl.DataFrame([row])
    millis = frame.with_columns(pl.col("time").dt.cast_time_unit("ms"))
    assert Encoder(ftu, 1).encode(millis) == Encoder(ftu, 1).encode(frame)
    with pytest.raises(SchemaError, match="FtuPoint: row 0: field cause must not be 'WHIM'"):
        Encoder(ftu, 1).encode(frame.with_columns(cause=pl.lit("WHIM")))


def test_rows_of_several_slices_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.encode._ROWS_AT_ONCE", 3)
    frame = pl.DataFrame([ROW | {"import_kwh": float(number)} for number in range(8)])
    whole = [Encoder(METER, 1).encode(frame[number]) for number in range(8)]
    assert Encoder(METER, 1).encode(frame) == [body for bodies in whole for body in bodies]


def test_json_has_iso_times_and_no_nulls() -> None:
    (body,) = JsonEncoder(METER).encode(pl.DataFrame([ROW | {"export_kwh": None}]))
    assert json.loads(body) == ROW | {"time": "2026-01-01T00:00:00.000000Z"}


def test_json_has_no_form_for_bytes_and_says_so() -> None:
    letter = contract("grid.dead-letter.v1")
    frame = pl.DataFrame([{**dict.fromkeys(letter.polars, None), "value": b"x"}], schema=letter.polars)
    with pytest.raises(SchemaError, match="DeadLetter row 0"):
        JsonEncoder(letter).encode(frame)


def test_the_prefix_is_confluents() -> None:
    assert confluent_prefix(0x01020304) == b"\x00\x01\x02\x03\x04"
    assert confluent_prefix((1 << 31) - 1) == b"\x00\x7f\xff\xff\xff"
