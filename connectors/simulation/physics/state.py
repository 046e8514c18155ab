"""The physical state of a substation's grid over time, from which all telemetry follows.

Time is cut at every reading instant and at everything that is done to the grid: within such a *span* all powers,
voltages and connections stand still, and energy is power times length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from connectors.errors import InputError
from connectors.simulation.chance import Chance
from connectors.simulation.grid.customers import Floats, Ints
from connectors.simulation.grid.layout import Substation
from connectors.simulation.options import Options
from connectors.simulation.physics.loads import Loads
from connectors.simulation.physics.operations import Plan
from connectors.simulation.physics.power_flow import Flows, NoSolutionError, PowerFlow
from connectors.simulation.physics.supply import SwitchingHistory, SwitchingState
from connectors.simulation.physics.tap_changer import TapChanger
from connectors.simulation.physics.weather import Calendar, Weather, smooth


@dataclass(frozen=True)
class Block:
    """Consecutive spans; m spans, n customers. Powers in W and var, taken is positive; voltages in V.

    Attributes:
        bounds: (m + 1) µs since 1970.
        power: (m, n) net active power at the customers' terminals, generation negative.
        reactive: (m, n).
        volts: (m, n, 3) phase to neutral on phases A, B, C at the customers' nodes; zero when de-energised.
        area: (m, n) the area that each customer hangs in.
        phase: (m, n) the phase at each meter's terminal 1.
        states: (m) how the grid is connected.
        taps: (m, 2) positions of the mains' tap changers.
        mains: (m, 2) active power into each main at its HV side.
        mains_reactive: (m, 2).
        main_loss: (m, 2) loss of each main.
        stations: (m, stations) active power delivered at each transformer's LV side.
        stations_reactive: (m, stations).
        station_loss: (m, stations) loss of each transformer.
        line_loss: (m, lines) loss of each line.
        mv_power: (m, MV lines, 2, 3) active power into each MV line at its ends, by phase.
        mv_reactive: (m, MV lines, 2, 3).
        mv_volts: (m, nodes of MV, 3) in the order of ``mv_nodes``.
        lv_volts: (m, stations, 3) at the LV busbars.
        mv_nodes: nodes of MV.
    """

    bounds: Ints
    power: Floats
    reactive: Floats
    volts: Floats
    area: Ints
    phase: Ints
    states: list[SwitchingState]
    taps: Ints
    mains: Floats
    mains_reactive: Floats
    main_loss: Floats
    stations: Floats
    stations_reactive: Floats
    station_loss: Floats
    line_loss: Floats
    mv_power: Floats
    mv_reactive: Floats
    mv_volts: Floats
    lv_volts: Floats
    mv_nodes: Ints

    @property
    def hours(self) -> Floats:
        """(m) length of each span, h."""
        return np.asarray(np.diff(self.bounds) / 3.6e9)


class Physics:
    """A substation's grid over time; ``blocks`` gives it once, from the start on.

    One interval more than the options ask for is computed: a slow clock reads its last register after the end.
    """

    def __init__(
        self, grid: Substation, plan: Plan, options: Options, calendar: Calendar, weather: Weather, chance: Chance
    ) -> None:
        self.grid = grid
        self.options = options
        self.plan = plan
        self.history = SwitchingHistory(grid, plan.operations, options.start_us)
        self._loads = Loads(grid.customers, options, calendar, weather, chance, grid.number)
        self._nodes, self._starts = np.unique(grid.customer_node, return_index=True)
        self._place = np.searchsorted(self._nodes, grid.customer_node)
        self.flow = PowerFlow(grid, self._nodes)
        self._taps = TapChanger(grid)
        stream = chance.stream("hv-voltage", grid.number)
        daily = 0.006 * np.cos(2 * np.pi * (calendar.hour - 4) / 24)  # higher at night
        self._source = 1.02 + daily + 0.006 * smooth(stream, len(calendar.hour), 1, 6.0, options)[:, 0]
        self._area = grid.customers.area.copy()
        self._phase = grid.customers.phase.copy()
        self._services = np.ones((len(grid.lines), 2), bool)
        for line in grid.moved_service.values():
            self._services[line, 0] = False
        self._mv_nodes = np.flatnonzero(np.array(grid.node_volts) == grid.node_volts[grid.busbars[0]])
        self._set: bytes | None = None

    def blocks(self, steps: int) -> Iterator[Block]:
        """Blocks of at most ``steps`` intervals.

        What they hold does not depend on how the intervals are cut into blocks.
        """
        total = self.options.steps + 1
        for first in range(0, total, steps):
            yield self._block(first, min(steps, total - first))

    def _block(self, first: int, count: int) -> Block:
        options, grid = self.options, self.grid
        loads = self._loads.block(first, count)
        marks = options.start_us + options.interval_us * np.arange(first, first + count + 1)
        moves = {move.time for move in self.plan.relocations}
        inside = [t for t in {*self.history.times, *moves} if marks[0] < t < marks[-1]]
        bounds = np.unique(np.concatenate([marks, np.array(inside, np.int64)]))
        step = np.searchsorted(marks, bounds[:-1], side="right") - 1
        sums = loads.by_phase.sum(axis=2)
        taps = self._taps.positions(sums, loads.reactive.sum(axis=2), self._source[first : first + count])[step]
        spans: list[tuple[slice, Flows, SwitchingState, Ints, Ints]] = []
        m = len(step)
        begin = 0
        while begin < m:
            self._relocate(int(bounds[begin]))
            state = self.history.at(int(bounds[begin]))
            end = begin + 1
            while (
                end < m
                and np.array_equal(taps[end], taps[begin])
                and self.history.at(int(bounds[end])) is state
                and int(bounds[end]) not in moves
            ):
                end += 1
            span = slice(begin, end)
            try:
                flows = self._solve(loads.by_phase[step[span]], loads.reactive[step[span]], state, taps[begin],
                                    self._source[first + step[span]])  # fmt: skip
            except NoSolutionError as error:
                at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(bounds[begin + error.interval]))
                raise InputError(
                    f"--seed: in substation {grid.number} a line is to carry more than it can at {at.isoformat()} "
                    f"(got {options.seed}); another seed makes another city"
                ) from error
            spans.append((span, flows, state, self._area.copy(), self._phase.copy()))
            begin = end
        flows = _joined([item[1] for item in spans])
        lengths = [item[0].stop - item[0].start for item in spans]
        volts = flows.volts[:, self._nodes][:, self._place]
        alive = volts[:, :, 0] > 0
        return Block(
            bounds=bounds,
            power=np.where(alive, sums[step], 0.0),
            reactive=np.where(alive, loads.reactive.sum(axis=2)[step], 0.0),
            volts=volts,
            area=np.repeat([item[3] for item in spans], lengths, axis=0),
            phase=np.repeat([item[4] for item in spans], lengths, axis=0),
            states=[item[2] for item, length in zip(spans, lengths, strict=True) for _ in range(length)],
            taps=taps,
            mains=flows.transformer_power[:, :2, 0].sum(axis=2),
            mains_reactive=flows.transformer_reactive[:, :2, 0].sum(axis=2),
            main_loss=flows.transformer_power[:, :2].sum(axis=(2, 3)),
            stations=-flows.transformer_power[:, 2:, 1].sum(axis=2),
            stations_reactive=-flows.transformer_reactive[:, 2:, 1].sum(axis=2),
            station_loss=flows.transformer_power[:, 2:].sum(axis=(2, 3)),
            line_loss=flows.line_in,
            mv_power=flows.mv_power,
            mv_reactive=flows.mv_reactive,
            mv_volts=flows.volts[:, self._mv_nodes],
            lv_volts=flows.volts[:, [station.lv_node for station in grid.stations]],
            mv_nodes=self._mv_nodes,
        )

    def _relocate(self, time: int) -> None:
        for move in self.plan.relocations:
            if move.time == time:
                self._phase[move.customer] = move.phase
                if self._area[move.customer] != move.area:
                    self._area[move.customer] = move.area
                    self._services[self.grid.old_service[move.customer], 0] = False
                    self._services[self.grid.moved_service[move.customer], 0] = True

    def _solve(self, power: Floats, reactive: Floats, state: SwitchingState, taps: Ints, source: Floats) -> Flows:
        closed = state.closed.copy()
        services = [*self.grid.moved_service.values(), *self.grid.old_service.values()]
        closed[services] = self._services[services]
        if (key := closed.tobytes() + taps.tobytes()) != self._set:
            self.flow.set_lines(closed)
            self.flow.set_taps(taps)
            self._set = key
        # A single-phase customer who has been put on another phase takes there what he took.
        turned = np.flatnonzero((self._phase != self.grid.customers.phase) & self.grid.customers.single)
        if len(turned):
            power, reactive = power.copy(), reactive.copy()
            for values in (power, reactive):
                drawn = values[:, turned].sum(axis=2)
                values[:, turned] = 0.0
                values[:, turned, self._phase[turned]] = drawn
        at_nodes = [np.add.reduceat(values, self._starts, axis=1) for values in (power, reactive)]
        return self.flow.solve(at_nodes[0], at_nodes[1], source)


def _joined(parts: list[Flows]) -> Flows:
    if len(parts) == 1:
        return parts[0]
    return Flows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Flows.__annotations__})
