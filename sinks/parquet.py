"""Parquet datasets: ``<output>/<dataset>/date=YYYY-MM-DD/<writer>-<partition>-<sequence>-<version>.parquet``.

Dates are event time (``contract.time``, UTC), null where a dead letter has none that could be believed. A
file is written aside, in ``<output>/.writing``, synced, and renamed into place. From then on it never changes:
Polars and DuckDB open a file several times during one scan, and would mix two contents if it were replaced
under its name.

There is no small file per snapshot: each (partition, date) has one open file, written anew as its next
version, with the rows that came since, until it has ``rows_per_file`` rows; then it is sealed and the
sequence goes on. A version holds all identities of the one before, which is deleted some seconds later, when
its readers are through. A snapshot keeps only the highest revision of an identity in an open file (unless all are
wanted); of what was written before, and over several files, a reader keeps it himself::

    pl.scan_parquet("output/line_loss").sort("revision").unique(["element_id", "window_start"], keep="last")

After a crash the disk is the truth: the newest file of a (partition, date) is read back and written on, if it
is less than half full, or else followed by the next. What was on disk beyond the snapshot that the flow
resumes from stays; the flow produces those rows again, under the same identity and with a revision at least
as high. It also means that a run into a folder with older results adds to them: a replay that is to start
from nothing calls ``clear_dataset`` first.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from schemas import Contract
from sinks.background import BackgroundWriter
from sinks.errors import close_with
from sinks.metrics import ROWS_WRITTEN
from sinks.parquet_folder import DatasetFolder
from sinks.rows import REVISION, conform, highest_revision

NO_DATE = "__HIVE_DEFAULT_PARTITION__"  # how Hive, DuckDB and Polars spell a null partition value

_DAY = 86_400_000_000  # µs
_OPEN_FILES_OF_ROWS = 4  # a partition holds at most this many full files' rows in memory
_IDLE_SNAPSHOTS = 10  # a date untouched for so many snapshots leaves memory

State = dict[str, int]
"""Of each date the sequence number of its newest file."""


class ParquetSink(FixedPartitionedSink[pl.DataFrame, State]):
    """Writes the rows of one contract as a Parquet dataset.

    Args:
        output: the folder that holds the datasets; created where missing.
        contract: whose columns the frames have.
        partitions: how many independent writers; an item's key says which.
        rows_per_file: at so many rows a file is sealed.
        writer: first part of the file names; two processes that write one dataset need different ones.
        keep_superseded_seconds: how long a scan may take that began before a file's next version was there.
        keep_revisions: keep every revision of an identity, to see later how a result came about.
    """

    def __init__(
        self,
        output: Path,
        contract: Contract,
        *,
        partitions: int = 1,
        rows_per_file: int = 500_000,
        writer: str = "gridflow",
        keep_superseded_seconds: float = 10.0,
        keep_revisions: bool = False,
    ) -> None:
        if not re.fullmatch(r"[\w.]+", writer, re.ASCII):
            raise ValueError(f"writer {writer!r} must consist of letters, digits, '_' and '.'")
        self._output = output
        self._contract = contract
        self._partitions = partitions
        self._rows_per_file = rows_per_file
        self._writer = writer
        self._keep = keep_superseded_seconds
        history = (REVISION,) if keep_revisions and REVISION in contract.polars else ()
        self._one_row_of = (*contract.identity, *history)

    def list_parts(self) -> list[str]:
        """The writers' numbers."""
        return [str(number) for number in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> _ParquetPartition:  # noqa: ARG002
        """A writer that goes on where the files on disk end; the dataset's folder exists from here on."""
        folder = DatasetFolder(self._output, self._contract, f"{self._writer}-{for_part}", self._keep)
        return _ParquetPartition(folder, self._contract, self._one_row_of, self._rows_per_file, resume_state or {})


@dataclass(slots=True)
class _OpenFile:
    """The newest file of a date: ``rows`` and ``pending`` together are what its next version holds."""

    sequence: int
    version: int
    rows: pl.DataFrame
    pending: list[pl.DataFrame] = field(default_factory=list)
    pending_rows: int = 0
    unwritten: int = 0
    idle_snapshots: int = 0

    @property
    def height(self) -> int:
        return self.rows.height + self.pending_rows

    def add(self, rows: pl.DataFrame) -> None:
        self.pending.append(rows)
        self.pending_rows += rows.height
        self.unwritten += rows.height

    def merge(self, identity: tuple[str, ...]) -> None:
        if self.pending:
            rows = pl.concat([self.rows, *self.pending], rechunk=False)
            self.rows = highest_revision(rows, identity)
            self.pending, self.pending_rows = [], 0


class _ParquetPartition(StatefulSinkPartition[pl.DataFrame, State]):
    def __init__(
        self,
        folder: DatasetFolder,
        contract: Contract,
        one_row_of: tuple[str, ...],
        rows_per_file: int,
        state: State,
    ) -> None:
        self._folder = folder
        self._contract = contract
        self._one_row_of = one_row_of
        self._time = contract.time
        self._rows_per_file = rows_per_file
        self._sequences = dict(state)
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()  # least recently touched first
        self._written = ROWS_WRITTEN.labels("parquet", contract.record)
        self._writer = BackgroundWriter()

    def write_batch(self, values: list[pl.DataFrame]) -> None:
        for day, rows in _by_date([conform(frame, self._contract) for frame in values if frame.height], self._time):
            file = self._open.get(day)
            if file is None:
                file = self._open[day] = self._take_up(day)
            self._open.move_to_end(day)
            file.add(rows)
            if file.height >= self._rows_per_file:
                self._seal(day, file)
        while len(self._open) > 1 and self._rows_in_memory() > _OPEN_FILES_OF_ROWS * self._rows_per_file:
            self._release(next(iter(self._open)))

    def snapshot(self) -> State:
        for day, file in list(self._open.items()):
            file.idle_snapshots = 0 if file.unwritten else file.idle_snapshots + 1
            self._flush(day, file)
            if file.idle_snapshots >= _IDLE_SNAPSHOTS:
                del self._open[day]
        self._writer.settle()
        self._folder.forget_superseded()
        return dict(self._sequences)

    def close(self) -> None:
        close_with(self._finish, failed=self._writer.failed)
        self._folder.forget_superseded(at_once=True)

    def _finish(self) -> None:
        for day in list(self._open):
            self._release(day)
        self._writer.close()

    def _rows_in_memory(self) -> int:
        return sum(file.height for file in self._open.values())

    def _seal(self, day: str, file: _OpenFile) -> None:
        # As they came: to look for superseded rows costs more than to write the few there are.
        rows = pl.concat([file.rows, *file.pending], rechunk=False)
        file.pending, file.pending_rows = [], 0
        while rows.height >= self._rows_per_file:
            full, rows = rows.head(self._rows_per_file), rows.slice(self._rows_per_file)
            self._write(day, file, full, left=rows.height)
            file.sequence, file.version = file.sequence + 1, 0
        file.rows = rows

    def _flush(self, day: str, file: _OpenFile) -> None:
        file.merge(self._one_row_of)
        if file.unwritten:
            self._write(day, file, file.rows, left=0)

    def _release(self, day: str) -> None:
        self._flush(day, self._open[day])
        del self._open[day]

    def _write(self, day: str, file: _OpenFile, rows: pl.DataFrame, left: int) -> None:
        self._writer.submit(self._folder.write, day, file.sequence, file.version, rows)
        file.version += 1
        self._sequences[day] = file.sequence
        left = min(left, file.unwritten)
        self._written.inc(file.unwritten - left)
        file.unwritten = left

    def _take_up(self, day: str) -> _OpenFile:
        """The date's newest file on disk, to be written on, or the next one."""
        self._writer.settle()
        sequence, version = self._folder.newest.get(day, (-1, -1))
        known = self._sequences.get(day, -1)
        if sequence < known:  # files that were moved away: their names are not used again
            sequence, version = known, -1
        rows = self._folder.read(day, sequence, version, self._rows_per_file // 2) if version >= 0 else None
        if rows is None:
            return _OpenFile(sequence + 1, 0, self._contract.empty())
        return _OpenFile(sequence, version + 1, rows)


def _by_date(frames: list[pl.DataFrame], time: str) -> Iterator[tuple[str, pl.DataFrame]]:
    for frame in frames:
        moments = frame.get_column(time).to_physical()
        if not moments.null_count() and moments.min() // _DAY == moments.max() // _DAY:  # type: ignore[operator]
            yield frame.get_column(time)[0].date().isoformat(), frame  # the usual case
            continue
        days = frame.get_column(time).dt.date().alias("_date")
        parts = frame.with_columns(days).partition_by("_date", as_dict=True, include_key=False)
        for (day,), rows in parts.items():
            yield day.isoformat() if isinstance(day, date) else NO_DATE, rows
