"""Readings in files: finding them, and reading them in chunks of the contract's columns.

A folder holds, for each topic, ``<topic>.parquet``, ``<topic>.ndjson`` (or ``.jsonl``), or a folder
``<topic>/`` of such files at any depth. Names that start with ``.`` or ``_`` are no readings. A missing
nullable column is null; times of any unit are taken, those without a zone as UTC.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.columns import Conversion, conversion, json_rows, misfits
from connectors.dead_row import DeadRow
from connectors.decode import Decoder
from connectors.errors import InputError
from schemas import Contract

_NDJSON = (".ndjson", ".jsonl")
# Classes of errors of lines that are no JSON at all.
_NO_RECORD = frozenset({"UndecodableJson", "UnknownFraming"})
_SUFFIXES = (".parquet", *_NDJSON)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of one file.

    Attributes:
        frame: the rows that fit the contract: its columns, and ``_row`` (Int64), the index into the chunk.
        dead: the rows that do not.
        rows: how many rows were taken; frame and dead together.
        source: the rows as they stand in the file: a frame, or the lines of an NDJSON file.
    """

    frame: pl.DataFrame
    dead: list[DeadRow]
    rows: int
    source: pl.DataFrame | list[bytes]

    def values(self, rows: list[int]) -> list[bytes]:
        """Some rows as they stand in the file: of NDJSON the lines, of Parquet JSON objects."""
        if isinstance(self.source, pl.DataFrame):
            return json_rows(self.source[rows])
        return [self.source[row] for row in rows]

    def keys(self, rows: list[int], key: str) -> list[bytes | None]:
        """The Kafka keys of some rows; None where the row does not tell.

        Args:
            rows: indices into the chunk.
            key: the column that is the key.
        """
        if isinstance(self.source, pl.DataFrame):
            found: list[str | None] = self.source[rows][key].cast(pl.String, strict=False).to_list()
        else:
            accepted = dict(zip(self.frame["_row"].to_list(), self.frame[key].to_list(), strict=True))
            found = [accepted.get(row) for row in rows]
        return [None if value is None else value.encode() for value in found]


class ReadingsFile(ABC):
    """One file of readings, read from a row on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def rows(self) -> int | None:
        """How many rows the file has, if that is known without reading it."""

    @property
    @abstractmethod
    def earliest(self) -> int | None:
        """A lower bound of the event times in the file, µs since 1970, if one is known without reading it."""

    @abstractmethod
    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """The rows from ``start`` on, at most ``size`` in each chunk; memory does not grow with the file.

        Raises:
            InputError: the file is damaged, or does not hold what the contract says.
        """


class ParquetReadings(ReadingsFile):
    """A Parquet file of readings.

    Args:
        path: the file.
        contract: what its rows are.

    Raises:
        InputError: no Parquet file, a required column missing, or a column of another type.
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        super().__init__(path)
        self._contract = contract
        try:
            with pq.ParquetFile(path) as file:
                self._metadata = file.metadata
                schema = file.schema_arrow
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from None
        groups = (self._metadata.row_group(number).num_rows for number in range(self._metadata.num_row_groups))
        self._group_ends = [*accumulate(groups)]
        self._conversion: Conversion = conversion(contract, schema, str(path), self._first_value)

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return int(self._metadata.num_rows)

    @property
    def earliest(self) -> int | None:
        """The least event time by the file's own statistics, µs since 1970; None if they are incomplete."""
        leaves = [self._metadata.schema.column(index).path for index in range(self._metadata.num_columns)]
        column = leaves.index(self._contract.time)
        found: list[int] = []
        for group in range(self._metadata.num_row_groups):
            statistics = self._metadata.row_group(group).column(column).statistics
            if statistics is None or not statistics.has_min_max:
                return None
            found.append(_micros(statistics.min))
        return min(found, default=None)

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """The rows from ``start`` on, at most ``size`` in each chunk.

        Raises:
            InputError: the file is damaged.
        """
        try:
            scan = pl.scan_parquet(self.path, glob=False, hive_partitioning=False).select(self._conversion.columns)
            while start < self.rows:
                count = self._next_end(start, size) - start
                source = scan.slice(start, count).collect()
                if source.height != count:
                    raise InputError(f"{self.path}: damaged: it ends at row {start + source.height} of {self.rows}")
                yield self._chunk(source)
                start += count
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(f"{self.path}: damaged: {_one_line(error)}") from None

    def _next_end(self, start: int, size: int) -> int:
        """Where the chunk that begins at ``start`` ends: with a row group, if one ends within its size."""
        at = bisect_right(self._group_ends, start + size)
        end = self._group_ends[at - 1] if at else 0
        return end if end > start else min(start + size, self.rows)

    def _first_value(self, column: str) -> object:
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(columns=[column]):
                values = batch.column(0).drop_null()
                if len(values):
                    return values[0].as_py()
        return None

    def _chunk(self, source: pl.DataFrame) -> Chunk:
        frame = source.select(self._conversion.expressions).with_row_index("_row")
        frame = frame.with_columns(pl.col("_row").cast(pl.Int64))
        dead = misfits(self._conversion.lossy, source, frame)
        if dead:
            fits = np.ones(len(frame), np.bool_)
            fits[[letter.row for letter in dead]] = False
            frame = frame.filter(pl.Series(fits))
        return Chunk(frame, dead, len(source), source)


