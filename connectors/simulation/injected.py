"""What was injected into one substation, as events of the truth; amounts that only the physics tell are added up."""

from __future__ import annotations

import numpy as np

from connectors.simulation.events import Event, EventKind
from connectors.simulation.grid.city import City
from connectors.simulation.grid.customers import Floats
from connectors.simulation.grid.layout import PHASE_NAMES, Substation
from connectors.simulation.grid.network_table import WrongRecord
from connectors.simulation.meters.metering import REGISTER_END_KWH, Meters
from connectors.simulation.options import Options
from connectors.simulation.physics.operations import Plan
from connectors.simulation.physics.state import Block
from connectors.simulation.physics.supply import NOBODY, SwitchingHistory


class Injected:
    """The events of a substation but those of its IEDs."""

    def __init__(
        self,
        grid: Substation,
        city: City,
        options: Options,
        plan: Plan,
        meters: Meters,
        wrong: list[WrongRecord],
        history: SwitchingHistory,
        currents: list[float],
    ) -> None:
        self._grid, self._city, self._options = grid, city, options
        self._plan, self._meters, self._wrong = plan, meters, wrong
        self._history, self._currents = history, currents
        self._customers = np.bincount(grid.customers.area, minlength=len(grid.stations))
        self._unregistered = np.zeros(len(grid.customers))
        self._resupplied: dict[int, float] = {}

    def take(self, block: Block, unregistered: Floats) -> None:
        """Add up what a block tells.

        Args:
            block: the block.
            unregistered: (m, customers) kWh that meters do not count.
        """
        self._unregistered += unregistered.sum(axis=0)
        for number, resupply in enumerate(self._plan.resupplies):
            if block.bounds[0] <= resupply.begin < block.bounds[-1]:
                span = int(np.searchsorted(block.bounds, resupply.begin, side="right")) - 1
                self._resupplied[number] = float(block.stations[span, list(resupply.stations)].sum() / 1000)

    def events(self, rollovers: dict[int, int]) -> list[Event]:
        """All events, complete when all blocks were taken.

        Args:
            rollovers: when customers' registers have passed their end, µs.
        """
        found = self._meter_events(rollovers) + self._connections() + self._records() + self._operations()
        return [event for event in found if event.start <= self._options.end_us]

    def _point(self, customer: int) -> str:
        return self._city.usage_point(int(self._grid.customers.number[customer]))

    def _meter_events(self, rollovers: dict[int, int]) -> list[Event]:
        meters, options = self._meters, self._options
        start, ids = options.start_us, meters.ids
        found = []
        for customer in meters.wrong_clocks.tolist():
            if meters.offset[customer]:
                seconds = meters.offset[customer] / 1e6
                found.append(Event(EventKind.CLOCK_OFFSET, ids[customer], start, amount=seconds))
            else:
                ppm = meters.drift[customer] * 1e6
                found.append(Event(EventKind.CLOCK_DRIFT, ids[customer], start, amount=ppm))
        for theft in meters.thefts:
            begin = start + theft.step * options.interval_us
            share: dict[str, str | float] = {
                "share": round(theft.share, 6),
                "usage_point_id": self._point(theft.customer),
            }
            missing = float(self._unregistered[theft.customer])
            found.append(Event(theft.kind, ids[theft.customer], begin, amount=missing, details=share))
        for exchange in meters.exchanges:
            old = ids[exchange.customer]
            point = self._point(exchange.customer)
            found.append(
                Event(EventKind.METER_EXCHANGE, point, exchange.time, previous=old, current=exchange.new_meter)
            )
        for customer, time in rollovers.items():
            found.append(Event(EventKind.REGISTER_ROLLOVER, ids[customer], time, amount=REGISTER_END_KWH))
        return found

    def _connections(self) -> list[Event]:
        grid, found = self._grid, []
        for move in self._plan.relocations:
            was = int(grid.customers.area[move.customer])
            meter = {"meter_id": self._meters.ids[move.customer]}
            if was != move.area:
                kind, before, after = (
                    EventKind.METER_TRANSFORMER_CHANGED,
                    grid.stations[was].name,
                    grid.stations[move.area].name,
                )
            else:
                kind = EventKind.METER_PHASE_CHANGED
                before, after = PHASE_NAMES[grid.customers.phase[move.customer]], PHASE_NAMES[move.phase]
            found.append(
                Event(kind, self._point(move.customer), move.time, previous=before, current=after, details=meter)
            )
        return found

    def _records(self) -> list[Event]:
        grid, found = self._grid, []
        for record in self._wrong:
            area, phase = int(grid.customers.area[record.customer]), int(grid.customers.phase[record.customer])
            if record.area != area:
                kind, said, true = (
                    EventKind.WRONG_TRANSFORMER,
                    grid.stations[record.area].name,
                    grid.stations[area].name,
                )
            else:
                kind, said, true = EventKind.WRONG_PHASE, PHASE_NAMES[record.phase], PHASE_NAMES[phase]
            meter = {"meter_id": self._meters.ids[record.customer]}
            found.append(
                Event(
                    kind,
                    self._point(record.customer),
                    self._options.start_us,
                    previous=said,
                    current=true,
                    details=meter,
                )
            )
        return found

    def _operations(self) -> list[Event]:
        grid, found = self._grid, []
        for number, item in enumerate(self._plan.resupplies):
            names = [grid.stations[station].name for station in item.stations]
            found.append(
                Event(
                    EventKind.SWITCHING,
                    item.switch,
                    item.begin,
                    item.end,
                    amount=self._resupplied.get(number),
                    details={
                        "opened": item.opened,
                        "stations": ",".join(names),
                        "customers": int(self._customers[list(item.stations)].sum()),
                    },
                )
            )
        for fault, amperes in zip(self._plan.faults, self._currents, strict=True):
            feeder = grid.feeders[fault.feeder]
            found.append(
                Event(
                    EventKind.FEEDER_FAULT,
                    grid.lines[fault.line].name,
                    fault.time,
                    fault.repaired,
                    amount=amperes,
                    details={"feeder": feeder.name, "breaker": feeder.breaker, "section": fault.place},
                )
            )
        return found + self._outages()

    def _outages(self) -> list[Event]:
        found: list[Event] = []
        since: dict[int, int] = {}
        for state in self._history.states:
            for station, feeder in enumerate(state.fed_by.tolist()):
                if feeder == NOBODY:
                    since.setdefault(station, state.time)
                elif station in since:
                    found.append(self._outage(station, since.pop(station), state.time))
        found += [self._outage(station, begin, None) for station, begin in since.items()]
        return found

    def _outage(self, station: int, begin: int, end: int | None) -> Event:
        name, customers = self._grid.stations[station].name, int(self._customers[station])
        return Event(EventKind.DE_ENERGISED, name, begin, end, amount=customers)
