"""The Kafka sinks on a real Kafka: rows and letters, read back with an ordinary consumer."""

from __future__ import annotations

import io
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import fastavro
import polars as pl
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from structlog.testing import capture_logs

from ops.services import Services
from schemas.encode import Encoder
from sinks.errors import SinkError, SinkStoppedError
from sinks.kafka import KafkaFrameSink
from sinks.letters import HEADER_OF_COLUMN, LATE_SUFFIX, LetterSink
from sinks.outbox import Outbox
from tests.sinks.frames import ENERGY, LOSS, energy, letters, loss

MakeTopic = Callable[..., str]


@pytest.fixture
def config(services: Services) -> dict[str, Any]:
    return {"bootstrap.servers": services.kafka_bootstrap}


@pytest.fixture
def topic(config: dict[str, Any]) -> MakeTopic:
    admin = AdminClient(config)

    def made(name: str = "", partitions: int = 3, **settings: str) -> str:
        name = name or f"t-{uuid.uuid4().hex[:12]}"
        options = {key.replace("_", "."): value for key, value in settings.items()}
        (future,) = admin.create_topics([NewTopic(name, partitions, 1, config=options)]).values()
        future.result(30)
        return name

    return made


def consume(config: dict[str, Any], topic: str) -> list[Message]:
    """Everything in a topic, partition by partition."""
    consumer = Consumer({**config, "group.id": "test", "enable.auto.commit": False})
    messages: list[Message] = []
    for number in consumer.list_topics(topic, 30).topics[topic].partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), 30)
        consumer.assign([TopicPartition(topic, number, 0)])
        taken = 0
        while taken < end:
            message = consumer.poll(30)
            assert message is not None
            assert message.error() is None
            messages.append(message)
            taken += 1
    consumer.close()
    return messages


def decode(message: Message) -> dict[str, Any]:
    value = message.value()
    assert isinstance(value, bytes)
    assert value[:5] == b"\x00\x00\x00\x00\x2a"
    row = fastavro.schemaless_reader(io.BytesIO(value[5:]), ENERGY.wire, None)
    assert isinstance(row, dict)
    return row


def sink(config: dict[str, Any], topic: str, **options: Any) -> KafkaFrameSink:
    return KafkaFrameSink(config, topic, ENERGY, Encoder(ENERGY, 42), **options)


