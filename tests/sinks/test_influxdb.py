"""The InfluxDB sink on a real InfluxDB: written, and read back with Flux."""

from __future__ import annotations

import csv
import io
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.services import Services
from schemas import Contract
from sinks.errors import SinkError
from sinks.influx_api import InfluxApi
from sinks.influxdb import InfluxSink
from tests.sinks.frames import DEAD, ENERGY, LOSS, START, WINDOW, energy, letters, loss
from tests.sinks.test_influx_lines import as_tag

Row = dict[str, str]


@pytest.fixture
def connect(services: Services) -> Iterator[Callable[..., InfluxApi]]:
    made: list[InfluxApi] = []

    def connected(**options: Any) -> InfluxApi:
        chosen = {"token": services.influx_token, "bucket": services.influx_bucket} | options
        made.append(InfluxApi(services.influx_url, services.influx_org, **chosen))
        return made[-1]

    yield connected
    for api in made:
        api.close()


@pytest.fixture
def read(services: Services) -> Callable[..., list[Row]]:
    """Points of a measurement as one row each, tags and fields as columns."""

    def points(measurement: str, tag: str, value: str) -> list[Row]:
        query = f"""
            from(bucket: "{services.influx_bucket}") |> range(start: 2000-01-01T00:00:00Z)
                |> filter(fn: (r) => r._measurement == "{measurement}" and r.{tag} =~ /^{value}/)
                |> toString() |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
        """
        response = httpx.post(
            f"{services.influx_url}/api/v2/query",
            params={"org": services.influx_org},
            headers={"Authorization": f"Token {services.influx_token}", "Accept": "application/csv"},
            json={"query": query, "dialect": {"annotations": [], "header": True}},
        )
        response.raise_for_status()
        rows: list[Row] = []
        header: list[str] = []
        # A table begins with a header and follows an empty line.
        for cells in csv.reader(io.StringIO(response.text, newline="")):
            if not cells:
                header = []
            elif not header:
                header = cells
            else:
                row = zip(header, cells, strict=True)
                rows.append({name: cell for name, cell in row if name not in ("", "result", "table")})
        return rows

    return points


def name() -> str:
    """Of an element that no other test has."""
    return f"E{uuid.uuid4().hex[:12]}"


def put(api: InfluxApi, contract: Contract, *frames: pl.DataFrame) -> None:
    part = InfluxSink(lambda: api, contract).build_part("out", "0", None)
    for frame in frames:
        part.write_batch([frame])
        part.snapshot()
    part.close()


def test_what_is_written_is_read_back(connect: Callable[..., InfluxApi], read: Callable[..., list[Row]]) -> None:
    element = name()
    suspects = [{"meter_id": "M1", "score": 0.5, "missing_kwh": 1.25, "missing_uncertainty_kwh": 0.5}]
    put(connect(), LOSS, loss(element_id=element, suspects=suspects))
    (row,) = read("line_loss", "element_id", element)
    assert datetime.fromisoformat(row["_time"]) == START
    assert (row["element_kind"], row["region_id"]) == ("PowerTransformer", "R1")
    assert float(row["loss_kwh"]) == 4.5
    assert (row["revision"], row["reporting_meters"], row["status"]) == ("7", "19", "PROVISIONAL")
    assert row["suspects"] == '[{"meter_id":"M1","score":0.5,"missing_kwh":1.25,"missing_uncertainty_kwh":0.5}]'
    assert row["null_fields"] == "technical_loss_kwh,unaccounted_kwh"
    end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(row["window_end"]) // 1000)
    assert end == START + WINDOW


def test_writing_twice_is_writing_once_and_the_last_revision_stands(
    connect: Callable[..., InfluxApi], read: Callable[..., list[Row]]
) -> None:
    element = name()
    rows = [loss(element_id=element, revision=revision, loss_kwh=float(revision)) for revision in (1, 1, 2)]
    put(connect(), LOSS, *rows)
    (row,) = read("line_loss", "element_id", element)
    assert (row["revision"], float(row["loss_kwh"])) == ("2", 2.0)


def test_a_value_that_became_null_is_named(connect: Callable[..., InfluxApi], read: Callable[..., list[Row]]) -> None:
    element = name()
    put(connect(), LOSS, loss(element_id=element), loss(element_id=element, revision=8, loss_percent=None))
    (row,) = read("line_loss", "element_id", element)
    assert "loss_percent" in row["null_fields"].split(",")
    put(connect(), LOSS, loss(element_id=element, revision=9))
    (row,) = read("line_loss", "element_id", element)
    assert "loss_percent" not in row["null_fields"].split(",")
    assert float(row["loss_percent"]) == 4.5


