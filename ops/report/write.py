"""From an output folder to the page."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from connectors.errors import InputError
from ops.report.data import NO_POINTS, NO_TRUTH, Results, as_of, read_network, read_results, read_truth, usage_points
from ops.report.material import Material
from ops.report.page import Tile, render
from ops.report.quality import late
from ops.report.sections import sections_of
from ops.report.style import DASH, count, duration, energy, moment, number, percent
from ops.report.topology import Grid, grid_of
from ops.report.totals import Span, span_of, together, topmost

TITLE = "Line losses"


def write_report(
    results: Path,
    output: Path,
    *,
    network: Path | None = None,
    truth: Path | None = None,
    title: str = TITLE,
    findings: pl.DataFrame | None = None,
) -> None:
    """Write a report on results as one HTML file, which opens anywhere and asks nothing of any network.

    Args:
        results: output folder of ``gridflow replay``.
        output: the file to write.
        network: ``grid.network.v1`` as a Parquet file; then the network is drawn.
        truth: folder of a simulated grid; then the page says what was true.
        title: of the page.
        findings: columns what, injected, found, note; a table at the top.

    Raises:
        InputError: a folder or file is not what it should be, or the output cannot be written.
    """
    known = NO_TRUTH if truth is None else read_truth(truth)
    versions = None if network is None else read_network(network)
    points = NO_POINTS if versions is None else usage_points(versions)
    read = read_results(results, known, points)
    span = span_of(read.losses)
    material = Material(read, span, None if versions is None else _grid(versions, span), known, findings, points)
    period = (
        "No results"
        if span is None
        else f"{moment(span.start)} to {moment(span.end)} UTC, {duration(span.end - span.start)} in windows of "
        f"{duration(span.window)}"
    )
    page = render(title, period, _summary(material), _tiles(material), list(sections_of(material)))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None


def _grid(versions: pl.DataFrame, span: Span | None) -> Grid:
    """The network as it was in the last window."""
    time = versions.get_column("valid_from").max() if span is None else span.end - span.window
    return grid_of(as_of(versions, time) if time is not None else versions)  # type: ignore[arg-type]


def _tiles(of: Material) -> list[Tile]:
    return [*_loss_tiles(of), *_count_tiles(of.results, of)]


def _loss_tiles(of: Material) -> list[Tile]:
    if of.span is None:
        return [Tile("Loss", DASH, "no results")]
    top = topmost(of.totals)
    whole = together(top, []).row(0, named=True)
    names = top.get_column("element_id").to_list()
    where = names[0] if len(names) == 1 else f"{len(names)} elements together"
    relative = 100 * whole["uncertainty_kwh"] / whole["energy_in_kwh"] if whole["energy_in_kwh"] > 0 else None
    tiles = [
        Tile("Energy in", energy(whole["energy_in_kwh"]), f"into {where}"),
        Tile("Loss", energy(whole["loss_kwh"]), f"± {energy(whole['uncertainty_kwh'])} (95 %)"),
        Tile(
            "Loss, relative",
            percent(whole["loss_percent"]),
            f"± {DASH if relative is None else number(relative)} % of energy in (95 %)",
        ),
    ]
    if whole["true_kwh"] is not None:
        tiles.append(Tile("True loss", energy(whole["true_kwh"]), "of the simulated grid"))
    return [*tiles, Tile("Measured", percent(100 * whole["completeness"]), "of what was to be measured")]


def _count_tiles(read: Results, of: Material) -> list[Tile]:
    too_late = late(read.letters)
    return [
        Tile("Meters", count(read.meters), f"{count(of.totals.height)} elements, {count(of.areas.height)} areas"),
        Tile("Readings refused", count(read.letters.height - too_late), f"{count(too_late)} came too late"),
    ]


def _summary(of: Material) -> str:
    if of.span is None:
        return "The results hold no losses."
    whole = together(topmost(of.totals), []).row(0, named=True)
    said = [
        f"Of {energy(whole['energy_in_kwh'])} that went in, {energy(whole['loss_kwh'], whole['uncertainty_kwh'])} "
        f"were lost ({percent(whole['loss_percent'])})."
    ]
    areas = of.areas
    if areas.height:
        worst = areas.sort("loss_kwh", descending=True).row(0, named=True)
        said.append(
            f"Of {count(areas.height)} area{'s' * (areas.height != 1)} {worst['element_id']} loses most: "
            f"{energy(worst['loss_kwh'])}, or "
            f"{percent(worst['loss_percent'])} of what it takes."
        )
        over = areas.filter(pl.col("unaccounted_kwh") > pl.col("uncertainty_kwh")).height
        if areas["expected_kwh"].is_not_null().any():
            said.append(f"In {count(over)} of them the loss exceeds what is expected by more than its uncertainty.")
        negative = areas.filter(pl.col("loss_kwh") + pl.col("uncertainty_kwh") < 0).height
        if negative:
            said.append(f"In {count(negative)}, more was taken than delivered, which points to wrong data or records.")
    return " ".join(said)
