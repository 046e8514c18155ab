"""The Parquet sink: layout, sealing, recovery."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import duckdb
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.errors import SinkError
from sinks.parquet import ParquetSink, State
from sinks.parquet_folder import clear_dataset
from tests.sinks.frames import DEAD, ENERGY, LOSS, START, WINDOW, energy, highest, letters, loss


def build(output: Path, state: State | None = None, *, rows_per_file: int = 1_000, keep: float = 0) -> Any:
    sink = ParquetSink(output, ENERGY, rows_per_file=rows_per_file, keep_superseded_seconds=keep)
    return sink.build_part("out", "0", state)


def dataset(output: Path, name: str = "meter_energy") -> Path:
    return output / name


def files(output: Path, name: str = "meter_energy") -> list[str]:
    return sorted(
        path.relative_to(output / name).as_posix() for path in dataset(output, name).rglob("*") if path.is_file()
    )


def read(output: Path) -> list[dict[str, Any]]:
    """Every row, through a glob that takes whatever lies in the dataset's folder."""
    if not files(output):
        return []
    return pl.read_parquet(dataset(output), hive_partitioning=False).rows(named=True)


def results(output: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    return highest(read(output), ENERGY.identity)


def test_the_folder_is_there_even_when_no_row_comes(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.snapshot()
    part.close()
    assert dataset(tmp_path).is_dir()
    assert files(tmp_path) == []


def test_rows_lie_under_their_event_date(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1), ("a", 7, 1), ("a", 8, 1)])])  # 22:00, 23:45, 00:00
    part.close()
    assert files(tmp_path) == [
        "date=2026-03-01/gridflow-0-000000-0000.parquet",
        "date=2026-03-02/gridflow-0-000000-0000.parquet",
    ]
    by_date = pl.scan_parquet(dataset(tmp_path)).group_by("date").len().collect()
    assert dict(by_date.iter_rows()) == {date(2026, 3, 1): 2, date(2026, 3, 2): 1}
    query = duckdb.connect().execute(
        f"select count(*) from '{dataset(tmp_path)}/**/*.parquet' where date = '2026-03-01'"
    )
    assert query.fetchall() == [(2,)]


def test_files_hold_the_contracts_columns_and_zstd(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, LOSS)
    part = sink.build_part("out", "0", None)
    frame = loss(suspects=[{"meter_id": "M1", "score": 0.5, "missing_kwh": 1.5}])
    part.write_batch([frame])
    part.close()
    (path,) = dataset(tmp_path, "line_loss").rglob("*.parquet")
    assert pl.read_parquet(path, hive_partitioning=False).equals(frame)
    assert pl.read_parquet_schema(path) == LOSS.polars
    codecs = duckdb.connect().execute(f"select distinct compression from parquet_metadata('{path}')").fetchall()
    assert codecs == [("ZSTD",)]


def test_rows_without_a_date_are_kept(tmp_path: Path) -> None:
    part = ParquetSink(tmp_path, DEAD).build_part("out", "0", None)
    letter = {
        "topic": "grid.meter.v1",
        "partition": 0,
        "stage": "decode",
        "error_class": "E",
        "error_message": "m",
    }
    part.write_batch([letters([letter | {"offset": offset, "value": b"\xff"} for offset in range(3)])])
    part.close()
    assert files(tmp_path, "dead_letter") == ["date=__HIVE_DEFAULT_PARTITION__/gridflow-0-000000-0000.parquet"]
    back = pl.read_parquet(dataset(tmp_path, "dead_letter"))
    assert back["value"].to_list() == [b"\xff"] * 3
    assert back["date"].null_count() == 3


def test_snapshots_do_not_leave_small_files(tmp_path: Path) -> None:
    part = build(tmp_path)
    for revision in range(50):
        part.write_batch([energy([("a", 0, revision), (f"m{revision}", 1, 0)])])
        part.snapshot()
        assert len(read(tmp_path)) == revision + 2  # durable at each snapshot, superseded revisions gone
    assert files(tmp_path) == ["date=2026-03-01/gridflow-0-000000-0049.parquet"]
    assert results(tmp_path)["a", START]["revision"] == 49


