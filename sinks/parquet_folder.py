"""A Parquet dataset's files: written aside, renamed into place, never changed, deleted when superseded."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from pathlib import Path

import polars as pl

from schemas import Contract
from sinks.errors import SinkError

WRITING = ".writing"
_ROW_GROUP = 131_072
_NAME = re.compile(r"(?P<writer>[\w.]+-\d+)-(?P<sequence>\d{6,})-(?P<version>\d{4,})\.parquet", re.ASCII)


def clear_dataset(output: Path, dataset: str) -> int:
    """Delete the files that this sink wrote for a dataset, and nothing else.

    Returns:
        How many files were deleted.
    """
    files = [path for path in (output / dataset).glob("date=*/*.parquet") if _NAME.fullmatch(path.name)]
    for path in files:
        path.unlink()
    return len(files)


class DatasetFolder:
    """One writer's files of a dataset.

    Attributes:
        newest: of each date the sequence number and version of this writer's newest file.
    """

    def __init__(self, output: Path, contract: Contract, name: str, keep_superseded_seconds: float) -> None:
        self.newest: dict[str, tuple[int, int]] = {}
        self._folder = output / contract.dataset
        self._aside = output / WRITING / f"{contract.dataset}-{name}.parquet"
        self._schema = contract.polars
        self._name = name
        self._keep = keep_superseded_seconds
        self._superseded: deque[tuple[float, Path]] = deque()
        _make_folder(self._folder)
        _make_folder(self._aside.parent)
        self._aside.unlink(missing_ok=True)
        self._look_round()

    def write(self, day: str, sequence: int, version: int, rows: pl.DataFrame) -> None:
        """Put a file into place, durably."""
        path = self._path(day, sequence, version)
        _make_folder(path.parent)
        try:
            rows.write_parquet(self._aside, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP)
            _sync(self._aside)
            self._aside.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise SinkError(f"{path}: cannot be written: {error.strerror or error}") from None
        if self.newest.get(day) == (sequence, version - 1):
            self._superseded.append((time.monotonic(), self._path(day, sequence, version - 1)))
        self.newest[day] = (sequence, version)

    def read(self, day: str, sequence: int, version: int, most_rows: int) -> pl.DataFrame | None:
        """A file's rows, None if they are too many or if it was written by another version of the contract.

        Raises:
            SinkError: the file is damaged.
        """
        path = self._path(day, sequence, version)
        try:
            if pl.read_parquet_schema(path) != self._schema:
                return None
            scan = pl.scan_parquet(path, hive_partitioning=False)
            if scan.select(pl.len()).collect().item() >= most_rows:
                return None
            return scan.collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SinkError(f"{path}: cannot be read back: {error}") from None

    def forget_superseded(self, *, at_once: bool = False) -> None:
        """Delete the versions that were superseded long enough ago for their readers to be through."""
        before = time.monotonic() - self._keep
        while self._superseded and (at_once or self._superseded[0][0] <= before):
            self._superseded.popleft()[1].unlink(missing_ok=True)

    def _look_round(self) -> None:
        versions: dict[tuple[str, int], int] = {}
        for path in self._folder.glob(f"date=*/{self._name}-*.parquet"):
            if (found := _NAME.fullmatch(path.name)) and found["writer"] == self._name:
                day, sequence, version = path.parent.name[5:], int(found["sequence"]), int(found["version"])
                self.newest[day] = max(self.newest.get(day, (-1, -1)), (sequence, version))
                # Two versions of one file: a crash came before the older one was deleted.
                other = versions.setdefault((day, sequence), version)
                if other != version:
                    self._path(day, sequence, min(other, version)).unlink()
                    versions[day, sequence] = max(other, version)

    def _path(self, day: str, sequence: int, version: int) -> Path:
        return self._folder / f"date={day}" / f"{self._name}-{sequence:06d}-{version:04d}.parquet"


def _make_folder(folder: Path) -> None:
    """Make a folder so that it is still there after a power failure."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    try:
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            _sync(each.parent)
    except OSError as error:
        raise SinkError(f"folder {each}: {error.strerror}") from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
