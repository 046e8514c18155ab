"""Files of readings to Kafka topics, as fast as they go or at a multiple of real time.

All files are published together in the order of their time, so that what is downstream finds the partitions
of the topics in step; compacted topics, the reference data, go first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from confluent_kafka import KafkaError, Message, Producer

from connectors.errors import PublishError
from connectors.files import Chunk, ReadingsFile
from connectors.kafka_client import CLIENT_LOG, Troubles
from schemas import Contract
from schemas.encode import RowEncoder

_CHUNK_ROWS = 10_000
_TICK_SECONDS = 0.05

PRODUCER_DEFAULTS: Mapping[str, Any] = {
    "linger.ms": 50,
    "compression.type": "lz4",
    "enable.idempotence": True,
    "queue.buffering.max.messages": 500_000,
    "partitioner": "murmur2_random",  # that of Java producers: a key stays in its partition whoever publishes
}


@dataclass(frozen=True)
class Topic:
    """What goes to one topic.

    Attributes:
        contract: what the rows are.
        name: the topic's name on the cluster.
        files: where they come from.
        encoder: makes the message bodies.
    """

    contract: Contract
    name: str
    files: Sequence[ReadingsFile]
    encoder: RowEncoder


@dataclass
class Published:
    """What became of the rows, by topic name.

    Attributes:
        delivered: acknowledged by the broker.
        skipped: rows that do not fit the contract and so have no form as a message.
        first_reason: why the first of them does not.
    """

    delivered: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    first_reason: dict[str, str] = field(default_factory=dict)


def publish(
    topics: Sequence[Topic],
    config: Mapping[str, Any],
    *,
    speed: float | None = None,
    paced_until: float = float("inf"),
    progress: Callable[[str, int], None] = lambda _topic, _rows: None,
) -> Published:
    """Publish files, keyed by the contracts' keys, and wait until the broker has acknowledged everything.

    Args:
        topics: what goes where.
        config: librdkafka settings.
        speed: multiple of real time by ``received_time``, or the event time where there is none; None is as
            fast as it goes. Compacted topics are not held back.
        paced_until: µs since 1970; what is due later goes out at once.
        progress: told of the rows of a topic as they are handed over.

    Returns:
        What was delivered.

    Raises:
        PublishError: the broker refused a message, or did not acknowledge it in time.
        InputError: a file is damaged.
        SchemaError: a value does not fit the contract.
    """
    outcome = Published()
    sender = _Sender({**PRODUCER_DEFAULTS, **config}, outcome)
    try:
        for compacted in (True, False):
            chosen = [topic for topic in topics if topic.contract.compacted is compacted]
            lanes = [_Lane(topic, file, outcome) for topic in chosen for file in topic.files]
            _run(lanes, sender, None if compacted else speed, paced_until, progress)
    finally:
        sender.finish()  # interrupted, too: what was handed over is on its way
    return outcome


def _run(
    lanes: list[_Lane],
    sender: _Sender,
    speed: float | None,
    paced_until: float,
    progress: Callable[[str, int], None],
) -> None:
    started = time.monotonic()
    origin: float | None = None
    while lanes:
        lane = min(lanes, key=_Lane.due)
        if not lane.fill():
            lanes.remove(lane)
            continue
        limit: float | None = None
        if speed is not None and lane.due() <= paced_until:
            if any(other.due() < lane.due() for other in lanes):
                continue  # opening the file showed that it begins later than was known
            origin = lane.due() if origin is None else origin
            limit = origin + (time.monotonic() - started) * speed * 1e6
            if lane.due() > limit:
                wait = (lane.due() - limit) / speed / 1e6
                sender.wait(min(wait, _TICK_SECONDS))
                continue
        frame = lane.take(limit)
        sender.send(lane.topic, frame)
        progress(lane.topic.name, len(frame))


class _Lane:
    """One file on its way through; ``due`` is the time at which its next row goes out, µs since 1970."""

    def __init__(self, topic: Topic, file: ReadingsFile, outcome: Published) -> None:
        self.topic = topic
        self._file = file
        self._outcome = outcome
        self._chunks: Iterator[Chunk] | None = None
        self._frame = topic.contract.empty()
        self._due: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._latest = file.earliest

    def due(self) -> float:
        if len(self._due):
            return float(self._due[0])
        return float("-inf") if self._latest is None else self._latest

    def fill(self) -> bool:
        """Have at least one row ready; False at the end of the file."""
        if self._chunks is None:
            self._chunks = self._file.chunks(0, _CHUNK_ROWS)
        while not len(self._due):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._skip(chunk)
            self._frame = chunk.frame
            # A row does not overtake those before it in its file.
            due = _pace(self.topic.contract, chunk.frame)
            if self._latest is not None and len(due):
                due[0] = max(due[0], self._latest)
            self._due = np.maximum.accumulate(due)
        self._latest = int(self._due[-1])
        return True

    def take(self, limit: float | None) -> pl.DataFrame:
        """The rows that are due by ``limit``; all that are ready if there is none."""
        count = len(self._due) if limit is None else int(np.searchsorted(self._due, limit, side="right"))
        taken, self._frame, self._due = self._frame[:count], self._frame[count:], self._due[count:]
        return taken

    def _skip(self, chunk: Chunk) -> None:
        if chunk.dead:
            name = self.topic.name
            self._outcome.skipped[name] += len(chunk.dead)
            self._outcome.first_reason.setdefault(name, f"{self._file.path}: {chunk.dead[0].message}")


class _Sender:
    """A producer whose delivery reports are checked."""

    def __init__(self, config: dict[str, Any], outcome: Published) -> None:
        self._troubles = Troubles(f"Kafka at {config.get('bootstrap.servers')}")
        self._producer = Producer({**config, "error_cb": self._troubles}, logger=CLIENT_LOG)
        self._outcome = outcome
        self._failure: str | None = None

    def send(self, topic: Topic, frame: pl.DataFrame) -> None:
        keys = frame[topic.contract.key].to_list()
        for key, body in zip(keys, topic.encoder.encode(frame), strict=True):
            while True:
                try:
                    self._producer.produce(topic.name, body, key, on_delivery=self._reported)
                    break
                except BufferError:  # the queue is full
                    self.wait(0.1)
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Serve delivery reports.

        Raises:
            PublishError: one is an error.
        """
        self._producer.poll(seconds)
        self._check()

    def finish(self) -> None:
        """Wait for all delivery reports; librdkafka gives up on a message after ``message.timeout.ms``."""
        while self._producer.flush(1.0):
            self._check()
        self._check()

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        name = message.topic() or ""
        if error is None:
            self._outcome.delivered[name] += 1
        elif self._failure is None:
            self._failure = f"{name}: not delivered: {self._troubles.cause(error).str()}"

    def _check(self) -> None:
        if self._failure is None and self._troubles.hopeless is not None:
            self._failure = f"not delivered: {self._troubles.hopeless.str()}"
        if self._failure is not None:
            self._producer.purge()
            raise PublishError(self._failure)


def _pace(contract: Contract, frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    times = [name for name in ("received_time", contract.time) if name in frame.columns]
    return frame.select(pl.coalesce(times).to_physical()).to_series().to_numpy(writable=True)
