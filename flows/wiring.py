"""From settings to sources, sinks and rules: what the flows' wirings share."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bytewax.inputs import Source

from connectors.assemble import Narrow
from connectors.batch import Batch, Gate, Verdict
from connectors.decode import Decoder
from connectors.file_source import FileSource
from connectors.kafka_source import KafkaSource
from connectors.stopping import stop_on_sigterm, stop_requested
from flows.streaming.gate import PartitionGate
from ops.logs import set_up_logging
from ops.settings import RegistrySettings, Settings
from schemas import Contract
from schemas.encode import Encoder
from schemas.registry import LocalRegistry, Registry, SchemaSource
from sinks.influx_api import InfluxApi
from sinks.influxdb import InfluxSink
from sinks.kafka import KafkaFrameSink
from sinks.metrics import serve_metrics
from sinks.parquet import ParquetSink


def schema_source(settings: RegistrySettings) -> SchemaSource:
    """The registry that is set; without an address, the local mode.

    Raises:
        SettingsError: the password's file cannot be read.
    """
    if not settings.url:
        return LocalRegistry()
    return Registry(
        settings.url,
        settings.username,
        settings.secret(),
        ca_file=None if settings.ca_file is None else str(settings.ca_file),
        timeout_seconds=settings.timeout_seconds,
        auto_register=settings.auto_register,
    )


class OpenGate:
    """Admits everything: for topics without event time, such as the network."""

    frontier: int | None = None

    def admit(self, frame: pl.DataFrame) -> Verdict:
        """All rows."""
        return Verdict(np.ones(frame.height, bool), np.zeros(frame.height, bool))

    def settle(self) -> None:
        """Nothing."""

    def state(self) -> Any:
        """Nothing."""
        return None

    def restore(self, state: Any) -> None:
        """Nothing."""


def gate_factory(
    device: str, time: str, delay: int, lateness: int, limit: int | None = None
) -> Callable[[str, int], Gate]:
    """Makes the gates of a topic; see ``PartitionGate``."""

    def make(topic: str, partition: int) -> Gate:
        del topic, partition
        return PartitionGate(device, time, delay, lateness, limit)

    return make


def open_gate(topic: str, partition: int) -> Gate:
    """Makes an open gate."""
    del topic, partition
    return OpenGate()


def decoders(settings: Settings, contract: Contract) -> Callable[[], Decoder]:
    """Makes decoders that look schemas up where the settings say."""
    source = schema_source(settings.registry)
    return lambda: Decoder(contract, source.by_id, source.by_guid)


def kafka_source(
    settings: Settings,
    contract: Contract,
    gate: Callable[[str, int], Gate],
    *,
    keep_raw: bool = False,
    narrow: Narrow | None = None,
    idle_after: float | None = None,
) -> Source[Batch]:
    """The source of a contract's topic on the cluster of the settings.

    Args:
        settings: the settings.
        contract: of the topic.
        gate: makes the gates of its partitions.
        keep_raw: whether batches carry messages as they came.
        narrow: leaves out what the flow does not need.
        idle_after: seconds of silence after which a drained partition is idle; None: as the settings say for all.
    """
    kafka = settings.kafka
    return KafkaSource(
        {**kafka.client_config(), **kafka.consumer_config},
        contract,
        topic=kafka.topic(contract.topic),
        group_id=kafka.group_id,
        start=kafka.start if contract.topic != "grid.network.v1" else "earliest",
        on_lost_offset=kafka.on_lost_offset,
        batch_messages=kafka.batch_messages,
        poll_interval=kafka.poll_interval_ms / 1000,
        idle_after=settings.event_time.idle_after_seconds if idle_after is None else idle_after,
        decoder=decoders(settings, contract),
        gate=gate,
        keep_raw=keep_raw,
        narrow=narrow,
        future_limit_seconds=settings.event_time.future_limit_seconds,
    )


def file_source(
    settings: Settings,
    folder: Path,
    contract: Contract,
    gate: Callable[[str, int], Gate],
    *,
    paths: list[Path] | None = None,
    keep_raw: bool = False,
    narrow: Narrow | None = None,
) -> FileSource:
    """The source of a contract's files in a folder, or of the named ones."""
    return FileSource(
        folder,
        contract,
        decoder=decoders(settings, contract),
        gate=gate,
        keep_raw=keep_raw,
        narrow=narrow,
        paths=paths,
        chunk_rows=settings.runtime.replay_batch_rows,
        future_limit_seconds=settings.event_time.future_limit_seconds,
    )


def producer_config(settings: Settings) -> dict[str, Any]:
    """The librdkafka settings of producers, secrets included."""
    return {**settings.kafka.client_config(), **settings.kafka.producer_config}


def frame_sinks(settings: Settings, contract: Contract, names: tuple[str, ...]) -> dict[str, Any]:
    """The sinks of a record, by name."""
    made: dict[str, Any] = {}
    parts = settings.output.partitions
    for name in names:
        if name == "kafka":
            schema_id = schema_source(settings.registry).id_of(contract)
            made[name] = KafkaFrameSink(
                producer_config(settings),
                settings.kafka.topic(contract.topic),
                contract,
                Encoder(contract, schema_id),
                partitions=parts,
                should_stop=stop_requested.is_set,
            )
        elif name == "influxdb":
            made[name] = InfluxSink(
                _influx(settings), contract, partitions=parts, batch_lines=settings.influxdb.batch_lines
            )
        else:
            made[name] = parquet_sink(settings, contract)
    return made


def parquet_sink(settings: Settings, contract: Contract, writer: str = "gridflow") -> ParquetSink:
    """The Parquet dataset of a record."""
    parquet = settings.parquet
    return ParquetSink(
        parquet.output,
        contract,
        partitions=settings.output.partitions,
        rows_per_file=parquet.rows_per_file,
        writer=writer,
        keep_revisions=contract.dataset in parquet.keep_revisions,
    )


def _influx(settings: Settings) -> Callable[[], InfluxApi]:
    influx = settings.influxdb
    return lambda: InfluxApi(
        influx.url,
        influx.org,
        influx.bucket,
        influx.secret(),
        timeout_seconds=influx.timeout_seconds,
        retry_initial_seconds=influx.retry_initial_seconds,
        retry_max_seconds=influx.retry_max_seconds,
        verify_tls=influx.verify_tls,
        ca_file=influx.ca_file,
        should_stop=stop_requested.is_set,
    )


def set_up_process(settings: Settings) -> None:
    """What a process that runs flows on a stream needs: logs, metrics, and an end in good order."""
    set_up_logging(settings.runtime)
    set_up_collector()
    stop_on_sigterm()
    if settings.runtime.metrics_port:
        serve_metrics(settings.runtime.metrics_port, settings.runtime.metrics_host)


def set_up_collector() -> None:
    """Let Python's collector of reference cycles run rarely.

    A batch of messages is tens of thousands of objects without any cycle. By default each 700 of them start a
    collection, which now and then walks over everything that is alive: a quarter of the flow's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
