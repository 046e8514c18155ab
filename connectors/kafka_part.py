"""One partition of a Kafka topic, read in batches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
from bytewax.inputs import StatefulSourcePartition
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from connectors.assemble import Assembler, Offsets, Taken
from connectors.batch import Batch
from connectors.decode import Decoder
from connectors.kafka_client import Connection
from connectors.kafka_offsets import GroupCommitter, OnLostOffset, available_offset
from connectors.stopping import stop_requested

# Messages are held back this long for a batch to fill up while more are on their way: small frames are dear.
_LINGER_SECONDS = 0.02
# Taken out of librdkafka so many at once: while few are held the processor's cache still has them.
_AT_ONCE = 5_000
_WAIT_FOR_MORE = timedelta(milliseconds=2)
_IDLE_CHECK_SECONDS = 1.0


class KafkaState(TypedDict):
    """Where the reading of one partition stands: the next offset, the gate's state, and whether it has been idle."""

    next_offset: int
    gate: Any
    been_idle: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class PartRules:
    """How partitions are read.

    Attributes:
        on_lost: what to do when messages are gone.
        batch_messages: most messages in a batch.
        poll_interval: until a drained partition is asked again.
        idle_after: seconds of silence after which a drained partition is idle; so often, too, is that said again.
        timeout: seconds to wait for a broker's answer.
    """

    on_lost: OnLostOffset
    batch_messages: int
    poll_interval: timedelta
    idle_after: float
    timeout: float


class _Held:
    """Messages taken, in columns: their objects live no longer than need be."""

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Any] = []
        self.first = self.last = 0
        self._offsets: list[int] | None = None

    @property
    def count(self) -> int:
        return len(self.keys)

    def add(self, messages: list[Message]) -> None:
        first, last = messages[0].offset(), messages[-1].offset()
        assert first is not None
        assert last is not None
        count = self.count
        if not count:
            self.first = first
        if self._offsets is None and last - self.first + 1 != count + len(messages):  # compacted, or transactions
            self._offsets = [*range(self.first, self.first + count)]
        if self._offsets is not None:
            self._offsets += cast("list[int]", [*map(Message.offset, messages)])
        self.last = last
        self.keys += map(Message.key, messages)
        self.values += map(Message.value, messages)
        self.headers += map(Message.headers, messages)

    def offsets(self) -> Offsets:
        return self.first if self._offsets is None else np.array(self._offsets, dtype=np.int64)


