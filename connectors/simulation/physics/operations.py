"""What is done to a substation's grid: planned re-supplies, cable faults, customers moved."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from connectors.simulation.chance import Chance, chosen, how_many
from connectors.simulation.grid.customers import Ints
from connectors.simulation.grid.layout import Feeder, Substation
from connectors.simulation.options import Options

log = logging.getLogger(__name__)

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
# From the start of a fault: the relay picks up, operates (definite time overcurrent), and the breaker's contacts part
# and clear (IEC 62271-100 class E2 breakers need 50 to 80 ms).
PICK_UP, OPERATE, PARTING, CLEARED = 25_000, 350_000, 385_000, 420_000


@dataclass(frozen=True)
class Operation:
    """A switch is operated.

    Attributes:
        time: µs since 1970, of the contacts.
        switch: element id.
        closed: what it is afterwards.
        cause: "planned", "protection", "remote", "manual".
    """

    time: int
    switch: str
    closed: bool
    cause: str


@dataclass(frozen=True)
class CableFault:
    """A three-phase short circuit on an MV cable.

    Attributes:
        time: µs since 1970.
        feeder: index of the feeder.
        line: index of the faulted line.
        place: its place from the feeder's head, 0 the first.
        repaired: when it is back in service, µs.
        cleared: when the fault indicators are reset, µs.
    """

    time: int
    feeder: int
    line: int
    place: int
    repaired: int
    cleared: int


@dataclass(frozen=True)
class Resupply:
    """Stations of one feeder are supplied over the open point for some time.

    Attributes:
        begin: when the open point closes, µs.
        end: when it opens again, µs.
        switch: the open point.
        opened: the switch that is open meanwhile.
        stations: indices of the stations.
    """

    begin: int
    end: int
    switch: str
    opened: str
    stations: tuple[int, ...]


@dataclass(frozen=True)
class Relocation:
    """A customer's connection is changed without a record.

    Attributes:
        time: µs since 1970.
        customer: index in the substation.
        phase: phase at terminal 1 from then on.
        area: area from then on.
    """

    time: int
    customer: int
    phase: int
    area: int


@dataclass
class Plan:
    """All that is done to a substation's grid, by time."""

    operations: list[Operation] = field(default_factory=list)
    faults: list[CableFault] = field(default_factory=list)
    resupplies: list[Resupply] = field(default_factory=list)
    relocations: list[Relocation] = field(default_factory=list)


def draw_plan(grid: Substation, options: Options, chance: Chance) -> Plan:
    """Draw what is done to a grid."""
    plan = Plan()
    _Planner(grid, options, chance.stream("operations", grid.number), plan).run()
    _relocate(grid, options, chance, plan)
    plan.operations.sort(key=lambda o: (o.time, o.switch))
    plan.faults.sort(key=lambda f: f.time)
    plan.resupplies.sort(key=lambda r: r.begin)
    plan.relocations.sort(key=lambda r: (r.time, r.customer))
    return plan


