"""The real services: they work, and they are found again, stopped, crashed and started with their data."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from typer.testing import CliRunner

from ops.services import ServiceError, Services
from ops.services.cli import app
from ops.services.notes import Entry, Notes, Record
from ops.services.processes import come_free, free_ports, port_is_free, spawn
from ops.settings import load_settings

TOPIC = "services.test"


def write_line(services: Services, line: str) -> None:
    answer = httpx.post(
        f"{services.influx_url}/api/v2/write",
        params={"org": services.influx_org, "bucket": services.influx_bucket, "precision": "s"},
        headers={"Authorization": f"Token {services.influx_token}"},
        content=line,
        trust_env=False,
    )
    assert answer.status_code == 204, answer.text


def values_of(services: Services, measurement: str) -> list[str]:
    query = f'from(bucket: "{services.influx_bucket}") |> range(start: 0)'
    query += f' |> filter(fn: (r) => r._measurement == "{measurement}") |> keep(columns: ["_value"])'
    answer = httpx.post(
        f"{services.influx_url}/api/v2/query",
        params={"org": services.influx_org},
        headers={"Authorization": f"Token {services.influx_token}", "Content-Type": "application/vnd.flux"},
        content=query,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return [row.split(",")[-1] for row in answer.text.split("\r\n")[1:] if row]


def publish(services: Services, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": services.kafka_bootstrap, "message.timeout.ms": 20_000})
    errors: list[object] = []
    producer.produce(TOPIC, value=value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    assert errors == [None]


def messages(services: Services) -> list[bytes]:
    config = {
        "bootstrap.servers": services.kafka_bootstrap,
        "group.id": "services",
        "enable.auto.commit": False,
    }
    consumer = Consumer(config)
    try:
        _, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=20)
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        found: list[bytes] = []
        deadline = time.monotonic() + 30
        while len(found) < high and time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                found.append(bytes(message.value() or b""))
        return found
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def topic(services: Services) -> str:
    admin = AdminClient({"bootstrap.servers": services.kafka_bootstrap})
    admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])[TOPIC].result(30)
    return TOPIC


def pids(services: Services) -> dict[str, int | None]:
    return {status.name: status.pid for status in services.status()}


def test_all_run_on_loopback_with_their_pinned_versions(services: Services) -> None:
    found = services.status()
    assert [(each.name, each.state) for each in found] == [
        ("kafka", "running"),
        ("registry", "running"),
        ("influxdb", "running"),
    ]
    for each in found:
        if each.pid is not None:
            listening = [
                connection.laddr.ip
                for connection in psutil.Process(each.pid).net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            ]
            assert listening
            assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    # InfluxDB is built here, and does not know its version; the other two tell.
    registry = httpx.get(
        services.registry_url.replace("/apis/ccompat/v7", "/apis/registry/v2/system/info"), trust_env=False
    )
    assert registry.json()["version"] == "2.6.13.Final"


def test_kafka_takes_messages_and_makes_no_topic_by_itself(services: Services, topic: str) -> None:
    publish(services, b"a reading")
    assert b"a reading" in messages(services)
    producer = Producer({"bootstrap.servers": services.kafka_bootstrap, "message.timeout.ms": 3000})
    errors: list[object] = []
    producer.produce("no.such.topic", b"x", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert [type(error) for error in errors] == [KafkaError]
    metadata = AdminClient({"bootstrap.servers": services.kafka_bootstrap}).list_topics(timeout=10)
    assert topic in metadata.topics
    assert "no.such.topic" not in metadata.topics


def test_registry_speaks_confluents_api(services: Services) -> None:
    def call(method: str, path: str, **body: object) -> dict[str, object]:
        answer = httpx.request(method, f"{services.registry_url}{path}", json=body or None, trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    subject = "services.test-value"
    one = {"type": "record", "name": "Trial", "fields": [{"name": "a", "type": "long"}]}
    number = call("POST", f"/subjects/{subject}/versions", schema=json.dumps(one))["id"]
    assert call("GET", f"/subjects/{subject}/versions/latest")["id"] == number
    assert json.loads(str(call("GET", f"/schemas/ids/{number}")["schema"])) == one
    call("PUT", f"/config/{subject}", compatibility="BACKWARD_TRANSITIVE")
    added = {"name": "b", "type": "long"}
    for field, compatible in ((added, False), ({**added, "default": 0}, True)):
        two = json.dumps({**one, "fields": [{"name": "a", "type": "long"}, field]})
        path = f"/compatibility/subjects/{subject}/versions/latest"
        assert call("POST", path, schema=two)["is_compatible"] is compatible


def test_up_again_starts_nothing(services: Services) -> None:
    before = pids(services)
    said: list[str] = []
    again = Services(services.folder, say=said.append)
    again.up()
    assert pids(again) == before
    assert [line.partition(":")[2].split(" at")[0] for line in said] == [" runs already"] * 3
    assert (again.kafka_bootstrap, again.influx_token) == (services.kafka_bootstrap, services.influx_token)


def test_influxdb_comes_back_on_its_port_with_its_data(services: Services) -> None:
    write_line(services, "services_stop value=1i 1700000000")
    url = services.influx_url
    services.stop("influxdb")
    try:
        assert {each.name: each.state for each in services.status()}["influxdb"] == "stopped"
        assert "GRIDFLOW_INFLUXDB__URL" not in services.environment()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health", trust_env=False)
    finally:
        services.start("influxdb")
    assert services.influx_url == url
    assert values_of(services, "services_stop") == ["1"]


def test_kafka_comes_back_after_a_crash_with_its_messages(services: Services, topic: str) -> None:
    assert topic
    publish(services, b"before the crash")
    services.stop("kafka", kill=True)
    try:
        assert pids(services)["kafka"] is None
    finally:
        services.start("kafka")
    publish(services, b"after the crash")
    assert messages(services)[-2:] == [b"before the crash", b"after the crash"]


def test_status_leads_a_shell_and_the_settings_to_the_services(services: Services) -> None:
    result = CliRunner().invoke(app, ["status", "--folder", str(services.folder)])
    assert result.exit_code == 0, result.output
    assert services.influx_token not in result.output
    lines = [line for line in result.stdout.splitlines() if line]
    assert all(line.startswith("export ") for line in lines)
    shown = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    in_file = dict(line.split("=", 1) for line in services.environment_file.read_text().splitlines())
    assert shown == in_file == services.environment()
    settings = load_settings(environ=shown)
    assert settings.kafka.bootstrap_servers == services.kafka_bootstrap
    assert settings.registry.url == services.registry_url
    assert settings.influxdb.url == services.influx_url
    assert settings.influxdb.secret() == services.influx_token
    assert services.influx_token_file.stat().st_mode & 0o777 == 0o600


def test_a_crash_is_seen_and_up_mends_it(services: Services) -> None:
    pid = pids(services)["influxdb"]
    if pid is None:  # a container, whose crash is the engine's to mend
        services.stop("influxdb", kill=True)
    else:
        psutil.Process(pid).kill()
        arguments = ["status", "--json", "--folder", str(services.folder)]
        deadline = time.monotonic() + 10
        result = CliRunner().invoke(app, arguments)
        while "failed" not in result.stdout and time.monotonic() < deadline:
            result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        states = {each["name"]: each["state"] for each in json.loads(result.stdout)["services"]}
        assert states == {"kafka": "running", "registry": "running", "influxdb": "failed"}
    services.up(["influxdb"])
    assert [each.state for each in services.status()] == ["running"] * 3


def test_a_port_taken_meanwhile_is_said_and_up_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.services.manager.come_free", lambda ports: come_free(ports, 0.1))
    services = Services(tmp_path / "a folder", mode="plain")
    try:
        services.up(["influxdb"])
        write_line(services, "services_moved value=7i 1700000000")
        services.stop("influxdb")
        port = int(services.influx_url.rpartition(":")[2])
        with socket.create_server(("127.0.0.1", port)):
            with pytest.raises(ServiceError, match=rf"its port \({port}\) was taken"):
                services.start("influxdb")
            services.up(["influxdb"])
            assert not services.influx_url.endswith(f":{port}")
            assert values_of(services, "services_moved") == ["7"]
    finally:
        services.down(purge=True)
    assert [path.name for path in services.folder.iterdir()] == [".lock"]


def test_a_process_that_only_has_the_number_is_left_alone(tmp_path: Path) -> None:
    code = "import time; print('here', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()  # while a process is being made it has no command line
        created = psutil.Process(other.pid).create_time()
        entry = Entry({"client": 15_000, "controller": 15_001}, True, other.pid, created)
        Notes(tmp_path / "services.json").write(Record("plain", {"kafka": entry}))
        services = Services(tmp_path)
        assert services.status()[0].state == "failed"
        services.down()
        assert services.status()[0].state == "stopped"
        assert other.poll() is None
        other.kill()


def test_a_service_is_stopped_though_its_parent_blocks_sigterm(tmp_path: Path) -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        code = f"import time; time.sleep(60)  # {tmp_path}"
        spawned = spawn([sys.executable, "-c", code], mark=str(tmp_path), log=tmp_path / "log", environment=os.environ)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    assert spawned.process() is not None
    began = time.monotonic()
    spawned.stop()
    assert spawned.process() is None
    assert time.monotonic() - began < 10


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.services.processes._STOP_SECONDS", 0.5)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    code += f"; time.sleep(60)  # {tmp_path}"
    log = tmp_path / "log"
    spawned = spawn([sys.executable, "-c", code], mark=str(tmp_path), log=log, environment=os.environ)
    while "deaf" not in log.read_text():
        time.sleep(0.05)
    spawned.stop()
    assert spawned.process() is None


def test_ports_are_free_and_not_those_of_outgoing_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not port_is_free(server.getsockname()[1])
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < lowest
    assert not set(free_ports(20, ports)) & set(ports)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["up", "--only", "kafak"], 2, "kafak"),
        (["status"], 1, "services.json cannot be read"),
        (["down"], 1, "services.json cannot be read"),
    ],
)
def test_errors_are_said(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    (tmp_path / "services.json").write_text('{"mode": "plain"')
    result = CliRunner().invoke(app, [*arguments, "--folder", str(tmp_path)])
    assert result.exit_code == status
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    services = Services(tmp_path, mode="plain")
    (tmp_path / "influxdb" / "data" / "influxd.bolt").mkdir(parents=True)  # where a file has to be
    with pytest.raises(ServiceError, match=r"InfluxDB ended as it started; its log says:\n(.|\n)*influxd\.bolt"):
        services.up(["influxdb"])
    services.down()
