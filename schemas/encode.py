"""Rows to message bodies: Avro in Confluent's framing, or bare JSON.

Example:
    >>> import polars as pl
    >>> from datetime import UTC, datetime
    >>> from schemas import contract
    >>> from schemas.encode import JsonEncoder
    >>> meter = contract("grid.meter.v1")
    >>> row = {"meter_id": "m1", "time": datetime(2026, 1, 1, tzinfo=UTC), "import_kwh": 5.0, "quality": 0}
    >>> JsonEncoder(meter).encode(pl.DataFrame([row]))
    [b'{"meter_id":"m1","time":"2026-01-01T00:00:00.000000Z","import_kwh":5.0,"quality":0}']
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

import orjson
import polars as pl

from schemas.avro_types import without_null
from schemas.contracts import Contract
from schemas.encode_columns import FieldWriter, join
from schemas.errors import SchemaError

# Bounds the memory that the joined bodies take.
_ROWS_AT_ONCE = 50_000
_FAMILIES: tuple[Callable[[pl.DataType], bool], ...] = (
    lambda dtype: dtype.is_numeric(),
    lambda dtype: isinstance(dtype, pl.Datetime),
    lambda dtype: isinstance(dtype, pl.List),
    lambda dtype: dtype in (pl.String, pl.Categorical, pl.Enum),
)
_ISO_MICROS = "%Y-%m-%dT%H:%M:%S%.6fZ"


class RowEncoder(Protocol):
    """Turns the rows of a frame into message bodies."""

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One body per row, in order."""


def confluent_prefix(schema_id: int) -> bytes:
    """The five bytes before an Avro body in Confluent's wire format: magic 0, then the id, big-endian."""
    return struct.pack(">bI", 0, schema_id)


def project(contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """The contract's columns of a frame, in order; a missing nullable one is null, others are dropped.

    Numbers and times of other widths are converted.

    Raises:
        SchemaError: a column that may not be null is missing, or a column's type does not fit.
    """
    missing = contract.polars.keys() - set(frame.columns)
    required = sorted(missing - contract.nullable)
    if required:
        raise SchemaError(f"{contract.record}: column {required[0]} is missing")
    columns = []
    for name, dtype in contract.polars.items():
        if name in missing:
            columns.append(pl.lit(None, dtype=dtype).alias(name))
            continue
        given = frame.schema[name]
        alike = any(same(given) and same(dtype) for same in _FAMILIES)
        if given != dtype and not alike and given != pl.Null:
            raise SchemaError(f"{contract.record}: column {name} is {given}, not {dtype}")
        columns.append(pl.col(name) if given == dtype else pl.col(name).cast(dtype))
    try:
        return frame.select(columns)
    except pl.exceptions.InvalidOperationError as error:
        raise SchemaError(f"{contract.record}: {str(error).splitlines()[0]}") from None


class Encoder:
    """Avro bodies in Confluent's framing.

    Args:
        contract: what the rows are.
        schema_id: id of ``contract.wire`` in the registry that readers will ask.
    """

    def __init__(self, contract: Contract, schema_id: int) -> None:
        self._contract = contract
        self._prefix = confluent_prefix(schema_id)
        self._writers = [FieldWriter(field) for field in contract.fields]

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One body per row, in order.

        Args:
            frame: the contract's columns in any order; others are ignored, missing nullable ones are null.

        Raises:
            SchemaError: a column is missing, or a value does not fit the contract.
        """
        rows = project(self._contract, frame)
        bodies: list[bytes] = []
        for part in rows.iter_slices(_ROWS_AT_ONCE):
            try:
                pieces = [piece for writer in self._writers for piece in writer.pieces(part[writer.name])]
            except SchemaError as error:
                raise SchemaError(f"{self._contract.record}: {error}") from None
            bodies += join(self._prefix, pieces, len(part))
        return bodies


class JsonEncoder:
    """Bare JSON bodies: times in ISO 8601, nulls omitted, maps as objects.

    Args:
        contract: what the rows are.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._times = [name for name, dtype in contract.polars.items() if dtype.is_temporal()]
        self._maps = [field["name"] for field in contract.fields if _kind(without_null(field["type"])) == "map"]

    def encode(self, frame: pl.DataFrame) -> list[bytes]:
        """One body per row, in order.

        Raises:
            SchemaError: a column is missing, or a value (bytes) has no form in JSON.
        """
        rows = project(self._contract, frame).with_columns(pl.col(self._times).dt.strftime(_ISO_MICROS))
        bodies = []
        for number, row in enumerate(rows.iter_rows(named=True)):
            for name in self._maps:
                row[name] = _to_dict(row[name])
            try:
                bodies.append(orjson.dumps({name: value for name, value in row.items() if value is not None}))
            except TypeError as error:
                raise SchemaError(f"{self._contract.record} row {number}: {error}") from None
        return bodies


def _kind(avro: Any) -> Any:
    return avro["type"] if isinstance(avro, dict) else avro


def _to_dict(pairs: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if pairs is None else {pair["key"]: pair["value"] for pair in pairs}
