"""A Kafka topic as a Bytewax source of columnar batches.

Each partition has a consumer of its own, assigned, not subscribed: Bytewax says which worker reads what, and its
recovery store says from where. Messages are taken by the thousands and decoded in blocks, so that the cost of a
reading is that of taking its key and value out of librdkafka.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.assemble import Assembler, Offsets
from connectors.batch import Batch, GateFactory
from connectors.decode import Decoder
from connectors.errors import SourceError
from connectors.kafka_offsets import (
    GroupCommitter,
    OnLostOffset,
    available_offset,
    patiently,
    source_error,
    start_offset,
)
from connectors.stopping import stop_requested
from schemas import Contract

log = logging.getLogger(__name__)

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

# Messages are held back this long for a batch to fill up while more are on their way: small frames are dear.
_LINGER_SECONDS = 0.02
_WAIT_FOR_MORE = timedelta(milliseconds=2)
_PREFETCH_KILOBYTES = 256 * 1024
_IDLE_CHECK_SECONDS = 1.0
_SAY_AGAIN_SECONDS = 10.0


class KafkaState(TypedDict):
    """Where the reading of one partition stands: the next offset, and the gate's state."""

    next_offset: int
    gate: Any


class KafkaSource(FixedPartitionedSource[Batch, KafkaState]):
    """The messages of one topic. Parts are named ``<topic>/<partition>``.

    Args:
        config: librdkafka settings, such as ``bootstrap.servers`` and those of TLS and SASL.
        contract: the topic's.
        topic: the topic's name on this cluster; by default that of the contract.
        group_id: consumer group to which offsets are committed.
        start: where to begin without a stored offset: earliest, latest, committed, or an ISO 8601 time.
        on_lost_offset: what to do when stored messages are gone: "error" or "jump".
        batch_messages: most messages in a batch.
        poll_interval: seconds until a drained partition is asked again.
        idle_after: seconds of silence after which a drained partition holds nobody back.
        decoder: makes a part's decoder.
        gate: makes the gate of (topic, partition).
        keep_raw: whether frames carry ``_key`` and ``_value``.
        timeout: seconds to wait for the broker's answers at the start.
    """

    def __init__(
        self,
        config: dict[str, Any],
        contract: Contract,
        *,
        group_id: str,
        decoder: Callable[[], Decoder],
        gate: GateFactory,
        topic: str | None = None,
        start: str = "earliest",
        on_lost_offset: OnLostOffset = "error",
        batch_messages: int = 20_000,
        poll_interval: float = 0.05,
        idle_after: float = 60.0,
        keep_raw: bool = False,
        timeout: float = 30.0,
    ) -> None:
        self._config = config
        self._contract = contract
        self._topic = topic or contract.topic
        self._group_id = group_id
        self._start = start
        self._on_lost = on_lost_offset
        self._batch_messages = batch_messages
        self._poll_interval = timedelta(seconds=poll_interval)
        self._idle_after = idle_after
        self._decoder = decoder
        self._gate = gate
        self._keep_raw = keep_raw
        self._timeout = timeout
        self._lock = threading.Lock()  # the workers of a process share the source
        self._partitions: int | None = None

    def list_parts(self) -> list[str]:
        """One part per partition that the topic has now.

        Raises:
            SourceError: the brokers cannot be reached, refuse, or do not have the topic.
        """
        return [f"{self._contract.topic}/{number}" for number in range(self._count())]

    def build_part(self, step_id: str, for_part: str, resume_state: KafkaState | None) -> _KafkaPart:
        """Begin, or go on where a state was taken.

        Raises:
            SourceError: the brokers cannot be reached or refuse.
            LostOffsetError: the messages to go on with are gone.
        """
        del step_id
        partition = int(for_part.rpartition("/")[2])
        partitions = self._count()
        gate = self._gate(self._contract.topic, partition)
        if resume_state is not None:
            gate.restore(resume_state["gate"])
        connection = _Connection(self._consumer_config(partition, partitions), self._topic, partition)
        consumer, at = connection.consumer, connection.at

        def locate() -> tuple[int, int]:
            if resume_state is None:
                offset = start_offset(consumer, at, self._start, partitions, self._timeout)
            else:
                offset = resume_state["next_offset"]
            offset = available_offset(consumer, at, offset, self._on_lost, self._timeout)
            return offset, consumer.get_watermark_offsets(at, timeout=self._timeout)[1]

        try:
            offset, end = patiently(locate, self._timeout)
        except KafkaException as error:
            raise connection.error(error) from None
        log.info(
            "%s, partition %d of %d: reading from offset %d (%s), it ends at %d",
            self._topic, partition, partitions, offset,
            self._start if resume_state is None else "stored", end,
        )  # fmt: skip
        assembler = Assembler(self._contract, partition, partitions, gate, keep_raw=self._keep_raw)
        return _KafkaPart(
            connection, assembler, self._decoder(), offset, end, self._on_lost,
            self._batch_messages, self._poll_interval, self._idle_after, self._timeout,
        )  # fmt: skip

    def _count(self) -> int:
        with self._lock:
            if self._partitions is None:
                connection = _Connection(self._consumer_config(0, 1), self._topic, None)
                self._partitions = connection.partitions(self._timeout)
                connection.consumer.close()
            return self._partitions

    def _consumer_config(self, partition: int, partitions: int) -> dict[str, Any]:
        return {
            "client.id": f"gridflow-{self._topic}-{partition}",
            "log_level": 2,  # what it retries is logged by us, without flooding the log
            # librdkafka waits a second before it refills a full queue, which then runs dry.
            "fetch.queue.backoff.ms": 20,
            "queued.max.messages.kbytes": max(4096, _PREFETCH_KILOBYTES // partitions),
            **self._config,
            "group.id": self._group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }


class _Connection:
    """A consumer, and what it says besides messages."""

    def __init__(self, config: dict[str, Any], topic: str, partition: int | None) -> None:
        self._config = config
        self._what = topic if partition is None else f"{topic}, partition {partition}"
        self._last: KafkaError | None = None
        self._hopeless: KafkaError | None = None
        self._said = float("-inf")
        self.at = TopicPartition(topic, partition or 0)
        self.consumer = Consumer(
            {**config, "error_cb": self._on_error, "on_commit": self._on_commit}, logger=log
        )

    def partitions(self, timeout: float) -> int:
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


class _KafkaPart(StatefulSourcePartition[Batch, KafkaState]):
    def __init__(
        self,
        connection: _Connection,
        assembler: Assembler,
        decoder: Decoder,
        offset: int,
        end: int,
        on_lost: OnLostOffset,
        batch_messages: int,
        poll_interval: timedelta,
        idle_after: float,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._consumer = connection.consumer
        self._assembler = assembler
        self._decoder = decoder
        self._next = offset
        self._read_to = offset
        self._end = end
        self._on_lost = on_lost
        self._batch_messages = batch_messages
        self._poll_interval = poll_interval
        self._idle_after = idle_after
        self._timeout = timeout
        self._committer = GroupCommitter(self._consumer, connection.at.topic, connection.at.partition)
        self._held: list[Message] = []
        self._held_since = 0.0
        self._drained = False
        self._caught_up = False
        self._idle = False
        self._quiet_since = time.monotonic()
        self._pause: timedelta | None = None
        self._assign(offset)

    def next_batch(self) -> Sequence[Batch]:
        self._committer.epoch_passed()
        if stop_requested.is_set():
            raise StopIteration
        now = time.monotonic()
        self._poll(now)
        held = self._held
        if held and (
            self._drained or len(held) >= self._batch_messages or now - self._held_since >= _LINGER_SECONDS
        ):
            self._held = []
            self._pause = None
            return [self._take(held)]
        if self._drained:
            self._pause = self._poll_interval
            return self._standing(now)
        waited_long = not held and now - self._quiet_since > 1.0
        self._pause = self._poll_interval if waited_long else _WAIT_FOR_MORE
        return []

    def next_awake(self) -> datetime | None:
        return None if self._pause is None else datetime.now(UTC) + self._pause

    def snapshot(self) -> KafkaState:
        self._committer.snapshot_taken(self._next)
        return KafkaState(next_offset=self._next, gate=self._assembler.gate.state())

    def close(self) -> None:
        self._committer.ended()

    def _assign(self, offset: int) -> None:
        self._consumer.assign([TopicPartition(self._connection.at.topic, self._connection.at.partition, offset)])

    def _poll(self, now: float) -> None:
        """Take what librdkafka has ready, without waiting for more."""
        messages = self._consumer.consume(self._batch_messages - len(self._held), timeout=0)
        self._connection.check()
        if not messages:
            return
        errors = [*map(Message.error, messages)]
        if any(errors):
            events = [message for message, error in zip(messages, errors, strict=True) if error is not None]
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
        else:
            events = []
        if messages:
            self._drained = self._idle = False
            self._quiet_since = now
            if not self._held:
                self._held_since = now
            self._held += messages
        for event in events:
            self._handle(event)

    def _handle(self, event: Message) -> None:
        error = event.error()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF:
            # Messages may follow in the same poll: then another one of these comes after them.
            self._drained = True
            self._read_to = event.offset() or 0
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            at = self._connection.at
            wanted = (self._held[-1].offset() or 0) + 1 if self._held else self._next
            try:
                found = available_offset(self._consumer, at, wanted, self._on_lost, self._timeout)
            except KafkaException as failure:
                raise self._connection.error(failure) from None
            self._assign(found)
        else:
            self._connection.report(error)

    def _take(self, messages: list[Message]) -> Batch:
        keys = [*map(Message.key, messages)]
        values = [*map(Message.value, messages)]
        headers = [*map(Message.headers, messages)]
        first, last = messages[0].offset(), messages[-1].offset()
        assert first is not None
        assert last is not None
        offsets: Offsets = first
        if last - first + 1 != len(messages):  # compacted, or with transactions
            offsets = np.array([*map(Message.offset, messages)], dtype=np.int64)
        self._next = last + 1
        self._caught_up = self._caught_up or self._next >= self._end
        decoded = self._decoder.decode(keys, values, headers if any(headers) else None)
        return self._assembler.batch(
            decoded.frame,
            decoded.dead,
            len(messages),
            offsets,
            lambda rows: [keys[row] for row in rows],
            lambda rows: [values[row] for row in rows],
            caught_up=self._caught_up,
        )

    def _standing(self, now: float) -> list[Batch]:
        """Of a drained partition: say once that it has caught up, and once that it is idle."""
        # Beyond the last message there may be offsets of transaction markers.
        self._next = max(self._next, self._read_to)
        if not self._caught_up:
            self._caught_up = True
            return [self._assembler.empty(caught_up=True)]
        if self._idle or now - self._quiet_since < self._idle_after:
            return []
        if not self._at_end():
            self._quiet_since = now
            return []
        self._idle = True
        return [self._assembler.empty(idle=True, caught_up=True)]

    def _at_end(self) -> bool:
        """Whether the broker confirms that there is nothing more: it may be that it just cannot be reached."""
        try:
            _, high = self._consumer.get_watermark_offsets(self._connection.at, timeout=_IDLE_CHECK_SECONDS)
        except KafkaException as error:
            self._connection.report(error.args[0])
            return False
        return bool(high <= self._next)
