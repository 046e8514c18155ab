"""All that the devices of one substation send, and the truth beside it, from one physical state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.events import Event
from connectors.simulation.grid.city import City
from connectors.simulation.grid.customers import KIND_NAMES, Floats
from connectors.simulation.grid.layout import PHASE_NAMES, Substation
from connectors.simulation.grid.network_table import draw_wrong_records, network_rows
from connectors.simulation.ied.telemetry import IedTelemetry
from connectors.simulation.injected import Injected
from connectors.simulation.meters.delivery import deliver
from connectors.simulation.meters.metering import counted_share, draw_meters
from connectors.simulation.meters.readings import Readings
from connectors.simulation.options import Options
from connectors.simulation.physics.operations import draw_plan
from connectors.simulation.physics.state import Block, Physics
from connectors.simulation.physics.weather import Calendar, Weather
from connectors.simulation.truth import AreaTruth
from connectors.simulation.units.bays import bay_ieds, bay_measurements, state_changes
from connectors.simulation.units.ftu import FtuTelemetry, fault_nodes

BLOCK_STEPS = 8


@dataclass(frozen=True)
class BlockFrames:
    """What comes of one block of intervals; times are µs (Int64).

    Attributes:
        until: end of the block, µs: all that is received before is here, or was.
        meters: columns of ``grid.meter.v1``, in no order.
        ftus: of ``grid.ftu.v1``.
        ieds: of ``grid.ied.v1``, its times as in the contract.
        truth: by name of the truth's table.
    """

    until: int
    meters: pl.DataFrame
    ftus: pl.DataFrame
    ieds: pl.DataFrame
    truth: dict[str, pl.DataFrame]


class SubstationTelemetry:
    """The devices of a substation; ``blocks`` is gone through once."""

    def __init__(
        self, grid: Substation, city: City, options: Options, calendar: Calendar, weather: Weather, chance: Chance
    ) -> None:
        self._grid, self._options, self._calendar, self._chance = grid, options, calendar, chance
        self.plan = draw_plan(grid, options, chance)
        self.meters = draw_meters(grid, city, options, chance)
        busy = {theft.customer for theft in self.meters.thefts} | {move.customer for move in self.plan.relocations}
        wrong = draw_wrong_records(grid, options, chance, busy)
        self.network = network_rows(grid, city, options, wrong, self.meters.exchanges)
        self.physics = Physics(grid, self.plan, options, calendar, weather, chance)
        currents = [self.physics.flow.fault_current(int(node)) for node in fault_nodes(grid, self.plan.faults)]
        self._ftus = FtuTelemetry(grid, self.plan, self.physics.history, currents, options, chance)
        self._ied_list = bay_ieds(grid)
        self._ieds = IedTelemetry(self._ied_list, state_changes(grid, self.plan), options, chance, grid.number)
        self._injected = Injected(grid, city, options, self.plan, self.meters, wrong, self.physics.history, currents)
        self._readings = Readings(grid, self.meters, options, calendar, chance)
        self._areas = AreaTruth(grid, options)
        self._city = city
        news = [exchange.new_meter for exchange in self.meters.exchanges]
        self._ids = pl.Series("meter_id", [*self.meters.ids, *news])

    def blocks(self) -> Iterator[BlockFrames]:
        """What the devices send, block by block."""
        for block in self.physics.blocks(BLOCK_STEPS):
            yield self._frames(block)

    def events(self) -> list[Event]:
        """What was injected; complete after the last block."""
        return self._injected.events(self._readings.rollovers) + self._ieds.events()

    def false_messages(self) -> pl.DataFrame:
        """What false publishers have sent; complete after the last block."""
        return self._ieds.false_messages()

    def meter_table(self) -> pl.DataFrame:
        """The meters as they really are: columns of the truth's table ``meters``."""
        grid, meters = self._grid, self.meters
        customers, n = grid.customers, meters.customers
        stations = [station.name for station in grid.stations]
        return pl.DataFrame(
            {
                "meter_id": meters.ids[:n],
                "usage_point_id": [self._city.usage_point(number) for number in customers.number.tolist()],
                "transformer_id": [stations[area] for area in customers.area.tolist()],
                "phases": [
                    PHASE_NAMES[phase] if single else "".join(PHASE_NAMES[(phase + k) % 3] for k in range(3))
                    for phase, single in zip(customers.phase.tolist(), customers.single.tolist(), strict=True)
                ],
                "customer": [KIND_NAMES[kind] for kind in customers.kind.tolist()],
                "heat_pump_kw": customers.heat_pump_kw,
                "vehicle_kw": customers.vehicle_kw,
                "solar_kw": customers.solar_kw,
                "energy_gain": meters.gain[:n],
                "voltage_gain": meters.volt_gain[:n],
                "clock_offset_seconds": meters.offset[:n] / 1e6,
                "clock_drift_ppm": meters.drift[:n] * 1e6,
            }
        )

    def _frames(self, block: Block) -> BlockFrames:
        options, n = self._options, self.meters.customers
        step = (block.bounds[:-1] - options.start_us) // options.interval_us
        first, count = int(step[0]), int(step[-1] - step[0]) + 1
        hours = self._calendar.hour[first : first + count]
        counted = counted_share(self.meters.thefts, hours, first, n)[step - first]
        taken = np.maximum(block.power, 0.0) * block.hours[:, None] / 1000
        unregistered = taken * (1 - counted)
        inside = (step < options.steps)[:, None]
        self._injected.take(block, unregistered * inside)
        readings = self._readings.of_block(block, counted)
        sent = deliver(readings, len(self.meters), options, self._chance, self._grid.number)
        ends = block.bounds[-1]
        return BlockFrames(
            until=int(ends),
            meters=self._named(sent.readings).drop("step", "sent").with_columns(pl.lit(0, pl.Int32).alias("quality")),
            ftus=self._ftus.of_block(block),
            ieds=self._ieds.messages(
                min(int(ends), options.end_us + 1), bay_measurements(grid=self._grid, ieds=self._ied_list, block=block)
            ),
            truth={
                "areas": self._areas.of_block(block, unregistered),
                "deliveries": self._named(sent.truth),
                "meter_energy": self._energies(block, step, taken),
            },
        )

    def _named(self, frame: pl.DataFrame) -> pl.DataFrame:
        names = self._ids.gather(frame["meter"])
        return frame.with_columns(names).drop("meter")

    def _energies(self, block: Block, step: np.ndarray, taken: Floats) -> pl.DataFrame:
        """What customers took and fed in, interval by interval."""
        options, n = self._options, self.meters.customers
        fed_in = np.maximum(-block.power, 0.0) * block.hours[:, None] / 1000
        starts = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
        steps = step[starts]
        keep = steps < options.steps
        begin = np.repeat(options.start_us + options.interval_us * steps[keep], n)
        return pl.DataFrame(
            {
                "meter_id": self._ids[:n].gather(np.tile(np.arange(n), int(keep.sum()))),
                "window_start": begin,
                "import_kwh": np.add.reduceat(taken, starts, axis=0)[keep].ravel(),
                "export_kwh": np.add.reduceat(fed_in, starts, axis=0)[keep].ravel(),
            },
            schema_overrides={"window_start": pl.Int64()},
        )
