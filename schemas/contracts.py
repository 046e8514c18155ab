"""The contracts: what travels on each topic, read from the ``.avsc`` files beside this module.

An ``.avsc`` file is the only place where a record's fields are listed. Beside the Avro schema proper it
says, in attributes that Avro readers ignore, what gridflow needs to know of the record: under ``gridflow``
its topic, key, event time, identity and tags, and on a field the ``minimum`` and ``maximum`` of its values.

Example:
    >>> from schemas import contract
    >>> meter = contract("grid.meter.v1")
    >>> meter.record, meter.dataset, meter.key, meter.subject
    ('MeterReading', 'meter_reading', 'meter_id', 'grid.meter.v1-value')
    >>> meter.polars["time"]
    Datetime(time_unit='us', time_zone='UTC')
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import polars as pl
import pyarrow as pa

from schemas.avro_types import arrow_type, enum_symbols, is_nullable, without_null, without_rules
from schemas.errors import SchemaError

AvroSchema = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Contract:
    """What travels on one topic: an Avro record and what gridflow needs to know of it.

    Attributes:
        topic: the topic's name without any cluster prefix, such as ``grid.meter.v1``.
        record: name of the Avro record, such as ``MeterReading``.
        avro: the schema as in the ``.avsc`` file.
        key: the column that is the Kafka key.
        time: the column that is the event time: InfluxDB's timestamp, Parquet's date.
        identity: the columns that together identify a row; of its revisions the highest wins.
        tags: the columns of bounded cardinality that are tags in InfluxDB.
    """

    topic: str
    record: str
    avro: AvroSchema
    key: str
    time: str
    identity: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def subject(self) -> str:
        """The subject in a schema registry."""
        return f"{self.topic}-value"

    @cached_property
    def dataset(self) -> str:
        """The record's name in snake case: Parquet dataset and InfluxDB measurement."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.record).lower()

    @cached_property
    def wire(self) -> dict[str, Any]:
        """The Avro schema without gridflow's own attributes: as registered, and as messages are written."""
        wire: dict[str, Any] = without_rules(self.avro)
        return wire

    @cached_property
    def wire_json(self) -> str:
        """``wire`` as JSON text."""
        return json.dumps(self.wire, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def fields(self) -> tuple[AvroSchema, ...]:
        """The fields as in the ``.avsc`` file, in order."""
        return tuple(self.avro["fields"])

    @cached_property
    def nullable(self) -> frozenset[str]:
        """Names of the columns that may be null."""
        return frozenset(field["name"] for field in self.fields if is_nullable(field["type"]))

    @cached_property
    def arrow(self) -> pa.Schema:
        """The columns as an Arrow schema; nullability as in the contract."""
        return pa.schema(
            [
                pa.field(field["name"], arrow_type(field["type"]), nullable=field["name"] in self.nullable)
                for field in self.fields
            ]
        )

    @cached_property
    def polars(self) -> pl.Schema:
        """The columns as a Polars schema. An enum is a String, a map a List of Struct(key, value)."""
        empty = pl.from_arrow(self.arrow.empty_table())
        assert isinstance(empty, pl.DataFrame)
        return empty.schema

    @cached_property
    def enums(self) -> dict[str, tuple[str, ...]]:
        """The symbols of each column that is an enum."""
        found = {field["name"]: enum_symbols(field["type"]) for field in self.fields}
        return {name: symbols for name, symbols in found.items() if symbols}

    @cached_property
    def ranges(self) -> dict[str, tuple[float | None, float | None]]:
        """Least and greatest valid value of each column that has either; of a time in µs since 1970."""
        return {
            field["name"]: (_bound(field.get("minimum")), _bound(field.get("maximum")))
            for field in self.fields
            if "minimum" in field or "maximum" in field
        }

    @cached_property
    def compacted(self) -> bool:
        """True if the topic is to be compacted: the latest state of each key is kept for good."""
        return bool(self.avro["gridflow"].get("compacted", False))

    def empty(self) -> pl.DataFrame:
        """A frame of no rows with the contract's columns."""
        return self.polars.to_frame()


def _bound(value: float | str | None) -> float | None:
    if not isinstance(value, str):
        return value
    return (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1)


def parse_contract(text: str, origin: str) -> Contract:
    """Read a contract from the text of an ``.avsc`` file.

    Args:
        text: the JSON text.
        origin: where it comes from, for errors.

    Raises:
        SchemaError: it is not JSON, not a record, lacks an attribute or names a column that it does not have.
    """
    try:
        avro = json.loads(text)
        own = avro["gridflow"]
        parsed = Contract(
            topic=own["topic"],
            record=avro["name"],
            avro=avro,
            key=own["key"],
            time=own["time"],
            identity=tuple(own["identity"]),
            tags=tuple(own["tags"]),
        )
        columns = {field["name"]: without_null(field["type"]) for field in avro["fields"]}
    except ValueError as error:
        raise SchemaError(f"{origin}: not JSON: {error}") from None
    except (KeyError, TypeError) as error:
        raise SchemaError(f"{origin}: not a contract: {error} is missing or of the wrong type") from None
    for name in (parsed.key, parsed.time, *parsed.identity, *parsed.tags):
        if name not in columns:
            raise SchemaError(f"{origin}: attribute gridflow names a field {name!r} that the record does not have")
    return parsed


@cache
def all_contracts() -> Mapping[str, Contract]:
    """All contracts by topic."""
    found = {}
    for file in sorted(files("schemas").joinpath("avro").iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".avsc"):
            parsed = parse_contract(file.read_text(encoding="utf-8"), file.name)
            found[parsed.topic] = parsed
    return found


def contract(topic: str) -> Contract:
    """The contract of a topic.

    Raises:
        SchemaError: there is none; the message lists those that there are.
    """
    try:
        return all_contracts()[topic]
    except KeyError:
        raise SchemaError(f"no contract for {topic!r}; there are {', '.join(all_contracts())}") from None
