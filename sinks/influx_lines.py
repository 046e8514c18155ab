r"""Rows to InfluxDB line protocol, a column at a time.

A line is ``measurement,tag=value,... field=value,... timestamp``: measurement and tags by the contract, the
other columns as fields, ``contract.time`` as the timestamp in microseconds.

============================  ==================================================================
column                        field
============================  ==================================================================
float                         number; NaN and infinities, which InfluxDB cannot hold, as null
integer                       ``1i``
boolean                       ``true``
string, enum                  quoted
time                          integer, nanoseconds since 1970, as Flux's ``time(v:)`` takes it
list, struct, map             quoted JSON; a map as an object
binary                        quoted base64
============================  ==================================================================

A null is left out. Since InfluxDB merges points field by field, a value that an earlier revision wrote would
shine through the null of a later one. So every point has the field ``null_fields``, a comma-separated list of
the columns that are null in the revision that stands; what else InfluxDB shows of those is out of date.

In tag values ``,``, ``=`` and space are escaped; a null or empty tag is left out. Control characters, and a
backslash at the end, have no spelling in line protocol: they are percent-encoded.
"""

from __future__ import annotations

import re
from itertools import groupby

import polars as pl

from schemas import Contract
from sinks.errors import SinkError

NULL_FIELDS = "null_fields"

_CONTROLS = [chr(code) for code in (*range(0x20), 0x7F)]
_UNSAFE_IN_TAG = [",", "=", " ", "\\", *_CONTROLS]
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f]|\\(?=\\*\Z)")
_TO_ESCAPE = re.compile(r"([,= ])")

# A line is put together from texts that are the same in all rows and columns that are not.
_Part = str | pl.Expr


def influx_lines(frame: pl.DataFrame, contract: Contract) -> pl.Series:
    """Write each row as a line.

    Args:
        frame: the contract's columns.
        contract: says which columns are tags, and which is the time.

    Returns:
        String[rows], without line ends.

    Raises:
        SinkError: a row has no time.
    """
    if frame.get_column(contract.time).null_count():
        raise SinkError(f"InfluxDB {contract.dataset}: a row without {contract.time}")
    tags, nulls, fields = [], [], []
    columns = []
    for name in contract.tags:
        values = tag_values(frame.get_column(name))
        values = _escaped(values, [",", "=", " "], [r"\,", r"\=", r"\ "])
        columns.append(values)
        tags += _optional([f",{_escape(name)}=", pl.col(name)], values)
    for name in contract.polars:
        if name in contract.tags or name == contract.time:
            continue
        before, values, after = _field(frame.get_column(name))
        columns.append(values)
        fields += _optional([f",{_escape(name)}={before}", pl.col(name), after], values)
        nulls += _optional([f"{name},"], values, when_null=True)
    # The same place in every line, so that no comma hangs on whether an optional field is there.
    null_names = pl.concat_str(_texts(nulls), ignore_nulls=True).str.strip_suffix(",") if nulls else ""
    if all(isinstance(part, str) for part in nulls):
        null_names = "".join(part for part in nulls if isinstance(part, str)).removesuffix(",")
    parts = [
        _escape(contract.dataset),
        *tags,
        f' {NULL_FIELDS}="',
        null_names,
        '"',
        *fields,
        " ",
        pl.col("_time"),
    ]
    times = frame.get_column(contract.time).dt.timestamp("us").alias("_time")
    lines = pl.concat_str(_texts(parts), ignore_nulls=True).alias("line")
    return pl.DataFrame([*columns, times]).select(lines).to_series()


def tag_values(values: pl.Series) -> pl.Series:
    """Tag values as InfluxDB is to hold them: null where empty, what has no spelling percent-encoded."""
    values = values.cast(pl.String)
    if values.str.contains_any(_UNSAFE_IN_TAG).any():
        # Tags are of bounded cardinality: few distinct values, each looked at once.
        odd = [value for value in values.unique().drop_nulls() if _UNSPEAKABLE.search(value)]
        if odd:
            values = values.replace(odd, [_UNSPEAKABLE.sub(lambda found: f"%{ord(found[0]):02X}", v) for v in odd])
    if (values == "").any():
        values = values.replace("", None)
    return values


def _field(values: pl.Series) -> tuple[str, pl.Series, str]:
    """Text before, values with null where there is to be no field, text after."""
    kind = values.dtype
    if kind.is_float():
        if not values.is_finite().all():
            finite = pl.col(values.name).is_finite()
            values = values.to_frame().select(pl.when(finite).then(pl.col(values.name))).to_series()
        return "", values, ""
    if kind.is_integer():
        return "", values, "i"
    if isinstance(kind, pl.Boolean):
        return "", values, ""
    if isinstance(kind, pl.Datetime):
        return "", values.dt.timestamp("ns"), "i"
    if isinstance(kind, pl.Binary):
        return '"', values.bin.encode("base64"), '"'
    if kind.is_nested():
        values = _json(values)
    return '"', _escaped(values.cast(pl.String), ["\\", '"'], ["\\\\", '\\"']), '"'


def _json(values: pl.Series) -> pl.Series:
    name, kind = values.name, values.dtype
    column = pl.col(name)
    if isinstance(kind, pl.List) and isinstance(kind.inner, pl.Struct) and _names(kind.inner) == ["key", "value"]:
        entry = pl.concat_str(
            _json_of(pl.element().struct.field("key")),
            pl.lit(":"),
            _json_of(pl.element().struct.field("value")),
        )
        text = pl.concat_str(pl.lit("{"), column.list.eval(entry).list.join(","), pl.lit("}"))
    else:
        text = _json_of(column)
    return values.to_frame().select(pl.when(column.is_not_null()).then(text).alias(name)).to_series()


def _json_of(value: pl.Expr) -> pl.Expr:
    # Polars encodes structs only, so a struct is put around the value and cut off the text: {"v":...}
    return pl.struct(value.alias("v")).struct.json_encode().str.slice(5).str.strip_suffix("}")


def _names(kind: pl.Struct) -> list[str]:
    return [field.name for field in kind.fields]


def _escaped(values: pl.Series, unsafe: list[str], safe: list[str]) -> pl.Series:
    return values.str.replace_many(unsafe, safe) if values.str.contains_any(unsafe).any() else values


def _escape(name: str) -> str:
    return _TO_ESCAPE.sub(r"\\\1", name)


def _optional(parts: list[_Part], values: pl.Series, *, when_null: bool = False) -> list[_Part]:
    """The parts, in those rows in which the value is there (or is null)."""
    absent = values.null_count()
    wanted = absent if when_null else values.len() - absent
    if wanted == values.len():
        return parts
    if not wanted:
        return []
    present = pl.col(values.name).is_null() if when_null else pl.col(values.name).is_not_null()
    return [pl.when(present).then(pl.concat_str(_texts(parts), ignore_nulls=True))]


def _texts(parts: list[_Part]) -> list[pl.Expr]:
    """Expressions to concatenate, neighbouring texts joined into one: each costs."""
    joined: list[pl.Expr] = []
    for plain, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if plain:
            joined.append(pl.lit("".join(part for part in group if isinstance(part, str))))
        else:
            joined += [part for part in group if not isinstance(part, str)]
    return joined
