"""``gridflow produce``: files of readings into Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from connectors.decode import Decoder
from connectors.errors import InputError
from connectors.files import open_readings, topic_paths
from connectors.publish import Published, Topic, publish
from flows.wiring import schema_source
from ops.console import Config, err, errors_as_status, out, settings_of
from ops.settings import KafkaSettings
from schemas import all_contracts
from schemas.encode import Encoder, JsonEncoder
from schemas.registry import SchemaSource

Format = Literal["avro", "json"]


def produce(
    folder: Annotated[Path, typer.Option("--input", "-i", help="Folder with <topic>.parquet or <topic>.ndjson files.")],
    config: Config = None,
    speed: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Multiple of real time; without it, as fast as it goes."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Avro in Confluent's framing, or bare JSON.")] = "avro",
) -> None:
    """Publish files of readings to their topics.

    Rows keep their order within a file; files go out together, by received_time or else event time. Reference
    data (grid.network.v1) goes first.

    [bold]Examples[/bold]

        gridflow produce --input readings/
        gridflow produce --input readings/ --speed 60      # an hour in a minute
    """
    settings = settings_of(config)
    with errors_as_status():
        topics = _topics(folder, settings.kafka, schema_source(settings.registry), form)
        published = _publish(topics, settings.kafka, speed)
    for topic in topics:
        out.print(f"{topic.name}: {published.delivered[topic.name]:,} messages delivered", markup=False)
    for name, count in published.skipped.items():
        err.print(f"error: {name}: {count:,} rows skipped; {published.first_reason[name]}", markup=False)
    if published.skipped:
        raise typer.Exit(2)


def _topics(folder: Path, kafka: KafkaSettings, schemas: SchemaSource, form: Format) -> list[Topic]:
    topics = []
    for contract in all_contracts().values():
        paths = topic_paths(folder, contract.topic)
        if not paths:
            continue
        decoder = Decoder(contract, schemas.by_id, schemas.by_guid)
        encoder = Encoder(contract, schemas.id_of(contract)) if form == "avro" else JsonEncoder(contract)
        files = [open_readings(path, contract, decoder) for path in paths]
        topics.append(Topic(contract, kafka.topic(contract.topic), files, encoder))
    if not topics:
        names = ", ".join(all_contracts())
        raise InputError(f"{folder}: no readings: a file is named as its topic, one of {names}")
    return topics


def _publish(topics: list[Topic], kafka: KafkaSettings, speed: float | None) -> Published:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns, console=err) as progress:
        bars = {}
        for topic in topics:
            counts = [file.rows for file in topic.files]
            known = sum(count for count in counts if count is not None) if None not in counts else None
            bars[topic.name] = progress.add_task(topic.name, total=known)
        return publish(
            topics,
            {**kafka.client_config(), **kafka.producer_config},
            speed=speed,
            progress=lambda name, rows: progress.advance(bars[name], rows),
        )
