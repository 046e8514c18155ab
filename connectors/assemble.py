"""Decoded messages of one source partition to a batch: validation, event time, letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch, Gate
from connectors.decode import DeadRow
from connectors.validate import validate
from schemas import Contract

STAGE_EVENT_TIME = "event-time"

Offsets = int | npt.NDArray[np.int64]
"""Offset of the first row, where they are consecutive; else each row's."""
RawRows = Callable[[list[int]], Sequence[bytes | None]]
"""Gives the original keys, or values, of some rows."""


class Assembler:
    """Makes the batches of one source partition.

    Args:
        contract: what the messages are.
        partition: number of the source partition.
        partitions: how many there are.
        gate: judges by event time.
        keep_raw: whether the frame carries ``_key`` and ``_value``, the original bytes of each message.
    """

    def __init__(
        self, contract: Contract, partition: int, partitions: int, gate: Gate, *, keep_raw: bool = False
    ) -> None:
        self._contract = contract
        self._partition = partition
        self._partitions = partitions
        self._keep_raw = keep_raw
        self.gate = gate
        schema = pl.Schema({**contract.polars, "_offset": pl.Int64})
        if keep_raw:
            schema.update({"_key": pl.Binary(), "_value": pl.Binary()})
        self._no_rows = schema.to_frame()
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

    def batch(
        self,
        frame: pl.DataFrame,
        dead: list[DeadRow],
        taken: int,
        offsets: Offsets,
        keys: RawRows,
        values: RawRows,
        *,
        frontier: int | None = None,
        caught_up: bool = False,
    ) -> Batch:
        """Validate and judge decoded messages.

        Args:
            frame: those that could be decoded: the contract's columns and ``_row``, ascending.
            dead: those that could not.
            taken: how many messages there were, at least one.
            offsets: their offsets.
            keys: gives original keys.
            values: gives original values.
            frontier: stands in for the gate's as long as that has none.
            caught_up: as in ``Batch``.
        """
        late = self._no_letters
        good, invalid = validate(self._contract, frame)
        if invalid:
            dead = dead + invalid
            frame = frame.filter(good)
        verdict = self.gate.admit(frame)
        if not verdict.all_accepted:
            rows = frame["_row"]
            dead = dead + [
                DeadRow(rows[refusal.row], STAGE_EVENT_TIME, refusal.error_class, refusal.message, None)
                for refusal in verdict.refused
            ]
            if verdict.late.any():
                late = self._late(frame.filter(pl.Series(verdict.late)), offsets, keys, values)
            frame = frame.filter(pl.Series(verdict.accepted))
        first, last = _offset(offsets, 0), _offset(offsets, taken - 1)
        return Batch(
            self._contract.topic,
            self._partition,
            self._partitions,
            first,
            last,
            self._finish(frame, offsets, keys, values),
            self._dead(dead, offsets, keys, values) if dead else self._no_letters,
            late,
            taken,
            self._frontier(frontier),
            caught_up=caught_up,
        )

    def _frontier(self, stand_in: int | None) -> int | None:
        frontier = self.gate.frontier
        return stand_in if frontier is None else frontier

    def _finish(self, frame: pl.DataFrame, offsets: Offsets, keys: RawRows, values: RawRows) -> pl.DataFrame:
        added = [_offset_column(frame["_row"], offsets)]
        if self._keep_raw:
            rows = frame["_row"].to_list()
            added += [pl.Series("_key", keys(rows), pl.Binary), pl.Series("_value", values(rows), pl.Binary)]
        return frame.with_columns(added).drop("_row")

    def _late(
        self, frame: pl.DataFrame, offsets: Offsets, keys: RawRows, values: RawRows
    ) -> pl.DataFrame:
        rows = frame["_row"].to_list()
        time = self._contract.time
        messages = frame.select(
            pl.format("field {}: {} is beyond the allowed lateness", pl.lit(time), pl.col(time))
        )
        count = len(rows)
        return self._letters(
            rows, [STAGE_EVENT_TIME] * count, ["Late"] * count, messages.to_series(), [None] * count,
            offsets, keys, values,
        )  # fmt: skip

    def _dead(self, dead: list[DeadRow], offsets: Offsets, keys: RawRows, values: RawRows) -> pl.DataFrame:
        dead = sorted(dead, key=lambda letter: letter.row)
        return self._letters(
            [letter.row for letter in dead],
            [letter.stage for letter in dead],
            [letter.error_class for letter in dead],
            [letter.message for letter in dead],
            [letter.schema_id for letter in dead],
            offsets, keys, values,
        )  # fmt: skip

    def _letters(
        self,
        rows: list[int],
        stages: list[str],
        classes: list[str],
        messages: Sequence[str] | pl.Series,
        schema_ids: Sequence[int | None],
        offsets: Offsets,
        keys: RawRows,
        values: RawRows,
    ) -> pl.DataFrame:
        count = len(rows)
        return pl.DataFrame(
            {
                "topic": [self._contract.topic] * count,
                "partition": [self._partition] * count,
                "offset": _offset_column(pl.Series(rows, dtype=pl.Int64), offsets),
                "stage": stages,
                "error_class": classes,
                "error_message": messages,
                "schema_id": schema_ids,
                "key": keys(rows),
                "value": values(rows),
            },
            schema=LETTER_SCHEMA,
        )


def _offset(offsets: Offsets, row: int) -> int:
    return offsets + row if isinstance(offsets, int) else int(offsets[row])


def _offset_column(rows: pl.Series, offsets: Offsets) -> pl.Series:
    if isinstance(offsets, int):
        return (rows + offsets).alias("_offset")
    return pl.Series("_offset", offsets[rows.to_numpy()], pl.Int64)
