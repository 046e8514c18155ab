"""Registers and voltages of meters from the physical state: exact until they are cut to the register's step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.grid.customers import Bools, Floats, Ints
from connectors.simulation.grid.layout import Substation
from connectors.simulation.meters.metering import REGISTER_END_KWH, Meters
from connectors.simulation.options import Options
from connectors.simulation.physics.state import Block
from connectors.simulation.physics.weather import Calendar

_HOUR_US = 3.6e9
# What is added up over time for each meter.
_IMPORT, _EXPORT, _REACTIVE, _V1, _ON = 0, 1, 2, 3, 6
_CHANNELS = 7
_SCHEMA = pl.Schema(
    {
        "meter": pl.Int32(),
        "step": pl.Int32(),
        "sent": pl.Int64(),
        "time": pl.Int64(),
        "import_kwh": pl.Float64(),
        "export_kwh": pl.Float64(),
        "voltage_l1_v": pl.Float64(),
        "voltage_l2_v": pl.Float64(),
        "voltage_l3_v": pl.Float64(),
        "active_power_kw": pl.Float64(),
        "reactive_power_kvar": pl.Float64(),
    }
)


@dataclass(frozen=True)
class Measured:
    """What meters are exposed to in the m spans of a block; all are the customers', then the heads'.

    Attributes:
        power: (m, all) W.
        reactive: (m, all) var.
        volts: (m, all, 3) at the meters' terminals.
        alive: (m, all) whether the meter has supply.
    """

    power: Floats
    reactive: Floats
    volts: Floats
    alive: Bools


def exposed(grid: Substation, block: Block) -> Measured:
    """What the meters of a substation are exposed to."""
    order = (block.phase[:, :, None] + np.arange(3)) % 3
    heads = [feeder.head for feeder in grid.feeders]
    feeders, feeders_reactive = block.mv_power[:, heads, 0].sum(axis=2), block.mv_reactive[:, heads, 0].sum(axis=2)
    places = np.searchsorted(block.mv_nodes, [grid.busbars[feeder.busbar] for feeder in grid.feeders])
    volts = np.concatenate(
        [
            np.take_along_axis(block.volts, order, axis=2),
            np.zeros((len(block.power), 2, 3)),
            block.mv_volts[:, places],
            block.lv_volts,
        ],
        axis=1,
    )
    always = np.ones((len(block.power), 2 + len(grid.feeders)), bool)
    return Measured(
        power=np.concatenate([block.power, block.mains, feeders, block.stations], axis=1),
        reactive=np.concatenate(
            [block.reactive, block.mains_reactive, feeders_reactive, block.stations_reactive], axis=1
        ),
        volts=volts,
        alive=np.concatenate([block.volts[:, :, 0] > 0, always, block.lv_volts[:, :, 0] > 0], axis=1),
    )


class Readings:
    """The readings of a substation's meters; ``of_block`` is called for consecutive blocks.

    Attributes:
        rollovers: of each customer whose register has passed its end, when, µs.
    """

    def __init__(self, grid: Substation, meters: Meters, options: Options, calendar: Calendar, chance: Chance) -> None:
        self._grid, self._meters, self._options, self._calendar = grid, meters, options, calendar
        self._chance = chance
        self._total = np.zeros((len(meters), _CHANNELS))
        self._wrong = meters.wrong_clocks
        self._right = np.setdiff1d(np.arange(len(meters)), self._wrong)
        # A fast clock shows the start before there is anything to read: its first reading is the next.
        self._wrong_before = np.zeros((len(self._wrong), _CHANNELS))
        self._wrong_time = np.full(len(self._wrong), options.start_us)
        self._bases: dict[int, float] = {}
        self.rollovers: dict[int, int] = {}

    def of_block(self, block: Block, counted: Floats) -> pl.DataFrame:
        """Readings whose registers are frozen in a block.

        Args:
            block: the block.
            counted: (spans, customers) share of the energy taken that the meter counts.

        Returns:
            Columns ``meter`` (index; beyond all meters the new one of an exchange), ``step`` (number of the label,
            -1 of a reading at an exchange), ``sent`` (true time, µs), and those of the contract but ``meter_id`` and
            ``received_time``.
        """
        measured = exposed(self._grid, block)
        totals = self._totals(block, measured, counted)
        self._note_rollovers(block, totals)
        exchanged = self._at_exchanges(block, totals)  # first: the new meters' registers begin there
        frames = [
            self._right_clocks(block, totals, measured.alive),
            self._wrong_clocks(block, totals, measured.alive),
            exchanged,
        ]
        self._total = totals[-1]
        return pl.concat(frames)

    def _totals(self, block: Block, measured: Measured, counted: Floats) -> npt.NDArray[np.float64]:
        """(spans + 1, all, channels) what has come together since the start, at the block's bounds."""
        meters, hours = self._meters, block.hours[:, None]
        share = np.ones(measured.power.shape)
        share[:, : meters.customers] = counted
        parts = np.empty((len(hours) + 1, len(meters), _CHANNELS))
        parts[0] = self._total
        parts[1:, :, _IMPORT] = np.maximum(measured.power, 0.0) * share * hours * (meters.gain / 1000)
        parts[1:, :, _EXPORT] = np.maximum(-measured.power, 0.0) * hours * (meters.gain / 1000)
        parts[1:, :, _REACTIVE] = measured.reactive * hours / 1000
        parts[1:, :, _V1:_ON] = measured.volts * (hours * meters.volt_gain)[:, :, None]
        parts[1:, :, _ON] = measured.alive * hours
        return np.asarray(np.cumsum(parts, axis=0))

    def _right_clocks(self, block: Block, totals: Floats, alive: Bools) -> pl.DataFrame:
        options, which = self._options, self._right
        first, last = (int((t - options.start_us) // options.interval_us) for t in block.bounds[[0, -1]])
        steps = np.arange(first if first == 0 else first + 1, min(last, options.steps) + 1)
        labels = options.start_us + options.interval_us * steps
        at = np.searchsorted(block.bounds, labels)
        before = np.searchsorted(block.bounds, np.maximum(labels - options.interval_us, block.bounds[0]))
        times = np.broadcast_to(labels[:, None], (len(steps), len(which)))
        powered = alive[np.maximum(at - 1, 0)][:, which]
        elapsed = np.where(steps > 0, options.interval_us, 0)[:, None] / _HOUR_US
        return self._frame(steps, which, times, times, totals[at][:, which], totals[before][:, which], elapsed, powered)

    def _wrong_clocks(self, block: Block, totals: Floats, alive: Bools) -> pl.DataFrame:
        options, which = self._options, self._wrong
        bounds = block.bounds
        first, last = ((t - options.start_us) // options.interval_us for t in bounds[[0, -1]])
        steps = np.arange(max(int(first) - 1, 0), min(int(last) + 1, options.steps) + 1)
        labels = options.start_us + options.interval_us * steps
        sent = self._meters.true_time(which, labels, options.start_us)
        inside = (sent > bounds[0] - (first == 0)) & (sent <= bounds[-1])
        now, place = _interpolate(bounds, totals, np.clip(sent, bounds[0], bounds[-1]), which)
        before, previous = np.empty_like(now), np.empty_like(sent)
        for row in range(len(steps)):
            before[row], previous[row] = self._wrong_before, self._wrong_time
            self._wrong_before = np.where(inside[row][:, None], now[row], self._wrong_before)
            self._wrong_time = np.where(inside[row], sent[row], self._wrong_time)
        powered = inside & alive[place, which]
        times = np.broadcast_to(labels[:, None], sent.shape)
        return self._frame(steps, which, times, sent, now, before, (sent - previous) / _HOUR_US, powered)

    def _at_exchanges(self, block: Block, totals: Floats) -> pl.DataFrame:
        """The last reading of the old meter and the first of the new one, as the fitter notes them."""
        meters, step = self._meters, self._options.register_step_kwh
        inside = [
            (number, exchange)
            for number, exchange in enumerate(meters.exchanges)
            if block.bounds[0] <= exchange.time < block.bounds[-1]
        ]
        customers = np.array([exchange.customer for _, exchange in inside], np.int64)
        times = np.array([exchange.time for _, exchange in inside], np.int64)
        now, _ = _interpolate(block.bounds, totals, times[:, None], customers[:, None])
        self._bases.update(zip(customers.tolist(), now[:, 0, _IMPORT].tolist(), strict=True))
        old_kwh = (meters.first_import[customers] + now[:, 0, _IMPORT]) % REGISTER_END_KWH
        new_kwh = np.array([exchange.first_kwh for _, exchange in inside])
        export = _cut(meters.first_export[customers] + now[:, 0, _EXPORT], step)
        export = np.where(meters.has_export[customers], export, np.nan)
        nothing = np.full(2 * len(inside), np.nan)
        columns = {
            "meter": np.concatenate([customers, [len(meters) + number for number, _ in inside]]),
            "step": np.full(2 * len(inside), -1),
            "sent": np.tile(times, 2),
            "time": np.tile(times, 2),
            "import_kwh": _cut(np.concatenate([old_kwh, new_kwh]), step),
            "export_kwh": np.tile(export, 2),
        }
        return pl.DataFrame({name: columns.get(name, nothing) for name in _SCHEMA}, nan_to_null=True).cast(_SCHEMA)

    def _frame(
        self,
        steps: Ints,
        which: Ints,
        times: Ints,
        sent: Ints,
        now: Floats,
        before: Floats,
        elapsed: Floats,
        powered: Bools,
    ) -> pl.DataFrame:
        """Rows of (steps, which) readings; those of meters without supply are left out."""
        meters, options = self._meters, self._options
        register = meters.first_import[which] + now[:, :, _IMPORT]
        ids = np.broadcast_to(which.astype(np.int32), register.shape).copy()
        for number, exchange in enumerate(meters.exchanges):
            column = np.searchsorted(which, exchange.customer)
            if exchange.customer in self._bases and column < len(which) and which[column] == exchange.customer:
                after = sent[:, column] > exchange.time
                taken = now[after, column, _IMPORT] - self._bases[exchange.customer]
                register[after, column] = exchange.first_kwh + taken
                ids[after, column] = len(meters) + number
        customer = which < meters.customers
        register = np.where(customer, register % REGISTER_END_KWH, register)
        export = meters.first_export[which] + now[:, :, _EXPORT]
        gone = now - before
        with np.errstate(invalid="ignore", divide="ignore"):
            volts = gone[:, :, _V1:_ON] / gone[:, :, _ON, None]
            power = (gone[:, :, _IMPORT] - gone[:, :, _EXPORT]) / elapsed
            reactive = gone[:, :, _REACTIVE] / elapsed
        if noise := options.faults.voltage_noise_v:
            for row, step in enumerate(steps.tolist()):
                stream = self._chance.stream("voltage-noise", self._grid.number, step)
                volts[row] += noise * stream.standard_normal((len(meters), 3))[which]
        volts = _rounded(volts, options.voltage_step_v)
        volts[:, ~meters.terminals[which]] = np.nan
        keep = powered.ravel()
        columns: dict[str, npt.NDArray[Any]] = {
            "meter": ids,
            "step": np.broadcast_to(steps[:, None].astype(np.int32), register.shape),
            "sent": sent,
            "time": times,
            "import_kwh": _cut(register, options.register_step_kwh),
            "export_kwh": np.where(meters.has_export[which], _cut(export, options.register_step_kwh), np.nan),
            "voltage_l1_v": volts[:, :, 0],
            "voltage_l2_v": volts[:, :, 1],
            "voltage_l3_v": volts[:, :, 2],
            "active_power_kw": _rounded(power, 0.001),
            "reactive_power_kvar": _rounded(reactive, 0.001),
        }
        flat = {name: values.ravel()[keep] for name, values in columns.items()}
        return pl.DataFrame(flat, schema=_SCHEMA, nan_to_null=True)

    def _note_rollovers(self, block: Block, totals: Floats) -> None:
        register = self._meters.first_import[: self._meters.customers] + totals[:, : self._meters.customers, _IMPORT]
        turns = register // REGISTER_END_KWH
        for span, customer in np.argwhere(np.diff(turns, axis=0) > 0):
            low, high = register[span : span + 2, customer]
            part = (turns[span + 1, customer] * REGISTER_END_KWH - low) / (high - low)
            begin, end = block.bounds[span : span + 2]
            self.rollovers.setdefault(int(customer), int(begin + part * (end - begin)))


def _interpolate(bounds: Ints, totals: Floats, times: Ints, which: Ints) -> tuple[Floats, Ints]:
    """What has come together by some times within the bounds: powers stand still within a span.

    Args:
        bounds: (m + 1) µs.
        totals: (m + 1, all, channels).
        times: (k, w) µs.
        which: (w,) whose.

    Returns:
        (k, w, channels), and (k, w) the spans that the times end or lie in.
    """
    span = np.clip(np.searchsorted(bounds, times) - 1, 0, len(bounds) - 2)
    part = ((times - bounds[span]) / (bounds[span + 1] - bounds[span]))[:, :, None]
    low, high = totals[span, which], totals[span + 1, which]
    return np.asarray(low + (high - low) * part), np.asarray(span)


def _cut(values: Floats, step: float) -> Floats:
    """Whole steps, downwards as a register shows them."""
    per_unit = round(1 / step)
    if abs(per_unit * step - 1) < 1e-9:
        return np.asarray(np.floor(values * per_unit + 1e-6) / per_unit)
    return np.asarray(np.floor(values / step + 1e-6) * step)


def _rounded(values: Floats, step: float) -> Floats:
    """The nearest whole steps."""
    per_unit = round(1 / step)
    if abs(per_unit * step - 1) < 1e-9:
        return np.asarray(np.round(values * per_unit) / per_unit)
    return np.asarray(np.round(values / step) * step)
