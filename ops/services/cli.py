"""``gridflow services``: the services for development, up and down."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from ops.services.base import ServiceError, State
from ops.services.manager import NAMES, Services

app = typer.Typer(
    name="services",
    help="Kafka, a schema registry and InfluxDB for development, on loopback.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_console = Console(stderr=True, highlight=False, soft_wrap=True)

DEFAULT_FOLDER = Path(".gridflow/services")
_COLOURS: dict[State, str] = {"running": "green", "starting": "yellow", "stopped": "dim", "failed": "red"}

Folder = Annotated[Path, typer.Option("--folder", "-f", help="Where data, logs and notes are kept.", file_okay=False)]
Only = Annotated[list[str] | None, typer.Option("--only", help=f"One of {', '.join(NAMES)}; may be repeated.")]

ModeOption = Annotated[
    Literal["auto", "compose", "plain"],
    typer.Option("--mode", help="In containers, as plain processes, or in containers if a Docker engine answers."),
]


def _say(line: str) -> None:
    _console.print(line, markup=False)


def _chosen(only: list[str] | None) -> list[str]:
    chosen = only or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            raise typer.BadParameter(f"there is no service {name!r}; there are {', '.join(NAMES)}", param_hint="--only")
    return chosen


def _fail(error: ServiceError) -> typer.Exit:
    _console.print(f"error: {error}", markup=False)
    return typer.Exit(1)


@app.command()
def fetch(folder: Folder = DEFAULT_FOLDER, only: Only = None, mode: ModeOption = "auto") -> None:
    """Fetch or build what the services are made of, once, and start nothing.

    [bold]Example[/bold]

        gridflow services fetch
    """
    chosen = _chosen(only)
    try:
        Services(folder, mode=mode, say=_say).fetch(chosen)
    except ServiceError as error:
        raise _fail(error) from None


@app.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    only: Only = None,
    mode: ModeOption = "auto",
) -> None:
    """Start the services that do not run yet, and wait until they answer.

    Without Docker their programs are fetched or built first, which takes some minutes, once.

    [bold]Examples[/bold]

        gridflow services up
        eval "$(gridflow services up --only kafka)"
    """
    services = Services(folder, mode=mode, say=_say)
    chosen = _chosen(only)
    try:
        services.up(chosen)
        _show(services, as_json=False)
    except ServiceError as error:
        raise _fail(error) from None


@app.command()
def down(
    folder: Folder = DEFAULT_FOLDER,
    only: Only = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove their data, logs and tokens too.")] = False,
) -> None:
    """Stop the services; their data stay, unless they are purged.

    [bold]Examples[/bold]

        gridflow services down
        gridflow services down --purge
    """
    chosen = _chosen(only)
    try:
        Services(folder, say=_say).down(chosen, purge=purge)
    except ServiceError as error:
        raise _fail(error) from None


@app.command()
def status(
    folder: Folder = DEFAULT_FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show what runs and where, and print the settings that lead gridflow to it.

    The table goes to the terminal (standard error), the settings to standard output, for a shell's
    [bold]eval[/bold]; the same settings are in the file [bold]env[/bold] of the folder. The exit status is 1
    unless something runs and nothing has failed.

    [bold]Examples[/bold]

        gridflow services status
        eval "$(gridflow services status)" && gridflow run line-loss
    """
    try:
        healthy = _show(Services(folder), as_json=as_json)
    except ServiceError as error:
        raise _fail(error) from None
    if not healthy:
        raise typer.Exit(1)


def _show(services: Services, *, as_json: bool) -> bool:
    found = services.status()
    variables = services.environment()
    if as_json:
        content = {
            "services": [
                {
                    "name": each.name,
                    "version": each.version,
                    "state": each.state,
                    "url": each.url,
                    "pid": each.pid,
                }
                for each in found
            ],
            "environment": variables,
        }
        typer.echo(json.dumps(content, indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("service", "version", "state", "address", "pid"):
            table.add_column(column, no_wrap=True, overflow="ignore")
        for each in found:
            state = f"[{_COLOURS[each.state]}]{each.state}[/]"
            table.add_row(each.name, each.version, state, each.url or "", str(each.pid or ""))
        _console.print(table, crop=False)
        for each in found:
            if each.state in ("starting", "failed") and each.log is not None:
                _say(f"{each.name}: see {each.log}")
        for key, value in variables.items():
            typer.echo(f"export {key}={shlex.quote(value)}")
    states = {each.state for each in found}
    return "running" in states and not states & {"starting", "failed"}
