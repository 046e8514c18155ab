"""Readings, values of units and the network in Kafka, the topology as a process, changes in all sinks."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from influxdb_client.client.influxdb_client import InfluxDBClient

from connectors.decode import Decoder
from flows.topology.rows import Row
from ops.services import Services
from schemas import contract
from schemas.encode import Encoder
from schemas.registry import Registry
from tests.flows.topology.grid import Running, disturbed, telemetry
from tests.flows.topology.test_switching import switching_day, switching_network, switching_rows

METER, FTU, NETWORK, CHANGE = "grid.meter.v1", "grid.ftu.v1", "grid.network.v1", "grid.topology-change.v1"
TOPICS = {METER: 3, FTU: 2, NETWORK: 1, CHANGE: 2} | {
    f"{one}.{end}": 1 for one in (METER, FTU, NETWORK) for end in ("dlq", "late")
}
KEYS = {METER: "meter_id", FTU: "ftu_id", NETWORK: "element_id"}

Found = dict[str, tuple[str, str, str | None, str | None, object]]


def _found(rows: list[Row]) -> Found:
    best: dict[str, Row] = {}
    for row in rows:
        if row["change_id"] not in best or row["revision"] >= best[row["change_id"]]["revision"]:
            best[row["change_id"]] = row
    return {
        key: (row["kind"], row["state"], row["previous"], row["current"], row["effective_time"])
        for key, row in best.items()
        if not any(one["key"] == "withdrawn" for one in row["evidence"])
    }


class Stage:
    """Topics and a process under names that no other test has."""

    def __init__(self, services: Services, folder: Path, flow: str = "topology", *more: str) -> None:
        self.services, self.folder, self.flow = services, folder, flow
        self.name = f"t{uuid.uuid4().hex[:8]}"
        config: dict[str, str | int | float | bool] = {"bootstrap.servers": services.kafka_bootstrap}
        admin = AdminClient(config)
        new = [NewTopic(f"{self.name}.{topic}", parts, 1) for topic, parts in (TOPICS | dict.fromkeys(more, 1)).items()]
        for future in admin.create_topics(new).values():
            future.result(30)
        self.producer = Producer(config)
        self.registry = Registry(services.registry_url)

    def send(self, topic: str, frame: pl.DataFrame) -> None:
        wanted = contract(topic)
        missing = [pl.lit(None, kind).alias(name) for name, kind in wanted.polars.items() if name not in frame.columns]
        whole = frame.with_columns(missing).select(list(wanted.polars)).cast(wanted.polars)
        encoded = Encoder(wanted, self.registry.id_of(wanted)).encode(whole)
        for key, value in zip(whole[KEYS[topic]], encoded, strict=True):
            self.producer.produce(f"{self.name}.{topic}", key=key, value=value)
            self.producer.poll(0)
        assert self.producer.flush(60) == 0

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **self.services.environment(),
            "GRIDFLOW_KAFKA__TOPIC_PREFIX": f"{self.name}.",
            "GRIDFLOW_KAFKA__GROUP_ID": self.name,
            "GRIDFLOW_PARQUET__OUTPUT": str(self.folder / "results"),
            "GRIDFLOW_EVENT_TIME__IDLE_AFTER_SECONDS": "2",
            "GRIDFLOW_RUNTIME__SNAPSHOT_SECONDS": "2",
            "GRIDFLOW_RUNTIME__RECOVERY": str(self.folder / "recovery"),
            "GRIDFLOW_TOPOLOGY__LOOK_AHEAD_SECONDS": "1",
        }
        command = [str(Path(sys.executable).with_name("gridflow")), "run", self.flow]
        with (self.folder / "flow.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)

    def log(self) -> str:
        return (self.folder / "flow.log").read_text()[-4000:]

    def rows(self, topic: str) -> list[Row]:
        consumer = Consumer({"bootstrap.servers": self.services.kafka_bootstrap, "group.id": uuid.uuid4().hex})
        name = f"{self.name}.{topic}"
        parts = range(TOPICS[topic])
        ends = {p: consumer.get_watermark_offsets(TopicPartition(name, p), timeout=30)[1] for p in parts}
        consumer.assign([TopicPartition(name, p, 0) for p in ends])
        got: list[tuple[bytes | None, bytes | None]] = []
        while len(got) < sum(ends.values()):
            got += [(one.key(), one.value()) for one in consumer.consume(1000, timeout=1)]
        consumer.close()
        if topic not in (CHANGE, NETWORK):
            return [{"key": key, "value": value} for key, value in got]
        decoded = Decoder(contract(topic), self.registry.by_id).decode([one[0] for one in got], [one[1] for one in got])
        assert not decoded.dead
        return decoded.frame.to_dicts()

    def in_parquet(self) -> list[Row]:
        files = list((self.folder / "results" / "topology_change").glob("date=*/*.parquet"))
        return [row for file in files for row in pl.read_parquet(file, hive_partitioning=False).to_dicts()]

    def in_influx(self) -> set[str]:
        query = f"""from(bucket: "{self.services.influx_bucket}")
            |> range(start: 2026-09-01T00:00:00Z, stop: 2026-10-31T00:00:00Z)
            |> filter(fn: (r) => r._measurement == "topology_change" and r._field == "state")"""
        with InfluxDBClient(
            self.services.influx_url, self.services.influx_token, org=self.services.influx_org
        ) as client:
            return {one.values["change_id"] for table in client.query_api().query(query) for one in table.records}

    def settle(self, process: subprocess.Popen[bytes], expected: Found, seconds: float = 120) -> None:
        """Wait until Kafka and Parquet show what is expected."""
        end = time.monotonic() + seconds
        while True:
            assert process.poll() is None, self.log()
            found = {"kafka": _found(self.rows(CHANGE)), "parquet": _found(self.in_parquet())}
            wrong = {name: rows for name, rows in found.items() if rows != expected}
            if not wrong:
                return
            if time.monotonic() > end:
                name, rows = next(iter(wrong.items()))
                differing = {
                    k: (rows.get(k), expected.get(k)) for k in rows | expected if rows.get(k) != expected.get(k)
                }
                said = [
                    (row["change_id"], row["state"], row["revision"], row["detected_time"])
                    for row in self.rows(CHANGE)
                    if row["change_id"] in differing
                ]
                raise AssertionError(f"{name}: {differing}\n{said}\n{self.log()}")
            time.sleep(1)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_changes_in_all_sinks_whatever_order_and_stops(services: Services, tmp_path: Path, how: str) -> None:
    stage, chance, street = Stage(services, tmp_path), random.Random(7), telemetry()
    whole = Running(street.network)
    whole.take(street.readings)
    whole.end()
    # The last watermark is two minutes behind the last reading: the last step is not made.
    last = max(row["detected_time"] for row in whole.said)
    assert last < street.readings["time"].max()
    expected = _found(whole.said) | _found(switching_rows())
    assert {row[0] for row in expected.values()} >= {
        "METER_TRANSFORMER_CHANGED",
        "METER_PHASE_CHANGED",
        "SWITCH_OPERATED",
        "DE_ENERGISED",
        "RE_ENERGISED",
        "SUPPLY_CHANGED",
    }
    stage.send(NETWORK, pl.concat([street.network, switching_network()]))
    arriving = disturbed(street.readings, chance, 2.0, 0.05)
    operated = switching_day()
    for part in range(3):
        process = stage.start()
        try:
            third = arriving.height // 3
            stage.send(METER, arriving[part * third : (part + 1) * third if part < 2 else None])
            if part == 0:
                stage.send(FTU, operated)
            if part == 2:
                stage.settle(process, expected)
            else:
                time.sleep(chance.uniform(5, 9))
            if how == "kill" and part < 2:
                process.kill()
            else:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, stage.log()
        finally:
            process.kill()
            process.wait()
    assert stage.in_influx() >= set(expected)
    assert not any(stage.rows(f"{topic}.{end}") for topic in (METER, FTU, NETWORK) for end in ("dlq", "late"))
    # What is settled, 24 h before the last reading, has become a version of the network.
    move = street.moves[0]
    versions = [row for row in stage.rows(NETWORK) if row["element_id"] == f"U{move.meter:03d}"]
    assert [row["container_id"] for row in versions] == ["T0", "T1"]
    assert versions[1]["valid_from"] == next(v[4] for k, v in expected.items() if k.startswith(f"U{move.meter:03d}/"))
