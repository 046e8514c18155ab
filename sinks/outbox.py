"""A Kafka producer that reports every failure and waits for an absent broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.kafka_client import CLIENT_LOG
from sinks.errors import SinkError, SinkStoppedError
from sinks.metrics import SINK_RETRIES

Header = tuple[str, str | bytes | None]

_log = structlog.get_logger(__name__)

_DEFAULTS: dict[str, Any] = {
    # Java's partitioner, so that a key finds the same partition whoever writes it.
    "partitioner": "murmur2_random",
    "compression.type": "lz4",
    "linger.ms": 20,
}
_FIXED: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # No time limit: while the brokers are away messages wait in the queue, and behind a full queue the flow.
    "message.timeout.ms": 0,
    # Reports are asked for of every message; of those delivered none has to travel up to Python.
    "delivery.report.only.error": True,
}
_HOPELESS = (KafkaError._AUTHENTICATION, KafkaError.TOPIC_AUTHORIZATION_FAILED)


def never() -> bool:
    """A stop that is never asked for."""
    return False


class Outbox:
    """Sends messages; ``flush`` returns when all of them are acknowledged by all in-sync replicas.

    Args:
        config: librdkafka settings; secrets in it are never shown.
        should_stop: whether a stop was asked for.
        stop_grace_seconds: after a stop was asked for, how long to wait for an absent broker still.
        log_every_seconds: how often to say that it waits.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        should_stop: Callable[[], bool] = never,
        stop_grace_seconds: float = 5.0,
        log_every_seconds: float = 10.0,
    ) -> None:
        self._brokers = str(config.get("bootstrap.servers", ""))
        self._should_stop = should_stop
        self._stop_grace = stop_grace_seconds
        self._log_every = log_every_seconds
        self._failures: list[str] = []
        self._trouble = ""
        self._sent = 0  # since all was last known to be delivered
        callbacks = {"on_delivery": self._on_delivery, "error_cb": self._on_error}
        try:
            self._producer = Producer({**_DEFAULTS, **config, **_FIXED, **callbacks}, logger=CLIENT_LOG)
        except KafkaException as error:
            raise SinkError(f"Kafka producer settings: {error.args[0].str()}") from None

    def send(
        self,
        topic: str,
        messages: Iterable[tuple[bytes | None, bytes | None]],
        headers: list[list[Header]] | None = None,
    ) -> None:
        """Queue messages (key, value), waiting where the queue is full.

        Raises:
            SinkError: an earlier message was refused, or one of these is (too large).
            SinkStoppedError: a stop was asked for while the queue was full.
        """
        produce = self._producer.produce
        for number, (key, value) in enumerate(messages):
            extra = None if headers is None else headers[number]
            while True:
                try:
                    produce(topic, value, key, headers=extra)
                    self._sent += 1
                    break
                except BufferError:
                    self._make_room()
                except KafkaException as error:
                    raise SinkError(f"Kafka topic {topic}: {error.args[0].str()} (key {key!r})") from None
        self._producer.poll(0)
        self._raise_failures()

    def flush(self) -> None:
        """Wait until everything sent is delivered.

        Raises:
            SinkError: a message could not be delivered.
            SinkStoppedError: a stop was asked for while the brokers were away.
        """
        self._wait(lambda: self._producer.flush(0.2) == 0)
        self._sent = 0

    @property
    def _undelivered(self) -> int:
        # The producer's length counts events beside the messages: errors and log lines that nobody has served yet.
        return min(self._sent, len(self._producer))

    def _make_room(self) -> None:
        full = len(self._producer)

        def has_room() -> bool:
            self._producer.poll(0.05)
            return len(self._producer) < full

        self._wait(has_room)

    def _wait(self, done: Callable[[], bool]) -> None:
        started = said = time.monotonic()
        while not done():
            self._raise_failures()
            now = time.monotonic()
            if now - said >= self._log_every:
                said = now
                SINK_RETRIES.labels("kafka").inc()
                _log.warning(
                    "kafka: waiting for delivery",
                    brokers=self._brokers,
                    waiting_messages=self._undelivered,
                    seconds=round(now - started, 1),
                    last_error=self._trouble,
                )
            if self._should_stop() and now - started >= self._stop_grace:
                left = self._undelivered
                self._producer.purge()  # or the end of the process would go on waiting for them
                raise SinkStoppedError(f"Kafka {self._brokers}: stopped with {left} messages undelivered")
        self._raise_failures()

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(f"Kafka topic {message.topic()}: {error.str()}")

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = error.str()
        if error.fatal() or error.code() in _HOPELESS:
            self._failures.append(f"Kafka {self._brokers}: {error.str()}")

    def _raise_failures(self) -> None:
        if self._failures:
            more = f" (and {len(self._failures) - 1} more)" if len(self._failures) > 1 else ""
            raise SinkError(self._failures[0] + more)