def test_a_full_file_is_sealed_before_the_snapshot(tmp_path: Path) -> None:
    part = build(tmp_path, rows_per_file=1_000)
    part.write_batch([energy((f"m{number}", 0, 0) for number in range(3_500))])
    names = [f"gridflow-0-{sequence:06d}-0000.parquet" for sequence in range(3)]
    deadline = time.monotonic() + 20  # it is written beside the flow
    while [path.name for path in sorted(dataset(tmp_path).rglob("*.parquet"))] != names:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    sealed = read(tmp_path)
    assert len(sealed) == 3_000
    part.close()
    heights = [pl.read_parquet(path).height for path in sorted(dataset(tmp_path).rglob("*.parquet"))]
    assert heights == [1_000, 1_000, 1_000, 500]


def test_a_large_batch_comes_back_whole(tmp_path: Path) -> None:
    meters, windows = 5_000, 120  # over midnight
    numbers = pl.int_range(meters * windows, eager=True)
    frame = energy([("x", 0, 1)]).sample(meters * windows, with_replacement=True)
    starts = START + pl.Series(numbers // meters).cast(pl.Int64) * WINDOW
    frame = frame.with_columns(
        meter_id=("M" + (numbers % meters).cast(pl.String)),
        window_start=starts.cast(pl.Datetime("us", "UTC")),
    )
    part = build(tmp_path, rows_per_file=100_000)
    for piece in frame.iter_slices(250_000):
        part.write_batch([piece])
    part.close()
    back = pl.read_parquet(dataset(tmp_path), hive_partitioning=False)
    assert back.sort(ENERGY.identity).equals(frame.sort(ENERGY.identity))


def test_memory_is_bounded_by_writing_what_was_touched_least(tmp_path: Path) -> None:
    part = build(tmp_path, rows_per_file=100)
    for day in range(30):
        part.write_batch(
            [energy((f"m{n}", 0, 0) for n in range(40)).with_columns(pl.col("window_start") + timedelta(days=day))]
        )
    written = {row["window_start"].date() for row in read(tmp_path)}
    assert START.date() in written
    assert 18 <= len(written) < 30
    part.write_batch([energy([("m0", 0, 9)])])  # a date that was put away is taken up again
    part.close()
    assert len(files(tmp_path)) == 30
    assert results(tmp_path)["m0", START]["revision"] == 9


def test_a_date_long_untouched_is_taken_up_again_from_disk(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1)])])
    for _ in range(15):
        part.snapshot()
    part.write_batch([energy([("b", 0, 1)])])
    part.snapshot()
    assert files(tmp_path) == ["date=2026-03-01/gridflow-0-000000-0001.parquet"]
    assert {meter for meter, _ in results(tmp_path)} == {"a", "b"}


def test_partitions_and_writers_do_not_touch_each_others_files(tmp_path: Path) -> None:
    for writer in ("one", "two"):
        for number in ParquetSink(tmp_path, ENERGY, partitions=12, writer=writer).list_parts():
            part = ParquetSink(tmp_path, ENERGY, writer=writer).build_part("out", number, None)
            part.write_batch([energy([(f"{writer}-{number}", 0, 1)])])
            part.close()
    assert len(files(tmp_path)) == 24
    assert len(results(tmp_path)) == 24


def test_a_crash_between_write_and_rename_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1)])])
    state = part.snapshot()
    before = read(tmp_path)

    def no_rename(self: Path, target: Path) -> Path:
        raise OSError("power failure")

    part.write_batch([energy([("b", 0, 1)])])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", no_rename)
        with pytest.raises(SinkError, match="power failure"):
            part.snapshot()
    assert read(tmp_path) == before
    assert list((tmp_path / ".writing").iterdir())

    again = build(tmp_path, state)
    assert not list((tmp_path / ".writing").iterdir())
    again.write_batch([energy([("b", 0, 1)])])
    again.close()
    assert {meter for meter, _ in results(tmp_path)} == {"a", "b"}
    assert len(files(tmp_path)) == 1


