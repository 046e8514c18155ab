"""Kafka messages to columns: framing, Avro of any compatible version, JSON; the undecodable set aside.

Example:
    >>> from schemas import contract
    >>> decoder = Decoder(contract("grid.meter.v1"))
    >>> body = b'{"meter_id": "m1", "time": "2026-01-01T00:00:00Z", "import_kwh": 5.0, "quality": 0}'
    >>> decoded = decoder.decode([b"m1", b"m2"], [body, b"junk"])
    >>> decoded.frame["import_kwh"].to_list(), decoded.frame["_row"].to_list()
    ([5.0], [0])
    >>> decoded.dead[0].row, decoded.dead[0].error_class
    (1, 'UnknownFraming')
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import polars as pl

from connectors.dead_row import DeadRow, shown
from connectors.framing import Framed, Headers, SchemaRef, split
from connectors.records import STAGE, to_frame
from connectors.resolve import WriterSchema
from schemas import Contract, SchemaError
from schemas.registry import LocalRegistry

__all__ = ["DeadRow", "Decoded", "Decoder"]

# Writers' schemas kept; each compatible version of a contract is one.
_MAX_SCHEMAS = 256


@dataclass(frozen=True, slots=True)
class Decoded:
    """Messages of one poll, decoded: each is in exactly one of the three.

    Attributes:
        frame: the contract's columns and ``_row`` (Int64, ascending), the message's index.
        dead: those that could not be decoded, by row.
        tombstones: indices of messages without a value: on a compacted topic they delete their key.
    """

    frame: pl.DataFrame
    dead: list[DeadRow]
    tombstones: list[int]


class Decoder:
    """Decodes the messages of one topic.

    Args:
        contract: what they are to become.
        schema_by_id: gives the writer's schema of an id, or raises SchemaError if there is none. Without it
            ids are those of the local mode.
        schema_by_guid: the same by GUID.
        check_keys: refuse a message whose key is not its ``contract.key``. One without a key is accepted.
    """

    def __init__(
        self,
        contract: Contract,
        schema_by_id: Callable[[int], Any] | None = None,
        schema_by_guid: Callable[[UUID], Any] | None = None,
        *,
        check_keys: bool = True,
    ) -> None:
        self._contract = contract
        local = LocalRegistry()
        self._by_id = schema_by_id or local.by_id
        self._by_guid = schema_by_guid or local.by_guid
        self._check_keys = check_keys
        self._writers: dict[SchemaRef, WriterSchema] = {}
        self._empty = contract.empty().with_columns(pl.lit(None, pl.Int64).alias("_row"))

    def decode(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], headers: Headers | None = None
    ) -> Decoded:
        """Decode messages.

        Args:
            keys: their keys.
            values: their values, as many.
            headers: their headers, as many, where any has some.

        Raises:
            RegistryError: the registry cannot be asked for a schema. That is no fault of the messages.
        """
        framed = split(values, headers)
        frames, dead = [], list(framed.dead)
        for reference, rows in framed.avro.items():
            schema_id = reference if isinstance(reference, int) else None
            try:
                writer = self._writer(reference, schema_id)
            except SchemaError as error:
                dead += [DeadRow(row, STAGE, "UnknownSchema", str(error), schema_id) for row in rows.tolist()]
                continue
            frame, refused = writer.decode(framed, rows)
            frames.append(frame)
            dead += refused
        if framed.json:
            frame, refused = self._json(framed)
            frames.append(frame)
            dead += refused
        frame = frames[0] if len(frames) == 1 else pl.concat([self._empty, *frames]).sort("_row")
        if self._check_keys:
            frame, refused = self._compare_keys(frame, keys)
            dead += refused
        tombstones = framed.tombstones
        if not self._contract.compacted:  # nothing to delete there: it is a message that says nothing
            dead += [DeadRow(row, STAGE, "NoValue", "the message has no value", None) for row in tombstones]
            tombstones = []
        dead.sort(key=lambda letter: letter.row)
        return Decoded(frame, dead, tombstones)

    def _writer(self, reference: SchemaRef, schema_id: int | None) -> WriterSchema:
        writer = self._writers.get(reference)
        if writer is None:
            avro = self._by_guid(reference) if isinstance(reference, UUID) else self._by_id(reference)
            writer = WriterSchema(self._contract, avro, schema_id)
            if len(self._writers) >= _MAX_SCHEMAS:
                self._writers.clear()
            self._writers[reference] = writer
        return writer

    def _json(self, framed: Framed) -> tuple[pl.DataFrame, list[DeadRow]]:
        records, rows, dead = [], [], []
        for row in framed.json:
            try:
                records.append(orjson.loads(framed.body(row)))
            except orjson.JSONDecodeError as error:
                dead.append(DeadRow(row, STAGE, "UndecodableJson", str(error), None))
                continue
            rows.append(row)
        frame, misfits = to_frame(self._contract, records, rows, None)
        return frame, dead + misfits

    def _compare_keys(self, frame: pl.DataFrame, keys: Sequence[bytes | None]) -> tuple[pl.DataFrame, list[DeadRow]]:
        key = pl.Series(keys, dtype=pl.Binary)
        if len(frame) != len(keys):
            key = key.gather(frame["_row"])
        name = self._contract.key
        differs = (key != frame[name].cast(pl.Binary)).fill_null(value=False)
        if not differs.any():
            return frame, []
        numbers = np.flatnonzero(differs.to_numpy())
        found = zip(frame["_row"].gather(numbers), key.gather(numbers), frame[name].gather(numbers), strict=True)
        dead = [
            DeadRow(row, STAGE, "KeyMismatch", f"the key is {shown(sent)}, field {name} {shown(value)}", None)
            for row, sent, value in found
        ]
        return frame.filter(~differs), dead
