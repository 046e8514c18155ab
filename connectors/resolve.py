"""From the writer's schema to ours: messages written by an older or newer version of a contract.

All messages by one schema are decoded together in columns (``avro_columns``); those in doubt, and all of
them where the schema has types that columns do not know, one by one by fastavro, whose judgement is final.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from connectors.avro_columns import Cursor, RecordReader, UnsupportedSchemaError, compile_reader
from connectors.avro_flat import FlatReader, flat_or_general
from connectors.dead_row import DeadRow
from connectors.framing import Framed
from connectors.records import STAGE, to_frame
from schemas import Contract, SchemaError
from schemas.avro_types import enum_symbols, is_nullable, without_null, without_rules

_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
}
_NO_MATTER = frozenset({"logicalType", "doc"})
_TIMES = {"timestamp-micros": 1, "timestamp-millis": 1000}


class WriterSchema:
    """Decodes messages written by one schema.

    Args:
        contract: what they are to become.
        avro: the writer's schema.
        schema_id: its id, for the refused; None if it is known by a GUID.

    Raises:
        SchemaError: it is no record, or lacks a field that the contract needs.
    """

    def __init__(self, contract: Contract, avro: Any, schema_id: int | None) -> None:
        if not isinstance(avro, Mapping) or avro.get("type") != "record":
            raise SchemaError(f"the writer's schema is no record, the contract of {contract.topic} is one")
        self._contract = contract
        self._schema_id = schema_id
        self._sources = _sources(contract, avro)
        # Times stay integers: a datetime cannot hold all that a message can.
        try:
            self._writer = fastavro.parse_schema(without_rules(avro, _NO_MATTER | {"default"}))
        except Exception as error:  # whatever a registry may hold
            raise SchemaError(f"the writer's schema is malformed: {error}") from None
        reader = without_rules(contract.wire, _NO_MATTER)
        # The record may have another name at the writer; its fields decide.
        self._reader = fastavro.parse_schema({**reader, "name": avro["name"], "namespace": avro.get("namespace", "")})
        self._scales = {
            name: factor
            for name, source in self._sources.items()
            if source is not None and (factor := _time_factor(source["type"])) > 1
        }
        self._columns: FlatReader | RecordReader | None = None
        try:
            reader_tree = compile_reader(avro)
            assert isinstance(reader_tree, RecordReader)
            self._projection = [self._project(entry) for entry in contract.fields]
            self._columns = flat_or_general(reader_tree)
        except UnsupportedSchemaError:
            self._projection = []
        self._narrowed = self._narrowed_columns()

    def decode(self, framed: Framed, rows: npt.NDArray[np.int64]) -> tuple[pl.DataFrame, list[DeadRow]]:
        """The messages ``rows``: the contract's columns with ``_row``, ascending, and the refused."""
        if self._columns is None:
            return self._one_by_one(framed, rows)
        cursor = Cursor(framed.start[rows], framed.end[rows])
        arrays = self._columns.read_fields(framed.block, cursor)
        bad = cursor.bad | (cursor.pos != cursor.end)
        written = pl.from_arrow(pa.RecordBatch.from_arrays(arrays, list(self._columns.names)))
        assert isinstance(written, pl.DataFrame)
        frame = written.select(self._projection) if self._projection else written
        for condition in self._narrowed:
            bad |= written.select(condition).to_series().to_numpy()
        frame = frame.with_columns(pl.Series("_row", rows))
        if not bad.any():
            return frame, []
        single, dead = self._one_by_one(framed, rows[bad])
        return pl.concat([frame.filter(pl.Series(~bad)), single]).sort("_row"), dead

    def _one_by_one(self, framed: Framed, rows: npt.NDArray[np.int64]) -> tuple[pl.DataFrame, list[DeadRow]]:
        records, kept, dead = [], [], []
        for row in rows.tolist():
            body = framed.body(row)
            stream = io.BytesIO(body)
            try:
                record: Any = fastavro.schemaless_reader(stream, self._writer, self._reader)
            except Exception as error:  # a body of nonsense can fail in any way
                message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                if isinstance(error, EOFError):
                    message = f"the record ends too soon, after {len(body)} bytes"
                dead.append(DeadRow(row, STAGE, "UndecodableAvro", message, self._schema_id))
                continue
            if stream.tell() != len(body):
                message = f"{len(body) - stream.tell()} bytes too many behind the record"
                dead.append(DeadRow(row, STAGE, "UndecodableAvro", message, self._schema_id))
                continue
            for name, factor in self._scales.items():
                if record[name] is not None:
                    record[name] *= factor
            records.append(record)
            kept.append(row)
        frame, misfits = to_frame(self._contract, records, kept, self._schema_id)
        return frame, dead + misfits

    def _project(self, entry: Mapping[str, Any]) -> pl.Expr:
        name = entry["name"]
        dtype = self._contract.polars[name]
        source = self._sources[name]
        if source is None:
            return pl.lit(pl.Series([entry["default"]], dtype=dtype)).first().alias(name)
        theirs, ours = without_null_or_unsupported(source["type"]), without_null(entry["type"])
        column = pl.col(source["name"])
        if _shape(theirs) == _shape(ours):
            return column.cast(dtype).alias(name)
        their_kind, our_kind = _kind(theirs), _kind(ours)
        if their_kind == our_kind == "enum":
            return column.alias(name)
        if our_kind in _PROMOTIONS.get(their_kind, ()) or (our_kind == their_kind == "long"):
            return column.cast(dtype).alias(name)
        raise UnsupportedSchemaError(f"field {name}")

    def _narrowed_columns(self) -> list[pl.Expr]:
        """Conditions that hold where the writer's schema admits what the contract does not."""
        found = []
        for entry in self._contract.fields:
            source = self._sources[entry["name"]]
            if source is None or self._columns is None:
                continue
            column = pl.col(source["name"])
            if is_nullable(source["type"]) and not is_nullable(entry["type"]):
                found.append(column.is_null())
            symbols = enum_symbols(entry["type"])
            if symbols and set(enum_symbols(source["type"])) - set(symbols):
                found.append(column.is_not_null() & ~column.is_in(symbols))
        return found


