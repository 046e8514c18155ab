"""``gridflow dlq``: dead letters, looked at and put back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, cast

import typer
from confluent_kafka import KafkaError, Message, Producer
from rich import box
from rich.table import Table

from connectors.errors import InputError, PublishError
from connectors.kafka_client import CLIENT_LOG, Troubles
from connectors.letters import DEAD_SUFFIX, Letter, LetterReader
from connectors.publish import PRODUCER_DEFAULTS
from ops.console import Config, err, errors_as_status, out, settings_of
from ops.settings import KafkaSettings
from ops.topics_cli import INPUTS

app = typer.Typer(name="dlq", help="Dead letters: the messages refused.", no_args_is_help=True, rich_markup_mode="rich")

Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", "-t", help="Source topic, as grid.meter.v1; may be repeated; else all."),
]
Stage = Annotated[str | None, typer.Option(help="Only those refused at this stage.")]
ErrorClass = Annotated[str | None, typer.Option("--class", help="Only those with this error class.")]

_SHOWN_BYTES = 200


@app.command(name="list")
def list_letters(
    *,
    config: Config = None,
    topic: Topics = None,
    stage: Stage = None,
    error_class: ErrorClass = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show dead letters and why they were refused, oldest first.

    [bold]Examples[/bold]

        gridflow dlq list --topic grid.meter.v1 --limit 20
        gridflow dlq list --class OutOfRange --json
    """
    kafka = settings_of(config).kafka
    wanted = _filter(stage, error_class)
    with errors_as_status(), _reader(kafka) as reader:
        letters: list[Letter] = []
        total = 0
        for name in _dead_topics(kafka, topic):
            ends = reader.ends(name)
            total += sum(end - start for start, end in ends.values())
            if stage is None and error_class is None:
                ends = {number: (max(start, end - limit), end) for number, (start, end) in ends.items()}
            letters += filter(wanted, reader.read(name, ends))
            letters = sorted(letters, key=lambda letter: letter.time_ms)[-limit:]
    if as_json:
        for letter in letters:
            typer.echo(json.dumps(_as_dict(letter)))
        return
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("written", "topic", "partition", "offset", "key", "stage", "class", "reason"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        shown = _as_dict(letter)
        table.add_row(*(str(shown[name]) for name in (
            "written", "topic", "partition", "offset", "key", "stage", "class", "message"
        )))  # fmt: skip
    out.print(table)
    err.print(f"{len(letters):,} of {total:,} dead letters", markup=False)


@app.command()
def replay(
    *,
    config: Config = None,
    topic: Topics = None,
    stage: Stage = None,
    error_class: ErrorClass = None,
    again: Annotated[bool, typer.Option("--again", help="Those too that have been put back before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
) -> None:
    """Put dead letters back on the topic they came from, once what was wrong has been put right.

    Key and value are as they were; the header gridflow.replayed says where they were taken from. What has
    been put back is remembered (in the consumer group <group_id>-dlq-replay), unless --stage or --class leave
    some out.

    [bold]Examples[/bold]

        gridflow dlq replay --topic grid.meter.v1 --dry-run
        gridflow dlq replay --class UnknownSchema
    """
    kafka = settings_of(config).kafka
    wanted = _filter(stage, error_class)
    with errors_as_status(), _reader(kafka) as reader:
        sender = _Sender(kafka)
        for name in _dead_topics(kafka, topic):
            ends = reader.ends(name)
            if not ends:
                continue
            done = {} if again else reader.replayed(name, len(ends))
            ranges = {number: (max(start, done.get(number, start)), end) for number, (start, end) in ends.items()}
            target = name.removesuffix(DEAD_SUFFIX)
            count = 0
            for letter in filter(wanted, reader.read(name, ranges)):
                count += 1
                if not dry_run:
                    sender.send(target, letter)
            if not dry_run:
                sender.finish()
                if stage is None and error_class is None:
                    reader.set_replayed(name, {number: end for number, (_, end) in ranges.items()})
            verb = "would be put back" if dry_run else "put back"
            out.print(f"{count:,} letters of {name} {verb} on {target}", markup=False)


class _Sender:
    def __init__(self, kafka: KafkaSettings) -> None:
        config = {**PRODUCER_DEFAULTS, **kafka.client_config(), **kafka.producer_config}
        self._troubles = Troubles(f"Kafka at {config.get('bootstrap.servers')}")
        self._producer = Producer({**config, "error_cb": self._troubles}, logger=CLIENT_LOG)
        self._failure: str | None = None

    def send(self, topic: str, letter: Letter) -> None:
        while True:
            try:
                self._producer.produce(
                    topic,
                    letter.value,
                    letter.key,
                    headers=cast("list[tuple[str, str | bytes | None]]", letter.replay_headers()),
                    on_delivery=self._reported,
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def finish(self) -> None:
        while self._producer.flush(1.0):
            pass
        if self._failure is not None:
            raise PublishError(self._failure)

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = f"{message.topic()}: not delivered: {self._troubles.cause(error).str()}"


@contextmanager
def _reader(kafka: KafkaSettings) -> Iterator[LetterReader]:
    reader = LetterReader({**kafka.client_config(), **kafka.consumer_config}, f"{kafka.group_id}-dlq-replay")
    try:
        yield reader
    finally:
        reader.close()


def _dead_topics(kafka: KafkaSettings, topics: list[str] | None) -> list[str]:
    for topic in topics or []:
        if topic not in INPUTS:
            raise InputError(f"--topic {topic}: no topic with dead letters; those are {', '.join(INPUTS)}")
    return [kafka.topic(topic) + DEAD_SUFFIX for topic in topics or INPUTS]


def _filter(stage: str | None, error_class: str | None) -> Callable[[Letter], bool]:
    def wanted(letter: Letter) -> bool:
        return (stage is None or letter.header("stage") == stage) and (
            error_class is None or letter.header("error.class") == error_class
        )

    return wanted


def _as_dict(letter: Letter) -> dict[str, str | int]:
    def text(data: bytes | None) -> str:
        return "" if data is None else data[:_SHOWN_BYTES].decode(errors="backslashreplace")

    return {
        "written": datetime.fromtimestamp(letter.time_ms / 1000, UTC).isoformat(timespec="seconds"),
        "letter": f"{letter.topic}/{letter.partition}/{letter.offset}",
        "topic": letter.header("topic"),
        "partition": letter.header("partition"),
        "offset": letter.header("offset"),
        "key": text(letter.key),
        "stage": letter.header("stage"),
        "class": letter.header("error.class"),
        "message": letter.header("error.message"),
        "schema_id": letter.header("schema.id"),
        "value": text(letter.value),
    }
