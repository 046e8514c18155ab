"""Readings from files, as if they came from a topic.

The files of a topic are its source partitions. They are read together, always next from the one that event
time has come least far in, so that files which cover the same time do not make each other late. The order
inside a file is its rows' order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.assemble import Assembler, Narrow, Taken
from connectors.batch import Batch, Gate, GateFactory
from connectors.decode import Decoder
from connectors.errors import InputError
from connectors.files import Chunk, ReadingsFile, open_readings, topic_paths
from connectors.stopping import stop_requested
from schemas import Contract


class FileState(TypedDict):
    """Where the reading of a file stands: its name, the next row, whether it has ended, the gate's state."""

    name: str
    row: int
    finished: bool
    gate: Any


class FileSource(FixedPartitionedSource[Batch, list[FileState]]):
    """The readings of one topic from the files of a folder.

    Args:
        folder: holds ``<topic>.parquet``, ``<topic>.ndjson`` or a folder ``<topic>/`` of such files.
        contract: the topic's.
        decoder: makes a decoder, for the lines of NDJSON files.
        gate: makes the gate of (topic, number of the file).
        chunk_rows: most rows in a batch.
        future_limit_seconds: how far an event time may be ahead of its ``received_time``; None is no limit.
        keep_raw: whether frames carry ``_key`` and ``_value``; costs about as much as reading itself.
        narrow: gives what is to be passed on of checked rows; see ``Assembler``.
        paths: the files, if not those that the folder holds by the topic's name.

    Raises:
        InputError: there are no files, or they do not hold what the contract says.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        *,
        decoder: Callable[[], Decoder],
        gate: GateFactory,
        chunk_rows: int = 200_000,
        future_limit_seconds: float | None = None,
        keep_raw: bool = False,
        narrow: Narrow | None = None,
        paths: list[Path] | None = None,
    ) -> None:
        paths = topic_paths(folder, contract.topic) if paths is None else paths
        if not paths:
            raise InputError(f"{folder}: no readings: there is no {contract.topic}.parquet or .ndjson")
        self._contract = contract
        self._gate = gate
        self._chunk_rows = chunk_rows
        self._future_limit = future_limit_seconds
        self._keep_raw = keep_raw
        self._narrow = narrow
        shared = decoder()
        self._files = {path.relative_to(folder).as_posix(): open_readings(path, contract, shared) for path in paths}

    @property
    def rows(self) -> int | None:
        """Rows in all files, if they are all known without reading."""
        counts = [file.rows for file in self._files.values()]
        return None if None in counts else sum(count for count in counts if count is not None)

    def list_parts(self) -> list[str]:
        """One part, named as the topic: the files are read by turns."""
        return [self._contract.topic]

    def build_part(self, step_id: str, for_part: str, resume_state: list[FileState] | None) -> _FilePart:
        """Begin, or go on where a state was taken.

        Raises:
            InputError: a file that was begun is gone.
        """
        del step_id, for_part
        states = {state["name"]: state for state in resume_state or []}
        for name in states:
            if name not in self._files:
                raise InputError(f"{name}: was being read when the state was stored, and is gone")
        # Files that came since get numbers after the known ones, whose numbers stay.
        names = [*states, *(name for name in self._files if name not in states)]
        lanes = [
            _Lane(
                name,
                self._files[name],
                Assembler(
                    self._contract,
                    number,
                    len(names),
                    self._gate(self._contract.topic, number),
                    future_limit_seconds=self._future_limit,
                    keep_raw=self._keep_raw,
                    narrow=self._narrow,
                ),
                states.get(name),
            )
            for number, name in enumerate(names)
        ]
        return _FilePart(self._contract.key, lanes, self._chunk_rows)


class _FilePart(StatefulSourcePartition[Batch, list[FileState]]):
    def __init__(self, key: str, lanes: list[_Lane], chunk_rows: int) -> None:
        self._key = key
        self._lanes = lanes
        self._chunk_rows = chunk_rows
        self._announced = False

    def next_batch(self) -> list[Batch]:
        if stop_requested.is_set():
            raise StopIteration
        if not self._announced:
            # What is downstream waits for every partition that there is: tell them all how far each one is.
            self._announced = True
            return [lane.standing() for lane in self._lanes]
        open_lanes = [lane for lane in self._lanes if not lane.finished]
        if not open_lanes:
            raise StopIteration
        return [min(open_lanes, key=_Lane.urgency).next_batch(self._chunk_rows, self._key)]

    def snapshot(self) -> list[FileState]:
        return [lane.state() for lane in self._lanes]


class _Lane:
    """One file on its way through."""

    def __init__(self, name: str, file: ReadingsFile, assembler: Assembler, state: FileState | None) -> None:
        self._name = name
        self._file = file
        self._assembler = assembler
        self._chunks: Iterator[Chunk] | None = None
        self._row = 0
        self.finished = False
        if state is not None:
            self._row = state["row"]
            self.finished = state["finished"]
            assembler.gate.restore(state["gate"])
        earliest = file.earliest
        # No reading of this file is older: as good as a frontier just before.
        self._before = None if earliest is None else earliest - 1

    @property
    def _gate(self) -> Gate:
        return self._assembler.gate

    def urgency(self) -> float:
        """The least goes first."""
        frontier = self._gate.frontier
        known = self._before if frontier is None else frontier
        return float("-inf") if known is None else known

    def standing(self) -> Batch:
        return self._assembler.empty(frontier=self._before, finished=self.finished, caught_up=self.finished)

    def next_batch(self, rows: int, key: str) -> Batch:
        if self._chunks is None:
            self._chunks = self._file.chunks(self._row, rows)
        chunk = next(self._chunks, None)
        if chunk is None:
            self.finished = True
            self._gate.settle()
            self._chunks = None
            return self.standing()
        first = self._row
        self._row += chunk.rows
        taken = Taken(
            chunk.frame,
            chunk.dead,
            chunk.rows,
            first,
            lambda wanted: chunk.keys(wanted, key),
            chunk.values,
        )
        return self._assembler.batch(self._assembler.checked(taken), frontier=self._before)

    def state(self) -> FileState:
        return FileState(name=self._name, row=self._row, finished=self.finished, gate=self._gate.state())
