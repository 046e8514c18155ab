"""What a step has said since its last snapshot, kept beside the recovery store.

Some results are sent before they are settled and may have to be taken back. A snapshot holds what was said up to it;
a process that is killed and goes on from the snapshot would not know of what it said after it, and a false alarm would
stand for ever. So such rows are written here before they are sent.

A journal consists of pages, numbered files of JSON lines. A snapshot begins a new page and keeps its number; who goes
on from the snapshot reads that page and those after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sinks.errors import SinkError

_KEPT = 16
"""Pages of so many snapshots are kept: which of the last ones is gone on from is Bytewax's to say."""


class Journal:
    """The journal of one unit of state.

    Args:
        folder: where the pages are; made when the first one is written.
        name: what the journal is of, unique in the folder.
        since: the page that the snapshot began from which the unit goes on; 0: it begins anew.

    Raises:
        SinkError: a page cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> before = Journal(folder, "flow-shard-0000")
        >>> page = before.turn()
        >>> before.write([{"anomaly_id": "a", "revision": 3}])
        >>> Journal(folder, "flow-shard-0000", page).rows  # after a kill
        [{'anomaly_id': 'a', 'revision': 3}]
    """

    def __init__(self, folder: Path, name: str, since: int = 0) -> None:
        self._folder, self._name = folder, name
        there = self._pages()
        self.rows: list[dict[str, Any]] = [
            row for number, path in sorted(there.items()) if number >= since for row in _rows(path)
        ]
        """What was said since that snapshot, in order."""
        self._page = max([since, *there], default=0) + 1

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep rows, of what JSON can hold; they are on disk when this returns.

        Raises:
            SinkError: they cannot be written.
        """
        if not rows:
            return
        path = self._path(self._page)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(f"{path}: the journal of what was said cannot be written: {error.strerror}") from error

    def turn(self) -> int:
        """A snapshot is made: begin a new page, and give its number."""
        self._page += 1
        for number, path in self._pages().items():
            if number < self._page - _KEPT:
                path.unlink(missing_ok=True)
        return self._page

    def _pages(self) -> dict[int, Path]:
        return {int(path.stem.rsplit("-", 1)[1]): path for path in self._folder.glob(f"{self._name}-*.jsonl")}

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:010d}.jsonl"


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        *lines, last = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise SinkError(f"{path}: the journal of what was said cannot be read: {error.strerror}") from error
    # A line without its end was being written when the process was killed: what it holds was not sent.
    del last
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise SinkError(f"{path}:{number}: no line of a journal: {line[:80]!r}") from error
    return rows