def without_null_or_unsupported(avro: Any) -> Any:
    """``without_null``, for a writer's type that may be anything."""
    try:
        return without_null(avro)
    except SchemaError as error:
        raise UnsupportedSchemaError(str(error)) from None


def _sources(contract: Contract, avro: Mapping[str, Any]) -> dict[str, Mapping[str, Any] | None]:
    """The writer's field for each of the contract's, None where the default stands in."""
    theirs = {entry["name"]: entry for entry in avro["fields"]}
    found: dict[str, Mapping[str, Any] | None] = {}
    for entry in contract.fields:
        names = [name for name in (entry["name"], *entry.get("aliases", ())) if name in theirs]
        if not names and "default" not in entry:
            raise SchemaError(f"the writer's schema {avro.get('name')} lacks field {entry['name']}")
        found[entry["name"]] = theirs[names[0]] if names else None
    return found


def _kind(avro: Any) -> str:
    return str(avro["type"] if isinstance(avro, Mapping) else avro)


def _time_factor(avro: Any) -> int:
    branches = avro if isinstance(avro, list) else [avro]
    return max(_TIMES.get(b.get("logicalType", ""), 1) if isinstance(b, Mapping) else 1 for b in branches)


def _shape(avro: Any) -> Any:
    """What of a type decides its columns: names, docs, defaults and further attributes do not."""
    if isinstance(avro, list):
        return [_shape(branch) for branch in avro]
    if not isinstance(avro, Mapping):
        return avro
    kind = avro["type"]
    if kind == "record":
        return [kind, [(entry["name"], _shape(entry["type"])) for entry in avro["fields"]]]
    if kind == "enum":
        return [kind, tuple(avro["symbols"])]
    if kind in ("array", "map"):
        return [kind, _shape(avro["items" if kind == "array" else "values"])]
    return [kind, avro["logicalType"]] if "logicalType" in avro else _shape(kind)