def test_rows_arrive_whole_keyed_and_in_order(config: dict[str, Any], topic: MakeTopic) -> None:
    name = topic()
    part = sink(config, name).build_part("out", "0", None)
    frame = energy((f"m{number % 20}", number // 20, revision) for revision in (1, 2) for number in range(2_000))
    for piece in frame.iter_slices(1_100):
        part.write_batch([piece])
    part.snapshot()
    messages = consume(config, name)
    part.close()
    rows = [decode(message) for message in messages]
    assert [message.key() for message in messages] == [row["meter_id"].encode() for row in rows]
    back = pl.DataFrame(rows, schema=ENERGY.polars)
    order = [*ENERGY.identity, "revision"]
    assert back.sort(order).equals(frame.sort(order))
    partition_of: dict[str, set[int | None]] = {}
    last: dict[tuple[str, Any], int] = {}
    for message, row in zip(messages, rows, strict=True):
        partition_of.setdefault(row["meter_id"], set()).add(message.partition())
        identity = row["meter_id"], row["window_start"]
        assert last.get(identity, 0) < row["revision"]
        last[identity] = row["revision"]
    assert all(len(partitions) == 1 for partitions in partition_of.values())
    assert len(set.union(*partition_of.values())) == 3


def test_all_is_delivered_when_a_snapshot_returns(config: dict[str, Any], topic: MakeTopic) -> None:
    name = topic()
    part = sink({**config, "linger.ms": 60_000}, name).build_part("out", "0", None)
    part.write_batch([energy([("a", 0, 1)])])
    assert consume(config, name) == []  # no flush per batch
    part.snapshot()
    assert len(consume(config, name)) == 1
    part.write_batch([energy([("b", 0, 1)])])
    part.close()
    assert len(consume(config, name)) == 2


def test_more_rows_than_the_queue_holds(config: dict[str, Any], topic: MakeTopic) -> None:
    name = topic()
    part = sink({**config, "queue.buffering.max.messages": 100}, name).build_part("out", "0", None)
    part.write_batch([energy((f"m{number}", 0, 1) for number in range(5_000))])
    part.close()
    assert len({message.key() for message in consume(config, name)}) == 5_000


def test_a_message_that_the_broker_refuses_is_an_error(config: dict[str, Any], topic: MakeTopic) -> None:
    name = topic(max_message_bytes="200")
    part = KafkaFrameSink(config, name, LOSS, Encoder(LOSS, 1)).build_part("out", "0", None)
    part.write_batch([loss(element_id="".join(uuid.uuid4().hex for _ in range(50)))])  # hard to compress
    with pytest.raises(SinkError, match=f"Kafka topic {name}: .*[Mm]essage size too large"):
        part.snapshot()


def test_a_message_that_the_client_refuses_is_an_error(config: dict[str, Any], topic: MakeTopic) -> None:
    name = topic()
    part = sink({**config, "message.max.bytes": 1_000}, name).build_part("out", "0", None)
    with pytest.raises(SinkError, match=f"Kafka topic {name}: .*too large"):
        part.write_batch([energy([("m" * 2_000, 0, 1)])])


def test_a_topic_that_does_not_exist_is_an_error(config: dict[str, Any]) -> None:
    name = f"no-{uuid.uuid4().hex}"
    quick = {"allow.auto.create.topics": False, "topic.metadata.propagation.max.ms": 500}
    part = sink({**config, **quick}, name).build_part("out", "0", None)
    part.write_batch([energy([("a", 0, 1), ("b", 0, 1)])])
    with pytest.raises(SinkError, match=f"Kafka topic {name}: .*[Uu]nknown topic"):
        part.snapshot()


def test_settings_that_are_none_are_an_error_at_the_start() -> None:
    with pytest.raises(SinkError, match=r"Kafka producer settings: .*no.such"):
        Outbox({"bootstrap.servers": "127.0.0.1:1", "no.such": 1})


def test_while_no_broker_answers_it_waits_and_says_so() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    started = time.monotonic()
    outbox = Outbox(
        {"bootstrap.servers": address},
        should_stop=lambda: time.monotonic() - started > 1.5,
        stop_grace_seconds=0,
        log_every_seconds=0.4,
    )
    outbox.send("somewhere", [(b"k", b"v")])
    with capture_logs() as logs, pytest.raises(SinkStoppedError, match=f"{address}: stopped with 1 message"):
        outbox.flush()
    assert 2 <= len(logs) <= 4
    assert logs[-1]["brokers"] == address
    assert logs[-1]["waiting_messages"] == 1
    assert "refused" in logs[-1]["last_error"] or "down" in logs[-1]["last_error"]


def test_a_full_queue_waits_for_the_broker_too() -> None:
    started = time.monotonic()
    outbox = Outbox(
        {"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.messages": 10},
        should_stop=lambda: time.monotonic() - started > 0.5,
        stop_grace_seconds=0,
    )
    with pytest.raises(SinkStoppedError, match="stopped with 10 messages"):
        outbox.send("somewhere", [(b"k", b"v")] * 11)


def test_a_broker_that_goes_and_comes_back_gets_everything_once(
    services: Services, config: dict[str, Any], topic: MakeTopic
) -> None:
    name = topic()
    part = sink(config, name).build_part("out", "0", None)
    part.write_batch([energy([("m0", 0, 1)])])
    part.snapshot()
    services.stop("kafka")
    part.write_batch([energy((f"m{number}", 0, 1) for number in range(1, 500))])
    flushing = threading.Thread(target=part.snapshot)
    try:
        flushing.start()
        flushing.join(1.0)
        assert flushing.is_alive()
    finally:
        services.start("kafka")
    flushing.join(90)
    assert not flushing.is_alive()
    part.close()
    keys = [message.key() for message in consume(config, name)]
    assert sorted(map(repr, keys)) == sorted(repr(f"m{number}".encode()) for number in range(500))


@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_dataflow_several_producers_share_the_rows(config: dict[str, Any], topic: MakeTopic, workers: int) -> None:
    name = topic()
    items = [(f"shard {number % 4}", energy([(f"m{number}", 0, 1)])) for number in range(40)]
    flow = Dataflow("test")
    stream = op.input("in", flow, TestingSource(items))
    op.output("out", stream, sink(config, name, partitions=workers))
    run_main(flow, epoch_interval=timedelta(0))
    assert len(consume(config, name)) == 40


LETTERS: list[dict[str, Any]] = [
    {
        "topic": "grid.meter.v1",
        "partition": 3,
        "offset": 2**40,
        "stage": "decode",
        "error_class": "ShortMessage",
        "error_message": "Länge 3",
        "schema_id": 17,
        "key": b"\xff\x00",
        "value": b"\x00\x00\n",
    },
    {
        "topic": "grid.network.v1",
        "partition": 0,
        "offset": 0,
        "stage": "validate",
        "error_class": "EmptyId",
        "error_message": "element_id is empty",
        "schema_id": None,
        "key": None,
        "value": b"{}",
    },
]


@pytest.mark.parametrize("suffix", [".dlq", LATE_SUFFIX])
def test_letters_keep_key_and_value_and_say_why(config: dict[str, Any], topic: MakeTopic, suffix: str) -> None:
    prefix = f"p{uuid.uuid4().hex[:8]}."
    names = [topic(prefix + letter["topic"] + suffix) for letter in LETTERS]
    part = LetterSink(config, suffix, topic_prefix=prefix).build_part("out", "0", None)
    part.write_batch([letters([]), letters(LETTERS)])
    part.snapshot()
    part.close()
    (first,), (second,) = (consume(config, name) for name in names)
    assert (first.key(), first.value()) == (b"\xff\x00", b"\x00\x00\n")
    assert first.headers() == [
        ("gridflow.topic", b"grid.meter.v1"),
        ("gridflow.partition", b"3"),
        ("gridflow.offset", b"1099511627776"),
        ("gridflow.stage", b"decode"),
        ("gridflow.error.class", b"ShortMessage"),
        ("gridflow.error.message", "Länge 3".encode()),
        ("gridflow.schema.id", b"17"),
    ]
    assert (second.key(), second.value()) == (None, b"{}")
    expected = [name for name in HEADER_OF_COLUMN.values() if name != "gridflow.schema.id"]
    assert list(dict(second.headers() or [])) == expected


def test_a_tombstone_stays_one(config: dict[str, Any], topic: MakeTopic) -> None:
    prefix = f"p{uuid.uuid4().hex[:8]}."
    name = topic(prefix + "grid.meter.v1.dlq")
    part = LetterSink(config, topic_prefix=prefix).build_part("out", "0", None)
    part.write_batch([letters([LETTERS[0] | {"value": None}])])
    part.close()
    (message,) = consume(config, name)
    assert message.value() is None
