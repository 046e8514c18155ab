"""Records (one dict per message) to the contract's columns, each value checked against its Avro type.

The way of JSON, and of the few Avro messages that are read one by one. Takes what gateways send: times as
ISO 8601 text or as integer µs since 1970, unions as a bare value or wrapped as Avro's JSON encoding does
(``{"double": 1.0}``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from connectors.dead_row import DeadRow, shown
from schemas import Contract
from schemas.avro_types import without_null

STAGE = "decode"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Types that a column may hold as they are, without a look at each value.
_PLAIN: Mapping[Any, frozenset[type]] = {
    "string": frozenset({str}),
    "bytes": frozenset({bytes}),
    "boolean": frozenset({bool}),
    "double": frozenset({float, int}),
    "float": frozenset({float, int}),
    "int": frozenset({int}),
    "long": frozenset({int}),
}
_LIMITS = {"int": 1 << 31, "long": 1 << 63}
# How nearly every gateway writes times; any other ISO 8601 text is read one by one.
_COMMON_TIME = r"^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z$"


class MisfitError(ValueError):
    """A value does not fit its type; the message says which of both."""


def to_frame(
    contract: Contract, records: Sequence[Mapping[str, Any]], rows: Sequence[int], schema_id: int | None
) -> tuple[pl.DataFrame, list[DeadRow]]:
    """Records to columns.

    Args:
        contract: what the records are.
        records: one per message; unknown fields are ignored, a missing nullable value is null.
        rows: the messages' indices.
        schema_id: for the refused.

    Returns:
        The contract's columns and ``_row`` of the records that fit, and those that do not.
    """
    refused: dict[int, DeadRow] = {}
    series = []
    for entry in contract.fields:
        name, avro = entry["name"], entry["type"]
        values = [record.get(name, entry.get("default")) for record in records]
        values, open_numbers = _quick(avro, values, name in contract.nullable)
        for number in open_numbers:
            value = values[number]
            try:
                values[number] = convert(avro, value)
            except MisfitError as error:
                values[number] = None
                missing = value is None and name not in records[number]
                message = f"field {name}: {'missing' if missing else error}"
                kind = "MissingField" if missing else "ValueDoesNotFit"
                refused.setdefault(number, DeadRow(rows[number], STAGE, kind, message, schema_id))
        dtype = contract.polars[name]
        series.append(pl.Series(name, values, pl.Int64 if dtype.is_temporal() else dtype).cast(dtype))
    frame = pl.DataFrame([*series, pl.Series("_row", rows, pl.Int64)])
    if refused:
        frame = frame.filter(pl.Series([number not in refused for number in range(len(rows))]))
    return frame, list(refused.values())


def _quick(avro: Any, values: list[Any], nullable: bool) -> tuple[list[Any], Iterable[int]]:
    """Values that fit or were converted together, and the indices of those still to be looked at."""
    kinds = set(map(type, values))
    if nullable:
        kinds.discard(type(None))
    avro = without_null(avro)
    if isinstance(avro, str):
        plain = kinds <= _PLAIN.get(avro, frozenset())
        if avro in _LIMITS and plain and kinds:
            present = [value for value in values if value is not None]
            plain = -_LIMITS[avro] <= min(present) and max(present) < _LIMITS[avro]
        return values, () if plain else range(len(values))
    if kinds == {str} and avro.get("logicalType") == "timestamp-micros":
        texts = pl.Series(values, dtype=pl.String)
        micros = (
            texts.set(~texts.str.contains(_COMMON_TIME), None)
            .str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC", strict=False)
            .to_physical()
        )
        rest = (micros.is_null() & texts.is_not_null()).arg_true().to_list()
        found: list[Any] = micros.to_list()
        for number in rest:
            found[number] = values[number]
        return found, rest
    if avro["type"] == "enum" and kinds == {str} and set(values) <= {*avro["symbols"], None}:
        return values, ()
    return values, range(len(values))


def convert(avro: Any, value: Any) -> Any:
    """A value as its column holds it: times in µs since 1970, a map as a list of pairs.

    Args:
        avro: the Avro type.
        value: as read from JSON or Avro.

    Raises:
        MisfitError: it does not fit the type.
    """
    if isinstance(avro, list):
        if value is None and "null" in avro:
            return None
        avro = without_null(avro)
        value = _unwrap(avro, value)
    logical = None
    kind = avro
    if isinstance(avro, Mapping):
        kind, logical = avro["type"], avro.get("logicalType")
    if logical == "timestamp-micros":
        return _micros(value)
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    return _CONVERTERS[kind](avro, value)


def _unwrap(avro: Any, value: Any) -> Any:
    """Out of Avro's JSON encoding of a union: one name, that of the type."""
    if isinstance(value, dict) and len(value) == 1:
        name, inner = next(iter(value.items()))
        names = (avro,) if isinstance(avro, str) else (avro["type"], avro.get("name"), f"gridflow.{avro.get('name')}")
        if name in names or f"{names[0]}.{avro.get('logicalType') if isinstance(avro, Mapping) else ''}" == name:
            return inner
    return value


def _misfit(value: Any, what: str) -> MisfitError:
    return MisfitError("null" if value is None else f"{shown(value)} is not {what}")


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _misfit(value, "a string")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return value.encode("latin-1")  # as Avro's JSON encoding has it
    except UnicodeEncodeError:
        pass
    raise _misfit(value, "bytes")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _misfit(value, "a boolean")


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _misfit(value, "a number")


def _integer(bits: int) -> Callable[[Any], int]:
    def integer(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and -(1 << bits) <= value < 1 << bits:
            return value
        raise _misfit(value, f"an integer of {bits + 1} bits")

    return integer


def _micros(value: Any) -> int:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            # A time without an offset is taken as UTC.
            return (moment.replace(tzinfo=moment.tzinfo or UTC) - _EPOCH) // _MICROSECOND
        except (ValueError, OverflowError):
            pass
    elif isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63:
        return value
    raise _misfit(value, "a time (ISO 8601, or integer µs since 1970)")


def _enum(avro: Mapping[str, Any], value: Any) -> str:
    if isinstance(value, str) and value in avro["symbols"]:
        return value
    raise _misfit(value, f"one of {', '.join(avro['symbols'])}")


def _array(avro: Mapping[str, Any], value: Any) -> list[Any]:
    if isinstance(value, list):
        return [convert(avro["items"], item) for item in value]
    raise _misfit(value, "an array")


def _map(avro: Mapping[str, Any], value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [{"key": _string(key), "value": convert(avro["values"], item)} for key, item in value.items()]
    raise _misfit(value, "a map")


def _record(avro: Mapping[str, Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _misfit(value, "a record")
    record = {}
    for entry in avro["fields"]:
        name = entry["name"]
        try:
            record[name] = convert(entry["type"], value.get(name, entry.get("default")))
        except MisfitError as error:
            raise MisfitError(f"{name}: {error}") from None
    return record


_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "bytes": _bytes,
    "boolean": _boolean,
    "double": _number,
    "float": _number,
    "int": _integer(31),
    "long": _integer(63),
}
_CONVERTERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "enum": _enum,
    "array": _array,
    "map": _map,
    "record": _record,
}
