"""``gridflow produce`` on a real Kafka."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from typer.testing import CliRunner

from connectors.decode import Decoder
from ops.produce_cli import produce
from ops.services import Services
from ops.topics_cli import app as topics
from schemas.registry import Registry
from tests.connectors.kafka import read_topic
from tests.connectors.readings import METER, readings
from tests.ops.kafka_env import kafka_environment, prefix_of

app = typer.Typer()
app.command()(produce)


def prepared(services: Services) -> tuple[dict[str, str], str]:
    environment = kafka_environment(services)
    assert CliRunner().invoke(topics, ["create"], env=environment).exit_code == 0
    return environment, f"{prefix_of(environment)}grid.meter.v1"


def test_avro_with_the_registrys_id(tmp_path: Path, services: Services) -> None:
    environment, topic = prepared(services)
    environment["GRIDFLOW_REGISTRY__URL"] = services.registry_url
    frame = readings(20, 30)
    frame.write_parquet(tmp_path / "grid.meter.v1.parquet")
    result = CliRunner().invoke(app, ["--input", str(tmp_path)], env=environment)
    assert result.exit_code == 0, result.stderr
    assert f"{topic}: 600 messages delivered" in result.stdout
    assert "600/600" in result.stderr
    messages = read_topic(services.kafka_bootstrap, topic, 600)
    registry = Registry(services.registry_url)
    decoder = Decoder(METER, registry.by_id, registry.by_guid)
    decoded = decoder.decode([m.key() for m in messages], [m.value() for m in messages])
    registry.close()
    assert decoded.frame.drop("_row").sort("meter_id", "time").equals(frame.sort("meter_id", "time"))


def test_json(tmp_path: Path, services: Services) -> None:
    environment, topic = prepared(services)
    readings(2, 3).write_parquet(tmp_path / "grid.meter.v1.parquet")
    arguments = ["--input", str(tmp_path), "--format", "json", "--speed", "1e9"]
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, result.stderr
    values = [orjson.loads(m.value() or b"") for m in read_topic(services.kafka_bootstrap, topic, 6)]
    assert {value["meter_id"] for value in values} == {"m0", "m1"}


def test_rows_that_cannot_be_sent_are_said(tmp_path: Path, services: Services) -> None:
    environment, topic = prepared(services)
    columns = {"meter_id": ["a", "b"], "time": pa.array([1, 2]), "import_kwh": [1.0, 2.0], "quality": [0, 2**40]}
    pq.write_table(pa.table(columns), tmp_path / "grid.meter.v1.parquet")
    result = CliRunner().invoke(app, ["-i", str(tmp_path)], env=environment)
    assert result.exit_code == 2
    assert f"{topic}: 1 messages delivered" in result.stdout
    assert "1 rows skipped" in result.stderr
    assert "quality" in result.stderr


def test_nothing_to_produce(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--input", str(tmp_path)])
    assert result.exit_code == 2
    assert "grid.meter.v1" in result.stderr
