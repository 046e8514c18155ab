"""``gridflow dlq`` on a real Kafka: what is listed, and that what is put back is what came."""

from __future__ import annotations

import json

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from connectors.decode import Decoder
from connectors.letters import Headers, Letter
from ops.dlq_cli import app
from ops.services import Services
from ops.topics_cli import app as topics
from tests.connectors.kafka import ENCODER, read_topic
from tests.connectors.readings import METER, readings
from tests.ops.kafka_env import kafka_environment, prefix_of

BODY = ENCODER.encode(readings(1, 1))[0]


@pytest.fixture
def environment(services: Services) -> dict[str, str]:
    environment = kafka_environment(services)
    assert CliRunner().invoke(topics, ["create", "--partitions", "2"], env=environment).exit_code == 0
    return environment


def put_letters(services: Services, environment: dict[str, str], first: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": services.kafka_bootstrap})
    for number in range(first, first + count):
        headers: dict[str, str | bytes | None] = {
            "gridflow.topic": "grid.meter.v1",
            "gridflow.partition": "3",
            "gridflow.offset": str(number),
            "gridflow.stage": "decode" if number % 2 else "validate",
            "gridflow.error.class": "ShortMessage" if number % 2 else "OutOfRange",
            "gridflow.error.message": f"field import_kwh: -{number} is below 0",
            "trace": b"\xff\x00",
        }
        key, value = (None, b"\xff" * number) if number % 2 else (f"m{number}", BODY)
        topic = f"{prefix_of(environment)}grid.meter.v1.dlq"
        producer.produce(topic, value, key, number % 2, headers=headers, timestamp=1_700_000_000_000 + number)
    assert producer.flush(20) == 0


def invoke(environment: dict[str, str], *arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env=environment)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def listed(environment: dict[str, str], *arguments: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in invoke(environment, "list", "--json", *arguments).splitlines()]


def test_letters_are_listed_with_their_reasons(services: Services, environment: dict[str, str]) -> None:
    assert listed(environment) == []
    put_letters(services, environment, 0, 8)
    rows = listed(environment)
    assert [row["offset"] for row in rows] == [str(number) for number in range(8)]
    assert rows[3] == {
        "written": "2023-11-14T22:13:20+00:00",
        "letter": f"{prefix_of(environment)}grid.meter.v1.dlq/1/1",
        "topic": "grid.meter.v1", "partition": "3", "offset": "3", "key": "", "stage": "decode",
        "class": "ShortMessage", "message": "field import_kwh: -3 is below 0", "schema_id": "",
        "value": "\\xff\\xff\\xff",
    }  # fmt: skip
    assert [row["offset"] for row in listed(environment, "--limit", "3")] == ["5", "6", "7"]
    assert [row["offset"] for row in listed(environment, "--class", "OutOfRange", "--limit", "2")] == ["4", "6"]
    assert [row["offset"] for row in listed(environment, "--stage", "decode")] == ["1", "3", "5", "7"]
    assert listed(environment, "--topic", "grid.ftu.v1") == []
    assert "ShortMessage" in invoke(environment, "list", "--topic", "grid.meter.v1")


def test_what_is_put_back_is_what_came(services: Services, environment: dict[str, str]) -> None:
    put_letters(services, environment, 0, 6)
    target = f"{prefix_of(environment)}grid.meter.v1"
    assert f"6 letters of {target}.dlq would be put back on {target}" in invoke(environment, "replay", "--dry-run")
    assert f"6 letters of {target}.dlq put back on {target}" in invoke(environment, "replay")
    found = {}
    for message in read_topic(services.kafka_bootstrap, target, 6):
        headers = dict(message.headers() or [])
        found[headers["gridflow.replayed"]] = (message.key(), message.value())
        assert headers == {"trace": b"\xff\x00", "gridflow.replayed": headers["gridflow.replayed"]}
    assert found == {
        f"{target}.dlq/{number % 2}/{number // 2}".encode(): (
            (None, b"\xff" * number) if number % 2 else (f"m{number}".encode(), BODY)
        )
        for number in range(6)
    }


def test_letters_are_put_back_once(services: Services, environment: dict[str, str]) -> None:
    put_letters(services, environment, 0, 4)
    assert "2 letters" in invoke(environment, "replay", "-t", "grid.meter.v1", "--class", "OutOfRange")
    assert "4 letters" in invoke(environment, "replay", "-t", "grid.meter.v1")  # a part of them was not noted
    assert "0 letters" in invoke(environment, "replay", "-t", "grid.meter.v1")
    put_letters(services, environment, 4, 1)
    assert "1 letters" in invoke(environment, "replay", "-t", "grid.meter.v1")
    assert "5 letters" in invoke(environment, "replay", "-t", "grid.meter.v1", "--again")


def test_a_schema_id_that_came_in_a_header_goes_back_into_one() -> None:
    schema_id = int.from_bytes(BODY[1:5], "big")
    headers: Headers = [("gridflow.schema.id", str(schema_id).encode())]
    framed = Letter("t.dlq", 0, 5, 0, b"m0", BODY, headers)
    assert framed.replay_headers() == [("gridflow.replayed", b"t.dlq/0/5")]
    bare = Letter("t.dlq", 0, 5, 0, b"m0", BODY[5:], headers)
    again = bare.replay_headers()
    decoded = Decoder(METER).decode([b"m0"], [BODY[5:]], [again])
    assert decoded.frame["meter_id"].to_list() == ["m0"]


def test_an_unknown_topic_is_the_users_error(environment: dict[str, str]) -> None:
    result = CliRunner().invoke(app, ["list", "--topic", "grid.meters"], env=environment)
    assert result.exit_code == 2
    assert "grid.meters" in result.stderr
    assert "grid.meter.v1" in result.stderr
