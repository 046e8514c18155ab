"""``gridflow schemas``: the contracts in the registry, and whether they can read what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.wiring import schema_source
from ops.console import Config, err, errors_as_status, out, settings_of
from ops.settings import RegistrySettings, SettingsError
from schemas import Contract, SchemaError, all_contracts, contract
from schemas.compatibility import incompatibilities
from schemas.registry import Registry

app = typer.Typer(
    name="schemas",
    help="The contracts in the schema registry.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Earlier = Iterator[tuple[Contract, str, Any]]
"""A contract, what an earlier version of it is called, and its schema."""
Topics = Annotated[
    list[str] | None,
    typer.Argument(help="Topics, such as grid.meter.v1; all if none is named.", show_default=False),
]


def registered_contracts(topics: list[str] | None) -> list[Contract]:
    """The contracts of the topics named; of none, all that travel through Kafka by their schema.

    Raises:
        SchemaError: there is no such topic.
    """
    if topics:
        return [contract(topic) for topic in topics]
    # A dead letter keeps its original form in Kafka; its contract is that of the Parquet dataset.
    return [found for found in all_contracts().values() if found.record != "DeadLetter"]


def _registry(settings: RegistrySettings) -> Registry:
    source = schema_source(settings)
    if not isinstance(source, Registry):
        raise SettingsError("registry.url is empty: this is the local mode, which has no registry")
    return source


@app.command()
def register(topics: Topics = None, config: Config = None) -> None:
    """Register the contracts, and hold their subjects to BACKWARD_TRANSITIVE.

    What is registered already keeps its id.

    [bold]Examples[/bold]

        gridflow schemas register
        GRIDFLOW_REGISTRY__URL=https://registry:8081 gridflow schemas register grid.meter.v1
    """
    settings = settings_of(config).registry
    table = Table("subject", "id")
    with errors_as_status():
        registry = _registry(settings)
        for found in registered_contracts(topics):
            table.add_row(found.subject, str(registry.register(found)))
    out.print(table)


@app.command()
def check(
    topics: Topics = None,
    config: Config = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Folder with earlier .avsc files, instead of the registry.", exists=True, file_okay=False),
    ] = None,
) -> None:
    """Check that the contracts can read everything written by any earlier version.

    Exit status 2, with the reason in one line, if one cannot.

    [bold]Examples[/bold]

        gridflow schemas check
        gridflow schemas check grid.meter.v1 --against ../release-1/schemas/avro
    """
    settings = settings_of(config).registry
    with errors_as_status():
        contracts = registered_contracts(topics)
        earlier = _in_folder(against, contracts) if against is not None else _in_registry(settings, contracts)
        count = 0
        for found, origin, avro in earlier:
            count += 1
            reasons = incompatibilities(found.wire, avro)
            if reasons:
                more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
                raise SchemaError(f"{found.topic}: cannot read what {origin} wrote: {reasons[0]}{more}")
    if not count:
        err.print("no earlier version was found", markup=False)
    out.print(f"{len(contracts)} contracts read {count} earlier versions", markup=False)


def _in_registry(settings: RegistrySettings, contracts: list[Contract]) -> Iterator[tuple[Contract, str, Any]]:
    registry = _registry(settings)
    for found in contracts:
        for number, avro in enumerate(registry.versions(found), start=1):
            yield found, f"version {number} of {found.subject}", avro


def _in_folder(folder: Path, contracts: list[Contract]) -> Earlier:
    """The schemas in a folder, by the topic that they name; where they name none, by their record's name."""
    for path in sorted(folder.rglob("*.avsc")):
        try:
            avro = json.loads(path.read_text(encoding="utf-8"))
            topic = avro.get("gridflow", {}).get("topic")
            record = avro["name"].rpartition(".")[2]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise SchemaError(f"{path}: not an Avro record: {error}") from None
        for found in contracts:
            if topic == found.topic or (topic is None and record == found.record):
                yield found, str(path), avro
