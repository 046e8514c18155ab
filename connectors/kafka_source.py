"""A Kafka topic as a Bytewax source of columnar batches.

Each partition has a consumer of its own, assigned, not subscribed: Bytewax says which worker reads what, and
its recovery store says from where. Messages are taken by the thousands and decoded in blocks, so that the
cost of a reading is little more than that of taking its key and value out of librdkafka.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource
from confluent_kafka import KafkaException

from connectors.assemble import Assembler, Narrow
from connectors.batch import Batch, GateFactory
from connectors.decode import Decoder
from connectors.kafka_client import Connection, patiently
from connectors.kafka_offsets import OnLostOffset, available_offset, start_offset
from connectors.kafka_part import KafkaPart, KafkaState, PartRules
from schemas import Contract

log = logging.getLogger(__name__)

_FULL_BATCHES = 4  # of so many partitions; with more of them batches are smaller
_LEAST_BATCH = 5_000
_PREFETCH_KILOBYTES = 256 * 1024


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
        future_limit_seconds: how far an event time may be ahead of its ``received_time``; None is no limit.
        keep_raw: whether frames carry ``_key`` and ``_value``.
        narrow: gives what is to be passed on of checked rows; see ``Assembler``.
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
        batch_messages: int = 200_000,
        poll_interval: float = 0.05,
        idle_after: float = 60.0,
        future_limit_seconds: float | None = None,
        keep_raw: bool = False,
        narrow: Narrow | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._config = config
        self._contract = contract
        self._topic = topic or contract.topic
        self._group_id = group_id
        self._start = start
        self._decoder = decoder
        self._gate = gate
        self._future_limit = future_limit_seconds
        self._keep_raw = keep_raw
        self._narrow = narrow
        self._rules = PartRules(on_lost_offset, batch_messages, timedelta(seconds=poll_interval), idle_after, timeout)
        self._lock = threading.Lock()  # the workers of a process share the source
        self._partitions: int | None = None

    def list_parts(self) -> list[str]:
        """One part per partition that the topic has now.

        Raises:
            SourceError: the brokers cannot be reached, refuse, or do not have the topic.
        """
        return [f"{self._contract.topic}/{number}" for number in range(self._count())]

    def build_part(self, step_id: str, for_part: str, resume_state: KafkaState | None) -> KafkaPart:
        """Begin, or go on where a state was taken.

        Raises:
            SourceError: the brokers cannot be reached or refuse.
            LostOffsetError: the messages to go on with are gone.
        """
        del step_id
        timeout = self._rules.timeout
        partition = int(for_part.rpartition("/")[2])
        partitions = self._count()
        # However many partitions there are, what is held of all of them stays within bounds.
        most = max(_LEAST_BATCH, _FULL_BATCHES * self._rules.batch_messages // partitions)
        rules = replace(self._rules, batch_messages=min(self._rules.batch_messages, most))
        gate = self._gate(self._contract.topic, partition)
        if resume_state is not None:
            gate.restore(resume_state["gate"])
        connection = Connection(self._consumer_config(partition, partitions), self._topic, partition)
        consumer, at = connection.consumer, connection.at

        def locate() -> tuple[int, int]:
            if resume_state is None:
                offset = start_offset(consumer, at, self._start, partitions, timeout)
            else:
                offset = resume_state["next_offset"]
            offset = available_offset(consumer, at, offset, rules.on_lost, timeout)
            return offset, consumer.get_watermark_offsets(at, timeout=timeout)[1]

        try:
            offset, end = patiently(locate, timeout)
        except KafkaException as error:
            raise connection.error(error) from None
        log.info(
            "%s, partition %d of %d: reading from offset %d (%s), it ends at %d",
            self._topic, partition, partitions, offset,
            self._start if resume_state is None else "stored", end,
        )  # fmt: skip
        assembler = Assembler(
            self._contract, partition, partitions, gate,
            future_limit_seconds=self._future_limit, keep_raw=self._keep_raw, narrow=self._narrow,
        )  # fmt: skip
        been_idle = resume_state is not None and resume_state.get("been_idle", False)
        return KafkaPart(connection, assembler, self._decoder(), (offset, end), rules, been_idle=been_idle)

    def _count(self) -> int:
        with self._lock:
            if self._partitions is None:
                connection = Connection(self._consumer_config(0, 1), self._topic, None)
                self._partitions = connection.partitions(self._rules.timeout)
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
