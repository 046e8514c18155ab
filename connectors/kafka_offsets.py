"""Where reading a Kafka partition begins, and how far the consumer group is told it has come.

The recovery store of Bytewax is what counts at a restart. The consumer group only follows it, so that
ordinary lag tools see the progress, and a flow without a recovery store can go on from ``start =
"committed"``.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
from datetime import datetime
from typing import Literal

from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition
from prometheus_client import Counter

from connectors.errors import LostOffsetError

log = logging.getLogger(__name__)

OnLostOffset = Literal["error", "jump"]

# A group without members forgets offsets that were not committed again for long (7 days by default).
_COMMIT_AGAIN_SECONDS = 600.0

lost_messages = Counter(
    "gridflow_lost_messages_total",
    "Messages that retention had deleted before they were read, and that were jumped over.",
    ["topic", "partition"],
)


def start_offset(consumer: Consumer, at: TopicPartition, start: str, partitions: int, timeout: float) -> int:
    """The offset at which a partition without a stored one begins.

    A partition that the consumer group does not know while it knows others of the topic has come since: it is
    read from its first message, whatever ``start`` says, or what was written before the restart would be
    lost.

    Args:
        consumer: a consumer of the group.
        at: topic and partition.
        start: earliest, latest, committed (earliest if there is none), or an ISO 8601 time with offset.
        partitions: how many partitions the topic has.
        timeout: seconds to wait for the broker.

    Raises:
        KafkaException: the broker does not answer.
    """
    low, high = consumer.get_watermark_offsets(at, timeout=timeout)
    group = consumer.committed([TopicPartition(at.topic, number) for number in range(partitions)], timeout)
    committed = {entry.partition: entry.offset for entry in group if entry.offset >= 0}
    if at.partition in committed and start == "committed":
        return int(committed[at.partition])
    if committed and at.partition not in committed:
        log.warning(
            "%s: partition %d is new to the consumer group: reading it from its first message, offset %d",
            at.topic, at.partition, low,
        )  # fmt: skip
        return int(low)
    if start in ("earliest", "committed"):
        return int(low)
    if start == "latest":
        return int(high)
    milliseconds = int(datetime.fromisoformat(start).timestamp() * 1000)
    found = consumer.offsets_for_times([TopicPartition(at.topic, at.partition, milliseconds)], timeout)[0]
    if found.error is not None:
        raise KafkaException(found.error)
    return int(high if found.offset == OFFSET_END else found.offset)


def available_offset(consumer: Consumer, at: TopicPartition, offset: int, on_lost: OnLostOffset, timeout: float) -> int:
    """The offset itself if the partition still holds it, else what ``on_lost`` says.

    Args:
        consumer: any consumer.
        at: topic and partition.
        offset: the next one to read; one past the last message is available too.
        on_lost: "error", or "jump" to the first message that there is, which is logged and counted.
        timeout: seconds to wait for the broker.

    Raises:
        LostOffsetError: the messages are gone and ``on_lost`` is "error".
        KafkaException: the broker does not answer.
    """
    low, high = consumer.get_watermark_offsets(at, timeout=timeout)
    if low <= offset <= high:
        return offset
    if offset < low:
        what = f"{low - offset} messages were deleted before they were read"
    else:
        what = f"the topic ends at {high}: it was cut off, or deleted and created again"
    found = f"{at.topic}, partition {at.partition}: stored offset {offset}, earliest is {low}: {what}"
    if on_lost == "error":
        raise LostOffsetError(f'{found}; set kafka.on_lost_offset = "jump" to go on from {low}')
    log.warning("%s; going on from %d", found, low)
    lost_messages.labels(at.topic, str(at.partition)).inc(max(0, low - offset))
    return int(low)


class GroupCommitter:
    """Commits to the consumer group what has passed all sinks.

    Bytewax lets a source go on only after the epoch before, its snapshots in the sinks included, has gone
    through the whole dataflow on all workers. So what a snapshot covers may be committed when the source is
    next asked for messages. At the end that moment does not come: see ``commit_ended``.

    Args:
        consumer: the part's consumer.
        topic: of the part.
        partition: of the part.
    """

    def __init__(self, consumer: Consumer, topic: str, partition: int) -> None:
        self._consumer = consumer
        self._at = (topic, partition)
        self._snapshot: int | None = None
        self._committed = -1
        self._committed_at = 0.0

    def snapshot_taken(self, offset: int) -> None:
        """A snapshot says that ``offset`` is the next to be read."""
        self._snapshot = offset

    def epoch_passed(self) -> None:
        """The source is asked for messages: the last snapshot's epoch is through."""
        if self._snapshot is None:
            return
        offset, self._snapshot = self._snapshot, None
        now = time.monotonic()
        if offset == self._committed and now - self._committed_at < _COMMIT_AGAIN_SECONDS:
            return
        self._committed, self._committed_at = offset, now
        try:
            self._consumer.commit(offsets=[TopicPartition(*self._at, offset)], asynchronous=True)
        except KafkaException as error:
            log.warning("%s, partition %d: offset %d not committed: %s", *self._at, offset, error)

    def ended(self) -> None:
        """The part has ended; its last snapshot is committed by ``commit_ended``."""
        with _lock:
            _ended.append(self)

    def commit_last(self) -> None:
        """Commit the last snapshot, wait for it, and close the consumer."""
        try:
            if self._snapshot is not None and self._snapshot != self._committed:
                self._consumer.commit(offsets=[TopicPartition(*self._at, self._snapshot)], asynchronous=False)
        except KafkaException as error:
            log.warning("%s, partition %d: last offset not committed: %s", *self._at, error)
        self.close()

    def close(self) -> None:
        """Close the consumer without committing."""
        self._consumer.close()


_lock = threading.Lock()
_ended: list[GroupCommitter] = []


def commit_ended(*, success: bool = True) -> None:
    """Commit the last snapshots of the parts that have ended; call it when the dataflow has returned.

    Bytewax closes a source before the sinks have written their last rows, so a source cannot do this itself.
    Under ``python -m bytewax.run`` it happens at exit.

    Args:
        success: whether the dataflow returned without an error; if not, nothing is committed.
    """
    with _lock:
        ended, _ended[:] = list(_ended), []
    for part in ended:
        if success:
            part.commit_last()
        else:
            part.close()


@atexit.register
def _commit_at_exit() -> None:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name == "bytewax.run":
        commit_ended(success=not hasattr(sys, "last_value"))
