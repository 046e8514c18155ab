"""Feeder terminal units: positions, measured values, fault indication and trips as ``grid.ftu.v1``.

Points by IEC 61850-7-4: a feeder's unit has its breaker XCBR1 and the measurement MMXU1 of its cable, a station's the
switches XSWI1 (towards the feeder's head) and XSWI2 with MMXU1 and MMXU2. Power is in W and var, positive away from
the head; PhV is phase to neutral in V, A in A.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.grid.customers import Floats, Ints
from connectors.simulation.grid.layout import Substation
from connectors.simulation.options import Options
from connectors.simulation.physics.operations import (
    CLEARED,
    HOUR,
    OPERATE,
    PARTING,
    PICK_UP,
    SECOND,
    CableFault,
    Operation,
    Plan,
)
from connectors.simulation.physics.state import Block
from connectors.simulation.physics.supply import NOBODY, SwitchingHistory

INTERMEDIATE, OFF, ON = 0.0, 1.0, 2.0
_TRAVEL = CLEARED - PARTING
_INTERROGATION = 6 * HOUR
_DEAD_BAND = 0.05  # of the last value: a change beyond it is sent at once


@dataclass(frozen=True)
class Channel:
    """A measured value: whose, what, and where it is taken."""

    ftu: str
    point: str
    quantity: str  # W, VAr, A, V
    line: int
    side: int
    node: int
    phase: int
    sign: float


class FtuTelemetry:
    """The feeder terminal units of a substation.

    Args:
        grid: the substation.
        plan: what is done to it.
        history: states of its switches.
        currents: of each fault, A.
        options: what is simulated.
        chance: the seed's streams.
    """

    def __init__(
        self,
        grid: Substation,
        plan: Plan,
        history: SwitchingHistory,
        currents: list[float],
        options: Options,
        chance: Chance,
    ) -> None:
        self._grid, self._options, self._chance = grid, options, chance
        self._channels = _channels(grid)
        self._ids = pl.Series([channel.ftu for channel in self._channels])
        self._points = pl.Series([channel.point for channel in self._channels])
        self._events = _Events(grid, plan, history, currents, options).frame()
        self._sent_until = options.start_us - 1
        self._blocks = 0

    def of_block(self, block: Block) -> pl.DataFrame:
        """Values of a block, by time: the contract's columns, times as µs (Int64)."""
        begin, end = self._sent_until, int(block.bounds[-1]) - 1
        self._sent_until = end
        events = self._events.filter(pl.col("time").is_between(begin, end, closed="right"))
        frame = pl.concat([events, self._measured(block)])
        frame = frame.filter(pl.col("time") <= self._options.end_us).sort("time", "ftu_id", "point")
        stream = self._chance.stream("ftu", self._grid.number, self._blocks)
        self._blocks += 1
        delay = (0.15 + stream.gamma(2.0, 0.1, len(frame))) * SECOND
        return frame.with_columns((pl.col("time") + pl.Series(delay.astype(np.int64))).alias("received_time"))

    def _measured(self, block: Block) -> pl.DataFrame:
        values = np.round(self._values(block), 3)
        options = self._options
        cyclic = (block.bounds[:-1] - options.start_us) % options.interval_us == 0
        scale = np.maximum(np.abs(values[:-1]), 1.0)
        changed = np.zeros(values.shape, bool)
        changed[1:] = np.abs(np.diff(values, axis=0)) > _DEAD_BAND * scale
        changed |= cyclic[:, None]
        span, channel = np.nonzero(changed)
        return pl.DataFrame(
            {
                "ftu_id": self._ids.gather(channel),
                "point": self._points.gather(channel),
                "time": block.bounds[span],
                "value": values[span, channel],
                "quality": np.zeros(len(span), np.int32),
                "cause": pl.Series(["SPONTANEOUS", "CYCLIC"]).gather(cyclic[span].astype(np.int64)),
            }
        )

    def _values(self, block: Block) -> Floats:
        channels = self._channels
        line, side = np.array([c.line for c in channels]), np.array([c.side for c in channels])
        phase = np.array([c.phase for c in channels])
        node = np.searchsorted(block.mv_nodes, [c.node for c in channels])
        sign = np.array([c.sign for c in channels])
        quantity = np.array([c.quantity for c in channels])
        power, reactive = block.mv_power[:, line, side], block.mv_reactive[:, line, side]
        volts = block.mv_volts[:, node, phase]
        of_phase = np.arange(len(channels)), phase
        apparent = np.hypot(power[:, of_phase[0], of_phase[1]], reactive[:, of_phase[0], of_phase[1]])
        current = np.divide(apparent, volts, out=np.zeros_like(apparent), where=volts > 0)
        return np.asarray(
            np.select(
                [quantity == "W", quantity == "VAr", quantity == "A"],
                [sign * power.sum(axis=2), sign * reactive.sum(axis=2), current],
                volts,
            )
        )


