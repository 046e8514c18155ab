"""Decoded messages of one source partition to a batch: validation, event time, letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.batch import LETTER_SCHEMA, RAW_COLUMNS, Batch, Gate
from connectors.dead_row import DeadRow
from connectors.validate import validate
from schemas import Contract

STAGE_EVENT_TIME = "event-time"

Offsets = int | npt.NDArray[np.int64]
"""Offset of the first row, where they are consecutive; else each row's."""
RawRows = Callable[[list[int]], Sequence[bytes | None]]
"""Gives the original keys, or values, of some rows."""
HeadersOfRows = Callable[[list[int]], Sequence[Sequence[tuple[str, bytes | None]] | None]]
"""Gives the original headers of some rows, None where a message has none."""


def _no_headers(rows: list[int]) -> list[None]:
    return [None] * len(rows)


Narrow = Callable[[pl.DataFrame], pl.DataFrame]


def _whole(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages taken from a source partition, decoded.

    Attributes:
        frame: those that could be decoded: the contract's columns and ``_row``, ascending.
        dead: those that could not.
        count: how many messages there were, tombstones included; at least one.
        offsets: their offsets.
        keys: gives original keys.
        values: gives original values.
        headers: gives original headers.
    """

    frame: pl.DataFrame
    dead: list[DeadRow]
    count: int
    offsets: Offsets
    keys: RawRows
    values: RawRows
    headers: HeadersOfRows = _no_headers


class Assembler:
    """Makes the batches of one source partition.

    Args:
        contract: what the messages are.
        partition: number of the source partition.
        partitions: how many there are.
        gate: judges by event time.
        future_limit_seconds: how far an event time may be ahead of its ``received_time``; None is no limit.
        keep_raw: whether the frame carries each message as it came, too.
        narrow: gives what is to be passed on of checked rows: the columns that the flow uses, and ``_row``.
    """

    def __init__(
        self,
        contract: Contract,
        partition: int,
        partitions: int,
        gate: Gate,
        *,
        future_limit_seconds: float | None = None,
        keep_raw: bool = False,
        narrow: Narrow | None = None,
    ) -> None:
        self._contract = contract
        self._narrow = narrow or _whole
        self._partition = partition
        self._partitions = partitions
        self._future_limit = future_limit_seconds
        self._keep_raw = keep_raw
        self.gate = gate
        no_rows = self._narrow(contract.empty().with_columns(pl.lit(None, pl.Int64).alias("_row")))
        added = {"_offset": pl.Int64(), **(RAW_COLUMNS if keep_raw else {})}
        self._no_rows = no_rows.drop("_row").with_columns(
            pl.lit(None, kind).alias(name) for name, kind in added.items()
        )
        self._no_letters = LETTER_SCHEMA.to_frame()

    def empty(
        self,
        *,
        frontier: int | None = None,
        idle: bool = False,
        finished: bool = False,
        caught_up: bool = False,
    ) -> Batch:
        """A batch of no messages, which only says how things stand.

        Args:
            frontier: stands in for the gate's as long as that has none.
            idle: as in ``Batch``.
            finished: as in ``Batch``.
            caught_up: as in ``Batch``.
        """
        return Batch(
            self._contract.topic,
            self._partition,
            self._partitions,
            -1,
            -1,
            self._no_rows,
            self._no_letters,
            self._no_letters,
            0,
            self._frontier(frontier),
            idle=idle,
            finished=finished,
            caught_up=caught_up,
        )

    def checked(self, taken: Taken) -> Taken:
        """The same, narrowed, without the rows that the contract's rules refuse: those are dead. For any thread."""
        good, invalid = validate(self._contract, taken.frame, self._future_limit)
        if not invalid:
            return replace(taken, frame=self._narrow(taken.frame))
        return replace(taken, frame=self._narrow(taken.frame.filter(good)), dead=taken.dead + invalid)

    def batch(
        self, taken: Taken, *, frontier: int | None = None, caught_up: bool = False, keep_raw: bool = False
    ) -> Batch:
        """Judge messages that were checked.

        Args:
            taken: the messages.
            frontier: stands in for the gate's as long as that has none.
            caught_up: as in ``Batch``.
            keep_raw: as of the assembler, for this batch.
        """
        frame, dead, late = taken.frame, taken.dead, self._no_letters
        verdict = self.gate.admit(frame)
        if not verdict.all_accepted:
            rows = frame["_row"]
            dead = dead + [
                DeadRow(rows[refusal.row], STAGE_EVENT_TIME, refusal.error_class, refusal.message, None)
                for refusal in verdict.refused
            ]
            if verdict.late.any():
                late = self._letters(taken, self._late(frame.filter(pl.Series(verdict.late))))
            frame = frame.filter(pl.Series(verdict.accepted))
        return Batch(
            self._contract.topic,
            self._partition,
            self._partitions,
            _offset(taken.offsets, 0),
            _offset(taken.offsets, taken.count - 1),
            self._finish(frame, taken, keep_raw=keep_raw or self._keep_raw),
            self._letters(taken, dead) if dead else self._no_letters,
            late,
            taken.count,
            self._frontier(frontier),
            caught_up=caught_up,
        )

    def _frontier(self, stand_in: int | None) -> int | None:
        frontier = self.gate.frontier
        return stand_in if frontier is None else frontier

    def _finish(self, frame: pl.DataFrame, taken: Taken, *, keep_raw: bool) -> pl.DataFrame:
        added = [_offset_column(frame["_row"], taken.offsets)]
        if keep_raw:
            rows = frame["_row"].to_list()
            raw = (taken.keys(rows), taken.values(rows), _header_pairs(taken, rows))
            added += [pl.Series(name, one, kind) for (name, kind), one in zip(RAW_COLUMNS.items(), raw, strict=True)]
        return pl.DataFrame([*(column for column in frame.iter_columns() if column.name != "_row"), *added])

    def _late(self, frame: pl.DataFrame) -> list[DeadRow]:
        time = self._contract.time
        text = pl.format("field {}: {} is beyond the allowed lateness", pl.lit(time), pl.col(time))
        messages = frame.select(text).to_series()
        return [
            DeadRow(row, STAGE_EVENT_TIME, "LateReading", message, None, moment)
            for row, message, moment in zip(frame["_row"], messages, frame[time].to_physical(), strict=True)
        ]

    def _letters(self, taken: Taken, refused: list[DeadRow]) -> pl.DataFrame:
        refused = sorted(refused, key=lambda letter: letter.row)
        rows = [letter.row for letter in refused]
        return pl.DataFrame(
            {
                "topic": [self._contract.topic] * len(rows),
                "partition": [self._partition] * len(rows),
                "offset": _offset_column(pl.Series(rows, dtype=pl.Int64), taken.offsets),
                "stage": [letter.stage for letter in refused],
                "error_class": [letter.error_class for letter in refused],
                "error_message": [letter.message for letter in refused],
                "schema_id": [letter.schema_id for letter in refused],
                "key": taken.keys(rows),
                "value": taken.values(rows),
                "headers": _header_pairs(taken, rows),
                "time": pl.Series([letter.time for letter in refused], dtype=pl.Int64),
            },
            schema=LETTER_SCHEMA,
        )


def _header_pairs(taken: Taken, rows: list[int]) -> list[list[dict[str, str | bytes | None]] | None]:
    return [
        [{"key": name, "value": value} for name, value in headers] if headers else None
        for headers in taken.headers(rows)
    ]


def _offset(offsets: Offsets, row: int) -> int:
    return offsets + row if isinstance(offsets, int) else int(offsets[row])


def _offset_column(rows: pl.Series, offsets: Offsets) -> pl.Series:
    if isinstance(offsets, int):
        return (rows + offsets).alias("_offset")
    return pl.Series("_offset", offsets[rows.to_numpy()], pl.Int64)
