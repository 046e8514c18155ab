"""Line protocol, read back by a small parser that follows InfluxDB's description of the syntax."""

from __future__ import annotations

import base64
import math
import re
from datetime import UTC, datetime
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Contract
from sinks.errors import SinkError
from sinks.influx_lines import influx_lines, tag_values
from tests.sinks.frames import DEAD, ENERGY, LOSS, START, energy, letters, loss

_KEY_OR_TAG = re.compile(r"(?:\\[,= ]|[^,= \n])+")
_STRING = re.compile(r'"((?:\\["\\]|[^"\\])*)"', re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?i?|true|false")


def parse(line: str) -> tuple[str, dict[str, str], dict[str, Any], int]:
    """Measurement, tags, fields and timestamp of a line."""
    position = 0

    def take(pattern: re.Pattern[str]) -> re.Match[str]:
        nonlocal position
        found = pattern.match(line, position)
        assert found, f"{pattern.pattern} expected at {line[position:]!r}"
        position = found.end()
        return found

    def skip(text: str) -> bool:
        nonlocal position
        if line.startswith(text, position):
            position += len(text)
            return True
        return False

    def plain(text: str) -> str:
        assert not re.search(r"(?<!\\)(\\\\)*\\\Z", text), "a backslash would escape what follows"
        return re.sub(r"\\([,= ])", r"\1", text)

    measurement = plain(take(_KEY_OR_TAG)[0])
    tags: dict[str, str] = {}
    while skip(","):
        name = plain(take(_KEY_OR_TAG)[0])
        assert skip("=")
        tags[name] = plain(take(_KEY_OR_TAG)[0])
    assert skip(" ")
    fields: dict[str, Any] = {}
    while True:
        name = plain(take(_KEY_OR_TAG)[0])
        assert name not in fields
        assert skip("=")
        if line[position] == '"':
            fields[name] = re.sub(r'\\(["\\])', r"\1", take(_STRING)[1])
        else:
            text = take(_NUMBER)[0]
            fields[name] = text == "true" if text in ("true", "false") else _number(text)
        if not skip(","):
            break
    assert skip(" ")
    return measurement, tags, fields, int(line[position:])


def _number(text: str) -> int | float:
    return int(text[:-1]) if text.endswith("i") else float(text)


def only(frame: pl.DataFrame, contract: Contract) -> tuple[str, dict[str, str], dict[str, Any], int]:
    (line,) = influx_lines(frame, contract)
    return parse(line)


def test_a_line_loss() -> None:
    suspects = [{"meter_id": 'M"1', "score": 0.5, "missing_kwh": 1.25, "missing_uncertainty_kwh": None}]
    (line,) = influx_lines(loss(suspects=suspects, element_id="TA 1"), LOSS)
    assert line == (
        r"line_loss,element_id=TA\ 1,element_kind=PowerTransformer,region_id=R1 "
        r'null_fields="technical_loss_kwh,unaccounted_kwh",window_end=1772403300000000000i,revision=7i,'
        r"energy_in_kwh=100.0,energy_out_kwh=95.5,loss_kwh=4.5,loss_percent=4.5,uncertainty_kwh=0.25,"
        r"systematic_uncertainty_kwh=0.1,expected_meters=20i,reporting_meters=19i,completeness=0.95,"
        r'status="PROVISIONAL",alarm="NONE",'
        r'suspects="[{\"meter_id\":\"M\\\"1\",\"score\":0.5,\"missing_kwh\":1.25,'
        r'\"missing_uncertainty_kwh\":null}]" 1772402400000000'
    )


def test_what_is_null_differs_from_row_to_row() -> None:
    frame = pl.concat(
        [
            loss(),
            loss(loss_percent=None, region_id=None, technical_loss_kwh=2.5),
            loss(loss_percent=math.nan, region_id=""),
        ]
    )
    rows = [parse(line) for line in influx_lines(frame, LOSS)]
    assert [fields["null_fields"] for _, _, fields, _ in rows] == [
        "technical_loss_kwh,unaccounted_kwh",
        "loss_percent,unaccounted_kwh",
        "loss_percent,technical_loss_kwh,unaccounted_kwh",
    ]
    assert [fields.get("loss_percent") for _, _, fields, _ in rows] == [4.5, None, None]
    assert [fields.get("technical_loss_kwh") for _, _, fields, _ in rows] == [None, 2.5, None]
    assert [tags.get("region_id") for _, tags, _, _ in rows] == ["R1", None, None]


def test_no_rows_make_no_lines() -> None:
    assert influx_lines(LOSS.empty(), LOSS).to_list() == []


def test_a_row_without_time_is_an_error() -> None:
    letter = letters([{"topic": "t", "partition": 0, "offset": 0, "error_class": "E"}])
    with pytest.raises(SinkError, match="dead_letter: a row without time"):
        influx_lines(letter.with_columns(time=pl.lit(None, pl.Datetime("us", "UTC"))), DEAD)


def test_binary_is_base64() -> None:
    row = {"topic": "t", "partition": 0, "offset": 0, "stage": "s", "error_class": "E", "error_message": "m"}
    frame = letters([row | {"value": b"\x00\xff\n"}]).with_columns(time=pl.lit(START, pl.Datetime("us", "UTC")))
    _, _, fields, _ = only(frame, DEAD)
    assert base64.b64decode(fields["value"]) == b"\x00\xff\n"


def test_a_map_is_a_json_object() -> None:
    avro = {
        "name": "Thing",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "evidence", "type": {"type": "map", "values": "string"}},
            {"name": "numbers", "type": {"type": "array", "items": "double"}},
            {"name": "ok", "type": "boolean"},
        ],
    }
    thing = Contract("thing", "Thing", avro, "id", "at", ("id", "at"), ("id",))
    frame = pl.DataFrame(
        {
            "id": ["a", "b"],
            "at": [START, START],
            "evidence": [[{"key": 'k"\\', "value": "v\n"}, {"key": "l", "value": "ü"}], []],
            "numbers": [[1.0, 2.5], []],
            "ok": [True, False],
        },
        schema=thing.polars,
    )
    (_, _, first, _), (_, _, second, _) = (parse(line) for line in influx_lines(frame, thing))
    assert orjson.loads(first["evidence"]) == {'k"\\': "v\n", "l": "ü"}
    assert orjson.loads(first["numbers"]) == [1.0, 2.5]
    assert first["ok"] is True
    assert (second["evidence"], second["numbers"], second["ok"]) == ("{}", "[]", False)


