"""Counters for Prometheus: readings by outcome, watermarks, and what the sinks did.

Bytewax's own metrics count items, which here are frames; these count readings and rows. They belong to the
process: after a restart they begin at zero, and readings that are taken again are counted again.

Example:
    >>> part = MetricsSink().build("metrics", 0, 1)
    >>> counts = {"flow": "demo", "topic": "grid.meter.v1", "outcomes": {"in": 3, "used": 3}}
    >>> part.write_batch([("shard 0", counts)])
    >>> READINGS.labels("demo", "grid.meter.v1", "used")._value.get()
    3.0
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import NotRequired, TypedDict

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from prometheus_client import Counter, Gauge, start_http_server

from sinks.errors import SinkError

OUTCOMES = ("in", "used", "duplicate", "late", "dead_letter")

READINGS = Counter("gridflow_readings", "Readings, by what became of them.", ["flow", "topic", "outcome"])
WATERMARK = Gauge("gridflow_watermark_timestamp_seconds", "Event time that a flow has reached.", ["flow", "topic"])
WATERMARK_LAG = Gauge("gridflow_watermark_lag_seconds", "Wall clock minus watermark.", ["flow", "topic"])
ROWS_WRITTEN = Counter("gridflow_rows_written", "Rows made durable by a sink.", ["sink", "record"])
SINK_RETRIES = Counter("gridflow_sink_retries", "Writes that had to be tried again.", ["sink"])


class Counts(TypedDict):
    """What a flow reports of one topic.

    Attributes:
        flow: the flow's name.
        topic: the contract's topic.
        outcomes: how many more readings had each of ``OUTCOMES`` since the last report.
        watermark: µs since 1970, None before the first reading.
    """

    flow: str
    topic: str
    outcomes: dict[str, int]
    watermark: NotRequired[int | None]


class _Watermarks:
    """Of each (flow, topic) the least of its shards' watermarks; shared by the workers of a process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of_shard: dict[tuple[str, str], dict[str, int]] = {}

    def report(self, flow: str, topic: str, shard: str, watermark: int) -> None:
        with self._lock:
            shards = self._of_shard.setdefault((flow, topic), {})
            if not shards:
                # Asked for at each scrape: a flow that stands still must be seen to fall behind.
                WATERMARK_LAG.labels(flow, topic).set_function(lambda: self._clock() - self.least(flow, topic))
            shards[shard] = watermark
            WATERMARK.labels(flow, topic).set(min(shards.values()) / 1e6)

    def least(self, flow: str, topic: str) -> float:
        with self._lock:
            return min(self._of_shard[flow, topic].values(), default=math.nan) / 1e6


_WATERMARKS = _Watermarks(time.time)


class MetricsSink(DynamicSink[tuple[str, Counts]]):
    """Adds up the ``(shard, Counts)`` that flows report."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _MetricsPartition:  # noqa: ARG002
        """The worker's part; all parts of a process add to the same counters."""
        return _MetricsPartition()


class _MetricsPartition(StatelessSinkPartition[tuple[str, Counts]]):
    def write_batch(self, items: list[tuple[str, Counts]]) -> None:
        for shard, counts in items:
            flow, topic = counts["flow"], counts["topic"]
            for outcome, count in counts["outcomes"].items():
                if outcome not in OUTCOMES:
                    raise ValueError(f"{flow}: unknown outcome {outcome!r}, known are {', '.join(OUTCOMES)}")
                READINGS.labels(flow, topic, outcome).inc(count)
            watermark = counts.get("watermark")
            if watermark is not None:
                _WATERMARKS.report(flow, topic, shard, watermark)


def serve_metrics(port: int, host: str = "127.0.0.1") -> Callable[[], None]:
    """Serve the counters at ``http://host:port/metrics``.

    Returns:
        What stops the server.

    Raises:
        SinkError: the port cannot be had.
    """
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        raise SinkError(f"metrics on {host}:{port}: {error.strerror}") from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
