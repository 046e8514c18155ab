"""The command ``gridflow demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from ops.console import errors_as_status, fail, out, wrong_option
from ops.demo.live import run_live
from ops.demo.offline import DAYS, METERS, RESULTS, demo_options, findings_table, losses_table, moved_table, run_offline
from ops.services import ServiceError

FOLDER = Path("gridflow-demo")
_LIVE_DAYS = 1.0


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for input, results and report.")] = FOLDER,
    live: Annotated[
        bool, typer.Option("--live", help="Through a real Kafka, registry and InfluxDB, with a dashboard.")
    ] = False,
    speed: Annotated[float, typer.Option(min=1, help="With --live: multiple of real time.")] = 600.0,
    meters: Annotated[int, typer.Option(help="Customers' meters.")] = METERS,
    days: Annotated[float | None, typer.Option(help="Length; 3, or 1 with --live.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another city.")] = 1,
) -> None:
    """Simulate a city in which things go wrong, run the flows over it, and show what they find.

    Nothing else is needed: no Kafka, no database. The folder then holds the telemetry (input/),
    the results as Parquet (results/), and report.html, which opens in any browser, offline.
    With --live the same goes through services of its own, started for it and stopped at the end.

    [bold]Examples[/bold]

        gridflow demo
        gridflow demo --output big --meters 20000 --days 2
        gridflow demo --live --speed 1200
    """
    with errors_as_status():
        try:
            options = demo_options(meters, (_LIVE_DAYS if live else DAYS) if days is None else days, seed)
        except ValidationError as error:
            raise wrong_option(error) from None
        try:
            ran = run_live(output, options, speed) if live else run_offline(output, options)
        except ServiceError as error:
            raise fail(str(error), 1) from None
    if ran is None:
        out.print(f"interrupted; what was found until then is in {output / RESULTS}", markup=False)
        return
    out.print(losses_table(ran.results))
    if ran.moved:
        out.print(moved_table(ran.moved, ran.step))
    out.print(findings_table(ran.findings))
    out.print(f"results: {output / RESULTS}\nreport:  {ran.report.absolute().as_uri()}", markup=False, soft_wrap=True)
