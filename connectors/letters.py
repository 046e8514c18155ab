"""Dead letters read back from their topics, and put back on the topic they came from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.framing import SCHEMA_ID_HEADER, parse_reference
from connectors.kafka_client import CLIENT_LOG, Troubles, patiently, source_error

DEAD_SUFFIX = ".dlq"
REPLAYED_HEADER = "gridflow.replayed"
_OWN = "gridflow."
_TIMEOUT_SECONDS = 30.0

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on a dead-letter topic.

    Attributes:
        topic: the dead-letter topic.
        partition: its partition there.
        offset: its offset there.
        time_ms: when it was written there, ms since 1970.
        key: the original key.
        value: the original value.
        headers: all headers.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def header(self, name: str) -> str:
        """A header of gridflow's own by its short name (``stage``, ``error.class``); empty if missing."""
        value = dict(self.headers).get(_OWN + name)
        return "" if value is None else value.decode(errors="replace")

    def replay_headers(self) -> Headers:
        """The headers to publish it again with: where it was taken from, and what is needed to decode it."""
        headers = [(name, value) for name, value in self.headers if not name.startswith(_OWN)]
        schema_id = self.header("schema.id")
        if schema_id.isdigit() and SCHEMA_ID_HEADER not in dict(headers):
            # The id came in a header if the value does not begin with it.
            reference = b"\x00" + int(schema_id).to_bytes(4, "big")
            if parse_reference(self.value or b"") != int(schema_id):
                headers.append((SCHEMA_ID_HEADER, reference))
        return [*headers, (REPLAYED_HEADER, f"{self.topic}/{self.partition}/{self.offset}".encode())]


class LetterReader:
    """Reads topics of letters from one end to the other.

    Args:
        config: librdkafka settings.
        group_id: the consumer group that keeps how far letters have been replayed.
    """

    def __init__(self, config: Mapping[str, Any], group_id: str) -> None:
        self._config = config
        self._troubles = Troubles(None)
        self._consumer = Consumer(
            {
                **config,
                "error_cb": self._troubles,
                "group.id": group_id,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            },
            logger=CLIENT_LOG,
        )

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def ends(self, topic: str) -> dict[int, tuple[int, int]]:
        """First offset and end of each partition; empty if there is no such topic.

        Raises:
            SourceError: the brokers cannot be reached or refuse.
        """
        try:
            return patiently(lambda: self._ends(topic), _TIMEOUT_SECONDS)
        except KafkaException as error:
            self._consumer.poll(0.1)  # serves the callbacks
            raise source_error(topic, self._config, self._troubles.cause(error.args[0]).str()) from None

    def _ends(self, topic: str) -> dict[int, tuple[int, int]]:
        found = self._consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        if found.error is not None:
            if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return {}
            raise KafkaException(found.error)
        parts = [TopicPartition(topic, number) for number in sorted(found.partitions)]
        return {part.partition: self._consumer.get_watermark_offsets(part, timeout=_TIMEOUT_SECONDS) for part in parts}

    def read(self, topic: str, ranges: Mapping[int, tuple[int, int]]) -> Iterator[Letter]:
        """The letters of a topic, per partition from an offset up to, not including, another.

        Raises:
            SourceError: the brokers do not answer.
        """
        open_parts = {number: end for number, (start, end) in ranges.items() if start < end}
        self._consumer.assign([TopicPartition(topic, number, ranges[number][0]) for number in open_parts])
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while open_parts:
            # It waits for all of them, or for the time to pass.
            messages = self._consumer.consume(1000, timeout=0.2)
            if messages:
                deadline = time.monotonic() + _TIMEOUT_SECONDS
            elif time.monotonic() > deadline:
                raise source_error(topic, self._config, f"no answer for {_TIMEOUT_SECONDS:g} s")
            for message in messages:
                number = message.partition()
                assert number is not None
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise source_error(topic, self._config, error.str())
                offset = message.offset() or 0
                if error is None and number in open_parts and offset < open_parts[number]:
                    yield _letter(message)
                if offset + (error is None) >= open_parts.get(number, offset + 2):
                    del open_parts[number]
        self._consumer.unassign()

    def replayed(self, topic: str, partitions: int) -> dict[int, int]:
        """How far the letters of each partition have been replayed; without those of which none has."""
        parts = [TopicPartition(topic, number) for number in range(partitions)]
        found = patiently(lambda: self._consumer.committed(parts, _TIMEOUT_SECONDS), _TIMEOUT_SECONDS)
        return {part.partition: part.offset for part in found if part.offset >= 0}

    def set_replayed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Note how far the letters have been replayed."""
        parts = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        if parts:
            self._consumer.commit(offsets=parts, asynchronous=False)


def _letter(message: Message) -> Letter:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    # Of pairs, though the stubs admit a dict too: that is for producing.
    headers = cast("Headers", message.headers() or [])
    return Letter(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), headers)
