"""Topics on the real Kafka, filled and read back, for tests."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.batch import Batch
from connectors.decode import Decoder
from connectors.kafka_part import KafkaPart
from connectors.kafka_source import KafkaSource
from schemas.encode import Encoder
from schemas.registry import LocalRegistry
from tests.connectors.gates import OpenGate
from tests.connectors.readings import METER

ENCODER = Encoder(METER, LocalRegistry().id_of(METER))


class TestTopic:
    """A new topic with a name of its own, and a consumer group with the same name."""

    __test__ = False

    def __init__(self, bootstrap: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        self.config: dict[str, Any] = {"bootstrap.servers": bootstrap}
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.admin = AdminClient(self.config)
        new = NewTopic(self.name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self.admin.create_topics([new])[self.name].result()

    def put(self, frame: pl.DataFrame, partition: int = 0) -> None:
        """Publish readings to one partition."""
        bodies = ENCODER.encode(frame)
        self.put_raw(list(zip(frame["meter_id"].to_list(), bodies, strict=True)), partition)

    def put_raw(
        self, messages: Sequence[tuple[Any, Any]], partition: int = 0, *, transaction: str | None = None
    ) -> None:
        """Publish keys and values as they are, in a transaction if one is named."""
        producer = Producer({**self.config, **({"transactional.id": transaction} if transaction else {})})
        if transaction:
            producer.init_transactions()
            producer.begin_transaction()
        for key, value in messages:
            producer.produce(self.name, value, key, partition)
        if transaction:
            producer.commit_transaction()
        assert producer.flush(30) == 0

    def source(self, **more: Any) -> KafkaSource:
        """A source of the topic."""
        arguments: dict[str, Any] = {
            "topic": self.name,
            "group_id": self.name,
            "decoder": lambda: Decoder(METER),
            "gate": lambda _topic, _partition: OpenGate(),
            "idle_after": 1.0,
            "timeout": 20.0,
            **more,
        }
        return KafkaSource(self.config, METER, **arguments)

    def part(self, state: Any = None, partition: int = 0, **more: Any) -> KafkaPart:
        """A source's part."""
        return self.source(**more).build_part("step", f"{METER.topic}/{partition}", state)

    def committed(self, partition: int = 0) -> int:
        """The group's offset, negative if there is none."""
        consumer = Consumer({**self.config, "group.id": self.name})
        found = consumer.committed([TopicPartition(self.name, partition)], 20)[0].offset
        consumer.close()
        return int(found)

    def delete_before(self, offset: int, partition: int = 0) -> None:
        """Delete messages, as retention does."""
        for future in self.admin.delete_records([TopicPartition(self.name, partition, offset)]).values():
            future.result()

    def messages(self, count: int) -> list[Message]:
        """So many messages of the topic, partition by partition."""
        return read_topic(self.config["bootstrap.servers"], self.name, count)


def read_topic(bootstrap: str, topic: str, count: int) -> list[Message]:
    """So many messages of a topic, partition by partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex})
    partitions = consumer.list_topics(topic, 20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found: list[Message] = []
    deadline = time.monotonic() + 30
    while len(found) < count:
        assert time.monotonic() < deadline, f"{topic}: {len(found)} messages instead of {count}"
        found += consumer.consume(count - len(found), timeout=0.5)
    consumer.close()
    assert all(message.error() is None for message in found)
    return sorted(found, key=lambda message: (message.partition() or 0, message.offset() or 0))


def poll(part: KafkaPart, until: Callable[[list[Batch]], bool], seconds: float = 20.0) -> list[Batch]:
    """Ask a part as Bytewax does, until what has come is enough."""
    found: list[Batch] = []
    deadline = time.monotonic() + seconds
    while not until(found):
        assert time.monotonic() < deadline, f"not within {seconds} s; came: {found}"
        found += part.next_batch()
        awake = part.next_awake()
        if awake is not None:
            time.sleep(max(0.0, awake.timestamp() - time.time()))
    return found


def taken(count: int) -> Callable[[list[Batch]], bool]:
    """Whether so many messages have come."""
    return lambda batches: sum(batch.taken for batch in batches) >= count


def offsets(batches: list[Batch]) -> list[int]:
    """The offsets of the accepted rows."""
    return [offset for batch in batches for offset in batch.frame["_offset"].to_list()]
