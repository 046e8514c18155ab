"""``gridflow report``: results as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ops.console import errors_as_status, out
from ops.report import write_report


def report(
    results: Annotated[Path, typer.Option("--results", "-r", help="Output folder of `gridflow replay`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    network: Annotated[
        Path | None, typer.Option("--network", "-n", help="grid.network.v1.parquet; then the network is drawn.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", "-t", help="Folder of a simulated grid; then the truth is shown, too.")
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Line losses",
) -> None:
    """Write results as one HTML page: losses per area and over time, suspects, completeness, the network.

    The file holds all it needs and opens without any network.

    Example: [bold]gridflow report --results results --network telemetry/grid.network.v1.parquet --output report.html[/]
    """
    with errors_as_status():
        write_report(results, output, network=network, truth=truth, title=title)
    out.print(f"the report is in {output}", markup=False)
