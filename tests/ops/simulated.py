"""A small simulated grid as input of a replay."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from connectors.simulation.options import Options, preset
from connectors.simulation.simulation import Simulation
from connectors.simulation.write import write_simulation


def simulate(folder: Path, seed: int) -> pl.DataFrame:
    """Write a day of 80 meters with everyday delivery, and give the truth of the transformer areas."""
    delivery = {"late_rate": 0.04, "missing_rate": 0.01, "duplicate_rate": 0.01}
    write_simulation(Simulation(Options(meters=80, seed=seed, faults=preset("clean", **delivery))), folder)
    areas = pl.read_parquet(folder / "truth" / "areas.parquet")
    return areas.filter(pl.col("element_id").str.starts_with("T"))
