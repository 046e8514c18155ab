"""Kafka clients and their errors: those that librdkafka cures by itself, and those that nothing cures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

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


class _ClientLog:
    """What librdkafka says goes to the log for those who look for it, not raw to stderr.

    It calls an error what it is going to try again, a hundred times while a broker is away; what matters of it comes
    as an error to ``Troubles``, too.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("librdkafka")

    def log(self, level: int, message: str, *arguments: object) -> None:
        self._log.log(level if level >= logging.CRITICAL else logging.DEBUG, message, *arguments)


CLIENT_LOG: Any = _ClientLog()
"""The ``logger`` of every client."""


class Troubles:
    """The errors that a client reports beside its work: its ``error_cb``.

    Args:
        what: what the client is for, with topic or brokers; None: what is retried is not worth a word.

    Attributes:
        hopeless: an error that waiting does not cure.
    """

    def __init__(self, what: str | None) -> None:
        self._what = what
        self._last: KafkaError | None = None
        self._said = float("-inf")
        self.hopeless: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """Keep an error in mind; log it if it is retried, but not too often."""
        if error.code() in _HOPELESS or error.fatal():
            self.hopeless = error
            return
        # That all brokers are down is said after each of them has said why.
        if self._last is None or error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last = error
        now = time.monotonic()
        if self._what is not None and now - self._said >= _SAY_AGAIN_SECONDS:
            self._said = now
            log.warning("%s: %s (retrying)", self._what, error.str())

    def cause(self, error: KafkaError) -> KafkaError:
        """The error to show: an earlier refusal says more than the time-out that follows from it."""
        if error.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._MSG_TIMED_OUT):
            return self.hopeless or self._last or error
        return error


@contextmanager
def admin_client(config: Mapping[str, Any]) -> Iterator[AdminClient]:
    """An admin client, whose errors name the brokers and the cause.

    Args:
        config: librdkafka settings.

    Raises:
        SourceError: a request failed.
    """
    troubles = Troubles(None)
    settings: dict[str, Any] = {**config, "error_cb": troubles}
    admin = AdminClient(settings, logger=CLIENT_LOG)
    try:
        yield admin
    except KafkaException as error:
        admin.poll(0.1)  # serves the callbacks
        raise source_error("Kafka", config, troubles.cause(error.args[0]).str()) from None


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
        self._troubles = Troubles(self._what)
        self.at = TopicPartition(topic, partition or 0)
        callbacks = {"error_cb": self._troubles, "on_commit": self._on_commit}
        self.consumer = Consumer({**config, **callbacks}, logger=CLIENT_LOG)

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
        """The error to raise, with its cause."""
        reason = error.args[0]
        self.consumer.consume(100, timeout=0.1)  # serves the callbacks
        self.consumer.close()
        return source_error(self._what, self._config, self._troubles.cause(reason).str())

    def check(self) -> None:
        """Raise what librdkafka reported in the meantime and cannot cure."""
        if self._troubles.hopeless is not None:
            raise source_error(self._what, self._config, self._troubles.hopeless.str())

    def report(self, error: KafkaError) -> None:
        """Log an error that librdkafka retries, or raise one that it cannot."""
        self._troubles(error)
        self.check()

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
