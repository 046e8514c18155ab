"""Readings in Kafka, the flow as a process, results in Kafka, InfluxDB and Parquet: against the reference."""

from __future__ import annotations

import math
import random
import signal
import struct
import time
from pathlib import Path

import pytest

from ops.services import Services
from tests.e2e.stage import MINUTE, START, Stage
from tests.flows.reference import SECOND, Reading


def test_results_and_account_of_a_hostile_mixture(services: Services, tmp_path: Path) -> None:
    stage = Stage(services, tmp_path, seed=1)
    stage.send(stage.readings)
    hostile = [
        (b"A", b"\x00\x00"),
        (b"A", b"no framing at all"),
        (b"A", b"\x00" + struct.pack(">I", 999_999) + b"body"),
        (b"A", b"\x00" + struct.pack(">I", stage.ids["grid.meter.v1"]) + b"\xff\xff\xff"),
        (b"A", b'{"meter_id": "A", "time": "2016-10-03T05:00:00Z", "import_kwh": -5.0, "quality": 0}'),
        (b"A", b'{"meter_id": "A", "time": "2016-10-03T05:00:00Z", "quality": 0}'),
        (
            b"A",
            b'{"meter_id": "A", "time": "2116-10-03T05:00:00Z", '
            b'"received_time": "2016-10-03T05:00:00Z", "import_kwh": 5.0, "quality": 0}',
        ),
    ]
    for key, value in hostile:
        stage.send_raw(key, value)
    stage.send([Reading("A", START, math.nan, None, 0, None)])
    late = [Reading(m, START - 30 * 3600 * SECOND, 1.0, None, 0, None) for m in ("A", "D")]
    stage.send(late)
    process = stage.start()
    try:
        stage.settle(process)
        sent = len(stage.readings) + len(hostile) + 1 + len(late)
        counted = stage.outcomes()
        assert counted["in"] == sent
        assert counted["used"] + counted["duplicate"] + counted["late"] + counted["dead_letter"] == sent
        assert counted["late"] == len(late)
        dead = stage.messages("grid.meter.v1.dlq")
        assert counted["dead_letter"] == len(dead) == len(hostile) + 1
        assert {(k, v) for k, v, _ in dead} >= set(hostile)
        assert all(h["gridflow.topic"] == b"grid.meter.v1" and h["gridflow.error.message"] for _, _, h in dead)
        assert len(stage.messages("grid.meter.v1.late")) == len(late)
        stage.stop(process)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_stop_at_any_moment_changes_nothing(services: Services, tmp_path: Path, how: str) -> None:
    stage = Stage(services, tmp_path, seed=2)
    chance = random.Random(time.time_ns())
    third = len(stage.readings) // 3
    for part in range(3):
        process = stage.start(workers=1 + part % 2)
        try:
            stage.send(stage.readings[part * third : (part + 1) * third if part < 2 else None])
            if part == 2:
                stage.settle(process)
                stage.stop(process)
            elif how == "kill":
                time.sleep(chance.uniform(3, 9))
                process.kill()
            else:
                time.sleep(chance.uniform(4, 8))
                stage.stop(process)
        finally:
            process.kill()
            process.wait()


def test_two_processes_share_the_work(services: Services, tmp_path: Path) -> None:
    stage = Stage(services, tmp_path, seed=4)
    half = len(stage.readings) // 2
    for part in (stage.readings[:half], stage.readings[half:]):
        cluster = stage.start_cluster(2)
        try:
            stage.send(part)
            if part[0] is stage.readings[0]:
                time.sleep(6)
                cluster[1].kill()  # one of them: the other cannot go on alone
            else:
                stage.settle(cluster[0])
                for process in cluster:
                    process.send_signal(signal.SIGTERM)
                assert [process.wait(60) for process in cluster] == [0, 0], stage.log()
        finally:
            for process in cluster:
                process.kill()
                process.wait()


def test_nothing_is_lost_while_influxdb_is_away(services: Services, tmp_path: Path) -> None:
    stage = Stage(services, tmp_path, seed=3)
    half = len(stage.readings) // 2
    stage.send(stage.readings[:half])
    process = stage.start()
    try:
        time.sleep(6)
        services.stop("influxdb")
        try:
            stage.send(stage.readings[half:])
            time.sleep(8)
            assert process.poll() is None, stage.log()
        finally:
            services.start("influxdb")
        stage.settle(process)
        assert "influxdb: " in stage.log(), "the flow must say that it waits"
        stage.stop(process)
    finally:
        process.kill()
        process.wait()


def test_the_window_of_the_reference_is_not_empty(services: Services, tmp_path: Path) -> None:
    """The other tests compare with rows that exist: nearly all windows of both areas."""
    expected = Stage(services, tmp_path, seed=1).expected()
    assert len(expected) > 2 * 4 * 18
    assert min(start for _, start in expected) < START + 120 * MINUTE
