"""The demo through the real services: simulated into Kafka at a speed, the flow running, results as they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
from confluent_kafka import Consumer
from prometheus_client.parser import text_string_to_metric_families
from rich.live import Live

from connectors.decode import Decoder
from connectors.errors import PublishError
from connectors.simulation.options import Options
from connectors.simulation.simulation import NETWORK, Simulation
from connectors.simulation.write import TRUTH, prepare
from flows.line_loss.flow import METER_TOPIC
from flows.wiring import schema_source
from ops.console import err, out
from ops.demo.board import Board
from ops.demo.offline import INPUT, RESULTS, Demo, compare
from ops.run_cli import APPLICATIONS, DEAD_LETTERS, Flow
from ops.services import Services
from ops.services.processes import free_ports
from ops.settings import Settings, load_settings
from ops.simulate_cli import publish_simulation
from schemas import contract
from sinks.metrics import OUTCOMES
from sinks.parquet_folder import clear_dataset

LOSSES = contract("grid.line-loss.v1")
ANOMALIES = contract("grid.ied-anomaly.v1")
_LOG = "flow.log"
_PICTURES_PER_SECOND = 4
_QUIET_SECONDS = 8.0  # without a new result, after all is published: the flow has done what it can
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_GRIDFLOW = (sys.executable, "-c", "from ops.cli import main; main()")


class _Stopped(Exception):  # noqa: N818 - no error: the user has had enough
    """Publishing is to end."""


def run_live(folder: Path, options: Options, speed: float) -> Demo | None:
    """Run the live demo; what it started is stopped at the end.

    Args:
        folder: for the services' data, the results and the truth.
        options: what is simulated.
        speed: multiple of real time.

    Returns:
        What it leaves; None if it was interrupted before all was published.

    Raises:
        ServiceError: a service does not come up.
        InputError: the folder cannot be written.
        PublishError: Kafka does not take the telemetry, or the flow has ended.
    """
    prepare(folder / INPUT)
    for dataset in (*(name for one in APPLICATIONS.values() for name in one.datasets), DEAD_LETTERS):
        clear_dataset(folder / RESULTS, dataset)
    with _ended_in_order(), Services(folder / "services", say=lambda line: err.print(line, markup=False)) as services:
        (port,) = free_ports(1)
        environment = {
            **services.environment(),
            "GRIDFLOW_PARQUET__OUTPUT": str(folder / RESULTS),
            "GRIDFLOW_PARQUET__KEEP_REVISIONS": "line_loss",
            "GRIDFLOW_RUNTIME__METRICS_PORT": str(port),
            "GRIDFLOW_RUNTIME__SNAPSHOT_SECONDS": "5",
            "GRIDFLOW_KAFKA__TOPIC_PREFIX": f"demo-{uuid.uuid4().hex[:8]}.",
            "GRIDFLOW_LINE_LOSS__RESTATE_SECONDS": "0.5",
        }
        settings = load_settings(environ=environment)
        ran = {**os.environ, **environment}
        subprocess.run([*_GRIDFLOW, "topics", "create"], env=ran, check=True, stdout=subprocess.DEVNULL)
        with _flow(folder, ran) as flow:
            live = _Live(settings, Simulation(options), speed, folder, flow, port)
            whole = live.watch()
        counts = dict(live.board.readings)
    if not whole:
        return None
    network = folder / INPUT / f"{NETWORK}.parquet"
    live.simulation.network.write_parquet(network)
    return compare(folder, network, counts)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """A closed terminal, or a SIGTERM, ends it as Ctrl-C does: nothing that was started is left.

    A second signal does not keep it from stopping what it started.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_signal: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _flow(folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The flows as one process; it is stopped as it would be in operation, and its results are complete."""
    with (folder / _LOG).open("wb") as log:
        flow = subprocess.Popen(
            [*_GRIDFLOW, "run", Flow.ALL],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for the dashboard, which stops it in order
        )
        try:
            yield flow
        finally:
            flow.terminate()
            try:
                flow.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                flow.kill()
                flow.wait()


class _Live:
    """Publishing in one thread, the dashboard in this one."""

    def __init__(
        self,
        settings: Settings,
        simulation: Simulation,
        speed: float,
        folder: Path,
        flow: subprocess.Popen[bytes],
        port: int,
    ) -> None:
        self.settings, self.simulation, self.speed, self.folder = settings, simulation, speed, folder
        self.board = Board(f"gridflow, live at {speed:g} times real time (Ctrl-C ends it)")
        self._flow, self._port = flow, port
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._published = threading.Event()
        self._begin = 0.0
        self._told = simulation.options.start
        schemas = schema_source(settings.registry)
        self._takes = {
            settings.kafka.topic(one.topic): (Decoder(one, schemas.by_id, schemas.by_guid), take)
            for one, take in ((LOSSES, self.board.take_losses), (ANOMALIES, self.board.take_anomalies))
        }

    def watch(self) -> bool:
        """Until all is published and worked out, or interrupted; True if it was all."""
        consumer = Consumer(
            {
                **self.settings.kafka.client_config(),
                "group.id": f"demo-{uuid.uuid4().hex}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self.settings.kafka.topic(one.topic) for one in (LOSSES, ANOMALIES)])
        self._await_flow()
        publisher = threading.Thread(target=self._publish, daemon=True)
        publisher.start()
        try:
            with Live(console=out, auto_refresh=False, screen=out.is_terminal, transient=True) as picture:
                self._look(consumer, picture)
        except KeyboardInterrupt:
            self._stop.set()
        finally:
            self._stop.set()
            publisher.join()
            consumer.close()
        if self._failure is not None:
            raise self._failure
        return self._published.is_set()

    def _await_flow(self) -> None:
        """The flow compiles at its first start: nothing is published before it listens."""
        until = time.monotonic() + _START_SECONDS
        err.print("waiting for the flow to start")
        while self._metrics() is None:
            self._check_flow()
            if time.monotonic() > until:
                raise PublishError(f"the flow did not start; see {self.folder / _LOG}")
            time.sleep(0.2)

    def _look(self, consumer: Consumer, picture: Live) -> None:
        last_result = time.monotonic()
        while not (self._published.is_set() and time.monotonic() - last_result > _QUIET_SECONDS):
            messages = consumer.consume(10_000, 1 / _PICTURES_PER_SECOND)
            good = [message for message in messages if message.error() is None]
            if good:
                last_result = time.monotonic()
            for topic, (decoder, take) in self._takes.items():
                if mine := [message for message in good if message.topic() == topic]:
                    keys, values = [message.key() for message in mine], [message.value() for message in mine]
                    take(decoder.decode(keys, values).frame)
            self._check_flow()
            if self._failure is not None or self._stop.is_set():
                return
            self._note()
            picture.update(self.board.render(out.width), refresh=True)

    def _note(self) -> None:
        board, options = self.board, self.simulation.options
        board.readings = self._metrics() or board.readings
        if self._published.is_set():
            board.stage = "all is published; waiting for the last results"
            return
        if self._begin:
            board.stage = f"{sum(board.published.values()):,} messages published"
            gone = timedelta(seconds=(time.monotonic() - self._begin) * self.speed)
            board.now = min(options.start + gone, datetime.fromtimestamp(options.end_us / 1e6, UTC))
            fresh = self.simulation.events().filter((pl.col("start") > self._told) & (pl.col("start") <= board.now))
            for kind, element, start in fresh.select("kind", "element_id", "start").iter_rows():
                board.tell(start, f"injected: {kind.lower().replace('_', ' ')} at {element}", "magenta")
            self._told = board.now

    def _metrics(self) -> dict[str, int] | None:
        """What became of the meter readings; None while the flow does not answer."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=2).text
        except httpx.HTTPError:
            return None
        counts = dict.fromkeys(OUTCOMES, 0)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "gridflow_readings_total" and sample.labels["topic"] == METER_TOPIC:
                    counts[sample.labels["outcome"]] = int(sample.value)
        return counts

    def _check_flow(self) -> None:
        if self._flow.poll() is not None:
            raise PublishError(f"the flow has ended with status {self._flow.returncode}; see {self.folder / _LOG}")

    def _publish(self) -> None:
        def progress(name: str, rows: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            if not self._begin and name.endswith(METER_TOPIC):
                self._begin = time.monotonic()
            self.board.published[name.removeprefix(self.settings.kafka.topic_prefix)] += rows

        try:
            publish_simulation(self.simulation, self.settings, self.speed, self.folder / INPUT / TRUTH, progress)
            self._published.set()
        except (_Stopped, KeyboardInterrupt):
            self._stop.set()  # Polars raises a Ctrl-C in the thread that it works in
        except Exception as error:
            self._failure = error
