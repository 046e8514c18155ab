"""A dataflow from a topic to a file, run as a process by ``test_kafka_process``; all from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.batch import Batch
from connectors.decode import Decoder
from connectors.kafka_source import KafkaSource
from connectors.stopping import stop_on_sigterm
from tests.connectors.gates import OpenGate
from tests.connectors.readings import METER

stop_on_sigterm()


class _Lines(StatefulSinkPartition[Batch, None]):
    """Keeps offsets until a snapshot, or the end, as sinks do."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kept: list[str] = []

    def write_batch(self, batches: list[Batch]) -> None:
        Path(os.environ["TEST_OUTPUT"]).touch()
        for batch in batches:
            self._kept += [f"{batch.partition} {offset}\n" for offset in batch.frame["_offset"]]

    def snapshot(self) -> None:
        with Path(os.environ["TEST_OUTPUT"]).open("a") as file:
            file.write("".join(self._kept))
        self._kept.clear()

    def close(self) -> None:
        if self._name == os.environ.get("TEST_FAIL"):
            raise RuntimeError("the last rows cannot be written")
        self.snapshot()


class _Sink(FixedPartitionedSink[Batch, None]):
    def list_parts(self) -> list[str]:
        return ["0", "1"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Lines:
        return _Lines(for_part)

    def part_fn(self, item_key: str) -> int:
        return int(item_key)


source = KafkaSource(
    {"bootstrap.servers": os.environ["TEST_BOOTSTRAP"]},
    METER,
    topic=os.environ["TEST_TOPIC"],
    group_id=os.environ["TEST_TOPIC"],
    start=os.environ.get("TEST_START", "earliest"),
    decoder=lambda: Decoder(METER),
    gate=lambda _topic, _partition: OpenGate(),
    batch_messages=50,
)
flow = Dataflow("kafka_flow")
batches = op.input("readings", flow, source)
op.output("lines", op.key_on("by_partition", batches, lambda batch: str(batch.partition)), _Sink())
