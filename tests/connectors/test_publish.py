"""Files to Kafka: everything, in order, keyed, at the speed asked for, and with an eye on what the broker says."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from connectors.decode import Decoder
from connectors.errors import PublishError
from connectors.files import open_readings, topic_paths
from connectors.publish import Published, Topic, publish
from ops.services import Services
from schemas import Contract
from schemas.encode import JsonEncoder
from schemas.registry import LocalRegistry
from tests.connectors.kafka import ENCODER, TestTopic, read_topic
from tests.connectors.readings import METER, NETWORK, readings


@pytest.fixture
def topic(services: Services) -> TestTopic:
    return TestTopic(services.kafka_bootstrap, partitions=3)


def of(folder: Path, topic: TestTopic, contract: Contract = METER, encoder: Any = ENCODER) -> Topic:
    paths = topic_paths(folder, contract.topic)
    files = [open_readings(path, contract, Decoder(contract)) for path in paths]
    return Topic(contract, topic.name, files, encoder)


def publish_timed(topics: list[Topic], topic: TestTopic, **more: Any) -> tuple[Published, float]:
    started = time.monotonic()
    outcome = publish(topics, topic.config, **more)
    return outcome, time.monotonic() - started


def test_everything_arrives_keyed_and_in_order(tmp_path: Path, topic: TestTopic) -> None:
    frame = readings(60, 200)
    frame.write_parquet(tmp_path / "grid.meter.v1.parquet")
    told: dict[str, int] = defaultdict(int)

    def progress(name: str, rows: int) -> None:
        told[name] += rows

    outcome = publish([of(tmp_path, topic)], topic.config, progress=progress)
    assert dict(outcome.delivered) == told == {topic.name: 12_000}
    assert not outcome.skipped
    messages = topic.messages(12_000)
    decoded = Decoder(METER, LocalRegistry().by_id).decode(
        [message.key() for message in messages], [message.value() for message in messages]
    )
    assert not decoded.dead
    assert len({message.partition() for message in messages}) == 3
    # A meter's readings are in one partition, in their order.
    for meter, of_meter in decoded.frame.drop("_row").group_by("meter_id", maintain_order=True):
        assert of_meter.equals(frame.filter(pl.col("meter_id") == meter[0]))


def test_a_full_queue_waits(tmp_path: Path, topic: TestTopic) -> None:
    readings(50, 100).write_parquet(tmp_path / "grid.meter.v1.parquet")
    topic.config |= {"queue.buffering.max.messages": 10, "linger.ms": 1}
    outcome = publish([of(tmp_path, topic)], topic.config)
    assert outcome.delivered[topic.name] == 5000


def test_rows_that_do_not_fit_are_counted(tmp_path: Path, topic: TestTopic) -> None:
    lines = [{"meter_id": f"m{number}", "time": number, "import_kwh": 1.0, "quality": 0} for number in range(4)]
    lines[2]["quality"] = "good"
    (tmp_path / "grid.meter.v1.ndjson").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    outcome = publish([of(tmp_path, topic, encoder=JsonEncoder(METER))], topic.config)
    assert (outcome.delivered[topic.name], outcome.skipped[topic.name]) == (3, 1)
    assert "quality" in outcome.first_reason[topic.name]
    values = [orjson.loads(message.value() or b"") for message in topic.messages(3)]
    assert sorted(value["meter_id"] for value in values) == ["m0", "m1", "m3"]


def test_a_refused_message_is_an_error(tmp_path: Path, topic: TestTopic) -> None:
    readings(1, 1).write_parquet(tmp_path / "grid.meter.v1.parquet")
    wanted = of(tmp_path, topic)
    with pytest.raises(PublishError, match=r"no-such-topic: not delivered: .*[Uu]nknown"):
        publish(
            [Topic(METER, "no-such-topic", wanted.files, ENCODER)],
            {**topic.config, "message.timeout.ms": 5000, "topic.metadata.propagation.max.ms": 1000},
        )


def test_files_go_out_together_by_time(tmp_path: Path, services: Services) -> None:
    topic = TestTopic(services.kafka_bootstrap)
    folder = tmp_path / "grid.meter.v1"
    folder.mkdir()
    for name in "ab":
        readings(200, 150, prefix=name).write_parquet(folder / f"{name}.parquet")
    publish([of(tmp_path, topic, encoder=JsonEncoder(METER))], topic.config)
    newest: dict[str, str] = {"a": "", "b": ""}
    for message in topic.messages(60_000):
        row = orjson.loads(message.value() or b"")
        newest[row["meter_id"][0]] = row["time"]
        if newest["a"] and newest["b"]:
            times = pl.Series(list(newest.values())).str.to_datetime(time_zone="UTC")
            # Chunks of 10,000 rows are 50 readings of all meters.
            assert abs(times[0] - times[1]) <= timedelta(minutes=15 * 51)


def test_reference_data_goes_first_and_is_not_held_back(tmp_path: Path, topic: TestTopic) -> None:
    network = TestTopic(topic.config["bootstrap.servers"])
    readings(1, 2).write_parquet(tmp_path / "grid.meter.v1.parquet")
    rows = [
        {"element_id": f"T{number}", "kind": "PowerTransformer", "valid_from": moment}
        for number, moment in enumerate(readings(1, 2000)["time"])
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "grid.network.v1.parquet")
    topics = [of(tmp_path, topic), of(tmp_path, network, NETWORK, JsonEncoder(NETWORK))]
    outcome, seconds = publish_timed(topics, topic, speed=900.0)
    assert outcome.delivered == {topic.name: 2, network.name: 2000}
    assert seconds < 20
    last = read_topic(topic.config["bootstrap.servers"], network.name, 2000)[-1].timestamp()[1]
    assert last <= min(message.timestamp()[1] for message in topic.messages(2))


def test_a_multiple_of_real_time(tmp_path: Path, topic: TestTopic) -> None:
    # Five readings in an hour; two files, the second of which begins half way.
    folder = tmp_path / "grid.meter.v1"
    folder.mkdir()
    frame = readings(1, 5)
    frame.with_columns(received_time=None).write_parquet(folder / "a.parquet")
    readings(1, 3, first=2, prefix="n").write_parquet(folder / "b.parquet")
    outcome, seconds = publish_timed([of(tmp_path, topic)], topic, speed=1800.0)
    assert outcome.delivered[topic.name] == 8
    assert 2.0 <= seconds < 8.0
    times = sorted(message.timestamp()[1] for message in topic.messages(8))
    assert 1900 <= times[-1] - times[0] <= 4000
    assert 400 <= times[1] - times[0] <= 1500
