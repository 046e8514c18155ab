"""``gridflow demo``: the line losses of three small transformer areas, from readings made on the spot."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer
from rich import box
from rich.table import Table

from ops.console import errors_as_status, out
from ops.run_cli import accounting_table, replay_folder
from ops.settings import load_settings

START = datetime(2026, 1, 12, tzinfo=UTC)
HOURS, STEP_MINUTES = 48, 15
AREAS = {"T-north": 24, "T-harbour": 40, "T-mill": 16}
SERVICE_LOSS_OHM_PER_V2 = 4.0e-7  # loss per squared load: R / U², summed over an area's lines


def demo(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Keep input and results here; else they are thrown away."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another day.")] = 1,
) -> None:
    """Make two days of meter readings, some late, doubled or missing, and find the line losses in them.

    Nothing else is needed: no Kafka, no database.

    Example: [bold]gridflow demo --output demo[/]
    """
    with errors_as_status(), tempfile.TemporaryDirectory() as temporary:
        folder = output or Path(temporary)
        truth = make_readings(folder / "input", seed)
        settings = load_settings(environ={}, overrides={"parquet": {"output": folder / "results"}})
        counts = replay_folder(settings, folder / "input", 1)
        out.print(accounting_table(counts))
        out.print(_losses(folder / "results", truth))
        if output is not None:
            out.print(f"input and results are in {output}")


def make_readings(folder: Path, seed: int) -> pl.DataFrame:
    """Write ``grid.meter.v1`` and ``grid.network.v1`` to a folder.

    Returns:
        The truth: columns area, hour (0 .. 47), loss_kwh.
    """
    chance = np.random.default_rng(seed)
    steps = HOURS * 60 // STEP_MINUTES
    network: list[dict[str, object]] = [{"element_id": "R-demo", "kind": "SubGeographicalRegion"}]
    readings, truth = [], []
    hour = np.arange(steps) * STEP_MINUTES / 60
    for area, size in AREAS.items():
        network.append(
            {
                "element_id": area,
                "kind": "PowerTransformer",
                "container_id": "R-demo",
                "measuring_device_id": f"H-{area}",
                "rated_kva": 400.0,
            }
        )
        shape = 0.25 + 0.5 * np.exp(-((hour % 24 - 19) ** 2) / 8) + 0.3 * np.exp(-((hour % 24 - 8) ** 2) / 4)
        load_kw = shape * chance.gamma(2.0, 0.6, (size, 1)) * chance.gamma(4.0, 0.25, (size, steps))
        energy = np.round(load_kw * STEP_MINUTES / 60, 3)
        total = energy.sum(axis=0)
        loss = SERVICE_LOSS_OHM_PER_V2 * (total * 60 / STEP_MINUTES * 1000) ** 2 / 1000 * STEP_MINUTES / 60
        head = np.cumsum(np.round(total + loss, 3))
        truth.append(
            pl.DataFrame({"area": area, "hour": hour.astype(int), "loss_kwh": np.round(total + loss, 3) - total})
        )
        registers = np.vstack([np.cumsum(energy, axis=1), head])
        meters = [f"{area}-{n:03d}" for n in range(size)] + [f"H-{area}"]
        network += [
            {"element_id": f"UP-{m}", "kind": "UsagePoint", "container_id": area, "measuring_device_id": m}
            for m in meters[:-1]
        ]
        first = chance.uniform(100, 9000, (size + 1, 1)).round(3)
        values = np.hstack([first, first + registers])
        readings.append(
            pl.DataFrame(
                {
                    "meter_id": np.repeat(meters, steps + 1),
                    "step": np.tile(np.arange(steps + 1), size + 1),
                    "import_kwh": values.ravel().round(3),
                }
            )
        )
    frame = pl.concat(readings).with_columns(
        (pl.lit(START) + pl.col("step") * timedelta(minutes=STEP_MINUTES)).dt.cast_time_unit("us").alias("time"),
        pl.lit(0, pl.Int32).alias("quality"),
    )
    n = frame.height
    delay = np.where(chance.random(n) < 0.04, chance.uniform(900, 6 * 3600, n), chance.gamma(2.0, 8.0, n))
    frame = frame.with_columns(
        (pl.col("time") + pl.Series(delay * 1e6).cast(pl.Int64).cast(pl.Duration("us"))).alias("received_time")
    )
    frame = frame.filter(pl.Series(chance.random(n) > 0.01) | (pl.col("step") == 0))
    again = frame.sample(fraction=0.01, seed=seed).with_columns(pl.col("received_time") + timedelta(minutes=2))
    frame = pl.concat([frame, again]).sort("received_time", maintain_order=True).drop("step")
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / "grid.meter.v1.parquet")
    pl.DataFrame(network).with_columns(pl.lit(START - timedelta(days=30)).alias("valid_from")).write_parquet(
        folder / "grid.network.v1.parquet"
    )
    return pl.concat(truth)


def _losses(results: Path, truth: pl.DataFrame) -> Table:
    """Per area what was found beside what was put in."""
    rows = (
        pl.scan_parquet(results / "line_loss")
        .sort("revision")
        .unique(["element_id", "window_start"], keep="last")
        .collect()
    )
    caption = "± is the 95 % interval; loss in % of energy in"
    table = Table(title=f"Line losses over {HOURS} hours", caption=caption, box=box.SIMPLE, padding=0)
    for name in (
        "element",
        "energy in / kWh",
        "loss / kWh",
        "±",
        "loss / %",
        "true loss / kWh",
        "windows",
        "complete",
    ):
        table.add_column(name, justify="left" if name == "element" else "right", overflow="fold")
    for element, part in sorted(rows.group_by("element_id"), key=lambda item: str(item[0])):
        name = str(element[0])
        energy, loss = float(part["energy_in_kwh"].sum()), float(part["loss_kwh"].sum())
        systematic = float(part["systematic_uncertainty_kwh"].sum())
        rest = float((part["uncertainty_kwh"] ** 2 - part["systematic_uncertainty_kwh"] ** 2).sum())
        known = truth.filter(pl.col("area") == name) if name in AREAS else truth
        table.add_row(
            name,
            f"{energy:,.1f}",
            f"{loss:,.2f}",
            f"{float(np.hypot(systematic, np.sqrt(max(rest, 0)))):,.2f}",
            f"{100 * loss / energy:.2f}",
            f"{known['loss_kwh'].sum():,.2f}",
            str(part.height),
            str(part.filter(pl.col("status") == "COMPLETE").height),
        )
    return table
