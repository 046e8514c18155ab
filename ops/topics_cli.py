"""``gridflow topics``: the topics of the contracts, created and listed."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]
from rich.table import Table

from connectors.errors import SourceError
from connectors.kafka_client import admin_client, patiently
from ops.console import Config, err, errors_as_status, out, settings_of
from ops.settings import KafkaSettings
from schemas import all_contracts

app = typer.Typer(name="topics", help="The topics of the contracts.", no_args_is_help=True, rich_markup_mode="rich")

INPUTS = ("grid.meter.v1", "grid.ftu.v1", "grid.ied.v1", "grid.network.v1")
DEAD_LETTERS, LATE = ".dlq", ".late"
_TIMEOUT_SECONDS = 10.0
_WEEK_MS = 7 * 24 * 3600 * 1000

# A version of a network element is needed as long as readings may come for the time in which it held.
_COMPACTED = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(_WEEK_MS)}


def topic_names() -> dict[str, dict[str, str]]:
    """All topics of the contracts without prefix, and the settings that each needs on the broker."""
    names: dict[str, dict[str, str]] = {}
    for topic, contract in all_contracts().items():
        if contract.record == "DeadLetter":  # a Parquet dataset; in Kafka a letter keeps its original form
            continue
        names[topic] = dict(_COMPACTED) if contract.compacted else {}
        if topic in INPUTS:
            names[topic + DEAD_LETTERS] = {}
            names[topic + LATE] = {}
    return names


@app.command()
def create(
    config: Config = None,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each new topic.")] = 4,
    replication: Annotated[
        int, typer.Option(min=-1, help="Replicas of each new topic; -1 is the brokers' default.")
    ] = -1,
) -> None:
    """Create the topics that do not exist yet; the others stay as they are.

    [bold]Examples[/bold]

        gridflow topics create
        gridflow topics create --partitions 12 --replication 3
    """
    kafka = settings_of(config).kafka
    with errors_as_status(), admin_client(kafka.client_config()) as admin:
        new = [
            NewTopic(kafka.topic(name), num_partitions=partitions, replication_factor=replication, config=needed)
            for name, needed in topic_names().items()
        ]
        existing = _partitions(admin, kafka)
        missing = [topic for topic in new if topic.topic not in existing]
        # The client refuses to create none.
        futures = admin.create_topics(missing, operation_timeout=_TIMEOUT_SECONDS) if missing else {}
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise SourceError(f"topic {name}: {error.args[0].str()}") from None
            out.print(f"created {name}, {partitions} partitions", markup=False)
    for topic in new:
        found = existing.get(topic.topic)
        if found is not None:
            note = "" if found == partitions else f" and keeps its {found} partitions"
            out.print(f"exists  {topic.topic}{note}", markup=False)


@app.command(name="list")
def list_topics(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """List the topics: partitions, and how many messages they hold.

    [bold]Examples[/bold]

        gridflow topics list
        gridflow topics list --json
    """
    kafka = settings_of(config).kafka
    with errors_as_status(), admin_client(kafka.client_config()) as admin:
        existing = _partitions(admin, kafka)
        counts = patiently(lambda: _messages(admin, existing), _TIMEOUT_SECONDS)
    if as_json:
        for name in topic_names():
            topic = kafka.topic(name)
            row = {"topic": topic, "partitions": existing.get(topic), "messages": counts.get(topic)}
            typer.echo(json.dumps(row))
        return
    table = Table("topic", "partitions", "messages")
    for name in topic_names():
        topic = kafka.topic(name)
        known = topic in existing
        table.add_row(topic, str(existing[topic]) if known else "missing", f"{counts[topic]:,}" if known else "")
    out.print(table)
    if any(kafka.topic(name) not in existing for name in topic_names()):
        err.print("create the missing ones with: gridflow topics create", markup=False)


def _partitions(admin: AdminClient, kafka: KafkaSettings) -> dict[str, int]:
    """Number of partitions of each of our topics that exists."""
    found = admin.list_topics(timeout=_TIMEOUT_SECONDS).topics
    ours = {kafka.topic(name) for name in topic_names()}
    return {name: len(topic.partitions) for name, topic in found.items() if name in ours}


def _messages(admin: AdminClient, partitions: dict[str, int]) -> dict[str, int]:
    """Messages in each topic: the distance of its last from its first offset."""
    parts = [TopicPartition(name, number) for name, count in partitions.items() for number in range(count)]
    counts = dict.fromkeys(partitions, 0)
    latest, earliest = OffsetSpec.latest(), OffsetSpec.earliest()  # type: ignore[no-untyped-call]
    for spec, sign in ((latest, 1), (earliest, -1)):
        answers = admin.list_offsets(dict.fromkeys(parts, spec), request_timeout=_TIMEOUT_SECONDS)
        for part, future in answers.items():
            counts[part.topic] += sign * future.result().offset
    return counts
