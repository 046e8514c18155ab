"""A file's columns to the contract's columns.

What can be converted is: integers and floats among each other as far as the values allow, times of any unit,
dictionary-coded strings. A column of another type is an error of the whole file; a single value that does not
fit makes its row a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
import pyarrow.types as pt

from connectors.dead_row import DeadRow, shown
from connectors.errors import InputError
from schemas import Contract

STAGE = "decode"


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a file's columns become the contract's.

    Attributes:
        columns: the columns to read from the file.
        expressions: the contract's columns, in order, made from those.
        lossy: the columns in which a value may not fit; there the expression gives null.
    """

    columns: list[str]
    expressions: list[pl.Expr]
    lossy: tuple[str, ...]


def conversion(contract: Contract, schema: pa.Schema, origin: str, sample: Callable[[str], object]) -> Conversion:
    """Plan the conversion of a file.

    Args:
        contract: what the rows are to be.
        schema: the file's.
        origin: the file, for errors.
        sample: gives the first value of a column that is not null, None where all are.

    Raises:
        InputError: a required column is missing, or a column's type cannot be converted.
    """
    columns, expressions, lossy = [], [], []
    for field in contract.arrow:
        name = field.name
        if name not in schema.names:
            if not field.nullable:
                raise InputError(
                    f"{origin}: field {name} is missing ({contract.record} needs it; "
                    f"the file has {', '.join(schema.names)})"
                )
            expressions.append(pl.lit(None, contract.polars[name]).alias(name))
            continue
        have = schema.field(name).type
        column, plain = pl.col(name), have
        if pt.is_dictionary(have):
            plain = have.value_type
            column = column.cast(_polars(plain))
        expression = _convert(column, plain, field.type)
        if expression is None:
            value = sample(name)
            if value is not None or not field.nullable:
                raise InputError(
                    f"{origin}: field {name} is {have}, expected {field.type}; its first value is {str(value)[:80]!r}"
                )
            expressions.append(pl.lit(None, contract.polars[name]).alias(name))
            continue
        if _may_lose(plain, field.type):
            lossy.append(name)
        columns.append(name)
        expressions.append(expression.alias(name))
    return Conversion(columns, expressions, tuple(lossy))


def _convert(column: pl.Expr, have: pa.DataType, want: pa.DataType) -> pl.Expr | None:
    """The expression that converts a column, or None if that is not possible."""
    converted: pl.Expr | None = None
    if have.equals(want):
        converted = column
    elif pt.is_null(have):
        converted = column.cast(_polars(want))
    elif pt.is_string(want):
        texts = pt.is_string(have) or pt.is_large_string(have) or pt.is_string_view(have)
        converted = column.cast(pl.String) if texts else None
    elif pt.is_binary(want):
        converted = column if pt.is_large_binary(have) or pt.is_binary_view(have) else None
    elif pt.is_timestamp(want):
        converted = _to_time(column, have)
    elif pt.is_integer(want) or pt.is_floating(want):
        converted = _to_number(column, have, want)
    elif _is_list(want) and _is_list(have):
        inner = _convert(pl.element(), have.value_type, want.value_type)
        converted = None if inner is None else column.list.eval(inner)
    elif pt.is_struct(want) and pt.is_struct(have):
        converted = _convert_struct(column, have, want)
    return converted


def _to_number(column: pl.Expr, have: pa.DataType, want: pa.DataType) -> pl.Expr | None:
    if not (pt.is_integer(have) or pt.is_floating(have) or pt.is_decimal(have)):
        return None
    if pt.is_integer(want) and not pt.is_integer(have):
        # A cast alone would cut off the fraction.
        column = pl.when(column == column.round()).then(column)
    return column.cast(_polars(want), strict=False)


def _convert_struct(column: pl.Expr, have: pa.DataType, want: pa.DataType) -> pl.Expr | None:
    names = {have.field(index).name for index in range(have.num_fields)}
    parts = []
    for index in range(want.num_fields):
        field = want.field(index)
        if field.name in names:
            part = _convert(column.struct.field(field.name), have.field(field.name).type, field.type)
        else:
            part = pl.lit(None, _polars(field.type)) if field.nullable else None
        if part is None:
            return None
        parts.append(part.alias(field.name))
    return pl.when(column.is_not_null()).then(pl.struct(parts))


def _to_time(column: pl.Expr, have: pa.DataType) -> pl.Expr | None:
    if pt.is_timestamp(have):
        micros = column.dt.cast_time_unit("us")
        return micros.dt.replace_time_zone("UTC") if have.tz is None else micros.dt.convert_time_zone("UTC")
    if pt.is_int64(have):  # as in the Avro schema: µs since 1970
        return column.cast(pl.Datetime("us", "UTC"))
    return None


def _may_lose(have: pa.DataType, want: pa.DataType) -> bool:
    return pt.is_integer(want) and not have.equals(want) and not pt.is_null(have)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind))


def _polars(kind: pa.DataType) -> pl.DataType:
    empty = pl.from_arrow(pa.array([], kind))
    assert isinstance(empty, pl.Series)
    return empty.dtype


def misfits(lossy: tuple[str, ...], source: pl.DataFrame, frame: pl.DataFrame) -> list[DeadRow]:
    """The rows in which a value does not fit the contract's type.

    Args:
        lossy: the columns in which conversion may have lost a value.
        source: the rows as in the file.
        frame: the same rows converted, in the same order.

    Returns:
        One letter per row, for the first column that does not fit.
    """
    found: dict[int, DeadRow] = {}
    for name in lossy:
        before = source[name].fill_nan(None) if source[name].dtype.is_float() else source[name]
        if before.null_count() == frame[name].null_count():
            continue
        for row in (before.is_not_null() & frame[name].is_null()).arg_true().to_list():
            message = f"field {name}: {shown(before[row])} does not fit {frame[name].dtype}"
            found.setdefault(row, DeadRow(row, STAGE, "ValueDoesNotFit", message, None))
    return [found[row] for row in sorted(found)]


def json_rows(frame: pl.DataFrame) -> list[bytes]:
    """Each row as a JSON object; times in ISO 8601, nulls and numbers that are not finite as null."""
    texts = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    return [text.encode() for text in texts.to_list()]
