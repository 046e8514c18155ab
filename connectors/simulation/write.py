"""A simulation into files: a folder that ``gridflow replay`` and ``produce`` take, and the truth in a folder beside.

Each file is written under another name and renamed at the end, so an interrupted simulation leaves nothing that looks
complete; what is held in memory does not grow with the length of the simulation.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.errors import InputError
from connectors.files import topic_paths
from connectors.simulation.simulation import NETWORK, STREAMS, Piece, Simulation
from schemas import contract

TRUTH = "truth"
SUMMARY = "summary.json"
PARTIAL = ".partial"
_MARK = ".simulated"  # in the truth's folder: what is there may be replaced


def write_simulation(
    simulation: Simulation, folder: Path, progress: Callable[[float], None] = lambda _done: None
) -> dict[str, Any]:
    """Write a simulation: ``<topic>.parquet`` of each stream and of the network, and ``truth/``.

    Args:
        simulation: not gone through yet.
        folder: made if missing; what an earlier simulation has left there is replaced.
        progress: told of the share that is done.

    Returns:
        The summary, as in ``truth/summary.json``.

    Raises:
        InputError: the folder cannot be written, or holds readings that the new ones would be mixed with.
    """
    prepare(folder)
    truth = TruthWriter(simulation, folder / TRUTH)
    network = contract(NETWORK)
    with _Files(folder, {topic: contract(topic).arrow for topic in STREAMS}) as files, truth:
        for piece in simulation.pieces():
            for topic, frame in piece.frames.items():
                files.add(topic, frame)
            truth.add(piece)
            progress(piece.done)
    with _Files(folder, {NETWORK: network.arrow}) as files:
        files.add(NETWORK, simulation.network)
    return truth.finish()


def prepare(folder: Path) -> None:
    """Make sure that a folder can take a simulation.

    Raises:
        InputError: it cannot, or holds other readings.
    """
    try:
        (folder / TRUTH).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder}: {error.strerror}") from None
    ours = (folder / TRUTH / _MARK).exists()
    if any((folder / TRUTH).iterdir()) and not ours:
        raise InputError(f"--output {folder}: {TRUTH}/ is there, and not from a simulation: not replaced")
    for topic in (*STREAMS, NETWORK):
        for path in topic_paths(folder, topic):
            if path != folder / f"{topic}.parquet":
                raise InputError(f"--output {folder}: {path.name} is there: it would be read with what is simulated")
        if (folder / f"{topic}.parquet").exists() and not ours:
            raise InputError(f"--output {folder}: {topic}.parquet is there, and not from a simulation: not replaced")
    try:
        (folder / TRUTH / _MARK).touch()
    except OSError as error:
        raise InputError(f"--output {folder}: {error.strerror}") from None


class TruthWriter:
    """The truth of a simulation, in a folder: tables as Parquet, and a summary.

    Args:
        simulation: the simulation.
        folder: made if missing.
    """

    def __init__(self, simulation: Simulation, folder: Path) -> None:
        self._simulation, self._folder = simulation, folder
        self._rows: Counter[str] = Counter()
        self._deliveries: Counter[str] = Counter()
        self._files = _Files(folder, {})

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)

    def add(self, piece: Piece) -> None:
        """Take up a piece."""
        for topic, frame in piece.frames.items():
            self._rows[topic] += frame.height
        for name, frame in piece.truth.items():
            self._files.add(name, frame)
            if name == "deliveries":
                counts = frame["what"].value_counts()
                self._deliveries.update(dict(zip(counts["what"], counts["count"], strict=True)))

    def finish(self) -> dict[str, Any]:
        """Write what is known only at the end, and the summary, which is given back."""
        simulation = self._simulation
        tables = simulation.tables()
        with _Files(self._folder, {}) as files:
            for name, frame in tables.items():
                files.add(name, frame)
        kinds = tables["events"]["kind"].value_counts().sort("kind")
        summary = {
            "options": json.loads(simulation.options.model_dump_json()),
            "rows": {**{topic: self._rows[topic] for topic in STREAMS}, NETWORK: simulation.network.height},
            "deliveries": dict(sorted(self._deliveries.items())),
            "events": dict(zip(kinds["kind"].to_list(), kinds["count"].to_list(), strict=True)),
        }
        try:
            (self._folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"--output {self._folder}: {error.strerror}") from None
        return summary


class _Files:
    """Parquet files that grow frame by frame, and have their names when all went well."""

    def __init__(self, folder: Path, schemas: dict[str, pa.Schema]) -> None:
        self._folder = folder
        self._schemas = schemas
        self._writers: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> Self:
        for name, schema in self._schemas.items():
            self._open(name, schema)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure: OSError | None = None
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError as closing:
                failure = closing
        for name in self._writers:
            partial = self._path(name)
            if kind is None and failure is None:
                partial.replace(partial.with_suffix(""))
            else:
                partial.unlink(missing_ok=True)
        if kind is None and failure is not None:
            raise self._no_room(failure) from None

    def add(self, name: str, frame: pl.DataFrame) -> None:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = self._writers.get(name) or self._open(name, table.schema)
        try:
            writer.write_table(table.cast(writer.schema))
        except OSError as error:
            raise self._no_room(error) from None

    def _no_room(self, error: OSError) -> InputError:
        return InputError(f"--output {self._folder}: {os.strerror(error.errno) if error.errno else error}")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.parquet{PARTIAL}"

    def _open(self, name: str, schema: pa.Schema) -> pq.ParquetWriter:
        try:
            writer = pq.ParquetWriter(self._path(name), schema, compression="zstd")
        except OSError as error:
            raise self._no_room(error) from None
        self._writers[name] = writer
        return writer
