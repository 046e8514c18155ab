"""Small simulated grids for tests."""

from __future__ import annotations

from typing import Any

import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.grid.city import City
from connectors.simulation.options import Options, Preset, preset
from connectors.simulation.physics.operations import draw_plan
from connectors.simulation.physics.state import Physics
from connectors.simulation.physics.weather import Calendar, Weather
from connectors.simulation.simulation import Simulation


def options(name: Preset = "clean", *, meters: int = 300, days: float = 1.0, seed: int = 1, **rates: Any) -> Options:
    return Options(meters=meters, days=days, seed=seed, faults=preset(name, **rates))


def physics_of(chosen: Options) -> Physics:
    """The first substation's physics."""
    chance = Chance(chosen.seed)
    calendar = Calendar.of(chosen, chosen.steps + 1)
    grid = next(City(chosen, chance).build())
    weather = Weather.of(chosen, calendar, chance)
    return Physics(grid, draw_plan(grid, chosen, chance), chosen, calendar, weather, chance)


class Whole:
    """All that a simulation gives, as frames."""

    def __init__(self, chosen: Options) -> None:
        self.simulation = Simulation(chosen)
        pieces = list(self.simulation.pieces())
        names = pieces[0].truth
        self.streams = {topic: pl.concat([piece.frames[topic] for piece in pieces]) for topic in pieces[0].frames}
        self.streams["grid.network.v1"] = self.simulation.network
        truth = {name: pl.concat([p.truth[name] for p in pieces if name in p.truth]) for name in names}
        self.truth = {**truth, **self.simulation.tables()}

    def events(self, kind: str) -> pl.DataFrame:
        events = self.truth["events"].filter(pl.col("kind").str.starts_with(kind))
        assert events.height, f"nothing of kind {kind} was injected"
        return events
