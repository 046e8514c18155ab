"""What becomes of decoded messages: accepted, late or dead, each with its own offset and its original bytes."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from connectors.assemble import Assembler, Offsets, Taken
from connectors.batch import HEADERS, LETTER_SCHEMA, Batch
from connectors.dead_row import DeadRow
from sinks.letters import letter_headers
from tests.connectors.gates import LimitGate, OpenGate
from tests.connectors.readings import METER, START, START_MICROS, STEP, readings

QUARTER = 900 * 1_000_000


def assemble(frame: pl.DataFrame, dead: list[DeadRow], offsets: Offsets, assembler: Assembler) -> Batch:
    count = len(frame) + len(dead)
    taken = Taken(
        frame,
        dead,
        count,
        offsets,
        lambda rows: [f"k{row}".encode() for row in rows],
        lambda rows: [f"v{row}".encode() for row in rows],
    )
    return assembler.batch(assembler.checked(taken))


@pytest.fixture
def hostile() -> tuple[pl.DataFrame, list[DeadRow]]:
    """Rows 0 to 7: 1 undecodable, 2 invalid, 3 late, 5 too far ahead."""
    frame = readings(1, 8).with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64))
    frame = frame.with_columns(
        import_kwh=pl.when(pl.col("_row") == 2).then(-1.0).otherwise("import_kwh"),
        time=pl.when(pl.col("_row") == 3).then(pl.col("time").dt.offset_by("-30d"))
        .when(pl.col("_row") == 5).then(pl.col("time").dt.offset_by("30d"))
        .otherwise("time"),
    )  # fmt: skip
    return frame.filter(pl.col("_row") != 1), [DeadRow(1, "decode", "ShortMessage", "3 bytes", 77)]


def test_every_row_ends_in_one_place_with_its_bytes(hostile: tuple[pl.DataFrame, list[DeadRow]]) -> None:
    gate = LimitGate(START_MICROS - 1, START_MICROS + 100 * QUARTER)
    batch = assemble(*hostile, 1000, Assembler(METER, 3, 4, gate, keep_raw=True))
    assert (batch.topic, batch.partition, batch.partitions) == ("grid.meter.v1", 3, 4)
    assert (batch.first_offset, batch.last_offset, batch.taken) == (1000, 1007, 8)
    assert batch.frame["_offset"].to_list() == [1000, 1004, 1006, 1007]
    assert batch.frame["_key"].to_list() == [b"k0", b"k4", b"k6", b"k7"]
    assert batch.frame["_value"].to_list() == [b"v0", b"v4", b"v6", b"v7"]
    assert batch.frontier == START_MICROS + 7 * QUARTER
    assert batch.dead.schema == batch.late.schema == LETTER_SCHEMA
    assert batch.dead.select("offset", "stage", "error_class", "schema_id", "key", "value").rows() == [
        (1001, "decode", "ShortMessage", 77, b"k1", b"v1"),
        (1002, "validate", "OutOfRange", None, b"k2", b"v2"),
        (1005, "event-time", "FutureTime", None, b"k5", b"v5"),
    ]
    assert batch.late.select("topic", "partition", "offset", "error_class", "key", "value").rows() == [
        ("grid.meter.v1", 3, 1003, "LateReading", b"k3", b"v3")
    ]
    assert "2025-12-02 00:45:00" in batch.late["error_message"][0]
    assert batch.late["time"].to_list() == [START + 3 * STEP - timedelta(days=30)]
    assert batch.dead["time"].to_list() == [None, START + 2 * STEP, None], "a time that is doubted is no date"
    assert len(batch.frame) + len(batch.dead) + len(batch.late) == batch.taken


def test_headers_go_with_letters_and_with_raw_messages(hostile: tuple[pl.DataFrame, list[DeadRow]]) -> None:
    frame, dead = hostile
    headers: list[list[tuple[str, bytes | None]] | None] = [None] * 8
    headers[1], headers[4] = [("__value_schema_id", b"\x01\xff"), ("trace", None)], [("a", b"1")]
    nothing: list[bytes | None] = [None] * 8
    taken = Taken(
        frame, dead, 8, 0, lambda rows: nothing[: len(rows)], lambda rows: nothing[: len(rows)],
        lambda rows: [headers[row] for row in rows],
    )  # fmt: skip
    assembler = Assembler(METER, 3, 4, OpenGate())
    batch = assembler.batch(assembler.checked(taken), keep_raw=True)
    assert letter_headers(batch.dead)[0][:2] == headers[1]
    assert batch.dead["headers"].to_list()[1:] == [None]
    assert dict(zip(batch.frame["_offset"], batch.frame["_headers"].to_list(), strict=True))[4] == [
        {"key": "a", "value": b"1"}
    ]
    replayed = batch.dead.with_columns(
        headers=pl.Series([[{"key": "gridflow.stage", "value": b"old"}], None], dtype=HEADERS)
    )
    assert [value for name, value in letter_headers(replayed)[0] if name == "gridflow.stage"] == [b"decode"]


def test_offsets_with_gaps(hostile: tuple[pl.DataFrame, list[DeadRow]]) -> None:
    offsets = np.array([5, 6, 9, 10, 20, 21, 22, 40], np.int64)
    batch = assemble(*hostile, offsets, Assembler(METER, 0, 1, OpenGate()))
    assert batch.frame["_offset"].to_list() == [5, 10, 20, 21, 22, 40]
    assert batch.dead["offset"].to_list() == [6, 9]
    assert (batch.first_offset, batch.last_offset) == (5, 40)
    assert "_key" not in batch.frame.columns


def test_a_time_ahead_of_its_reception_is_refused() -> None:
    frame = readings(2, 2).with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64))
    frame = frame.with_columns(
        received_time=pl.when(pl.col("_row") == 1).then(pl.col("time").dt.offset_by("-61m")).otherwise("time")
    )
    batch = assemble(frame, [], 0, Assembler(METER, 0, 1, OpenGate(), future_limit_seconds=3600))
    assert batch.dead.select("offset", "error_class").rows() == [(1, "FutureTime")]
    assert batch.frame["_offset"].to_list() == [0, 2, 3]


def test_an_empty_batch_has_the_columns_of_a_full_one() -> None:
    assembler = Assembler(METER, 0, 2, OpenGate(), keep_raw=True)
    frame = readings(1, 1).with_row_index("_row").with_columns(pl.col("_row").cast(pl.Int64))
    empty = assembler.empty(frontier=5, idle=True)
    full = assemble(frame, [], 0, assembler)
    assert empty.frame.schema == full.frame.schema
    assert empty.frame.is_empty()
    assert (empty.taken, empty.first_offset, empty.frontier, empty.idle) == (0, -1, 5, True)
    assert assembler.empty(frontier=5).frontier == START_MICROS
