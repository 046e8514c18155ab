"""IED messages in Kafka, the supervision as a process, anomalies in Kafka, InfluxDB and Parquet."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from influxdb_client.client.influxdb_client import InfluxDBClient

from connectors.decode import Decoder
from ops.services import Services
from schemas import contract
from schemas.encode import Encoder
from schemas.registry import Registry
from tests.e2e.stage import free_port
from tests.flows.ied_supervision.station import MINUTE, SECOND, START, Message, disturbed, frame_of, goose, health, run

IED, ANOMALY = "grid.ied.v1", "grid.ied-anomaly.v1"
TOPICS = (IED, ANOMALY, f"{IED}.dlq", f"{IED}.late")
PARTITIONS = 3
SPAN = 6 * MINUTE
WATCHED = 4 * MINUTE  # what begins before is settled when all is read

Found = dict[str, tuple[str, str, int, int, str]]
_FIELDS = ("anomaly_id", "state", "message_count", "revision", "message")


def _messages(name: str) -> list[Message]:
    """A station with a silence, a false publisher, an outage, a bad health."""
    devices = [f"{name}-{letter}" for letter in "ABCD"]
    messages = [
        one for ied in devices for one in (*goose(ied, until=SPAN, changes=[50 * SECOND]), *health(ied, until=SPAN))
    ]
    messages = [one for one in messages if not (one.ied.endswith("A") and 80 * SECOND < one.received < 95 * SECOND)]
    messages = [one for one in messages if not 150 * SECOND < one.received < 170 * SECOND]
    messages = [
        replace(one, health=3)
        if one.kind == "HEALTH" and one.ied.endswith("B") and 200 * SECOND < one.received < 230 * SECOND
        else one
        for one in messages
    ]
    at = 110 * SECOND + 300_000
    forged = [
        Message(at + n * SECOND, devices[2], time=at, st=3, sq=n, values=("true", "true"), address="02:00:00:00:00:66")
        for n in range(12)
    ]
    return [*messages, *forged]


def _found(frame: pl.DataFrame) -> Found:
    """What holds of each anomaly: its last revision, also where it is withdrawn."""
    rows = frame.sort("revision").unique("anomaly_id", keep="last", maintain_order=True)
    rows = rows.filter(pl.col("start_time").dt.epoch("us") < START + WATCHED)
    return {
        row["anomaly_id"]: (row["kind"], row["state"], row["message_count"], row["revision"], row["message"])
        for row in rows.iter_rows(named=True)
    }


def _standing(found: Found) -> Found:
    return {key: row for key, row in found.items() if not row[-1].startswith("withdrawn")}


class Stage:
    """Topics and a process under names that no other test has."""

    def __init__(self, services: Services, folder: Path) -> None:
        self.services, self.folder = services, folder
        self.name = f"S{uuid.uuid4().hex[:8]}"
        self.metrics_port = free_port()
        config: dict[str, str | int | float | bool] = {"bootstrap.servers": services.kafka_bootstrap}
        admin = AdminClient(config)
        for future in admin.create_topics([NewTopic(f"{self.name}.{t}", PARTITIONS, 1) for t in TOPICS]).values():
            future.result(30)
        self.producer = Producer(config)
        self.registry = Registry(services.registry_url)
        self.schema_id = self.registry.id_of(contract(IED))

    def send(self, messages: list[Message], partition: int = -1) -> None:
        """Produce messages; to a partition, or to that of their device."""
        frame = frame_of(messages).drop("_offset")
        for key, value in zip(frame["ied_id"], Encoder(contract(IED), self.schema_id).encode(frame), strict=True):
            self.producer.produce(f"{self.name}.{IED}", key=key, value=value, partition=partition)
        assert self.producer.flush(30) == 0

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **self.services.environment(),
            "GRIDFLOW_KAFKA__TOPIC_PREFIX": f"{self.name}.",
            "GRIDFLOW_KAFKA__GROUP_ID": self.name,
            "GRIDFLOW_PARQUET__OUTPUT": str(self.folder / "results"),
            "GRIDFLOW_RUNTIME__METRICS_PORT": str(self.metrics_port),
            "GRIDFLOW_RUNTIME__SNAPSHOT_SECONDS": "1",
            "GRIDFLOW_RUNTIME__RECOVERY": str(self.folder / "recovery"),
        }
        command = [str(Path(sys.executable).with_name("gridflow")), "run", "ied-supervision"]
        with (self.folder / "flow.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        while True:  # until it is there, and can be stopped
            assert process.poll() is None, self.log()
            try:
                socket.create_connection(("127.0.0.1", self.metrics_port), timeout=1).close()
            except OSError:
                time.sleep(0.2)
            else:
                return process

    def log(self) -> str:
        return (self.folder / "flow.log").read_text()[-4000:]

    def raw(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        consumer = Consumer({"bootstrap.servers": self.services.kafka_bootstrap, "group.id": uuid.uuid4().hex})
        name = f"{self.name}.{topic}"
        ends = {p: consumer.get_watermark_offsets(TopicPartition(name, p), timeout=30)[1] for p in range(PARTITIONS)}
        consumer.assign([TopicPartition(name, p, 0) for p in ends])
        got: list[tuple[bytes | None, bytes | None]] = []
        while len(got) < sum(ends.values()):
            got += [(one.key(), one.value()) for one in consumer.consume(1000, timeout=1)]
        consumer.close()
        return got

    def in_kafka(self) -> pl.DataFrame:
        got = self.raw(ANOMALY)
        decoded = Decoder(contract(ANOMALY), self.registry.by_id).decode(
            [one[0] for one in got], [one[1] for one in got]
        )
        assert not decoded.dead
        return decoded.frame

    def in_parquet(self) -> pl.DataFrame:
        files = list((self.folder / "results" / "ied_anomaly").glob("date=*/*.parquet"))
        frames = [pl.read_parquet(file, hive_partitioning=False) for file in files]
        return pl.concat(frames) if frames else contract(ANOMALY).empty()

    def in_influx(self) -> Found:
        query = f"""from(bucket: "{self.services.influx_bucket}")
            |> range(start: 2027-01-01T00:00:00Z, stop: {(START + WATCHED) // SECOND})
            |> filter(fn: (r) => r._measurement == "ied_anomaly" and r.ied_id =~ /^{self.name}/)
            |> filter(fn: (r) => contains(value: r._field, set: {json.dumps(_FIELDS)}))
            |> toString()"""
        with InfluxDBClient(
            self.services.influx_url, self.services.influx_token, org=self.services.influx_org
        ) as client:
            points: dict[tuple[str, ...], dict[str, str]] = {}
            for record in (one for table in client.query_api().query(query) for one in table.records):
                tags = record.values
                of = str(record.get_time()), tags["ied_id"], tags.get("control_block", ""), tags["kind"]
                points.setdefault(of, {"kind": tags["kind"]})[record.get_field()] = record.get_value()
        return {
            one["anomaly_id"]: (
                one["kind"],
                one["state"],
                int(one["message_count"]),
                int(one["revision"]),
                one["message"],
            )
            for one in points.values()
        }

    def settle(self, process: subprocess.Popen[bytes], expected: Found, seconds: float = 90) -> None:
        """Wait until all sinks show the same, and what of it is not withdrawn is what is expected."""
        end = time.monotonic() + seconds
        while True:
            assert process.poll() is None, self.log()
            kafka = _found(self.in_kafka())
            found = {"parquet": _found(self.in_parquet()), "influx": self.in_influx()}
            wrong = {name: (rows, kafka) for name, rows in found.items() if rows != kafka}
            if _standing(kafka) != expected:
                wrong["kafka"] = _standing(kafka), expected
            if not wrong:
                return
            if time.monotonic() > end:
                name, (rows, due) = next(iter(wrong.items()))
                differing = {k: (rows.get(k), due.get(k)) for k in rows | due if rows.get(k) != due.get(k)}
                raise AssertionError(f"{name}: {differing}\n{self.log()}")
            time.sleep(1)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_anomalies_in_all_sinks_whatever_order_and_stops(services: Services, tmp_path: Path, how: str) -> None:
    stage = Stage(services, tmp_path)
    chance = random.Random(7)
    messages = _messages(stage.name)
    expected = _standing(_found(run(messages)))
    kinds = {row[0] for row in expected.values()}
    assert {"SILENCE", "COMMON_CAUSE", "RIVAL_PUBLISHER", "FOREIGN_ADDRESS", "HEALTH_ALARM"} <= kinds
    arriving = disturbed(messages, chance, 10 * SECOND, 0.1)
    third = len(arriving) // 3
    for part in range(3):
        process = stage.start()
        try:
            stage.send(arriving[part * third : (part + 1) * third if part < 2 else None])
            if part == 2:
                stage.settle(process, expected)
            else:
                time.sleep(chance.uniform(4, 8))
            if how == "kill" and part < 2:
                process.kill()
            else:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, stage.log()
        finally:
            process.kill()
            process.wait()
    assert stage.raw(f"{IED}.dlq") == stage.raw(f"{IED}.late") == []


def test_silence_is_told_while_it_lasts_and_bad_messages_are_dead_letters(services: Services, tmp_path: Path) -> None:
    """Also where nobody else sends into the partition of the silent device."""
    stage = Stage(services, tmp_path)
    devices = [f"{stage.name}-{letter}" for letter in "AB"]
    early = [one for ied in devices for one in goose(ied, until=30 * SECOND)]
    process = stage.start()
    try:
        stage.send([one for one in early if one.ied == devices[0]], partition=0)
        stage.send([one for one in early if one.ied == devices[1]], partition=1)
        stage.send([one for one in goose(devices[1], until=40 * SECOND) if one.received >= 30 * SECOND], partition=1)
        stage.producer.produce(f"{stage.name}.{IED}", key=devices[0].encode(), value=b"no message")
        stage.producer.flush(30)
        end = time.monotonic() + 40
        while not (rows := stage.in_kafka()).height or not stage.raw(f"{IED}.dlq"):
            assert process.poll() is None and time.monotonic() < end, stage.log()
            time.sleep(0.5)
        silent = rows.filter((pl.col("kind") == "SILENCE") & ~pl.col("message").str.starts_with("withdrawn"))
        assert set(silent["ied_id"]) == {devices[0]}
        assert set(silent["state"]) == {"RAISED"}
        assert stage.raw(f"{IED}.dlq") == [(devices[0].encode(), b"no message")]
    finally:
        process.kill()
        process.wait()
