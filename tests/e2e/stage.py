"""A stage for end-to-end tests: readings into a real Kafka, the flow as a process, results read back from all sinks."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import polars as pl
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from influxdb_client.client.influxdb_client import InfluxDBClient

from connectors.decode import Decoder
from ops.services import Services
from schemas import contract
from schemas.encode import Encoder
from schemas.registry import Registry
from tests.flows.harness import RULES, frame_of, network_of
from tests.flows.reference import SECOND, Reading, line_losses

PARTITIONS = 3
MINUTE = 60 * SECOND
START = 1_475_452_800 * SECOND
HOURS = 20
TOPICS = ("grid.meter.v1", "grid.network.v1", "grid.line-loss.v1", "grid.meter.v1.dlq", "grid.meter.v1.late")

Rows = dict[tuple[str, int], tuple[int, int, int, int]]


def make_readings(meters: list[str], seed: int) -> list[Reading]:
    """Readings at odd and even times, with gaps, copies, corrections and resets; all meters read on past the end."""
    chance = random.Random(seed)
    readings = []
    for meter in meters:
        minute, value = chance.randint(0, 90), round(chance.uniform(0, 900), 3)
        while minute < HOURS * 60 + 60:
            time_ = START + minute * MINUTE + chance.choice([0, 0, 5 * SECOND])
            readings.append(Reading(meter, time_, round(value, 3), None, 0, time_ + SECOND))
            if chance.random() < 0.03:
                readings.append(readings[-1])
            if chance.random() < 0.02:
                readings.append(Reading(meter, time_, round(value + 0.5, 3), None, 0, time_ + 5 * SECOND))
            minute += chance.choice([15] * 20 + [30, 7, 45])
            value = 0.0 if chance.random() < 0.01 else value + chance.uniform(0, 4)
        readings.append(Reading(meter, START + (HOURS * 60 + 70) * MINUTE, round(value + 1, 3), None, 0, None))
    return readings


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Stage:
    """Topics, areas and folders of one test, under names that no other test has."""

    def __init__(self, services: Services, folder: Path, seed: int) -> None:
        self.services = services
        self.folder = folder
        self.name = uuid.uuid4().hex[:8]
        self.areas = {
            f"{self.name}-T1": ("H1", ["A", "B", "C"]),
            f"{self.name}-T2": ("H2", ["D", "E"]),
        }
        self.readings = make_readings([m for head, rest in self.areas.values() for m in (head, *rest)], seed)
        random.Random(seed).shuffle(self.readings)
        self.metrics_port = free_port()
        config: dict[str, str | int | float | bool] = {"bootstrap.servers": services.kafka_bootstrap}
        admin = AdminClient(config)  # kept: its futures die with it
        made = admin.create_topics([NewTopic(self.topic(t), PARTITIONS, 1) for t in TOPICS])
        for future in made.values():
            future.result(30)
        self.producer = Producer(config)
        registry = Registry(services.registry_url)
        self.ids = {t: registry.id_of(contract(t)) for t in ("grid.meter.v1", "grid.network.v1")}
        network = network_of(self.areas, region=f"{self.name}-R")
        self._send("grid.network.v1", network, network["element_id"])

    def topic(self, name: str) -> str:
        return f"{self.name}.{name}"

    def _send(self, topic: str, frame: pl.DataFrame, keys: pl.Series) -> None:
        for key, value in zip(keys, Encoder(contract(topic), self.ids[topic]).encode(frame), strict=True):
            self.producer.produce(self.topic(topic), key=key, value=value)
        assert self.producer.flush(30) == 0

    def send(self, readings: list[Reading]) -> None:
        frame = frame_of(readings).drop("_offset").with_columns(pl.col("quality").cast(pl.Int32))
        empty = {
            n: pl.lit(None, k).alias(n) for n, k in contract("grid.meter.v1").polars.items() if n not in frame.columns
        }
        self._send("grid.meter.v1", frame.with_columns(**empty), frame["meter_id"])

    def send_raw(self, key: bytes | None, value: bytes) -> None:
        self.producer.produce(self.topic("grid.meter.v1"), key=key, value=value)
        assert self.producer.flush(30) == 0

    def start_cluster(self, processes: int) -> list[subprocess.Popen[bytes]]:
        """Processes that share the work, each as one would start it on a machine of its own."""
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
        return [self.start(1, "-i", str(number), "-a", addresses) for number in range(processes)]

    def start(self, workers: int = 1, *more: str) -> subprocess.Popen[bytes]:
        recovery = self.folder / "recovery"
        if not recovery.exists():
            recovery.mkdir()
            subprocess.run([sys.executable, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
        environment = {
            **os.environ,
            **self.services.environment(),
            "GRIDFLOW_KAFKA__TOPIC_PREFIX": f"{self.name}.",
            "GRIDFLOW_KAFKA__GROUP_ID": self.name,
            "GRIDFLOW_PARQUET__OUTPUT": str(self.folder / "results"),
            "GRIDFLOW_EVENT_TIME__IDLE_AFTER_SECONDS": "2",
            "GRIDFLOW_ALIGNMENT__MAX_GAP_SECONDS": str(RULES.max_gap // SECOND),
            "GRIDFLOW_ALIGNMENT__ESTIMATE_FROM_SECONDS": str(RULES.span // SECOND),
            "GRIDFLOW_ALIGNMENT__BACKCAST_SECONDS": str(RULES.backcast // SECOND),
            "GRIDFLOW_ALIGNMENT__FORECAST_SECONDS": str(RULES.forecast // SECOND),
            "GRIDFLOW_ALIGNMENT__MAX_POWER_KW": str(RULES.limit_kw),
            "GRIDFLOW_ALIGNMENT__REGISTER_DIGITS": "[4, 5]",
            "GRIDFLOW_RUNTIME__METRICS_PORT": "0" if more else str(self.metrics_port),
        }
        with (self.folder / "flow.log").open("ab") as log:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "bytewax.run",
                    "flows.line_loss",
                    "-w",
                    str(workers),
                    "-r",
                    str(recovery),
                    "-s",
                    "1",
                    "-b",
                    "0",
                    *more,
                ],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def log(self) -> str:
        return (self.folder / "flow.log").read_text()[-4000:]

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, self.log()

    # ----------------------------------------------------------------- results

    def expected(self) -> Rows:
        """The reference's rows of the windows that the watermark must have passed."""
        rows = line_losses(self.readings, self.areas, RULES)
        return {k: v[:4] for k, v in rows.items() if k[1] < START + HOURS * 60 * MINUTE}

    def _rows(self, frame: pl.DataFrame) -> Rows:
        if not frame.height:
            return {}
        best = frame.sort("revision").unique(["element_id", "window_start"], keep="last")
        best = best.with_columns(pl.col("window_start").dt.epoch("us").alias("start"))
        return {
            (r["element_id"], r["start"]): (
                round(r["energy_in_kwh"] * 1e9),
                round(r["energy_out_kwh"] * 1e9),
                r["expected_meters"],
                r["reporting_meters"],
            )
            for r in best.to_dicts()
            if r["element_id"] in self.areas and r["start"] < START + HOURS * 60 * MINUTE
        }

    def messages(self, name: str) -> list[tuple[bytes | None, bytes | None, dict[str, str | bytes | None]]]:
        consumer = Consumer({"bootstrap.servers": self.services.kafka_bootstrap, "group.id": uuid.uuid4().hex})
        topic = self.topic(name)
        found: list[tuple[bytes | None, bytes | None, dict[str, str | bytes | None]]] = []
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1] for p in range(PARTITIONS)}
        consumer.assign([TopicPartition(topic, p, 0) for p in ends])
        while len(found) < sum(ends.values()):
            for message in consumer.consume(1000, timeout=1):
                assert message.error() is None, message.error()
                found.append((message.key(), message.value(), dict(message.headers() or [])))
        consumer.close()
        return found

    def in_kafka(self) -> Rows:
        registry = Registry(self.services.registry_url)
        got = self.messages("grid.line-loss.v1")
        decoded = Decoder(contract("grid.line-loss.v1"), registry.by_id).decode(
            [m[0] for m in got], [m[1] for m in got]
        )
        assert not decoded.dead
        return self._rows(decoded.frame)

    def in_parquet(self) -> Rows:
        files = list((self.folder / "results" / "line_loss").glob("date=*/*.parquet"))
        return self._rows(pl.concat([pl.read_parquet(f, hive_partitioning=False) for f in files])) if files else {}

    def in_influx(self) -> Rows:
        query = f"""from(bucket: "{self.services.influx_bucket}")
            |> range(start: 2016-10-01T00:00:00Z, stop: 2016-10-10T00:00:00Z)
            |> filter(fn: (r) => r._measurement == "line_loss" and r.region_id == "{self.name}-R")
            |> pivot(rowKey: ["_time", "element_id"], columnKey: ["_field"], valueColumn: "_value")"""
        token = self.services.influx_token
        with InfluxDBClient(self.services.influx_url, token, org=self.services.influx_org) as client:
            records = [r.values for table in client.query_api().query(query) for r in table.records]
        seen = [(r["element_id"], r["_time"]) for r in records]
        assert len(seen) == len(set(seen)), "a row is there twice under its identity"
        return {
            (r["element_id"], int(r["_time"].timestamp()) * SECOND): (
                round(r["energy_in_kwh"] * 1e9),
                round(r["energy_out_kwh"] * 1e9),
                r["expected_meters"],
                r["reporting_meters"],
            )
            for r in records
            if r["element_id"] in self.areas and r["_time"].timestamp() * SECOND < START + HOURS * 60 * MINUTE
        }

    def outcomes(self) -> dict[str, int]:
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False).text
        found: dict[str, int] = {}
        for line in text.splitlines():
            if line.startswith("gridflow_readings_total{") and 'topic="grid.meter.v1"' in line:
                outcome = line.split('outcome="')[1].split('"')[0]
                found[outcome] = int(float(line.rsplit(" ", 1)[1]))
        return found

    def settle(self, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
        """Wait until all three sinks show the expected rows; fail with the difference if they do not."""
        expected, end = self.expected(), time.monotonic() + seconds
        while True:
            assert process.poll() is None, self.log()
            found = {"kafka": self.in_kafka(), "parquet": self.in_parquet(), "influxdb": self.in_influx()}
            wrong = {name: rows for name, rows in found.items() if rows != expected}
            if not wrong:
                return
            if time.monotonic() > end:
                name, rows = next(iter(wrong.items()))
                differing = [
                    (k, rows.get(k), expected.get(k)) for k in rows.keys() | expected if rows.get(k) != expected.get(k)
                ]
                raise AssertionError(
                    f"{name}: {len(differing)} of {len(expected)} rows differ: {differing[:3]}\n{self.log()}"
                )
            time.sleep(1)
