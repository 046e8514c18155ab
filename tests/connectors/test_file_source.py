"""Readings from files: formats, types, bad rows, order, stopping and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.batch import Batch
from connectors.decode import Decoder
from connectors.errors import InputError
from connectors.file_source import FileSource
from connectors.stopping import stop_requested
from schemas import Contract, contract
from tests.connectors.gates import OpenGate
from tests.connectors.readings import METER, NETWORK, START_MICROS, readings

COLUMNS = list(METER.polars)


def source(folder: Path, of: Contract = METER, **more: Any) -> FileSource:
    return FileSource(folder, of, decoder=lambda: Decoder(of), gate=lambda _topic, _part: OpenGate(of.time), **more)


def run(files: FileSource, state: Any = None, batches: int | None = None) -> tuple[list[Batch], Any]:
    """Batches from a state on to the end, or until so many have come, and the state then."""
    part = files.build_part("step", files.list_parts()[0], state)
    found: list[Batch] = []
    try:
        while batches is None or len(found) < batches:
            found += part.next_batch()
    except StopIteration:
        pass
    return found, part.snapshot()


def rows_of(batches: list[Batch], columns: list[str] | None = None) -> pl.DataFrame:
    return pl.concat(batch.frame for batch in batches).select(columns or COLUMNS)


def write_table(path: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), path)


def plain_columns(count: int = 3) -> dict[str, Any]:
    times = [START_MICROS + number * 900_000_000 for number in range(count)]
    return {
        "meter_id": pa.array([f"m{number}" for number in range(count)]),
        "time": pa.array(times, pa.timestamp("us", "UTC")),
        "import_kwh": pa.array([float(number) for number in range(count)]),
        "quality": pa.array([0] * count, pa.int32()),
    }


def test_parquet_comes_complete_and_in_order(tmp_path: Path) -> None:
    frame = readings(50, 40)
    frame.write_parquet(tmp_path / "grid.meter.v1.parquet", row_group_size=300)
    files = source(tmp_path, chunk_rows=128)
    batches, _ = run(files)
    assert files.list_parts() == ["grid.meter.v1"]
    assert files.rows == 2000
    assert rows_of(batches).equals(frame)
    assert rows_of(batches, ["_offset"])["_offset"].to_list() == list(range(2000))
    assert max(batch.taken for batch in batches) <= 128
    assert sum(batch.taken for batch in batches) == 2000
    assert [batch.finished for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert batches[-1].caught_up
    assert batches[-1].frontier == START_MICROS + 39 * 900_000_000
    # Before the first row is read, the file already says where it begins.
    assert (batches[0].taken, batches[0].frontier) == (0, START_MICROS - 1)


@pytest.mark.parametrize("ending", ["parquet", "ndjson"])
@pytest.mark.parametrize("after", [0, 1, 2, 5, 9])
def test_resuming_anywhere_gives_the_same_rows(tmp_path: Path, ending: str, after: int) -> None:
    folder = tmp_path / "grid.meter.v1"
    folder.mkdir()
    for name, first in (("a", 0), ("b", 3)):
        frame = readings(7, 10, first=first, prefix=name)
        if ending == "parquet":
            frame.write_parquet(folder / f"{name}.parquet", row_group_size=13)
        else:
            lines = [json.dumps(row, default=str) for row in frame.iter_rows(named=True)]
            (folder / f"{name}.ndjson").write_text("\n".join(lines))
    whole, _ = run(source(tmp_path, chunk_rows=10))
    begun, state = run(source(tmp_path, chunk_rows=10), batches=after)
    rest, _ = run(source(tmp_path, chunk_rows=10), state)
    for partition in (0, 1):
        resumed = [batch for batch in begun + rest if batch.partition == partition]
        expected = [batch for batch in whole if batch.partition == partition]
        assert rows_of(resumed, [*COLUMNS, "_offset"]).equals(rows_of(expected, [*COLUMNS, "_offset"]))
    assert rows_of(whole).height == 140
    assert {(batch.partition, batch.finished) for batch in rest if batch.finished} == {(0, True), (1, True)}


def test_files_of_the_same_time_are_read_in_step(tmp_path: Path) -> None:
    folder = tmp_path / "grid.meter.v1" / "date=2026-01-01"
    folder.mkdir(parents=True)
    for name in "abc":
        readings(10, 100, prefix=name).write_parquet(folder / f"{name}.parquet")
    (folder / "_a.parquet").write_bytes(b"not to be read")
    (folder / ".b.parquet").write_bytes(b"not to be read")
    batches, _ = run(source(tmp_path, chunk_rows=50))
    assert {(batch.partition, batch.partitions) for batch in batches} == {(0, 3), (1, 3), (2, 3)}
    frontiers = dict.fromkeys(range(3), START_MICROS)
    for batch in batches:
        frontiers[batch.partition] = batch.frontier or 0
        assert max(frontiers.values()) - min(frontiers.values()) <= 5 * 900_000_000
    assert rows_of(batches).height == 3000


def test_a_later_file_waits_for_its_time(tmp_path: Path) -> None:
    folder = tmp_path / "grid.meter.v1"
    folder.mkdir()
    readings(10, 10, first=10).write_parquet(folder / "a.parquet")
    readings(10, 10).write_parquet(folder / "b.parquet")
    batches, _ = run(source(tmp_path, chunk_rows=20))
    assert rows_of(batches)["time"].is_sorted()


def test_other_types_of_the_same_values(tmp_path: Path) -> None:
    columns = plain_columns()
    exact = columns["time"].cast(pa.timestamp("ns"))
    write_table(
        tmp_path / "grid.meter.v1.parquet",
        {
            "extra": pa.array([1, 2, 3]),
            "meter_id": columns["meter_id"].dictionary_encode(),
            "time": exact,
            "import_kwh": pa.array([0, 1, 2], pa.int64()),
            "export_kwh": pa.array([1.5, None, 2.5], pa.float32()),
            "voltage_l1_v": pa.nulls(3),
            "quality": pa.array([0.0, 128.0, 1.0]),
            "received_time": pa.array([START_MICROS, None, START_MICROS + 1], pa.int64()),
        },
    )
    batches, _ = run(source(tmp_path))
    frame = rows_of(batches)
    assert frame.schema == METER.polars
    assert frame["time"].to_physical().to_list() == columns["time"].cast(pa.int64()).to_pylist()
    assert frame["import_kwh"].to_list() == [0.0, 1.0, 2.0]
    assert frame["export_kwh"].to_list() == [1.5, None, 2.5]
    assert frame["quality"].to_list() == [0, 128, 1]
    assert frame["received_time"].to_physical().to_list() == [START_MICROS, None, START_MICROS + 1]
    assert frame["voltage_l3_v"].null_count() == 3


def test_times_without_a_zone_are_utc_and_others_are_converted(tmp_path: Path) -> None:
    moments = pa.array([START_MICROS // 1000], pa.timestamp("ms", "Asia/Kolkata"))
    columns = {**plain_columns(1), "time": moments, "received_time": pa.array([0], pa.timestamp("s"))}
    write_table(tmp_path / "grid.meter.v1.parquet", columns)
    frame = rows_of(run(source(tmp_path))[0])
    assert frame["time"].to_physical().to_list() == [START_MICROS]
    assert frame["received_time"].to_physical().to_list() == [0]


def test_rows_that_do_not_fit_are_dead_letters(tmp_path: Path) -> None:
    columns = plain_columns(6)
    columns["quality"] = pa.array([0, 2**40, 0, 300, 0, 0], pa.int64())
    columns["import_kwh"] = pa.array([1.0, 1.0, -5.0, 1.0, float("nan"), 1.0])
    columns["time"] = pa.array([*columns["time"][:5].to_pylist(), None], pa.timestamp("us", "UTC"))
    write_table(tmp_path / "grid.meter.v1.parquet", columns)
    batches, _ = run(source(tmp_path))
    dead = pl.concat(batch.dead for batch in batches)
    assert dead.select("offset", "stage", "error_class").rows() == [
        (1, "decode", "ValueDoesNotFit"),
        (2, "validate", "OutOfRange"),
        (3, "validate", "OutOfRange"),
        (4, "validate", "NotFinite"),
        (5, "validate", "MissingField"),
    ]
    assert dead["key"].to_list() == [b"m1", b"m2", b"m3", b"m4", b"m5"]
    assert "1099511627776" in dead["error_message"][0]
    assert json.loads(dead["value"][1]) == {
        "meter_id": "m2", "time": "2026-01-01T00:30:00+00:00", "import_kwh": -5.0, "quality": 0,
    }  # fmt: skip
    assert rows_of(batches)["meter_id"].to_list() == ["m0"]
    assert sum(batch.taken for batch in batches) == 6


def test_ndjson_with_bad_lines(tmp_path: Path) -> None:
    good = '{"meter_id": "m%d", "time": "2026-01-01T00:%02d:00Z", "import_kwh": %d, "quality": 0}'
    lines = [
        good % (0, 0, 1),
        "",
        "{broken",
        good % (1, 15, 2),
        '{"meter_id": "m2"}',
        "  ",
        good % (3, 30, -4),
    ]
    (tmp_path / "grid.meter.v1.ndjson").write_bytes("\r\n".join(lines).encode())
    batches, _ = run(source(tmp_path, keep_raw=True))
    frame = rows_of(batches, ["meter_id", "_offset", "_value"])
    assert frame.rows() == [("m0", 0, lines[0].encode()), ("m1", 2, lines[3].encode())]
    dead = pl.concat(batch.dead for batch in batches)
    assert dead["offset"].to_list() == [1, 3, 4]
    assert dead["value"].to_list() == [b"{broken", b'{"meter_id": "m2"}', lines[6].encode()]
    assert sum(batch.taken for batch in batches) == 5


def test_keep_raw_of_parquet_is_the_row_as_json(tmp_path: Path) -> None:
    write_table(tmp_path / "grid.meter.v1.parquet", plain_columns(2))
    frame = rows_of(run(source(tmp_path, keep_raw=True))[0], ["_key", "_value"])
    assert frame["_key"].to_list() == [b"m0", b"m1"]
    assert json.loads(frame["_value"][1])["import_kwh"] == 1.0


def test_nested_columns(tmp_path: Path) -> None:
    ied = contract("grid.ied.v1")
    data = pa.array([[{"value": "true", "quality": 0}], None, []])
    moments = pa.array([START_MICROS] * 3, pa.timestamp("us", "UTC"))
    write_table(
        tmp_path / "grid.ied.v1.parquet",
        {
            "ied_id": ["i1", "i2", "i3"], "kind": ["GOOSE", "REPORT", "GOOSE"], "control_block": ["c"] * 3,
            "time": moments, "received_time": moments, "data": data,
        },
    )  # fmt: skip
    batches, _ = run(source(tmp_path, ied))
    found = rows_of(batches, ["data"])
    assert found.schema["data"] == ied.polars["data"]
    assert found["data"].to_list() == [[{"reference": None, "value": "true", "quality": 0}], None, []]


def test_the_network_is_read_the_same_way(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        [{"element_id": "T1", "kind": "PowerTransformer", "valid_from": readings(1, 1)["time"][0]}],
        schema=NETWORK.polars,
    )
    frame.select("element_id", "kind", "valid_from").write_parquet(tmp_path / "grid.network.v1.parquet")
    assert rows_of(run(source(tmp_path, NETWORK))[0], list(NETWORK.polars)).equals(frame)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"time": None}, ["time", "missing"]),
        ({"time": pa.array(["yesterday"] * 3)}, ["time", "'yesterday'"]),
        ({"import_kwh": pa.array(["12,5"] * 3)}, ["import_kwh", "'12,5'"]),
        ({"meter_id": pa.array([4711] * 3)}, ["meter_id", "'4711'"]),
        ({"quality": pa.array([True] * 3)}, ["quality", "'True'"]),
    ],
)
def test_a_column_of_another_kind_is_the_users_error(tmp_path: Path, changed: dict[str, Any], named: list[str]) -> None:
    columns = {name: value for name, value in {**plain_columns(), **changed}.items() if value is not None}
    path = tmp_path / "grid.meter.v1.parquet"
    write_table(path, columns)
    with pytest.raises(InputError) as caught:
        source(tmp_path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for part in named:
        assert part in message


def test_ndjson_of_something_else_is_the_users_error(tmp_path: Path) -> None:
    path = tmp_path / "grid.meter.v1.jsonl"
    path.write_text('{"meter": 1}\n{"meter": 2}\n')
    with pytest.raises(InputError, match=r"grid\.meter\.v1\.jsonl.*meter_id"):
        run(source(tmp_path))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        source(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"there is no grid\.meter\.v1\.parquet"):
        source(tmp_path)
    path = tmp_path / "grid.meter.v1.parquet"
    path.write_bytes(b"PAR1 or so")
    with pytest.raises(InputError, match=r"grid\.meter\.v1\.parquet: cannot be read as Parquet"):
        source(tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grid.meter.v1.parquet"
    readings(20, 50).write_parquet(path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[100:2000] = bytes(1900)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"grid\.meter\.v1\.parquet: damaged"):
        run(source(tmp_path))


def test_files_may_be_added_but_not_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "grid.meter.v1"
    folder.mkdir()
    readings(2, 4, prefix="b").write_parquet(folder / "b.parquet")
    begun, state = run(source(tmp_path, chunk_rows=2), batches=2)
    readings(2, 4, prefix="a").write_parquet(folder / "a.parquet")
    rest, _ = run(source(tmp_path, chunk_rows=2), state)
    assert {batch.partition for batch in rest if "b0" in batch.frame["meter_id"]} == {0}
    assert {batch.partition for batch in rest if "a0" in batch.frame["meter_id"]} == {1}
    assert rows_of(begun + rest).height == 16
    (folder / "b.parquet").unlink()
    with pytest.raises(InputError, match=r"b\.parquet.*is gone"):
        run(source(tmp_path), state)


def test_an_empty_file_ends_at_once(tmp_path: Path) -> None:
    readings(1, 1).clear().write_parquet(tmp_path / "grid.meter.v1.parquet")
    batches, _ = run(source(tmp_path))
    assert [(batch.taken, batch.finished) for batch in batches] == [(0, False), (0, True)]


def test_a_stop_ends_it_and_the_state_goes_on(tmp_path: Path) -> None:
    frame = readings(10, 10)
    frame.write_parquet(tmp_path / "grid.meter.v1.parquet")
    files = source(tmp_path, chunk_rows=30)
    part = files.build_part("step", "grid.meter.v1", None)
    begun = [*part.next_batch(), *part.next_batch()]
    stop_requested.set()
    try:
        with pytest.raises(StopIteration):
            part.next_batch()
    finally:
        stop_requested.clear()
    rest, _ = run(source(tmp_path), part.snapshot())
    assert rows_of(begun + rest).equals(frame)
