"""Messages that leave by the side doors: to ``<topic>.dlq`` (undecodable, invalid) and ``<topic>.late``.

Key, value and headers are sent as they came; the reason is in headers of our own, as UTF-8. A letter's frame has the
columns ``topic, partition, offset, stage, error_class, error_message, schema_id, key, value, headers, time``, the
first of which is the contract's topic, without a cluster's prefix. The same frames go to the Parquet dataset
``dead_letter``, by their ``time``, through ``ParquetSink`` with the dead letter's contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from sinks.errors import close_with
from sinks.metrics import ROWS_WRITTEN
from sinks.outbox import Header, Outbox, never

DEAD_SUFFIX = ".dlq"
LATE_SUFFIX = ".late"
_OURS = "gridflow."

HEADER_OF_COLUMN = {
    "topic": "gridflow.topic",
    "partition": "gridflow.partition",
    "offset": "gridflow.offset",
    "stage": "gridflow.stage",
    "error_class": "gridflow.error.class",
    "error_message": "gridflow.error.message",
    "schema_id": "gridflow.schema.id",
}


def letter_headers(letters: pl.DataFrame) -> list[list[Header]]:
    """Of each letter the headers that say where it comes from and why, what is null left out; before them its own.

    Of its own those that an earlier letter got here are left out: a letter may have been replayed.

    Example:
        >>> frame = pl.DataFrame({"topic": ["grid.meter.v1"], "partition": [3], "offset": [17],
        ...     "stage": ["decode"], "error_class": ["ShortMessage"], "error_message": ["3 bytes"],
        ...     "schema_id": [None]})
        >>> letter_headers(frame)[0][:2]
        [('gridflow.topic', b'grid.meter.v1'), ('gridflow.partition', b'3')]
    """
    columns = letters.select(pl.col(name).cast(pl.String).cast(pl.Binary) for name in HEADER_OF_COLUMN)
    names = tuple(HEADER_OF_COLUMN.values())
    own = letters.get_column("headers").to_list() if "headers" in letters.columns else [None] * letters.height
    return [
        [(header["key"], header["value"]) for header in before or () if not header["key"].startswith(_OURS)]
        + [(name, value) for name, value in zip(names, row, strict=True) if value is not None]
        for before, row in zip(own, columns.iter_rows(), strict=True)
    ]


class LetterSink(FixedPartitionedSink[pl.DataFrame, None]):
    """Writes letters to the side topic of the topic that each comes from.

    Args:
        config: librdkafka settings of the producer.
        suffix: ``.dlq`` or ``.late``.
        topic_prefix: put before every topic name, to share a cluster.
        partitions: how many producers.
        should_stop: whether to give up waiting for an absent broker.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        suffix: str = DEAD_SUFFIX,
        *,
        topic_prefix: str = "",
        partitions: int = 1,
        should_stop: Callable[[], bool] = never,
    ) -> None:
        self._config = dict(config)
        self._suffix = suffix
        self._prefix = topic_prefix
        self._partitions = partitions
        self._should_stop = should_stop

    def list_parts(self) -> list[str]:
        """The producers' numbers."""
        return [str(number) for number in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _LetterPartition:  # noqa: ARG002
        """A producer; there is nothing to resume."""
        return _LetterPartition(Outbox(self._config, should_stop=self._should_stop), self._prefix, self._suffix)


class _LetterPartition(StatefulSinkPartition[pl.DataFrame, None]):
    def __init__(self, outbox: Outbox, prefix: str, suffix: str) -> None:
        self._outbox = outbox
        self._prefix = prefix
        self._suffix = suffix
        self._written = ROWS_WRITTEN.labels("kafka", suffix.removeprefix("."))
        self._unflushed = 0
        self._failed = False

    def write_batch(self, values: list[pl.DataFrame]) -> None:
        self._failed = True  # until it is through
        for value in values:
            for letters in value.partition_by("topic", maintain_order=True):
                topic = f"{self._prefix}{letters.item(0, 'topic')}{self._suffix}"
                messages = zip(letters.get_column("key").to_list(), letters.get_column("value").to_list(), strict=True)
                self._outbox.send(topic, messages, letter_headers(letters))
                self._unflushed += letters.height
        self._failed = False

    def snapshot(self) -> None:
        self._failed = True
        self._outbox.flush()
        self._failed = False
        self._written.inc(self._unflushed)
        self._unflushed = 0

    def close(self) -> None:
        close_with(self.snapshot, failed=self._failed)
