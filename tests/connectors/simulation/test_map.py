"""Where a simulated city lies on the map."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from connectors.simulation.chance import Chance
from connectors.simulation.grid.city import City
from connectors.simulation.grid.map import node_places
from connectors.simulation.options import Options, preset
from connectors.simulation.simulation import Simulation

_KM = np.array([111.2 * np.cos(np.radians(51.3)), 111.2])


def _network(seed: int) -> pl.DataFrame:
    return Simulation(Options(meters=400, seed=seed, faults=preset("clean"))).network


def _places(network: pl.DataFrame) -> dict[str, np.ndarray]:
    known = network.drop_nulls("longitude_deg").select("element_id", "longitude_deg", "latitude_deg")
    return {name: np.array([x, y]) * _KM for name, x, y in known.iter_rows()}


def test_all_but_feeders_and_the_region_have_a_place() -> None:
    network = _network(1)
    nowhere = network.filter(pl.col("longitude_deg").is_null() | pl.col("latitude_deg").is_null())
    assert set(nowhere["kind"]) == {"Feeder", "SubGeographicalRegion"}


def test_nothing_is_farther_from_its_station_than_cables_reach() -> None:
    network = _network(2)
    places = _places(network)
    points = network.filter(pl.col("kind") == "UsagePoint").select("element_id", "container_id")
    apart = [float(np.hypot(*(places[point] - places[station]))) for point, station in points.iter_rows()]
    assert min(apart) > 0
    assert max(apart) < 2.0


def test_lines_reach_from_end_to_end() -> None:
    options = Options(meters=400, seed=3, faults=preset("clean"))
    for grid in City(options, Chance(3)).build():
        places = np.array(node_places(grid)) * _KM
        for line in grid.lines:
            apart = float(np.hypot(*(places[line.ends[0]] - places[line.ends[1]])))
            if line.area >= 0:
                assert apart == pytest.approx(line.km, abs=2e-4)  # coordinates are rounded to decimetres
            else:
                assert apart <= line.km + 2e-4


def test_substations_lie_apart() -> None:
    network = _network(1)
    far = Simulation(Options(meters=4000, seed=1, faults=preset("clean"))).network
    for some in (network, far):
        places = _places(some.filter(pl.col("kind") == "Substation"))
        middles = np.array(list(places.values()))
        apart = np.hypot(*(middles[:, None] - middles[None]).transpose(2, 0, 1))
        assert (apart[~np.eye(len(middles), dtype=bool)] > 5).all()
