"""The counters, as a scrape sees them."""

from __future__ import annotations

import socket
import time
import uuid

import httpx
import pytest
from prometheus_client import REGISTRY

from sinks.errors import SinkError
from sinks.metrics import Counts, MetricsSink, serve_metrics


@pytest.fixture
def flow() -> str:
    return f"flow-{uuid.uuid4().hex[:8]}"


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def report(shard: str, flow: str, watermark: int | None = None, **outcomes: int) -> None:
    counts = Counts(flow=flow, topic="grid.meter.v1", outcomes=outcomes, watermark=watermark)
    MetricsSink().build("metrics", 0, 1).write_batch([(shard, counts)])


def test_readings_add_up_over_shards_and_workers(flow: str) -> None:
    report("0", flow, **{"in": 10, "used": 7, "duplicate": 1})
    report("1", flow, **{"in": 5, "late": 2, "dead_letter": 3})
    found = {
        outcome: sample("gridflow_readings_total", flow=flow, topic="grid.meter.v1", outcome=outcome)
        for outcome in ("in", "used", "duplicate", "late", "dead_letter")
    }
    assert found == {"in": 15, "used": 7, "duplicate": 1, "late": 2, "dead_letter": 3}


def test_an_outcome_that_is_none_is_an_error(flow: str) -> None:
    with pytest.raises(ValueError, match="unknown outcome 'lost'"):
        report("0", flow, lost=1)


def test_the_watermark_is_that_of_the_slowest_shard(flow: str) -> None:
    now = time.time()
    for shard, behind in (("0", 100), ("1", 300), ("2", 200), ("1", 250)):
        report(shard, flow, watermark=int((now - behind) * 1e6))
    report("3", flow)  # has not seen a reading yet
    watermark = sample("gridflow_watermark_timestamp_seconds", flow=flow, topic="grid.meter.v1")
    assert watermark == pytest.approx(now - 250, abs=0.001)
    lag = sample("gridflow_watermark_lag_seconds", flow=flow, topic="grid.meter.v1")
    assert lag == pytest.approx(250, abs=30)


def test_the_lag_grows_while_nothing_is_reported(flow: str) -> None:
    report("0", flow, watermark=int(time.time() * 1e6))
    labels = {"flow": flow, "topic": "grid.meter.v1"}
    before = sample("gridflow_watermark_lag_seconds", **labels)
    time.sleep(0.05)
    after = sample("gridflow_watermark_lag_seconds", **labels)
    assert before is not None
    assert after is not None
    assert after - before >= 0.05


def test_the_counters_are_served_until_stopped(flow: str) -> None:
    report("0", flow, used=4)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    stop = serve_metrics(port)
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert f'gridflow_readings_total{{flow="{flow}",outcome="used",topic="grid.meter.v1"}} 4.0' in text
        with pytest.raises(SinkError, match=f"metrics on 127.0.0.1:{port}: Address already in use"):
            serve_metrics(port)
    finally:
        stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
