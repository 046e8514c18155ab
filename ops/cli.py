"""The ``gridflow`` command."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.ied_supervision.wiring import rules_of
from ops import (
    dlq_cli,
    explain_cli,
    network_cli,
    produce_cli,
    report_cli,
    run_cli,
    schemas_cli,
    simulate_cli,
    topics_cli,
)
from ops.console import Config, OneLineErrors, errors_as_status, out, settings_of
from ops.demo.command import demo
from ops.services import cli as services_cli
from ops.settings import check_clients, explain

app = typer.Typer(
    name="gridflow",
    cls=OneLineErrors,
    help="Line losses, IED anomalies and topology changes of a power distribution grid from its raw telemetry, while "
    "they happen (IEC TR 63353).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command()(demo)
app.command()(run_cli.run)
app.command()(run_cli.replay)
app.command()(produce_cli.produce)
app.command()(simulate_cli.simulate)
app.command()(report_cli.report)
app.add_typer(topics_cli.app, name="topics")
app.add_typer(schemas_cli.app, name="schemas")
app.add_typer(dlq_cli.app, name="dlq")
app.add_typer(network_cli.app, name="network")
app.add_typer(explain_cli.app, name="explain")
app.add_typer(services_cli.app, name="services")


@app.command(name="check-config")
def check_config(
    config: Config = None,
    show: Annotated[bool, typer.Option(help="Print all settings, secrets masked.")] = True,
    explain_: Annotated[bool, typer.Option("--explain", help="Say what each setting means, in a table.")] = False,
) -> None:
    """Check the settings and show what is in force.

    Example: [bold]GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS=broker:9092 gridflow check-config --config gridflow.toml[/]
    """
    settings = settings_of(config)
    with errors_as_status():
        check_clients(settings)
        rules_of(settings)
    if explain_:
        table = Table(title="Settings; each can be overridden by GRIDFLOW_<SECTION>__<KEY>")
        for name in ("setting", "in force", "meaning"):
            table.add_column(name, overflow="fold")
        for key, _, value, meaning in explain(settings):
            table.add_row(key, escape(value), escape(meaning))
        out.print(table)
    elif show:
        out.print_json(settings.model_dump_json())
    out.print("the settings are fine")


def main() -> None:
    """Entry point."""
    app()