def test_a_run_without_state_adds_to_what_is_there(tmp_path: Path) -> None:
    for meter in "ab":
        part = build(tmp_path)
        part.write_batch([energy([(meter, 0, 1)])])
        part.close()
    assert {meter for meter, _ in results(tmp_path)} == {"a", "b"}
    assert len(files(tmp_path)) == 1


def test_names_of_files_that_were_moved_away_are_not_used_again(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1)])])
    state = part.snapshot()
    (path,) = dataset(tmp_path).rglob("*.parquet")
    path.rename(tmp_path / "archived.parquet")
    part = build(tmp_path, state)
    part.write_batch([energy([("b", 0, 1)])])
    part.close()
    assert files(tmp_path) == ["date=2026-03-01/gridflow-0-000001-0000.parquet"]


def test_files_of_an_older_contract_stay_as_they_are(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1)])])
    part.close()
    (path,) = dataset(tmp_path).rglob("*.parquet")
    older = pl.read_parquet(path, hive_partitioning=False, memory_map=False).drop("clock_offset_seconds")
    older.write_parquet(path)
    part = build(tmp_path)
    part.write_batch([energy([("b", 0, 1)])])
    part.close()
    assert pl.read_parquet(path, hive_partitioning=False).equals(older)
    assert len(files(tmp_path)) == 2


def test_a_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1)])])
    part.close()
    (path,) = dataset(tmp_path).rglob("*.parquet")
    path.write_bytes(b"PAR1 no more PAR1")
    with pytest.raises(RuntimeError, match=r"gridflow-0-000000-0000\.parquet: cannot be read back"):
        build(tmp_path).write_batch([energy([("b", 0, 1)])])


def test_clear_takes_only_the_sinks_own_files(tmp_path: Path) -> None:
    part = build(tmp_path)
    part.write_batch([energy([("a", 0, 1), ("a", 10, 1)])])
    part.close()
    kept = dataset(tmp_path) / "date=2026-03-01" / "mine.parquet"
    kept.write_bytes(b"")
    assert clear_dataset(tmp_path, "meter_energy") == 2
    assert files(tmp_path) == ["date=2026-03-01/mine.parquet"]
    assert clear_dataset(tmp_path, "line_loss") == 0


def test_a_writers_name_must_fit_into_a_file_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a/b"):
        ParquetSink(tmp_path, ENERGY, writer="a/b")


def scan_polars(folder: Path) -> int:
    scan = pl.scan_parquet(folder, hive_partitioning=False).sort("revision")
    kept = scan.unique(list(ENERGY.identity), keep="last").select(pl.len(), (pl.col("revision") - 1).sum())
    return _checked(*kept.collect().row(0))


def scan_duckdb(folder: Path) -> int:
    query = f"""
        select count(*), sum(latest - 1)::bigint
        from (select max(revision) as latest from '{folder}/**/*.parquet' group by meter_id, window_start)
    """
    ((count, over),) = duckdb.connect().execute(query).fetchall()
    return _checked(count, over)


def _checked(count: int, over: int) -> int:
    assert over == 0  # every row has revision 1: anything else is rubbish
    return count


@pytest.mark.parametrize("scan", [scan_polars, scan_duckdb])
def test_a_reader_never_sees_less_or_half(tmp_path: Path, scan: Callable[[Path], int]) -> None:
    """A reader that scans all the time meets whole files only, and rows that were there stay there."""
    part = build(tmp_path, rows_per_file=400, keep=10)
    part.write_batch([energy([("first", 0, 1)])])
    part.snapshot()
    done = threading.Event()
    seen: list[int] = []
    failures: list[BaseException] = []

    def look() -> None:
        try:
            while not done.is_set():
                seen.append(scan(dataset(tmp_path)))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    for batch in range(60):
        part.write_batch([energy((f"m{batch}-{n}", n % 12, 1) for n in range(30))])
        part.snapshot()
    done.set()
    reader.join()
    assert not failures
    assert len(seen) > 5
    assert seen == sorted(seen)
    part.close()
    assert scan(dataset(tmp_path)) == 1 + 60 * 30
    assert len({path.rpartition("-")[0] for path in files(tmp_path)}) == len(files(tmp_path))