class KafkaPart(StatefulSourcePartition[Batch, KafkaState]):
    """One partition being read.

    Args:
        connection: a consumer of its own.
        assembler: makes its batches.
        decoder: decodes its messages.
        position: next offset, and the partition's end at the start.
        rules: how it is read.
        been_idle: whether the partition was idle some time before it was stopped.
    """

    def __init__(
        self,
        connection: Connection,
        assembler: Assembler,
        decoder: Decoder,
        position: tuple[int, int],
        rules: PartRules,
        *,
        been_idle: bool = False,
    ) -> None:
        self._connection = connection
        self._consumer = connection.consumer
        self._assembler = assembler
        self._decoder = decoder
        self._next, self._end = position
        self._rules = rules
        self._committer = GroupCommitter(self._consumer, connection.at.topic, connection.at.partition)
        self._held = _Held()
        self._held_since = 0.0
        self._drained = False
        self._caught_up = False
        self._been_idle = been_idle
        self._quiet_since = time.monotonic()
        self._pause: timedelta | None = None
        self._ahead: tuple[_Held, Future[Taken]] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._assign(self._next)

    def next_batch(self) -> Sequence[Batch]:
        """What has come since the last time, if it is enough for a batch or there is no more to come.

        Raises:
            StopIteration: a stop was requested.
            SourceError: the broker refuses.
            LostOffsetError: messages that were to be read are gone.
        """
        self._committer.epoch_passed()
        if stop_requested.is_set():
            raise StopIteration
        now = time.monotonic()
        self._poll(now)
        held = self._held
        full = held.count >= self._rules.batch_messages
        if held.count and (full or self._drained or now - self._held_since >= _LINGER_SECONDS):
            self._held = _Held()
            self._pause = None
            batches = self._finish_ahead()
            if full and not self._drained:
                # More is waiting: decode this beside the flow, while the flow goes on with what was decoded before.
                self._ahead = (held, self._pool.submit(self._decode, held))
            else:
                batches.append(self._emit(held, self._decode(held)))
            return batches
        if self._ahead is not None:
            self._pause = None
            return self._finish_ahead()
        if self._drained:
            self._pause = self._rules.poll_interval
            return self._standing(now)
        waited_long = not held.count and now - self._quiet_since > 1.0
        self._pause = self._rules.poll_interval if waited_long else _WAIT_FOR_MORE
        return []

    def next_awake(self) -> datetime | None:
        """When to ask again; None is at once."""
        return None if self._pause is None else datetime.now(UTC) + self._pause

    def snapshot(self) -> KafkaState:
        """Where reading goes on after a restart."""
        self._committer.snapshot_taken(self._next)
        return KafkaState(next_offset=self._next, gate=self._assembler.gate.state(), been_idle=self._been_idle)

    def close(self) -> None:
        """The part has ended; the consumer lives on until its last offset is committed."""
        self._pool.shutdown()
        self._committer.ended()

    def _assign(self, offset: int) -> None:
        self._read_to = offset
        at = self._connection.at
        self._consumer.assign([TopicPartition(at.topic, at.partition, offset)])

    def _poll(self, now: float) -> None:
        """Take what librdkafka has ready, without waiting for more."""
        held, most = self._held, self._rules.batch_messages
        while (room := most - held.count) > 0:
            messages = self._consumer.consume(min(room, _AT_ONCE), timeout=0)
            self._connection.check()
            if not messages:
                return
            events = []
            if any(map(Message.error, messages)):
                events = [message for message in messages if message.error() is not None]
                messages = [message for message in messages if message.error() is None]
            if messages:
                self._drained = False
                self._quiet_since = now
                if not held.count:
                    self._held_since = now
                held.add(messages)
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
            wanted = self._next
            if self._held.count:
                wanted = self._held.last + 1
            elif self._ahead is not None:
                wanted = self._ahead[0].last + 1
            try:
                found = available_offset(self._consumer, at, wanted, self._rules.on_lost, self._rules.timeout)
            except KafkaException as failure:
                raise self._connection.error(failure) from None
            self._assign(found)
        else:
            self._connection.report(error)

    def _decode(self, held: _Held) -> Taken:
        keys, values, headers = held.keys, held.values, held.headers
        decoded = self._decoder.decode(keys, values, headers if any(headers) else None)
        return self._assembler.checked(
            Taken(
                decoded.frame,
                decoded.dead,
                held.count,
                held.offsets(),
                lambda rows: [keys[row] for row in rows],
                lambda rows: [values[row] for row in rows],
                lambda rows: [headers[row] for row in rows],
            )
        )

    def _emit(self, held: _Held, taken: Taken) -> Batch:
        self._next = held.last + 1
        self._caught_up = self._caught_up or self._next >= self._end
        # Who has been idle may bring what is too late for the others: then that goes on as it came.
        return self._assembler.batch(taken, caught_up=self._caught_up, keep_raw=self._been_idle)

    def _finish_ahead(self) -> list[Batch]:
        """The batch that is being decoded beside the flow, if there is one."""
        if self._ahead is None:
            return []
        held, decoding = self._ahead
        self._ahead = None
        return [self._emit(held, decoding.result())]

    def _standing(self, now: float) -> list[Batch]:
        """Of a drained partition: say once that it has caught up, and now and then that it is idle."""
        # Beyond the last message there may be offsets of transaction markers.
        self._next = max(self._next, self._read_to)
        if not self._caught_up:
            self._caught_up = True
            return [self._assembler.empty(caught_up=True)]
        if now - self._quiet_since < self._rules.idle_after:
            return []
        self._quiet_since = now
        if not self._at_end():
            return []
        self._been_idle = True
        return [self._assembler.empty(idle=True, caught_up=True)]

    def _at_end(self) -> bool:
        """Whether the broker confirms that there is nothing more: maybe it just cannot be reached."""
        try:
            _, high = self._consumer.get_watermark_offsets(self._connection.at, timeout=_IDLE_CHECK_SECONDS)
        except KafkaException as error:
            self._connection.report(error.args[0])
            return False
        return bool(high <= self._next)
