"""Apache Kafka, one broker that is its own controller (KRaft)."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ops.services.base import Say, Service, ServiceError
from ops.services.obtain import maven, need, need_version

_PINS = Path(__file__).parent / "kafka"

# Small: one machine, few partitions, half a gigabyte. What is published stays until it is purged: readings
# are often older than Kafka's usual week, and would vanish. No topic is created by a misspelt name.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
"""


def _escaped(path: Path) -> str:
    # Java's properties format takes a backslash as the start of an escape.
    return str(path).replace("\\", "\\\\")


class Kafka(Service):
    """The broker."""

    name: ClassVar[str] = "kafka"
    title: ClassVar[str] = "Apache Kafka"
    version: ClassVar[str] = "4.1.1"
    ports: ClassVar[tuple[str, ...]] = ("client", "controller")

    def obtain(self, say: Say) -> Path:
        """The folder with the broker's jars."""
        need(self.title, "java")
        need_version(self.title, ("java", "-version"), r'version "(\d+)', (17,))
        return maven(f"kafka-{self.version}", _PINS, lambda _: None, say)

    def command(self, program: Path, folder: Path, ports: Mapping[str, int]) -> list[str]:
        """Write the properties, format the data folder if it is new, and give the broker's command line."""
        data = folder / "data"
        properties = folder / "server.properties"
        properties.write_text(_PROPERTIES.format(data=_escaped(data), **ports), encoding="utf-8")
        # slf4j-simple writes to stderr, which is the log file.
        java = [
            *("java", "-cp", f"{program}/*"),
            *("-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"),
            *("-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"),
        ]
        if not (data / "meta.properties").exists():
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            done = subprocess.run(
                [
                    *java,
                    "-XX:TieredStopAtLevel=1",
                    "kafka.tools.StorageTool",
                    "format",
                    f"--cluster-id={cluster}",
                    f"--config={properties}",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise ServiceError(f"{self.title}: formatting {data} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        return [*java, "-Xms256m", "-Xmx512m", "kafka.Kafka", str(properties)]

    def url(self, port: int) -> str:
        """The bootstrap server."""
        return f"127.0.0.1:{port}"

    def answers(self, port: int) -> bool:
        """Whether it lists itself as a broker."""
        # Its errors are those of a broker that is not up yet: nobody wants them on the terminal.
        config: dict[str, Any] = {"bootstrap.servers": self.url(port), "log_level": 0, "error_cb": _nothing}
        client = AdminClient(config)
        try:
            return bool(client.list_topics(timeout=3).brokers)
        except KafkaException:
            return False

    def environment(self, folder: Path, port: int) -> dict[str, str]:  # noqa: ARG002
        """The bootstrap servers."""
        return {"GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS": self.url(port)}


def _nothing(error: object) -> None:
    del error