def test_superseded_versions_that_a_crash_left_go_at_the_next_start(tmp_path: Path) -> None:
    part = build(tmp_path, keep=1_000)
    for meter in "abc":
        part.write_batch([energy([(meter, 0, 1)])])
        state = part.snapshot()
    assert len(files(tmp_path)) == 3
    again = build(tmp_path, state)
    assert files(tmp_path) == ["date=2026-03-01/gridflow-0-000000-0002.parquet"]
    again.close()
    assert {meter for meter, _ in results(tmp_path)} == set("abc")


_facts = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=_facts, keep=st.sampled_from([0.0, 1_000.0]), cuts=st.data())
def test_any_crashes_and_resumes_end_with_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, facts: list[tuple[str, int]], keep: float, cuts: st.DataObject
) -> None:
    """Each fact raises its row's revision by one; after a crash the facts since the snapshot come again."""
    output = tmp_path_factory.mktemp("run")
    part, state = build(output, rows_per_file=6, keep=keep), None
    revisions: dict[tuple[str, int], int] = {}
    position, kept = 0, (0, dict(revisions))
    crashes = 0
    while position < len(facts):
        count = cuts.draw(st.integers(1, 7))
        batch = []
        for fact in facts[position : position + count]:
            revisions[fact] = revisions.get(fact, 0) + 1
            batch.append((*fact, revisions[fact]))
        part.write_batch([energy(batch)])
        position += count
        what = cuts.draw(st.sampled_from(["on", "snapshot", "crash"] if crashes < 5 else ["on", "snapshot"]))
        if what == "snapshot":
            state = part.snapshot()
            kept = position, dict(revisions)
        elif what == "crash":
            crashes += 1
            part._writer._pool.shutdown(cancel_futures=True)  # in a crash the writing beside the flow ends, too
            position, revisions = kept[0], dict(kept[1])
            part = build(output, state, rows_per_file=6, keep=keep)
    part.close()
    found = {(meter, (start - START) // WINDOW): row["revision"] for (meter, start), row in results(output).items()}
    assert found == {fact: facts.count(fact) for fact in facts}


@pytest.mark.parametrize("stops", [0, 3])
def test_in_a_dataflow_with_recovery(tmp_path: Path, stops: int) -> None:
    items: list[Any] = [(str(n % 3), energy([(f"m{n}", n % 12, 1)])) for n in range(20)]
    for stop in range(stops):
        items.insert(5 * (stop + 1), TestingSource.ABORT())
    store = tmp_path / "recovery"
    store.mkdir()
    init_db_dir(store, 1)
    flow = Dataflow("test")
    stream = op.input("in", flow, TestingSource(items))
    op.output("out", stream, ParquetSink(tmp_path / "out", ENERGY, partitions=2))
    for _ in range(stops + 1):
        config = RecoveryConfig(str(store))
        run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    assert {meter for meter, _ in results(tmp_path / "out")} == {f"m{n}" for n in range(20)}


def test_every_revision_is_kept_where_that_is_wanted(tmp_path: Path) -> None:
    for keep, left in ((False, [2]), (True, [1, 2])):
        sink = ParquetSink(tmp_path / str(keep), ENERGY, keep_superseded_seconds=0, keep_revisions=keep)
        part = sink.build_part("out", "0", None)
        for revision in (1, 2, 2):
            part.write_batch([energy([("A", 0, revision)])])
            part.snapshot()
        part.close()
        assert sorted(row["revision"] for row in read(tmp_path / str(keep))) == left
