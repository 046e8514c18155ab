"""Parquet datasets: ``<output>/<dataset>/date=YYYY-MM-DD/<writer>-<partition>-<sequence>.parquet``.

Dates are event time (``contract.time``, UTC). A file is written aside, in ``<output>/.writing``, synced, and
renamed into place, so a reader never sees half of one and a folder holds nothing but whole Parquet files.

There is no small file per snapshot: each (partition, date) has one open file that is rewritten, with the rows
that came since, until it has ``rows_per_file`` rows; then it is sealed and the sequence goes on. Within an
open file only the highest revision of an identity is kept. Over several files a reader keeps the highest
revision himself::

    pl.scan_parquet("output/line_loss").sort("revision").unique(["element_id", "window_start"], keep="last")

After a crash the disk is the truth: the newest file of a (partition, date) is read back and written on, if it
is less than half full, or else followed by the next. What was on disk beyond the snapshot that the flow
resumes from stays; the flow produces those rows again, under the same identity and with a revision at least
as high. A file is therefore only ever replaced by one with the same identities and more. It also means that a
run into a folder with older results adds to them: a replay that is to start from nothing calls
``clear_dataset`` first.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from schemas import Contract
from sinks.errors import SinkError
from sinks.metrics import ROWS_WRITTEN
from sinks.rows import conform, highest_revision

WRITING = ".writing"
NO_DATE = "__HIVE_DEFAULT_PARTITION__"  # how Hive, DuckDB and Polars spell a null partition value

_ROW_GROUP = 131_072
_OPEN_FILES_OF_ROWS = 4  # a partition holds at most this many full files' rows in memory
_IDLE_SNAPSHOTS = 10  # a date untouched for so many snapshots leaves memory

State = dict[str, int]
"""Of each date the sequence number of its newest file."""


def clear_dataset(output: Path, dataset: str) -> int:
    """Delete the files that this sink wrote for a dataset, and nothing else.

    Returns:
        How many files were deleted.
    """
    files = [path for path in (output / dataset).glob("date=*/*.parquet") if _NAME.fullmatch(path.name)]
    for path in files:
        path.unlink()
    return len(files)


class ParquetSink(FixedPartitionedSink[pl.DataFrame, State]):
    """Writes the rows of one contract as a Parquet dataset.

    Args:
        output: the folder that holds the datasets; created where missing.
        contract: whose columns the frames have.
        partitions: how many independent writers; an item's key says which.
        rows_per_file: at so many rows a file is sealed.
        writer: first part of the file names; two processes that write one dataset need different ones.
    """

    def __init__(
        self,
        output: Path,
        contract: Contract,
        *,
        partitions: int = 1,
        rows_per_file: int = 500_000,
        writer: str = "gridflow",
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.]+", writer):
            raise ValueError(f"writer {writer!r} must consist of letters, digits, '_' and '.'")
        self._output = output
        self._contract = contract
        self._partitions = partitions
        self._rows_per_file = rows_per_file
        self._writer = writer

    def list_parts(self) -> list[str]:
        """The writers' numbers."""
        return [str(number) for number in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> _ParquetPartition:  # noqa: ARG002
        """A writer that goes on where the files on disk end; the dataset's folder exists from here on."""
        return _ParquetPartition(
            self._output,
            self._contract,
            f"{self._writer}-{for_part}",
            self._rows_per_file,
            resume_state or {},
        )


_NAME = re.compile(r"[A-Za-z0-9_.]+-\d+-(\d{6,})\.parquet")


@dataclass(slots=True)
class _OpenFile:
    """The newest file of a date: ``rows`` and ``pending`` together are what it holds after the next flush."""

    sequence: int
    rows: pl.DataFrame
    pending: list[pl.DataFrame] = field(default_factory=list)
    pending_rows: int = 0
    unwritten: int = 0
    idle_snapshots: int = 0

    @property
    def height(self) -> int:
        return self.rows.height + self.pending_rows

    def merge(self, identity: tuple[str, ...]) -> None:
        if self.pending:
            self.rows = highest_revision(pl.concat([self.rows, *self.pending], rechunk=True), identity)
            self.pending, self.pending_rows = [], 0


class _ParquetPartition(StatefulSinkPartition[pl.DataFrame, State]):
    def __init__(self, output: Path, contract: Contract, name: str, rows_per_file: int, state: State) -> None:
        self._folder = output / contract.dataset
        self._aside = output / WRITING / f"{contract.dataset}-{name}.parquet"
        self._contract = contract
        self._name = name
        self._rows_per_file = rows_per_file
        self._sequences = dict(state)
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()  # least recently touched first
        self._written = ROWS_WRITTEN.labels("parquet", contract.record)
        _make_folder(self._folder)
        _make_folder(self._aside.parent)
        self._aside.unlink(missing_ok=True)

    def write_batch(self, values: list[pl.DataFrame]) -> None:
        frames = [conform(frame, self._contract) for frame in values if frame.height]
        if not frames:
            return
        frame = frames[0] if len(frames) == 1 else pl.concat(frames)
        for day, rows in _by_date(frame, self._contract.time):
            self._add(day, rows)
        while len(self._open) > 1 and self._rows_in_memory() > _OPEN_FILES_OF_ROWS * self._rows_per_file:
            self._release(next(iter(self._open)))

    def snapshot(self) -> State:
        for day, file in list(self._open.items()):
            file.idle_snapshots = 0 if file.unwritten else file.idle_snapshots + 1
            self._flush(day, file)
            if file.idle_snapshots >= _IDLE_SNAPSHOTS:
                del self._open[day]
        return dict(self._sequences)

    def close(self) -> None:
        for day in list(self._open):
            self._release(day)

    def _rows_in_memory(self) -> int:
        return sum(file.height for file in self._open.values())

    def _add(self, day: str, rows: pl.DataFrame) -> None:
        file = self._open.get(day)
        if file is None:
            file = self._open[day] = self._take_up(day)
        self._open.move_to_end(day)
        file.pending.append(rows)
        file.pending_rows += rows.height
        file.unwritten += rows.height
        # Merging at every batch would cost the whole file's rows each time, so let a quarter come together
        # first.
        if file.height >= self._rows_per_file and 4 * file.pending_rows >= self._rows_per_file:
            file.merge(self._contract.identity)
            while file.rows.height >= self._rows_per_file:
                rest = file.rows.slice(self._rows_per_file)
                self._write(day, file.sequence, file.rows.head(self._rows_per_file))
                self._written.inc(file.unwritten - min(file.unwritten, rest.height))
                file.unwritten = min(file.unwritten, rest.height)
                file.rows = rest
                file.sequence += 1

    def _flush(self, day: str, file: _OpenFile) -> None:
        file.merge(self._contract.identity)
        if file.unwritten:
            self._write(day, file.sequence, file.rows)
            self._written.inc(file.unwritten)
            file.unwritten = 0

    def _release(self, day: str) -> None:
        self._flush(day, self._open[day])
        del self._open[day]

    def _take_up(self, day: str) -> _OpenFile:
        """The date's newest file on disk, to be written on, or the next one."""
        empty = self._contract.polars.to_frame()
        last = max(self._on_disk(day), default=None)
        known = self._sequences.get(day, -1)
        if last is None or last < known:  # files that were moved away: their names are not used again
            return _OpenFile(known + 1, empty)
        path = self._path(day, last)
        try:
            # A file of an older version of the contract stays as it is.
            if pl.read_parquet_schema(path) != self._contract.polars:
                return _OpenFile(last + 1, empty)
            # What is at least half full is not worth reading back: it is followed by the next.
            if (
                2 * pl.scan_parquet(path, hive_partitioning=False).select(pl.len()).collect().item()
                >= self._rows_per_file
            ):
                return _OpenFile(last + 1, empty)
            return _OpenFile(last, pl.read_parquet(path, hive_partitioning=False, memory_map=False))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SinkError(f"{path}: cannot be read back: {error}") from None

    def _on_disk(self, day: str) -> list[int]:
        names = (path.name for path in self._path(day, 0).parent.glob(f"{self._name}-*.parquet"))
        return [int(match[1]) for name in names if (match := _NAME.fullmatch(name))]

    def _path(self, day: str, sequence: int) -> Path:
        return self._folder / f"date={day}" / f"{self._name}-{sequence:06d}.parquet"

    def _write(self, day: str, sequence: int, rows: pl.DataFrame) -> None:
        path = self._path(day, sequence)
        _make_folder(path.parent)
        rows.write_parquet(self._aside, compression="zstd", row_group_size=_ROW_GROUP)
        _sync(self._aside)
        self._aside.replace(path)
        _sync(path.parent)
        self._sequences[day] = sequence


def _by_date(frame: pl.DataFrame, time: str) -> list[tuple[str, pl.DataFrame]]:
    days = frame.get_column(time).dt.date()
    first, last = days.min(), days.max()
    if first == last and (first is None or not days.null_count()):  # one day, the usual case
        return [(_spell(first), frame)]
    parts = frame.with_columns(days.alias("_date")).partition_by("_date", as_dict=True, include_key=False)
    return [(_spell(day), rows) for (day,), rows in parts.items()]


def _spell(day: object) -> str:
    return day.isoformat() if isinstance(day, date) else NO_DATE


def _make_folder(folder: Path) -> None:
    """Make a folder so that it is still there after a power failure."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync(each.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
