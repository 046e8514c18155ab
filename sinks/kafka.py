"""Rows to a Kafka topic: keyed, encoded by the contract, delivery checked.

Every revision is sent, as soon as it comes; readers keep the highest of an identity. Nothing is flushed per
batch: the producer gathers and compresses, and the end of the epoch waits until the brokers have acknowledged
everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from schemas import Contract
from schemas.encode import RowEncoder
from sinks.errors import close_with
from sinks.metrics import ROWS_WRITTEN
from sinks.outbox import Outbox, never
from sinks.rows import conform


class KafkaFrameSink(FixedPartitionedSink[pl.DataFrame, None]):
    """Writes the rows of one contract to a topic.

    Args:
        config: librdkafka settings of the producer.
        topic: the topic's name on the cluster.
        contract: whose columns the frames have; its key is the messages' key.
        encoder: makes the values.
        partitions: how many producers; not the topic's partitions, which follow from the key.
        should_stop: whether to give up waiting for an absent broker.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        contract: Contract,
        encoder: RowEncoder,
        *,
        partitions: int = 1,
        should_stop: Callable[[], bool] = never,
    ) -> None:
        self._config = dict(config)
        self._topic = topic
        self._contract = contract
        self._encoder = encoder
        self._partitions = partitions
        self._should_stop = should_stop

    def list_parts(self) -> list[str]:
        """The producers' numbers."""
        return [str(number) for number in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _KafkaPartition:  # noqa: ARG002
        """A producer; there is nothing to resume."""
        outbox = Outbox(self._config, should_stop=self._should_stop)
        return _KafkaPartition(outbox, self._topic, self._contract, self._encoder)


class _KafkaPartition(StatefulSinkPartition[pl.DataFrame, None]):
    def __init__(self, outbox: Outbox, topic: str, contract: Contract, encoder: RowEncoder) -> None:
        self._outbox = outbox
        self._topic = topic
        self._contract = contract
        self._encoder = encoder
        self._unflushed = 0
        self._failed = False

    def write_batch(self, values: list[pl.DataFrame]) -> None:
        self._failed = True  # until it is through
        for value in values:
            frame = conform(value, self._contract)
            keys = frame.get_column(self._contract.key).cast(pl.Binary).to_list()
            self._outbox.send(self._topic, zip(keys, self._encoder.encode(frame), strict=True))
            self._unflushed += frame.height
        self._failed = False

    def snapshot(self) -> None:
        self._failed = True
        self._outbox.flush()
        self._failed = False
        ROWS_WRITTEN.labels("kafka", self._contract.record).inc(self._unflushed)
        self._unflushed = 0

    def close(self) -> None:
        close_with(self.snapshot, failed=self._failed)