def test_many_rows_arrive(connect: Callable[..., InfluxApi], read: Callable[..., list[Row]]) -> None:
    meter = name()
    frame = energy((f"{meter}-{number % 130}", number // 130, number) for number in range(130 * 96))
    put(connect(), ENERGY, frame)
    rows = read("meter_energy", "meter_id", meter)
    assert len(rows) == frame.height
    found = {(row["meter_id"], datetime.fromisoformat(row["_time"])): int(row["revision"]) for row in rows}
    assert found == dict(
        zip(zip(frame["meter_id"], frame["window_start"], strict=True), frame["revision"], strict=True)
    )


_awkward = st.text(
    alphabet=st.one_of(
        st.sampled_from(',= \\"\n\r\t%{}'),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Co"]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tag=_awkward, text=_awkward, number=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number_comes_back(
    connect: Callable[..., InfluxApi], read: Callable[..., list[Row]], tag: str, text: str, number: float
) -> None:
    element = name()
    put(connect(), LOSS, loss(element_id=element + tag, region_id=tag, status=text, loss_kwh=number))
    (row,) = read("line_loss", "element_id", element)
    assert row["element_id"] == as_tag(element + tag)
    assert row.get("region_id", "") == as_tag(tag)
    # The answer is CSV, whose writer in Flux drops carriage returns and ends lines with both.
    assert row["status"].replace("\r\n", "\n") == text.replace("\r", "")
    assert float(row["loss_kwh"]) == number


@pytest.mark.parametrize("before", ["R1", None])
def test_a_result_whose_tags_change_does_not_stand_twice(
    connect: Callable[..., InfluxApi], read: Callable[..., list[Row]], before: str | None
) -> None:
    element = name() + '"\\,= x'
    windows = [loss(element_id=element, region_id=before, window_start=START + number * WINDOW) for number in range(6)]
    sink = InfluxSink(connect, LOSS)
    part = sink.build_part("out", "0", None)
    part.write_batch(windows)
    state = part.snapshot()
    part = sink.build_part("out", "0", state)  # after a restart it still knows
    # The network was corrected: from the third window on the element belongs to another region.
    part.write_batch([row.with_columns(region_id=pl.lit("R2"), revision=pl.lit(8, pl.Int64)) for row in windows[2:]])
    part.snapshot()
    part.close()
    rows = read("line_loss", "element_id", element[:13])
    assert len(rows) == 6
    regions = [row.get("region_id", "") for row in sorted(rows, key=lambda row: row["_time"])]
    assert regions == [before or ""] * 2 + ["R2"] * 4


def test_rows_that_would_be_one_point_are_an_error(connect: Callable[..., InfluxApi]) -> None:
    row = {"topic": "t", "partition": 0, "stage": "s", "error_class": "E", "error_message": "m"}
    frame = letters([row | {"offset": offset} for offset in range(2)])
    part = InfluxSink(connect, DEAD).build_part("out", "0", None)
    part.write_batch([frame.with_columns(time=pl.lit(START, pl.Datetime("us", "UTC")))])
    with pytest.raises(SinkError, match="dead_letter: rows that differ only in partition, offset"):
        part.snapshot()


def test_a_wrong_token_is_an_error_without_the_token(connect: Callable[..., InfluxApi]) -> None:
    with pytest.raises(SinkError, match="line_loss: 401 unauthorized access") as caught:
        put(connect(token="wrong-token"), LOSS, loss())
    assert "wrong-token" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_named(connect: Callable[..., InfluxApi]) -> None:
    with pytest.raises(SinkError, match=r'line_loss: 404 .*bucket "nowhere" not found'):
        put(connect(bucket="nowhere"), LOSS, loss())


def test_a_field_of_another_type_is_an_error_and_not_a_loss(connect: Callable[..., InfluxApi]) -> None:
    api = connect()
    measurement = name()
    api.write(measurement, f"{measurement} f=1.0 5".encode())
    with pytest.raises(SinkError, match=f"{measurement}: 422 .*field type conflict"):
        api.write(measurement, f'{measurement} f="text" 6'.encode())
    api.close()


def test_while_influxdb_is_down_the_sink_waits(
    services: Services, connect: Callable[..., InfluxApi], read: Callable[..., list[Row]]
) -> None:
    meter = name()
    api = connect(retry_initial_seconds=0.1, retry_max_seconds=0.5)
    part = InfluxSink(lambda: api, ENERGY).build_part("out", "0", None)
    part.write_batch([energy([(meter, 0, 1)])])
    part.snapshot()
    services.stop("influxdb")
    part.write_batch([energy((meter, number, 1) for number in range(1, 50))])
    writing = threading.Thread(target=part.snapshot)
    try:
        writing.start()
        writing.join(1.5)
        assert writing.is_alive()
    finally:
        services.start("influxdb")
    writing.join(60)
    assert not writing.is_alive()
    part.close()
    assert len(read("meter_energy", "meter_id", meter)) == 50