class NdjsonReadings(ReadingsFile):
    """A file of one JSON object per line; empty lines are no rows.

    Args:
        path: the file.
        decoder: decodes the lines.
    """

    def __init__(self, path: Path, decoder: Decoder) -> None:
        super().__init__(path)
        self._decoder = decoder

    @property
    def rows(self) -> None:
        """Not known."""
        return None

    @property
    def earliest(self) -> None:
        """Not known."""
        return None

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """The lines from ``start`` on, at most ``size`` in each chunk.

        Raises:
            InputError: the file cannot be read.
        """
        lines: list[bytes] = []
        try:
            with self.path.open("rb") as file:
                for line in islice(filter(bytes.strip, file), start, None):
                    lines.append(line.rstrip(b"\r\n"))
                    if len(lines) == size:
                        yield self._chunk(lines, first=not start)
                        lines, start = [], start + size
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None
        if lines:
            yield self._chunk(lines, first=not start)

    def _chunk(self, lines: list[bytes], *, first: bool) -> Chunk:
        decoded = self._decoder.decode([None] * len(lines), lines, None)
        chunk = Chunk(decoded.frame, decoded.dead, len(lines), lines)
        # Single rows may be bad; where none of the first ones fits, the file is another one than is meant.
        alien = chunk.frame.is_empty() and all(row.error_class not in _NO_RECORD for row in chunk.dead)
        if first and alien:
            raise InputError(f"{self.path}: no row fits the contract; the first: {chunk.dead[0].message}")
        return chunk


def topic_paths(folder: Path, topic: str) -> list[Path]:
    """The files of a topic in a folder, in the order of their names.

    Raises:
        InputError: the folder is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    found = [path for suffix in _SUFFIXES if (path := folder / f"{topic}{suffix}").is_file()]
    inner = folder / topic
    if inner.is_dir():
        found += [
            path
            for path in sorted(inner.rglob("*"))
            if path.suffix in _SUFFIXES
            and path.is_file()
            and not any(part.startswith((".", "_")) for part in path.relative_to(inner).parts)
        ]
    return found


def open_readings(path: Path, contract: Contract, decoder: Decoder) -> ReadingsFile:
    """A file of readings by its name's ending.

    Raises:
        InputError: it does not hold what the contract says.
    """
    return NdjsonReadings(path, decoder) if path.suffix in _NDJSON else ParquetReadings(path, contract)


def _micros(moment: datetime | int) -> int:
    if isinstance(moment, int):
        return moment
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
