"""A Kafka consumer with its errors: those that librdkafka cures by itself, and those that nothing cures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from connectors.errors import SourceError

log = logging.getLogger(__name__)

T = TypeVar("T")

# Kafka errors that waiting does not cure.
_HOPELESS = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)

# Answers of a cluster that is starting, or electing: another moment helps.
_TRANSIENT = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._WAIT_COORD,
    }
)

_SAY_AGAIN_SECONDS = 10.0


class Connection:
    """A consumer, and what it says besides messages.

    Args:
        config: librdkafka settings.
        topic: what it is for.
        partition: the same; None for the topic as a whole.
    """

    def __init__(self, config: dict[str, Any], topic: str, partition: int | None) -> None:
        self._config = config
        self._what = topic if partition is None else f"{topic}, partition {partition}"
        self._last: KafkaError | None = None
        self._hopeless: KafkaError | None = None
        self._said = float("-inf")
        self.at = TopicPartition(topic, partition or 0)
        self.consumer = Consumer({**config, "error_cb": self._on_error, "on_commit": self._on_commit}, logger=log)

    def partitions(self, timeout: float) -> int:
        """How many partitions the topic has.

        Raises:
            SourceError: the brokers cannot be reached, refuse, or do not have the topic.
        """
        try:
            found = self.consumer.list_topics(self.at.topic, timeout=timeout).topics[self.at.topic]
        except KafkaException as error:
            raise self.error(error) from None
        if found.error is not None:
            raise self.error(KafkaException(found.error))
        return len(found.partitions)

    def error(self, error: KafkaException) -> SourceError:
        """The error to raise; an earlier refusal says more than the time-out that follows from it."""
        reason = error.args[0]
        if reason.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT):
            self.consumer.consume(100, timeout=0.1)  # serves the callbacks
            reason = self._hopeless or self._last or reason
        self.consumer.close()
        return source_error(self._what, self._config, reason.str())

    def check(self) -> None:
        """Raise what librdkafka reported in the meantime and cannot cure."""
        if self._hopeless is not None:
            raise source_error(self._what, self._config, self._hopeless.str())

    def report(self, error: KafkaError) -> None:
        """Log an error that librdkafka retries, or raise one that it cannot."""
        self._on_error(error)
        self.check()

    def _on_error(self, error: KafkaError) -> None:
        self._last = error
        if error.code() in _HOPELESS or error.fatal():
            self._hopeless = error
            return
        now = time.monotonic()
        if now - self._said >= _SAY_AGAIN_SECONDS:
            self._said = now
            log.warning("%s: %s (retrying)", self._what, error.str())

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        reasons = [error] if error is not None else [entry.error for entry in offsets if entry.error]
        if reasons:
            log.warning("%s: offset not committed to the group: %s", self._what, reasons[0])


def patiently(ask: Callable[[], T], timeout: float) -> T:
    """The answer of a cluster, asked again for ``timeout`` seconds while it says that it is not ready.

    Raises:
        KafkaException: it refuses, or is still not ready.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _TRANSIENT or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


def source_error(what: str, config: Mapping[str, object], reason: object) -> SourceError:
    """An error that names the brokers, and no other setting.

    Args:
        what: what failed, with topic and partition.
        config: the client's.
        reason: why.
    """
    return SourceError(f"{what} at {config.get('bootstrap.servers')}: {reason}")
