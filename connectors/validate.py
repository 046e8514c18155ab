"""Decoded rows against the contract's rules: finite numbers, ranges, known symbols, times that can be.

The rules stand in the ``.avsc`` files. The usual case, all rows good, costs one pass of a few aggregates.

Example:
    >>> from datetime import UTC, datetime
    >>> from schemas import contract
    >>> meter = contract("grid.meter.v1")
    >>> row = {"meter_id": "m1", "time": datetime(2026, 1, 1, tzinfo=UTC), "import_kwh": -1.0, "quality": 0}
    >>> good, refused = validate(meter, pl.DataFrame([row], schema=meter.polars))
    >>> good.to_list(), refused[0].error_class, refused[0].message
    ([False], 'OutOfRange', 'field import_kwh: -1.0 is below 0')
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from connectors.dead_row import DeadRow, shown
from schemas import Contract
from schemas import contract as contract_of
from schemas.contracts import all_contracts

STAGE = "validate"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What Python's datetime can hold, in µs since 1970: years 1 to 9999.
_FIRST_TIME, _LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
_FAR_FUTURE_CLASS = "FutureTime"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What must hold of a column.

    Attributes:
        column: its name.
        error_class: for the refused.
        broken: per row, true where it does not hold; null counts as holding.
        any_broken: the same of the whole frame in one value, as cheaply as can be.
        what: completes "value is ...".
    """

    column: str
    error_class: str
    broken: pl.Expr
    any_broken: pl.Expr
    what: str


def _rules(contract: Contract) -> Iterator[_Rule]:
    for name, dtype in contract.polars.items():
        column = pl.col(name)
        lowest, highest = contract.ranges.get(name, (None, None))
        if name not in contract.nullable:
            yield _Rule(name, "MissingField", column.is_null(), column.null_count() > 0, "missing")
        if dtype.is_float():
            # A sum is finite only if every addend is, or else it overflowed: then each row is looked at.
            yield _Rule(name, "NotFinite", ~column.is_finite(), ~column.sum().is_finite(), "not a finite number")
        if isinstance(dtype, pl.Datetime):
            physical = column.to_physical()
            lowest = _FIRST_TIME if lowest is None else lowest
            highest = _LAST_TIME if highest is None else highest
            yield _Rule(
                name,
                "ImpossibleTime",
                physical < lowest,
                physical.min() < lowest,
                f"before {_moment(lowest)}",
            )
            yield _Rule(
                name,
                "ImpossibleTime",
                physical > highest,
                physical.max() > highest,
                f"after {_moment(highest)}",
            )
        elif dtype.is_numeric():
            if lowest is not None:
                yield _Rule(name, "OutOfRange", column < lowest, column.min() < lowest, f"below {lowest:.15g}")
            if highest is not None:
                yield _Rule(name, "OutOfRange", column > highest, column.max() > highest, f"above {highest:.15g}")
        elif name in contract.enums:
            unknown = ~column.is_in(list(contract.enums[name]))
            what = f"not one of {', '.join(contract.enums[name])}"
            yield _Rule(name, "UnknownSymbol", unknown, unknown.any(), what)
        elif dtype == pl.String and name in (contract.key, *contract.identity):
            empty = column.str.len_bytes() == 0
            yield _Rule(name, "EmptyId", empty, column.str.len_bytes().min() == 0, "empty")


@cache
def _rules_of(topic: str) -> tuple[_Rule, ...]:
    return tuple(_rules(contract_of(topic)))


def _future(contract: Contract, limit_seconds: float) -> _Rule:
    limit = int(limit_seconds * 1_000_000)
    ahead = (pl.col(contract.time).to_physical() - pl.col("received_time").to_physical()) > limit
    what = f"more than {limit_seconds:g} s ahead of received_time"
    return _Rule(contract.time, _FAR_FUTURE_CLASS, ahead, ahead.any(), what)


def _moment(micros: float) -> str:
    return (_EPOCH + timedelta(microseconds=int(micros))).date().isoformat()


def validate(
    contract: Contract, frame: pl.DataFrame, future_limit_seconds: float | None = None
) -> tuple[pl.Series, list[DeadRow]]:
    """Judge rows by the contract's rules.

    Args:
        contract: what the rows are.
        frame: the contract's columns, and maybe ``_row``.
        future_limit_seconds: refuse rows whose event time is further than this ahead of their
            ``received_time``, where the contract has such a column beside its event time. None: that is
            judged elsewhere.

    Returns:
        Boolean[n], true for good rows; and the refused, each by the first rule that it breaks. Their ``row``
        is the value of ``_row`` where the frame has it, else the index into the frame.
    """
    rules: tuple[_Rule, ...] = (
        _rules_of(contract.topic) if all_contracts().get(contract.topic) is contract else tuple(_rules(contract))
    )
    if future_limit_seconds is not None and "received_time" in contract.polars and contract.time != "received_time":
        rules = (*rules, _future(contract, future_limit_seconds))
    if frame.is_empty():
        return pl.Series([], dtype=pl.Boolean), []
    checks = frame.select(rule.any_broken.alias(str(number)) for number, rule in enumerate(rules)).row(0)
    suspects = [rule for rule, broken in zip(rules, checks, strict=True) if broken]
    if not suspects:
        return pl.repeat(value=True, n=len(frame), dtype=pl.Boolean, eager=True), []
    first = frame.select(
        pl.coalesce(
            pl.when(rule.broken.fill_null(value=False)).then(pl.lit(number, pl.Int32))
            for number, rule in enumerate(suspects)
        ).alias("rule")
    ).to_series()
    good = first.is_null()
    numbers = good.not_().arg_true()
    rows = frame["_row"].gather(numbers) if "_row" in frame.columns else numbers
    values: dict[str, list[Any]] = {
        name: _plain(frame[name].gather(numbers)) for name in {rule.column for rule in suspects}
    }
    times = _times(contract, frame, suspects).gather(numbers)
    dead = []
    for place, (row, which, time) in enumerate(zip(rows, first.gather(numbers), times, strict=True)):
        rule = suspects[which]
        said = "" if rule.error_class == "MissingField" else f"{_shown(values[rule.column][place])} is "
        dead.append(DeadRow(row, STAGE, rule.error_class, f"field {rule.column}: {said}{rule.what}", None, time))
    return good, dead


def _times(contract: Contract, frame: pl.DataFrame, rules: list[_Rule]) -> pl.Series:
    """Event times, null where a rule refuses them."""
    broken = [rule.broken.fill_null(value=False) for rule in rules if rule.column == contract.time]
    time = pl.col(contract.time).to_physical()
    return frame.select(pl.when(~pl.any_horizontal(broken)).then(time) if broken else time).to_series()


def _plain(column: pl.Series) -> list[Any]:
    # Not as datetimes: those that are refused may be none.
    return (column.to_physical() if column.dtype.is_temporal() else column).to_list()


def _shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**11:
        try:
            return (_EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")
        except OverflowError:
            return f"{value} µs since 1970"
    return shown(value)
