"""What a source emits: one poll's worth of one partition, in columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

HEADERS = pl.List(pl.Struct({"key": pl.String, "value": pl.Binary}))
"""A message's headers, null where it has none."""

# Columns of a frame of letters: messages that leave the flow by the side doors (`.dlq`, `.late`).
_LETTER: dict[str, pl.DataType | type[pl.DataType]] = {
    "topic": pl.String,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "stage": pl.String,
    "error_class": pl.String,
    "error_message": pl.String,
    "schema_id": pl.Int64,
    "key": pl.Binary,
    "value": pl.Binary,
    "headers": HEADERS,
    "time": pl.Datetime("us", "UTC"),
}
LETTER_SCHEMA = pl.Schema(_LETTER)
RAW_COLUMNS = {"_key": pl.Binary(), "_value": pl.Binary(), "_headers": HEADERS}
"""Beside the contract's columns: each message as it came."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one source partition, in arrival order, and how far event time has come there.

    Attributes:
        topic: the contract's topic, without any cluster prefix.
        partition: number of the source partition (of a replay: of the file).
        partitions: how many source partitions the topic has, this one included.
        first_offset: offset (row number) of the first message taken, -1 if none was.
        last_offset: offset (row number) of the last message taken, -1 if none was.
        frame: the accepted messages; the contract's columns, plus ``_offset`` (Int64), and, where the source keeps
            raw messages, ``RAW_COLUMNS``.
        dead: letters (``LETTER_SCHEMA``) for the dead-letter topic.
        late: letters (``LETTER_SCHEMA``) for the late topic.
        taken: how many messages were taken: rows of frame + dead + late + tombstones.
        frontier: newest accepted event time of the partition, µs since 1970; None before the first.
        idle: the partition is drained and has been silent for the idle time: it holds nobody back.
        finished: the partition has ended for good (a file).
        caught_up: the partition has been read to what was its end when the source started.
    """

    topic: str
    partition: int
    partitions: int
    first_offset: int
    last_offset: int
    frame: pl.DataFrame
    dead: pl.DataFrame
    late: pl.DataFrame
    taken: int
    frontier: int | None
    idle: bool = False
    finished: bool = False
    caught_up: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row is refused: index into the frame, error class, and a message naming field and value."""

    row: int
    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate's judgement of a frame: each row is accepted, late, or refused.

    Attributes:
        accepted: bool[n].
        late: bool[n]; disjoint from ``accepted``.
        refused: the rest.
    """

    accepted: npt.NDArray[np.bool_]
    late: npt.NDArray[np.bool_]
    refused: tuple[Refusal, ...] = ()

    @property
    def all_accepted(self) -> bool:
        """True when nothing was late or refused, the usual case."""
        return bool(self.accepted.all())


class Gate(Protocol):
    """Judges, per source partition and in arrival order, which readings event time still admits."""

    @property
    def frontier(self) -> int | None:
        """Newest accepted event time, µs since 1970."""

    def admit(self, frame: pl.DataFrame) -> Verdict:
        """Judge a frame of decoded, valid rows and advance the frontier."""

    def settle(self) -> None:
        """No more will come."""

    def state(self) -> Any:
        """What to keep over a restart; picklable."""

    def restore(self, state: Any) -> None:
        """Take up a kept state."""


GateFactory = Callable[[str, int], Gate]
"""Makes the gate of (topic, partition)."""
