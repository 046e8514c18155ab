"""The whole simulation as one stream: what arrives, in the order in which it does, and the truth beside it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.events import event_frame
from connectors.simulation.grid.city import City
from connectors.simulation.grid.network_table import NETWORK, region_row
from connectors.simulation.options import Options
from connectors.simulation.physics.switch_table import supply_frame, switch_frame
from connectors.simulation.physics.weather import Calendar, Weather
from connectors.simulation.telemetry import BlockFrames, SubstationTelemetry
from connectors.simulation.truth import region_rows
from schemas import contract

METER, FTU, IED = "grid.meter.v1", "grid.ftu.v1", "grid.ied.v1"
STREAMS = (METER, FTU, IED)
_FOREVER = 2**62


@dataclass(frozen=True)
class Piece:
    """What arrives within one block of time.

    Attributes:
        done: share of the simulation that is done with it.
        frames: by topic, in order of arrival, with the contract's columns.
        truth: by name of the table: areas, deliveries, meter_energy.
    """

    done: float
    frames: dict[str, pl.DataFrame]
    truth: dict[str, pl.DataFrame]


class Simulation:
    """A simulated city; ``pieces`` is gone through once.

    Args:
        options: what is simulated.

    Example:
        >>> from connectors.simulation.options import Options
        >>> simulation = Simulation(Options(meters=20, days=0.25))
        >>> sum(piece.frames["grid.meter.v1"].height for piece in simulation.pieces())
        600
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        chance = Chance(options.seed)
        city = City(options, chance)
        calendar = Calendar.of(options, options.steps + 1)
        weather = Weather.of(options, calendar, chance)
        self._substations = [
            SubstationTelemetry(grid, city, options, calendar, weather, chance) for grid in city.build()
        ]
        self.network = pl.concat([region_row(options), *(item.network for item in self._substations)])
        #  Exchanged meters: later versions come after the earlier ones, whatever the substation.
        self.network = self.network.sort("valid_from", maintain_order=True)

    def pieces(self) -> Iterator[Piece]:
        """All that arrives, block by block; the last piece is what arrives after the end."""
        waiting = {topic: contract(topic).empty() for topic in STREAMS}
        streams = [item.blocks() for item in self._substations]
        start, length = self.options.start_us, self.options.end_us + self.options.interval_us - self.options.start_us
        with ThreadPoolExecutor(2) as pool:
            while True:
                blocks = [block for block in pool.map(lambda stream: next(stream, None), streams) if block is not None]
                if not blocks:
                    break
                until = blocks[0].until
                yield self._piece(blocks, waiting, until, (until - start) / length)
        yield self._piece([], waiting, _FOREVER, 1.0)

    def events(self) -> pl.DataFrame:
        """What was injected, of ``EVENT_SCHEMA``; amounts are complete after the last piece."""
        return event_frame([event for item in self._substations for event in item.events()])

    def tables(self) -> dict[str, pl.DataFrame]:
        """The truth that is complete after the last piece: events, meters, switches, supply, false_messages."""
        items = self._substations
        return {
            "events": self.events(),
            "meters": pl.concat([item.meter_table() for item in items]),
            "switches": pl.concat([switch_frame(item.physics.grid, item.plan, self.options) for item in items]),
            "supply": pl.concat([supply_frame(item.physics.grid, item.physics.history) for item in items]),
            "false_messages": pl.concat([item.false_messages() for item in items]),
        }

    def _piece(self, blocks: list[BlockFrames], waiting: dict[str, pl.DataFrame], until: int, done: float) -> Piece:
        fresh = {
            METER: [_as_contract(block.meters, METER) for block in blocks],
            FTU: [_as_contract(block.ftus, FTU) for block in blocks],
            IED: [block.ieds for block in blocks],
        }
        frames = {}
        for topic in STREAMS:
            known = contract(topic)
            every = pl.concat([waiting[topic], *fresh[topic]]).sort("received_time", known.key, known.time)
            arrived = every["received_time"].to_physical() < until
            waiting[topic] = every.filter(~arrived)
            frames[topic] = every.filter(arrived)
        truth: dict[str, pl.DataFrame] = {}
        for name in blocks[0].truth if blocks else ():
            truth[name] = pl.concat([block.truth[name] for block in blocks])
        if "areas" in truth:
            truth["areas"] = pl.concat([truth["areas"], region_rows(truth["areas"])])
        return Piece(done, frames, {name: _with_times(frame) for name, frame in truth.items()})


def _as_contract(frame: pl.DataFrame, topic: str) -> pl.DataFrame:
    """The contract's columns, in its order and types."""
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, kind).alias(name)
        for name, kind in contract(topic).polars.items()
    )


def _with_times(frame: pl.DataFrame) -> pl.DataFrame:
    times = [name for name in ("time", "received_time", "window_start", "window_end") if name in frame.columns]
    return frame.with_columns(pl.col(times).cast(pl.Datetime("us", "UTC")))


__all__ = ["FTU", "IED", "METER", "NETWORK", "STREAMS", "Piece", "Simulation"]