def _channels(grid: Substation) -> list[Channel]:
    found: list[Channel] = []

    def measure(ftu: str, unit: str, line: int, side: int, node: int, sign: float) -> None:
        found.append(Channel(ftu, f"{unit}.TotW", "W", line, side, node, 0, sign))
        found.append(Channel(ftu, f"{unit}.TotVAr", "VAr", line, side, node, 0, sign))
        for phase, name in enumerate("ABC"):
            found.append(Channel(ftu, f"{unit}.A.phs{name}", "A", line, side, node, phase, 1.0))

    def voltage(ftu: str, line: int, side: int, node: int) -> None:
        for phase, name in enumerate("ABC"):
            found.append(Channel(ftu, f"MMXU1.PhV.phs{name}", "V", line, side, node, phase, 1.0))

    for feeder in grid.feeders:
        busbar = grid.busbars[feeder.busbar]
        measure(feeder.ftu, "MMXU1", feeder.head, 0, busbar, 1.0)
        voltage(feeder.ftu, feeder.head, 0, busbar)
    for station in grid.stations:
        if not station.telemetry:
            continue
        for number, line in enumerate(station.lines):
            if line >= 0:
                side = grid.lines[line].ends.index(station.mv_node)
                sign = -1.0 if number == 0 else 1.0
                measure(station.ftu, f"MMXU{number + 1}", line, side, station.mv_node, sign)
        voltage(station.ftu, station.lines[0], 1, station.mv_node)
    return found


def ftu_of_switch(grid: Substation) -> dict[str, tuple[str, str]]:
    """Of each switch whose position is told: the unit, and the point."""
    found = {feeder.breaker: (feeder.ftu, "XCBR1.Pos") for feeder in grid.feeders}
    places = grid.switch_places()
    for station in grid.stations:
        for node in ("XSWI1", "XSWI2"):
            if station.telemetry and f"{station.name}-{node}" in places:
                found[f"{station.name}-{node}"] = (station.ftu, f"{node}.Pos")
    return found


class _Events:
    """All that is not measured, known beforehand: positions, interrogations, fault indication, trips, lost voltage."""

    def __init__(
        self, grid: Substation, plan: Plan, history: SwitchingHistory, currents: list[float], options: Options
    ) -> None:
        self.grid, self.options = grid, options
        self.rows: list[tuple[str, str, int, float, str]] = []
        self.switches = ftu_of_switch(grid)
        for operation in plan.operations:
            self.position(operation)
        for fault, amperes in zip(plan.faults, currents, strict=True):
            self.fault(fault, amperes)
        self.lost_voltage(history)
        self.interrogations(history)

    def frame(self) -> pl.DataFrame:
        """Columns of the contract but ``received_time``, times as µs."""
        columns = [list(column) for column in zip(*self.rows, strict=True)]
        names = ("ftu_id", "point", "time", "value", "cause")
        frame = pl.DataFrame(dict(zip(names, columns, strict=True)), schema_overrides={"time": pl.Int64()})
        return frame.select("ftu_id", "point", "time", "value", pl.lit(0, pl.Int32).alias("quality"), "cause")

    def add(self, ftu: str, point: str, time: int, value: float, cause: str = "SPONTANEOUS") -> None:
        self.rows.append((ftu, point, time, value, cause))

    def position(self, operation: Operation) -> None:
        if operation.switch in self.switches:
            ftu, point = self.switches[operation.switch]
            self.add(ftu, point, operation.time - _TRAVEL, INTERMEDIATE)
            self.add(ftu, point, operation.time, ON if operation.closed else OFF)

    def fault(self, fault: CableFault, amperes: float) -> None:
        feeder = self.grid.feeders[fault.feeder]
        for point, begin in (("PTOC1.Str", PICK_UP), ("PTOC1.Op", OPERATE)):
            self.add(feeder.ftu, point, fault.time + begin, 1.0)
            self.add(feeder.ftu, point, fault.time + CLEARED + 80_000, 0.0)
        # The fault current passes the feeder's head and all stations before the faulted cable.
        passed = [feeder.ftu]
        passed += [s.ftu for s in (self.grid.stations[a] for a in feeder.stations[: fault.place]) if s.telemetry]
        for hop, ftu in enumerate(passed):
            self.add(ftu, "SFPI1.FltInd", fault.time + PICK_UP + 10_000 + 3_000 * hop, 1.0)
            self.add(ftu, "SFPI1.FltInd", fault.cleared + SECOND * hop, 0.0)
            for unit in ("MMXU1",) if ftu == feeder.ftu else ("MMXU1", "MMXU2"):
                for phase in "ABC":
                    self.add(ftu, f"{unit}.A.phs{phase}", fault.time + PICK_UP + 5_000, round(amperes, 3))

    def lost_voltage(self, history: SwitchingHistory) -> None:
        for before, after in zip(history.states, history.states[1:], strict=False):
            for station in np.flatnonzero((before.fed_by == NOBODY) != (after.fed_by == NOBODY)).tolist():
                if self.grid.stations[station].telemetry:
                    lost = after.fed_by[station] == NOBODY
                    ftu = self.grid.stations[station].ftu
                    self.add(ftu, "PTUV1.Str", after.time + SECOND // 2, 1.0 if lost else 0.0)

    def interrogations(self, history: SwitchingHistory) -> None:
        places = self.grid.switch_places()
        for time in range(self.options.start_us, self.options.end_us, _INTERROGATION):
            closed = history.at(time).closed
            for switch, (ftu, point) in self.switches.items():
                self.add(ftu, point, time, ON if closed[places[switch]] else OFF, "INTERROGATION")


def fault_nodes(grid: Substation, faults: list[CableFault]) -> Ints:
    """Where each fault is taken to be: at the far end of its cable."""
    return np.array([grid.stations[grid.feeders[f.feeder].stations[f.place]].mv_node for f in faults], np.int64)
