"""A bare loop: consume, key, value. Prints seconds of wall clock and CPU per run as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time

from confluent_kafka import Consumer, TopicPartition


def main(bootstrap: str, topic: str, partitions: int, total: int) -> None:
    """Read ``total`` messages of all partitions from the beginning."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-bare", "fetch.queue.backoff.ms": 20})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    taken, size, begin, cpu = 0, 0, 0.0, 0.0
    while taken < total:
        messages = consumer.consume(20_000, timeout=1.0)
        if messages and not begin:
            begin, cpu = time.perf_counter(), _cpu()
        for message in messages:
            key, value = message.key(), message.value()
            size += len(key or b"") + len(value or b"")
        taken += len(messages)
    print(json.dumps({"wall": time.perf_counter() - begin, "cpu": _cpu() - cpu, "bytes": size}))  # noqa: T201
    consumer.close()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
