"""``gridflow topics`` on a real Kafka."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]
from typer.testing import CliRunner

from ops.services import Services
from ops.topics_cli import app, topic_names
from tests.ops.kafka_env import kafka_environment, prefix_of


def listed(environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(app, ["list", "--json"], env=environment)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {row["topic"]: row for row in rows}


def test_topics_are_created_once_and_listed(services: Services) -> None:
    environment = kafka_environment(services)
    prefix = prefix_of(environment)
    before = listed(environment)
    assert {row["partitions"] for row in before.values()} == {None}
    result = CliRunner().invoke(app, ["list"], env=environment)
    assert "missing" in result.stdout
    assert "gridflow topics create" in result.stderr

    result = CliRunner().invoke(app, ["create", "--partitions", "2"], env=environment)
    assert result.exit_code == 0, result.stderr
    for name in ("grid.meter.v1", "grid.meter.v1.dlq", "grid.ied.v1.late", "grid.line-loss.v1"):
        assert f"created {prefix}{name}, 2 partitions" in result.stdout
    producer = Producer({"bootstrap.servers": services.kafka_bootstrap})
    for _ in range(7):
        producer.produce(f"{prefix}grid.meter.v1", b"x")
    assert producer.flush(20) == 0

    again = CliRunner().invoke(app, ["create", "--partitions", "3"], env=environment)
    assert again.exit_code == 0, again.stderr
    assert "created" not in again.stdout
    assert f"exists  {prefix}grid.meter.v1 and keeps its 2 partitions" in again.stdout
    after = listed(environment)
    assert set(after) == {prefix + name for name in topic_names()}
    assert {row["partitions"] for row in after.values()} == {2}
    assert after[f"{prefix}grid.meter.v1"]["messages"] == 7
    assert after[f"{prefix}grid.network.v1"]["messages"] == 0


def test_the_network_is_compacted_and_nothing_else(services: Services) -> None:
    environment = kafka_environment(services)
    assert CliRunner().invoke(app, ["create", "--partitions", "1"], env=environment).exit_code == 0
    admin = AdminClient({"bootstrap.servers": services.kafka_bootstrap})
    for name in topic_names():
        resource = ConfigResource(ConfigResource.Type.TOPIC, prefix_of(environment) + name)
        policy = admin.describe_configs([resource])[resource].result()["cleanup.policy"].value
        assert policy == ("compact" if name == "grid.network.v1" else "delete")


def test_the_dead_letter_dataset_is_no_topic() -> None:
    assert "grid.dead-letter.v1" not in topic_names()
    assert "grid.line-loss.v1.dlq" not in topic_names()


@pytest.mark.parametrize("command", [["create"], ["list"]])
def test_too_many_replicas_or_no_broker_is_one_line(services: Services, command: list[str]) -> None:
    environment = kafka_environment(services)
    if command == ["create"]:
        command = ["create", "--replication", "3"]
    else:
        environment["GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
        environment["GRIDFLOW_KAFKA__CONFIG"] = '{"socket.timeout.ms" = 1000}'
    result = CliRunner().invoke(app, command, env=environment)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_wrong_settings_are_status_2() -> None:
    result = CliRunner().invoke(app, ["list"], env={"GRIDFLOW_KAFKA__BOOTSTRAP": "x"})
    assert result.exit_code == 2
    assert "kafka.bootstrap" in result.stderr
