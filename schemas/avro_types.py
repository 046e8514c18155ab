"""Small functions over Avro types as they stand in JSON: a name, a list (union) or a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from schemas.errors import SchemaError

AvroType = Any  # str | list[AvroType] | Mapping[str, Any]: JSON, checked where it is used

# Attributes of gridflow's own: no part of what is registered, so a changed rule is no new schema version.
RULES = frozenset({"gridflow", "minimum", "maximum"})

_PRIMITIVE = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
}
_LOGICAL = {
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "timestamp-millis": pa.timestamp("ms", "UTC"),
    "date": pa.date32(),
    "uuid": pa.string(),
}


def is_nullable(avro: AvroType) -> bool:
    """True for a union with null."""
    return isinstance(avro, list) and "null" in avro


def without_null(avro: AvroType) -> AvroType:
    """The type itself, or of a nullable type what it is when it is not null.

    Raises:
        SchemaError: a union of more than null and one other type.
    """
    if not isinstance(avro, list):
        return avro
    others = [branch for branch in avro if branch != "null"]
    if len(others) != 1:
        raise SchemaError(f"a union of {len(others)} types besides null is not supported: {avro}")
    return others[0]


def enum_symbols(avro: AvroType) -> tuple[str, ...]:
    """The symbols of an enum or nullable enum; empty for any other type."""
    avro = without_null(avro)
    if isinstance(avro, Mapping) and avro["type"] == "enum":
        return tuple(avro["symbols"])
    return ()


def arrow_type(avro: AvroType) -> pa.DataType:
    """The Arrow type of an Avro type.

    Raises:
        SchemaError: a type that no contract uses (fixed, decimal, recursive or referred records, unions).
    """
    avro = without_null(avro)
    if isinstance(avro, str):
        avro = {"type": avro}
    kind = avro["type"]
    if avro.get("logicalType") in _LOGICAL:
        return _LOGICAL[avro["logicalType"]]
    if kind == "enum":
        return pa.string()
    if kind == "array":
        return pa.list_(arrow_type(avro["items"]))
    if kind == "map":
        # A list of pairs, since Polars has no map.
        return pa.list_(
            pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", arrow_type(avro["values"]))])
        )
    if kind == "record":
        return pa.struct(
            [
                pa.field(field["name"], arrow_type(field["type"]), nullable=is_nullable(field["type"]))
                for field in avro["fields"]
            ]
        )
    if isinstance(kind, str) and kind in _PRIMITIVE:
        return _PRIMITIVE[kind]
    raise SchemaError(f"Avro type {kind!r} is not supported")


def without_rules(avro: AvroType, drop: frozenset[str] = RULES) -> Any:
    """A copy of a schema without some attributes, at every depth of schemas and fields.

    Values that merely look like schemas (a ``default``) are copied as they are.
    """
    if isinstance(avro, list):
        return [without_rules(branch, drop) for branch in avro]
    if not isinstance(avro, Mapping):
        return avro
    descend = ("type", "items", "values", "fields")
    return {
        name: without_rules(value, drop) if name in descend else value
        for name, value in avro.items()
        if name not in drop
    }
