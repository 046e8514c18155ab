"""The truth of switching: positions of all switches, and who is fed from where."""

from __future__ import annotations

import polars as pl

from connectors.simulation.grid.layout import Substation
from connectors.simulation.options import Options
from connectors.simulation.physics.operations import Plan
from connectors.simulation.physics.supply import NOBODY, SwitchingHistory

_TIME = pl.Datetime("us", "UTC")


def switch_frame(grid: Substation, plan: Plan, options: Options) -> pl.DataFrame:
    """Columns element_id, time, closed, cause: the normal positions at the start, then each operation."""
    places = grid.switch_places()
    rows = [
        (switch, options.start_us, grid.lines[line].closed[side], "normal") for switch, (line, side) in places.items()
    ]
    rows += [(o.switch, o.time, o.closed, o.cause) for o in plan.operations if o.switch in places]
    columns = {"element_id": pl.String(), "time": pl.Int64(), "closed": pl.Boolean(), "cause": pl.String()}
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("time").cast(_TIME))


def supply_frame(grid: Substation, history: SwitchingHistory) -> pl.DataFrame:
    """Columns element_id (transformer), time, fed_by (feeder; null: de-energised): at the start and at each change."""
    rows: list[tuple[str, int, str | None]] = []
    last: dict[int, int] = {}
    for state in history.states:
        for station, feeder in enumerate(state.fed_by.tolist()):
            if last.get(station) != feeder:
                last[station] = feeder
                name = None if feeder == NOBODY else grid.feeders[feeder].name
                rows.append((grid.stations[station].name, state.time, name))
    columns = {"element_id": pl.String(), "time": pl.Int64(), "fed_by": pl.String()}
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("time").cast(_TIME))
