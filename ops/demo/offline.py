"""The demo in one process: simulate, run the flows over it, compare, and make the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich import box
from rich.table import Table

from connectors.simulation.options import Options, preset
from connectors.simulation.simulation import NETWORK, Simulation
from connectors.simulation.write import TRUTH, write_simulation
from ops.console import out, share_progress
from ops.demo.findings import findings_of
from ops.report import write_report
from ops.report.data import Results, read_network, read_results, read_truth, usage_points
from ops.report.material import Material
from ops.report.moved import Pair, means, pairs
from ops.report.totals import LEVELS, per_element, span_of
from ops.run_cli import APPLICATIONS, Flow, accounting_table, replay_folder
from ops.settings import load_settings

METERS, DAYS = 2_000, 3.0
INPUT, RESULTS, REPORT = "input", "results", "report.html"
_WORST = 8
_BATCH_ROWS = 20_000


@dataclass(frozen=True)
class Demo:
    """What a demo leaves.

    Attributes:
        folder: with input, results and report.
        results: of the flows.
        findings: injected beside found.
        moved: areas between which meters moved.
        step: of which length of time their losses are.
    """

    folder: Path
    results: Results
    findings: pl.DataFrame
    moved: list[Pair]
    step: str

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / REPORT


def demo_options(meters: int, days: float, seed: int) -> Options:
    """A city in which everything goes wrong now and then."""
    return Options(meters=meters, days=days, seed=seed, faults=preset("trouble"))


def run_offline(folder: Path, options: Options) -> Demo:
    """Run the demo into a folder; what an earlier one has left there is replaced.

    Raises:
        InputError: the folder cannot be written.
    """
    given, results = folder / INPUT, folder / RESULTS
    out.print(f"simulating {options.meters:,} meters, {options.days:g} days")
    with share_progress("simulating") as progress:
        write_simulation(Simulation(options), given, progress)
    out.print("working out the line losses, what is wrong with the IEDs, and what changed in the grid")
    # In small batches, as on Kafka, and every revision kept: the report shows what was restated.
    settings = load_settings(
        environ={},
        overrides={
            "parquet": {"output": results, "keep_revisions": ("line_loss",)},
            "runtime": {"replay_batch_rows": _BATCH_ROWS},
        },
    )
    every = replay_folder(settings, given, 1, (Flow.LINE_LOSS, Flow.IED_SUPERVISION, Flow.TOPOLOGY))
    for flow, counts in every.items():
        out.print(accounting_table(counts, APPLICATIONS[flow].messages))
    return compare(folder, given / f"{NETWORK}.parquet", every[Flow.LINE_LOSS])


def compare(folder: Path, network: Path, counts: Mapping[str, int]) -> Demo:
    """Set what was found beside what is true, and make the report.

    Args:
        folder: of the demo, with the results, and the truth in the input's folder.
        network: the network's record.
        counts: what became of the meter readings, by outcome.
    """
    results, truth = folder / RESULTS, folder / INPUT / TRUTH
    known = read_truth(truth)
    points = usage_points(read_network(network))
    read = read_results(results, known, points)
    findings = findings_of(read, known, results, truth, counts)
    title = "Line losses of a simulated city"
    write_report(results, folder / REPORT, network=network, truth=truth, title=title, findings=findings)
    span = span_of(read.losses)
    moved = [] if span is None else pairs(Material(read, span, None, known, None, points), span)
    return Demo(folder, read, findings, moved, "" if span is None else span.step_name)


def findings_table(findings: pl.DataFrame) -> Table:
    """What was injected beside what was found."""
    table = Table(title="Injected and found", box=box.SIMPLE, padding=(0, 1))
    for name in findings.columns:
        table.add_column(name, overflow="fold")
    for row in findings.iter_rows():
        table.add_row(*row)
    return table


def moved_table(moved: list[Pair], step: str) -> Table:
    """The areas between which meters moved: their losses since, and what they would be without the move.

    Args:
        moved: the areas.
        step: of which length of time the losses are.
    """
    table = Table(
        title="Meters elsewhere than recorded, and both areas' losses since",
        caption=f"kWh per {step}; in brackets without the move",
        box=box.SIMPLE,
        padding=(0, 1),
    )
    for name in ("from", "to", "usage points", "from: loss", "to: loss"):
        table.add_column(name, justify="right" if name.endswith("loss") else "left", overflow="fold")
    for pair in moved:
        losses = means(pair)
        told = [
            "{:.2f} ({:.2f})".format(*losses[area]) if area in losses else "" for area in (pair.previous, pair.current)
        ]
        table.add_row(pair.previous, pair.current, ", ".join(pair.moves["element_id"]), *told)
    return table


def losses_table(results: Results) -> Table:
    """The grid and its worst areas: found beside true."""
    table = Table(
        title="Line losses, the whole and the worst areas",
        caption="± is the 95 % interval; % of the energy in",
        box=box.SIMPLE,
        padding=(0, 1),
    )
    for name in ("element", "energy in / kWh", "loss / kWh", "±", "loss / %", "true loss / kWh", "complete / %"):
        table.add_column(name, justify="left" if name == "element" else "right", overflow="fold")
    every = per_element(results.losses)
    above = every.filter(pl.col("element_kind").is_in(LEVELS[:2])).sort("element_kind", "element_id", descending=True)
    areas = every.filter(pl.col("element_id").str.starts_with("T"))
    areas = areas.sort("loss_percent", descending=True, nulls_last=True)
    for row in pl.concat([above, areas.head(_WORST)]).iter_rows(named=True):
        true = row["true_kwh"]
        table.add_row(
            row["element_id"],
            f"{row['energy_in_kwh']:,.1f}",
            f"{row['loss_kwh']:,.1f}",
            f"{row['uncertainty_kwh']:,.1f}",
            "" if row["loss_percent"] is None else f"{row['loss_percent']:.2f}",
            "" if true is None else f"{true:,.1f}",
            f"{100 * row['completeness']:.1f}",
        )
    return table