class _Planner:
    """Draws operations so that a ring is never in two states of emergency at once."""

    def __init__(self, grid: Substation, options: Options, stream: np.random.Generator, plan: Plan) -> None:
        self.grid, self.options, self.stream, self.plan = grid, options, stream, plan
        self.busy: dict[int, list[tuple[int, int]]] = {}

    def run(self) -> None:
        rates, days = self.options.faults, self.options.days
        for what, wanted, draw in (
            ("cable faults", how_many(rates.faults_per_day, days), self.fault),
            ("re-supplies", how_many(rates.switching_per_day, days), self.resupply),
        ):
            done = sum(draw() for _ in range(wanted))
            if done < wanted:
                log.warning(
                    "%s: %d of %d %s are left out: a ring is never in two of them at once, and the time is too short",
                    self.grid.name,
                    wanted - done,
                    wanted,
                    what,
                )

    def slot(self, feeder: int, length: int) -> int | None:
        """A start at which a feeder's ring is idle for ``length``; None if none is found."""
        ring = min(feeder, self.grid.feeders[feeder].partner if self.grid.feeders[feeder].partner >= 0 else feeder)
        first, last = self.options.start_us + 20 * MINUTE, self.options.end_us - length
        taken = self.busy.setdefault(ring, [])
        for _ in range(50):
            if last <= first:
                return None
            begin = int(self.stream.integers(first, last))
            if all(begin + length + HOUR < b or begin > e + HOUR for b, e in taken):
                taken.append((begin, begin + length))
                return begin
        return None

    def between(self, least: int, most: int) -> int:
        return int(self.stream.integers(least, most + 1))

    def switches(self, feeder: Feeder) -> list[tuple[str, bool]]:
        """The feeder's switches from the head on, and whether each is remote controlled."""
        found = [(feeder.breaker, True)]
        for area in feeder.stations:
            station = self.grid.stations[area]
            found += [(f"{station.name}-XSWI1", station.telemetry), (f"{station.name}-XSWI2", station.telemetry)]
        return found

    def open_point(self, feeder: Feeder) -> str | None:
        return None if feeder.tie < 0 else self.grid.lines[feeder.tie].switches[0]

    def do(self, time: int, switch: str, closed: bool, cause: str) -> int:
        self.plan.operations.append(Operation(time, switch, closed, cause))
        return time

    def longest(self, hours: float) -> int:
        """A length, at most a third of the whole."""
        return int(min(hours * HOUR, self.options.days * 24 * HOUR / 3))

    def resupply(self) -> bool:
        """Draw a planned re-supply; False if there is no room for it."""
        candidates = [i for i, f in enumerate(self.grid.feeders) if f.tie >= 0]
        if not candidates:
            return False
        index = int(self.stream.choice(candidates))
        feeder = self.grid.feeders[index]
        switches = self.switches(feeder)
        remote = [place for place in range(1, len(switches) - 1) if switches[place][1]]
        place = int(self.stream.choice(remote))
        length = int(self.longest(4) * self.stream.uniform(0.3, 1.0))
        begin = self.slot(index, length)
        tie = self.open_point(feeder)
        if begin is None or tie is None:
            return False
        # First the loop is closed, then cut elsewhere: nobody is without supply.
        self.do(begin, tie, True, "planned")
        self.do(begin + self.between(15, 60) * SECOND, switches[place][0], False, "planned")
        self.do(begin + length - self.between(15, 60) * SECOND, switches[place][0], True, "planned")
        self.do(begin + length, tie, False, "planned")
        # Behind XSWI1 is its own station, behind XSWI2 the next one.
        stations = tuple(feeder.stations[place // 2 :])
        self.plan.resupplies.append(Resupply(begin, begin + length, tie, switches[place][0], stations))
        return True

    def fault(self) -> bool:
        """Draw a cable fault; False if there is no room for it."""
        index = int(self.stream.integers(len(self.grid.feeders)))
        feeder = self.grid.feeders[index]
        place = int(self.stream.integers(len(feeder.stations)))
        switches = self.switches(feeder)
        upstream, downstream = 2 * place, 2 * place + 1
        # The nearest remote controlled switches on both sides; the last station's are, and the breaker.
        up = max(i for i in range(upstream + 1) if switches[i][1])
        down = next(i for i in range(downstream, len(switches)) if switches[i][1])
        remote = self.between(60, 300) * SECOND
        manual = remote + self.between(30 * 60, 75 * 60) * SECOND
        length = max(int(self.longest(7) * self.stream.uniform(0.5, 1.0)), manual + 30 * MINUTE)
        time = self.slot(index, length)
        if time is None:
            return False
        tie = self.open_point(feeder)
        self.do(time + CLEARED, switches[0][0], False, "protection")
        # First what can be done from the control room: isolate, and supply both sides again.
        now = time + remote
        if up > 0:
            self.do(now, switches[up][0], False, "remote")
            self.do(now + 20 * SECOND, switches[0][0], True, "remote")
        self.do(now + 5 * SECOND, switches[down][0], False, "remote")
        if tie is not None:
            self.do(now + 12 * SECOND, tie, True, "remote")
        # Then by hand: the faulted cable alone is cut out.
        now = time + manual
        if up != upstream:
            self.do(now, switches[upstream][0], False, "manual")
            self.do(now + 60 * SECOND, switches[up][0], True, "remote")
        if down != downstream:
            self.do(now + 90 * SECOND, switches[downstream][0], False, "manual")
            self.do(now + 150 * SECOND, switches[down][0], True, "remote")
        # Repaired: back to normal.
        end = time + length
        self.do(end - 120 * SECOND, switches[upstream][0], True, "manual" if upstream else "remote")
        self.do(end - 60 * SECOND, switches[downstream][0], True, "manual")
        if tie is not None:
            self.do(end, tie, False, "remote")
        line = self.grid.stations[feeder.stations[place]].lines[0]
        self.plan.faults.append(CableFault(time, index, line, place, end, time + manual))
        return True


def _relocate(grid: Substation, options: Options, chance: Chance, plan: Plan) -> None:
    stream = chance.stream("relocations", grid.number)
    length = options.end_us - options.start_us
    span = (options.start_us + length // 4, options.start_us + 3 * length // 4)  # in the middle half
    customers = grid.customers
    for customer in sorted(grid.moved_service):
        phase = int(stream.integers(3))
        area = grid.lines[grid.moved_service[customer]].area
        plan.relocations.append(Relocation(int(stream.integers(*span)), customer, phase, area))
    for customer in rephased(grid, options, chance):
        phase = int(customers.phase[customer] + stream.integers(1, 3)) % 3
        area = int(customers.area[customer])
        plan.relocations.append(Relocation(int(stream.integers(*span)), int(customer), phase, area))


def rephased(grid: Substation, options: Options, chance: Chance) -> Ints:
    """Indices of the single-phase customers that are put on another phase."""
    moved = np.array(sorted(grid.moved_service), np.int64)
    among = np.setdiff1d(np.flatnonzero(grid.customers.single), moved)
    return chosen(chance.stream("rephased", grid.number), options.faults.rephased_rate, among)
