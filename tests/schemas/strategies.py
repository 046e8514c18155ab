"""Hypothesis strategies of Avro values and of frames, made from the schemas themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st

from schemas import Contract
from schemas.contracts import parse_contract

# A loaded machine is no failure.
PATIENT = settings(deadline=None, max_examples=50)
YEAR_1990, YEAR_2199 = 631_152_000_000_000, 7_226_582_400_000_000

# Every type that a contract may use, in one record.
EVERYTHING = parse_contract(
    json.dumps(
        {
            "type": "record",
            "name": "Everything",
            "namespace": "gridflow",
            "gridflow": {
                "topic": "test",
                "key": "id",
                "time": "at",
                "identity": ["id", "at"],
                "tags": ["id"],
            },
            "fields": [
                {"name": "id", "type": "string"},
                {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                {"name": "flag", "type": "boolean"},
                {"name": "small", "type": "float"},
                {"name": "count", "type": "int"},
                {"name": "total", "type": ["long", "null"]},
                {"name": "raw", "type": "bytes"},
                {"name": "maybe_raw", "type": ["null", "bytes"], "default": None},
                {"name": "maybe_flag", "type": ["null", "boolean"], "default": None},
                {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}},
                {
                    "name": "maybe_colour",
                    "type": ["null", {"type": "enum", "name": "Shade", "symbols": ["DARK", "LIGHT", "DIM"]}],
                    "default": None,
                },
                {"name": "numbers", "type": {"type": "array", "items": "double"}},
                {
                    "name": "nested",
                    "type": {
                        "type": "array",
                        "items": {
                            "type": "record",
                            "name": "Inner",
                            "fields": [
                                {"name": "label", "type": ["null", "string"]},
                                {"name": "deep", "type": {"type": "array", "items": ["null", "int"]}},
                            ],
                        },
                    },
                },
                {"name": "notes", "type": ["null", {"type": "map", "values": "string"}], "default": None},
            ],
        }
    ),
    "everything.avsc",
)


def values(avro: Any, names: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Values of an Avro type as fastavro writes them: times in µs since 1970."""
    names = {} if names is None else names
    if isinstance(avro, list):
        return st.one_of([values(branch, names) for branch in avro])
    if isinstance(avro, str):
        return _primitive(avro) if avro not in names else values(names[avro], names)
    if "name" in avro:
        names[avro["name"]] = avro
    kind = avro["type"]
    if avro.get("logicalType") == "timestamp-micros":
        return st.integers(YEAR_1990, YEAR_2199) | st.integers(-(1 << 63), (1 << 63) - 1)
    found: st.SearchStrategy[Any]
    if kind == "enum":
        found = st.sampled_from(avro["symbols"])
    elif kind == "array":
        found = st.lists(values(avro["items"], names), max_size=5)
    elif kind == "map":
        found = st.dictionaries(st.text(max_size=5), values(avro["values"], names), max_size=4)
    elif kind == "record":
        fields = {entry["name"]: values(entry["type"], names) for entry in avro["fields"]}
        found = st.fixed_dictionaries(fields)
    else:
        found = _primitive(kind)
    return found


def _primitive(kind: str) -> st.SearchStrategy[Any]:
    strategies: Mapping[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(0, 300) | st.integers(-(1 << 31), (1 << 31) - 1),
        "long": st.integers(0, 300) | st.integers(-(1 << 63), (1 << 63) - 1),
        "float": st.floats(width=32),
        "double": st.floats(),
        "string": st.text(max_size=12) | st.text("ABCxyz0123456789", min_size=8, max_size=8),
        "bytes": st.binary(max_size=12),
    }
    return strategies[kind]


def to_columns(contract: Contract, records: list[dict[str, Any]]) -> pl.DataFrame:
    """Records as fastavro reads them, times as integers, to the contract's columns, in the plainest way."""
    return pl.DataFrame(
        [
            pl.Series(
                name,
                [_column_value(record[name]) for record in records],
                pl.Int64 if dtype.is_temporal() else dtype,
                strict=not dtype.is_nested(),
            ).cast(dtype)
            for name, dtype in contract.polars.items()
        ]
    )


def _column_value(value: Any) -> Any:
    return [{"key": key, "value": item} for key, item in value.items()] if isinstance(value, dict) else value


def physical(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows to compare: times as integers, as a datetime cannot hold all; floats as text, for NaN."""
    times = [name for name, dtype in frame.schema.items() if dtype.is_temporal()]
    rows = frame.with_columns(pl.col(times).to_physical()).to_dicts()
    return [_comparable(row) for row in rows]


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return repr(value) if isinstance(value, float) else value