def as_tag(text: str) -> str:
    """What InfluxDB holds of a tag: character by character."""
    stripped = text.rstrip("\\")
    head = "".join(f"%{ord(c):02X}" if ord(c) < 0x20 or ord(c) == 0x7F else c for c in stripped)
    return head + "%5C" * (len(text) - len(stripped))


_nasty = st.text(alphabet=st.one_of(st.sampled_from(',= \\"\n\r\t\0%{}[]\x7f'), st.characters(codec="utf-8")))
_floats = st.one_of(st.none(), st.floats())


@given(st.lists(st.tuples(_nasty, _nasty, st.one_of(st.none(), _nasty)), min_size=1, max_size=5))
def test_any_text_survives(rows: list[tuple[str, str, str | None]]) -> None:
    frame = pl.concat(loss(element_id=element, status=status, region_id=region) for element, status, region in rows)
    for (element, status, region), line in zip(rows, influx_lines(frame, LOSS), strict=True):
        measurement, tags, fields, time = parse(line)
        assert measurement == "line_loss"
        assert fields["status"] == status
        assert time == 1772402400000000
        expected = {"element_id": element, "element_kind": "PowerTransformer", "region_id": region}
        assert tags == {name: as_tag(value) for name, value in expected.items() if value}


@given(st.lists(st.tuples(_floats, st.floats(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=5))
def test_any_number_survives(rows: list[tuple[float | None, float, int]]) -> None:
    frame = pl.concat(
        loss(loss_percent=percent, loss_kwh=loss_kwh, revision=revision) for percent, loss_kwh, revision in rows
    )
    for (percent, loss_kwh, revision), line in zip(rows, influx_lines(frame, LOSS), strict=True):
        _, _, fields, _ = parse(line)
        assert fields["revision"] == revision
        for name, value in (("loss_percent", percent), ("loss_kwh", loss_kwh)):
            if value is None or not math.isfinite(value):
                assert name not in fields
                assert name in fields["null_fields"].split(",")
            else:
                assert fields[name] == value
                assert name not in fields["null_fields"].split(",")


@given(st.lists(st.tuples(_nasty, st.text('"\\n,u0041'), _floats), max_size=4))
def test_any_suspects_survive_as_json(suspects: list[tuple[str, str, float | None]]) -> None:
    listed: list[dict[str, Any]] = [
        {"meter_id": meter + text, "score": 1.0, "missing_kwh": missing, "missing_uncertainty_kwh": 0.5}
        for meter, text, missing in suspects
    ]
    _, _, fields, _ = only(loss(suspects=listed), LOSS)
    expected = [
        row | {"missing_kwh": row["missing_kwh"] if math.isfinite(row["missing_kwh"] or 0.0) else None}
        for row in listed
    ]
    assert orjson.loads(fields["suspects"]) == expected


@given(st.datetimes(datetime(1678, 1, 1), datetime(2262, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)))
def test_any_time_is_exact_to_the_microsecond(moment: datetime) -> None:
    _, _, fields, time = only(loss(window_start=moment, window_end=moment), LOSS)
    back = pl.Series([time]).cast(pl.Datetime("us", "UTC")).item()
    assert back == moment
    assert fields["window_end"] == 1000 * time


def test_many_rows_are_as_single_rows() -> None:
    frame = energy((f"m{number % 70}", number // 70, number) for number in range(7_000))
    lines = influx_lines(frame, ENERGY)
    assert lines.len() == 7_000
    for number in range(0, 7_000, 997):
        assert lines[number] == influx_lines(frame.slice(number, 1), ENERGY).item()


def test_tags_that_differ_stay_different() -> None:
    values = pl.Series(["a", "a\\", "a\\\\", "a\n", "a,", "a=", "a "])
    assert tag_values(values).n_unique() == values.len()
