"""``gridflow explain``: how a figure came about, and what an anomaly means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from connectors.errors import InputError
from connectors.files import topic_paths
from flows.ied_supervision.rule import all_rules
from flows.line_loss.flow import NETWORK_TOPIC
from ops.console import errors_as_status, out
from ops.explain.evidence import gather
from ops.explain.rules import rule_text, rules_page
from ops.explain.tables import explained

app = typer.Typer(
    name="explain",
    help="How a figure came about, and what an anomaly means.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback()
def main() -> None:
    """How a figure came about, from what the flow has written, and what an anomaly means."""


@app.command(name="rules")
def rules(kind: Annotated[str | None, typer.Argument(help="A kind of anomaly; all of them without.")] = None) -> None:
    """Say what the rules of the supervision of IEDs mean, their clauses, and what to do.

    [bold]Example[/bold]

        gridflow explain rules RIVAL_PUBLISHER
    """
    with errors_as_status():
        if kind is not None and kind not in all_rules():
            raise InputError(f"kind {kind}: there is no such rule; there are {', '.join(all_rules())}")
        out.print(rules_page() if kind is None else rule_text(kind), markup=False, soft_wrap=True)


@app.command(name="line-loss")
def line_loss(
    element: Annotated[str, typer.Argument(help="The element's id.")],
    window: Annotated[str, typer.Argument(help="An instant in the window, ISO 8601; no zone means UTC.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    input_: Annotated[
        Path | None, typer.Option("--input", "-i", help="Folder of the telemetry: then readings are shown, too.")
    ] = None,
    network: Annotated[
        Path | None,
        typer.Option("--network", "-n", help="grid.network.v1.parquet, if it is not with the input."),
    ] = None,
) -> None:
    """Say how the line loss of an element in a window came about.

    The balance with the energies it is made of, the meters that were not measured in full,
    what each revision brought, and what was refused; with --input also the readings next to
    the window.

    [bold]Example[/bold]

        gridflow explain line-loss T0018 2026-03-17T14:00 --output results --input telemetry
    """
    with errors_as_status():
        evidence = gather(output, element, _instant(window), _network(network, input_), input_)
        for part in explained(evidence):
            out.print(part)


def _instant(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"window {text}: is no time in ISO 8601, such as 2026-03-17T14:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _network(network: Path | None, telemetry: Path | None) -> Path:
    if network is not None:
        return network
    found = [] if telemetry is None else topic_paths(telemetry, NETWORK_TOPIC)
    if len(found) != 1 or found[0].suffix != ".parquet":
        raise InputError(f"--network is missing: the file {NETWORK_TOPIC}.parquet that says who is measured where")
    return found[0]
