"""The truth beside the telemetry: energies and losses of every measured element and interval, before any rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from connectors.simulation.grid.city import REGION
from connectors.simulation.grid.customers import Floats, Ints
from connectors.simulation.grid.layout import Substation
from connectors.simulation.options import Options
from connectors.simulation.physics.state import Block
from connectors.simulation.physics.supply import NOBODY

_KWH = 1 / 1000
AREA_SCHEMA = {
    "element_id": pl.String(),
    "element_kind": pl.String(),
    "window_start": pl.Int64(),
    "window_end": pl.Int64(),
    "energy_in_kwh": pl.Float64(),
    "energy_out_kwh": pl.Float64(),
    "line_loss_kwh": pl.Float64(),
    "transformer_loss_kwh": pl.Float64(),
    "technical_loss_kwh": pl.Float64(),
    "unregistered_kwh": pl.Float64(),
    "switched": pl.Boolean(),
}


@dataclass
class _Sums:
    """Energies of the elements of one level in the spans of a block, (m, elements), kWh."""

    head: Floats
    taken: Floats
    fed_in: Floats
    lines: Floats
    transformers: Floats
    unregistered: Floats
    switched: Floats


class AreaTruth:
    """Sums over a substation's stations, feeders, mains, and itself, interval by interval.

    A feeder's sums are over what it supplies at the time. While a loop is closed it cannot be told apart what comes
    from which of its two feeders: then its sums do not balance, but its substation's do. ``switched`` marks the
    intervals in which a feeder is in a loop or supplies others than normally.
    """

    def __init__(self, grid: Substation, options: Options) -> None:
        self._grid, self._options = grid, options
        self._line_area = np.array([line.area for line in grid.lines])
        self._low = np.flatnonzero(self._line_area >= 0)
        self._mv = int((self._line_area < 0).sum())
        self._normal = np.array([station.feeder for station in grid.stations])
        self._busbar = np.array([feeder.busbar for feeder in grid.feeders])

    def of_block(self, block: Block, unregistered: Floats) -> pl.DataFrame:
        """Rows of ``AREA_SCHEMA``.

        Args:
            block: the block.
            unregistered: (m, customers) kWh that meters do not count.
        """
        stations = self._stations(block, unregistered)
        feeders = self._feeders(block, stations)
        mains = self._mains(block, feeders)
        names = [station.name for station in self._grid.stations]
        frames = [
            self._rows(block, names, "PowerTransformer", stations),
            self._rows(block, [feeder.name for feeder in self._grid.feeders], "Feeder", feeders),
            self._rows(block, [name for name, _ in self._grid.mains], "PowerTransformer", mains),
        ]
        return pl.concat([*frames, _above(frames[2], self._grid.name, "Substation")])

    def _stations(self, block: Block, unregistered: Floats) -> _Sums:
        hours, count = block.hours[:, None], len(self._grid.stations)
        energy = block.power * hours * _KWH
        index = block.area + count * np.arange(len(energy))[:, None]

        def by_area(values: Floats) -> Floats:
            total = np.bincount(index.ravel(), values.ravel(), count * len(energy))
            return np.asarray(total.reshape(len(energy), count))

        places = self._line_area[self._low] + count * np.arange(len(energy))[:, None]
        lost = block.line_loss[:, self._low] * hours * _KWH
        lines = np.bincount(places.ravel(), lost.ravel(), energy.shape[0] * count).astype(np.float64).reshape(-1, count)
        zero = np.zeros_like(lines)
        return _Sums(
            head=block.stations * hours * _KWH,
            taken=by_area(np.maximum(energy, 0.0)),
            fed_in=by_area(np.maximum(-energy, 0.0)),
            lines=lines,
            transformers=zero,  # the head meter sits behind the transformer
            unregistered=by_area(unregistered),
            switched=zero,
        )

    def _feeders(self, block: Block, stations: _Sums) -> _Sums:
        hours, grid = block.hours[:, None], self._grid
        m, count = len(hours), len(grid.feeders)
        heads = [feeder.head for feeder in grid.feeders]
        fed_by = np.array([state.fed_by for state in block.states])
        line_fed_by = np.array([state.line_fed_by for state in block.states])

        def by_feeder(values: Floats, feeder: Ints) -> Floats:
            index = np.where(feeder == NOBODY, count, feeder) + (count + 1) * np.arange(m)[:, None]
            total = np.bincount(index.ravel(), values.ravel(), (count + 1) * m)
            return np.asarray(total.reshape(m, count + 1)[:, :count])

        switched = np.zeros((m, count))
        for span, state in enumerate(block.states):
            moved = state.fed_by != self._normal
            involved = {*self._normal[moved].tolist(), *state.fed_by[moved].tolist()} - {NOBODY}
            switched[span, [*involved, *np.flatnonzero(state.looped)]] = 1.0
        cables = by_feeder(block.line_loss[:, : self._mv] * hours * _KWH, line_fed_by)
        return _Sums(
            head=block.mv_power[:, heads, 0].sum(axis=2) * hours * _KWH,
            taken=by_feeder(stations.taken, fed_by),
            fed_in=by_feeder(stations.fed_in, fed_by),
            lines=by_feeder(stations.lines, fed_by) + cables,
            transformers=by_feeder(block.station_loss * hours * _KWH, fed_by),
            unregistered=by_feeder(stations.unregistered, fed_by),
            switched=switched,
        )

    def _mains(self, block: Block, feeders: _Sums) -> _Sums:
        hours = block.hours[:, None]

        def by_busbar(values: Floats) -> Floats:
            return np.stack([values[:, self._busbar == busbar].sum(axis=1) for busbar in (0, 1)], axis=1)

        return _Sums(
            head=block.mains * hours * _KWH,
            taken=by_busbar(feeders.taken),
            fed_in=by_busbar(feeders.fed_in),
            lines=by_busbar(feeders.lines),
            transformers=by_busbar(feeders.transformers) + block.main_loss * hours * _KWH,
            unregistered=by_busbar(feeders.unregistered),
            switched=by_busbar(feeders.switched),
        )

    def _rows(self, block: Block, names: list[str], kind: str, sums: _Sums) -> pl.DataFrame:
        options = self._options
        step = (block.bounds[:-1] - options.start_us) // options.interval_us
        starts = np.flatnonzero(np.diff(step, prepend=-1))
        steps = step[starts]
        keep = steps < options.steps

        def per_step(values: Floats) -> Floats:
            return np.asarray(np.add.reduceat(values, starts, axis=0)[keep].T.ravel())

        begin = np.tile(options.start_us + options.interval_us * steps[keep], len(names))
        head = sums.head
        lines, transformers = per_step(sums.lines), per_step(sums.transformers)
        return pl.DataFrame(
            {
                "element_id": np.repeat(names, int(keep.sum())),
                "element_kind": [kind] * len(begin),
                "window_start": begin,
                "window_end": begin + options.interval_us,
                "energy_in_kwh": per_step(np.maximum(head, 0.0) + sums.fed_in),
                "energy_out_kwh": per_step(np.maximum(-head, 0.0) + sums.taken),
                "line_loss_kwh": lines,
                "transformer_loss_kwh": transformers,
                "technical_loss_kwh": lines + transformers,
                "unregistered_kwh": per_step(sums.unregistered),
                "switched": per_step(sums.switched) > 0,
            },
            schema=AREA_SCHEMA,
        )


def _above(frame: pl.DataFrame, name: str, kind: str) -> pl.DataFrame:
    """The sum of elements as one element above them."""
    numbers = [column for column in AREA_SCHEMA if column.endswith("_kwh")]
    return (
        frame.group_by("window_start", "window_end", maintain_order=True)
        .agg(pl.col(numbers).sum(), pl.col("switched").any())
        .with_columns(pl.lit(name).alias("element_id"), pl.lit(kind).alias("element_kind"))
        .select(list(AREA_SCHEMA))
    )


def region_rows(substations: pl.DataFrame) -> pl.DataFrame:
    """The region as the sum of its substations.

    Args:
        substations: rows of ``AREA_SCHEMA`` of any elements.
    """
    return _above(substations.filter(pl.col("element_kind") == "Substation"), REGION, "SubGeographicalRegion")
