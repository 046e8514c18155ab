"""Rows that break a contract's rule are refused, each alone and with field and value."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.validate import validate
from schemas import all_contracts, contract
from tests.schemas.strategies import PATIENT, YEAR_1990, to_columns, values

METER = contract("grid.meter.v1")
NEW_YEAR = 1_767_225_600_000_000
READING: dict[str, Any] = dict.fromkeys(METER.polars, None) | {
    "meter_id": "m",
    "time": NEW_YEAR,
    "import_kwh": 5.0,
    "quality": 0,
}


def readings(*changes: dict[str, Any]) -> pl.DataFrame:
    return to_columns(METER, [READING | change for change in changes])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"import_kwh": 0.0},
        {"import_kwh": 9e9},
        {"quality": 255},
        {"time": YEAR_1990},
        {"export_kwh": 0.0, "active_power_kw": -3.0},
        {"received_time": YEAR_1990},
    ],
)
def test_good_rows(change: dict[str, Any]) -> None:
    good, refused = validate(METER, readings({}, change))
    assert good.to_list() == [True, True]
    assert refused == []


@pytest.mark.parametrize(
    ("change", "error_class", "message"),
    [
        ({"import_kwh": float("nan")}, "NotFinite", "field import_kwh: nan is not a finite number"),
        ({"import_kwh": float("-inf")}, "NotFinite", "field import_kwh: -inf is not a finite number"),
        ({"voltage_l1_v": float("inf")}, "NotFinite", "field voltage_l1_v: inf is not a finite number"),
        ({"import_kwh": -0.001}, "OutOfRange", "field import_kwh: -0.001 is below 0"),
        ({"export_kwh": -1.0}, "OutOfRange", "field export_kwh: -1.0 is below 0"),
        ({"import_kwh": 9.1e9}, "OutOfRange", "field import_kwh: 9100000000.0 is above 9000000000"),
        ({"quality": 256}, "OutOfRange", "field quality: 256 is above 255"),
        ({"quality": -1}, "OutOfRange", "field quality: -1 is below 0"),
        ({"meter_id": ""}, "EmptyId", "field meter_id: '' is empty"),
        ({"time": 0}, "ImpossibleTime", "field time: 0 is before 1990-01-01"),
        ({"time": YEAR_1990 - 1}, "ImpossibleTime", "field time: 1989-12-31T23:59:59.999999Z is before 1990-01-01"),
        ({"time": (1 << 63) - 1}, "ImpossibleTime", f"field time: {(1 << 63) - 1} µs since 1970 is after 2200-01-01"),
        ({"received_time": -(1 << 63)}, "ImpossibleTime", f"field received_time: {-(1 << 63)} µs since 1970 is before"),
    ],
)
def test_a_broken_rule_names_field_and_value(change: dict[str, Any], error_class: str, message: str) -> None:
    good, refused = validate(METER, readings({}, change, {}))
    assert good.to_list() == [True, False, True]
    assert [(letter.row, letter.stage, letter.error_class) for letter in refused] == [(1, "validate", error_class)]
    assert refused[0].message.startswith(message)


def test_a_row_is_refused_once_and_by_its_index_among_the_messages() -> None:
    frame = readings({}, {"quality": 300, "meter_id": ""}, {}, {"quality": 300})
    frame = frame.with_columns(_row=pl.Series([3, 5, 8, 13]))
    good, refused = validate(METER, frame)
    assert good.to_list() == [True, False, True, False]
    assert [letter.row for letter in refused] == [5, 13]
    assert [letter.error_class for letter in refused] == ["EmptyId", "OutOfRange"]


def test_missing_values_and_unknown_symbols() -> None:
    ftu = contract("grid.ftu.v1")
    row = {"ftu_id": "f", "point": "p", "time": NEW_YEAR, "value": 1.0, "quality": 0, "cause": "CYCLIC"}
    rows = [row | {"received_time": None} | change for change in ({}, {"cause": "WHIM"}, {"value": None})]
    _, refused = validate(ftu, to_columns(ftu, rows))
    assert [(letter.row, letter.error_class) for letter in refused] == [(1, "UnknownSymbol"), (2, "MissingField")]
    assert refused[0].message.startswith("field cause: 'WHIM' is not one of CYCLIC, ")
    assert refused[1].message == "field value: missing"


def test_a_network_element_may_be_older_than_meters_are() -> None:
    network = contract("grid.network.v1")
    row = dict.fromkeys(network.polars, None) | {"element_id": "e", "kind": "Substation", "valid_from": 0}
    good, _ = validate(network, to_columns(network, [row, row | {"measuring_terminal": 3}]))
    assert good.to_list() == [True, False]


def test_a_time_ahead_of_its_reception() -> None:
    hour = 3_600_000_000
    frame = readings(
        {"received_time": NEW_YEAR},
        {"time": NEW_YEAR + hour, "received_time": NEW_YEAR},
        {"time": NEW_YEAR + hour + 1, "received_time": NEW_YEAR},
        {"time": NEW_YEAR + 90 * hour, "received_time": None},
    )
    good, refused = validate(METER, frame, future_limit_seconds=3600)
    assert good.to_list() == [True, True, False, True]
    assert refused[0].error_class == "FutureTime"
    assert "2026-01-01T01:00:00.000001Z is more than 3600 s ahead of received_time" in refused[0].message
    assert validate(METER, frame)[0].all()


def test_very_great_numbers_are_no_infinity() -> None:
    good, _ = validate(METER, readings({"voltage_l1_v": 1e308}, {"voltage_l1_v": 1e308}))
    assert good.all()


def test_no_rows() -> None:
    good, refused = validate(METER, METER.empty())
    assert good.dtype == pl.Boolean
    assert (len(good), refused) == (0, [])


@pytest.mark.parametrize("found", all_contracts().values(), ids=lambda found: found.record)
@PATIENT
@given(data=st.data())
def test_what_is_good_can_be_read_as_python_values(found: Any, data: st.DataObject) -> None:
    """Each row is either good or refused exactly once, and all times of the good are times."""
    frame = to_columns(found, data.draw(st.lists(values(found.wire), max_size=5)))
    good, refused = validate(found, frame)
    assert sorted(letter.row for letter in refused) == good.not_().arg_true().to_list()
    moments = [
        moment
        for name, dtype in found.polars.items()
        if dtype.is_temporal()
        for moment in frame.filter(good)[name].to_list()
        if moment is not None
    ]
    assert all(isinstance(moment, datetime) and moment.tzinfo is not None for moment in moments)
