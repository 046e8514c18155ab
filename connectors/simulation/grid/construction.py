"""Building a substation's grid: open MV rings between two busbars, LV feeders along streets."""

from __future__ import annotations

import numpy as np

from connectors.simulation.grid.catalogue import (
    DISTRIBUTION,
    HV_VOLTS,
    LV_TRUNKS,
    LV_VOLTS,
    MAIN,
    MV_VOLTS,
    NA2XS2Y_150,
    NA2XS2Y_240,
    NAYY_35,
    NAYY_50,
    Cable,
    smallest,
)
from connectors.simulation.grid.customers import AreaType, Customers, Floats, Ints
from connectors.simulation.grid.layout import Feeder, Line, Station, Substation, substation_name

STATIONS_PER_FEEDER = 6
_TELEMETRY_SHARE = 0.4
_LV_DROP = 0.045  # share of the voltage that an LV trunk may lose at peak
_BRANCH_SHARE = 0.4


def build(
    number: int,
    chance: np.random.Generator,
    customers: Customers,
    types: list[AreaType],
    first_station: int,
    moved: Ints,
) -> Substation:
    """Build a substation.

    Args:
        number: of the substation, from 1.
        chance: the stream.
        customers: by area.
        types: of each area.
        first_station: number of its first station in the city.
        moved: indices of customers that get a service cable of their own, and a second one in a neighbouring area,
            where they are moved to later.
    """
    return _Builder(number, chance, customers, types, first_station).run({int(index) for index in moved})


class _Builder:
    def __init__(
        self, number: int, chance: np.random.Generator, customers: Customers, types: list[AreaType], first_station: int
    ) -> None:
        self.number = number
        self.name = substation_name(number)
        self.chance = chance
        self.customers = customers
        self.types = types
        self.first_station = first_station
        self.names: list[str] = []
        self.volts: list[float] = []
        self.lines: list[Line] = []
        self.stations: list[Station] = []
        self.feeders: list[Feeder] = []
        self.customer_node = np.zeros(len(customers), np.int64)
        self.old_service: dict[int, int] = {}
        self.junctions: list[list[int]] = []

    def run(self, moved: set[int]) -> Substation:
        hv_node = self.node(HV_VOLTS)
        busbars = [self.node(MV_VOLTS), self.node(MV_VOLTS)]
        self.feeders_and_stations(busbars)
        starts = np.searchsorted(self.customers.area, np.arange(len(self.types) + 1))
        for area, kind in enumerate(self.types):
            self.low_voltage(area, kind, np.arange(starts[area], starts[area + 1]), moved)
        peak = float(self.customers.peak_kw().sum())
        main = smallest(MAIN, 1.2 * peak)  # either carries both busbars, should the other fail
        built = Substation(
            self.number,
            self.names,
            self.volts,
            self.lines,
            [(f"{self.name}-TR{index + 1}", main) for index in range(2)],
            hv_node,
            busbars,
            self.feeders,
            self.stations,
            self.customers,
            self.customer_node,
            {},
            self.old_service,
        )
        for customer in sorted(moved):
            self.second_service(built, customer)
        return built

    def node(self, volts: float) -> int:
        self.names.append(f"CN-{self.name}-{len(self.names):05d}")
        self.volts.append(volts)
        return len(self.names) - 1

    def line(self, ends: tuple[int, int], cable: Cable, metres: float, **more: object) -> int:
        self.lines.append(Line(f"L-{self.name}-{len(self.lines):05d}", ends, cable, metres / 1000, **more))  # type: ignore[arg-type]
        return len(self.lines) - 1

    def feeders_and_stations(self, busbars: list[int]) -> None:
        """Stations in rings; a ring's two feeders come from the two busbars and meet at an open switch."""
        count = len(self.types)
        rings = max(1, round(count / (2 * STATIONS_PER_FEEDER)))
        peaks: Floats = np.bincount(self.customers.area, self.customers.peak_kw(), count).astype(np.float64)
        solar: Floats = np.bincount(self.customers.area, self.customers.solar_kw, count).astype(np.float64)
        for stations in np.array_split(np.arange(count), rings):
            half = (len(stations) + 1) // 2
            halves = [stations[:half].tolist(), stations[half:][::-1].tolist()]
            pair = []
            for side, members in enumerate(halves):
                if members:
                    pair.append(len(self.feeders))
                    feeder = Feeder(f"{self.name}-F{len(self.feeders) + 1:02d}", side, members)
                    self.feeders.append(feeder)
            for index in pair:
                self.feeder(index, busbars[self.feeders[index].busbar], peaks, solar)
            if len(pair) == 2:
                self.close_ring(*pair)

    def feeder(self, index: int, busbar: int, peaks: Floats, solar: Floats) -> None:
        feeder = self.feeders[index]
        cable = NA2XS2Y_240 if len(feeder.stations) > 4 else NA2XS2Y_150
        before, before_node = -1, busbar
        for place, area in enumerate(feeder.stations):
            name = f"T{self.first_station + area:04d}"
            kva = max(peaks[area] * 1.15, solar[area] * 0.9, 40.0)
            # Both ends of the open point are remote controlled, and one station half way.
            wanted = place in {len(feeder.stations) - 1, len(feeder.stations) // 2}
            telemetry = bool(self.chance.random() < _TELEMETRY_SHARE) or wanted
            station = Station(
                name,
                index,
                self.node(MV_VOLTS),
                self.node(LV_VOLTS),
                smallest(DISTRIBUTION, kva),
                telemetry,
                self.types[area].name,
            )
            while len(self.stations) <= area:
                self.stations.append(station)
            self.stations[area] = station
            above = feeder.breaker if before < 0 else f"{self.stations[before].name}-XSWI2"
            metres = float(self.chance.uniform(900, 2500) if before < 0 else self.chance.uniform(250, 900))
            if self.types[area].name == "rural":
                metres *= 2.5
            line = self.line(
                (before_node, station.mv_node), cable, metres, feeder=index, switches=(above, f"{name}-XSWI1")
            )
            station.lines[0] = line
            if before < 0:
                feeder.head = line
            else:
                self.stations[before].lines[1] = line
            before, before_node = area, station.mv_node

    def close_ring(self, first: int, second: int) -> None:
        ends = [self.stations[self.feeders[index].stations[-1]] for index in (first, second)]
        tie = self.line(
            (ends[0].mv_node, ends[1].mv_node),
            NA2XS2Y_150,
            float(self.chance.uniform(300, 1200)),
            feeder=second,
            switches=(f"{ends[0].name}-XSWI2", f"{ends[1].name}-XSWI2"),
            closed=(False, True),
        )
        for end, index, other in zip(ends, (first, second), (second, first), strict=True):
            end.lines[1] = tie
            self.feeders[index].tie = tie
            self.feeders[index].partner = other

    def low_voltage(self, area: int, kind: AreaType, members: Ints, moved: set[int]) -> None:
        """LV feeders of one station: a trunk along the street, sometimes with a branch, a service cable per house."""
        chance = self.chance
        houses = self._houses(kind, members, moved)
        feeders = max(1, round(len(members) / kind.per_feeder))
        peak = self.customers.peak_kw()
        junctions: list[int] = []
        for part in np.array_split(np.arange(len(houses)), min(feeders, len(houses))):
            own = [houses[index] for index in part]
            metres = chance.uniform(*kind.spacing_m, len(own))
            kw = float(sum(peak[house].sum() for house in own))
            cable = _trunk(kw, float(metres.sum()))
            trunk = [self.stations[area].lv_node]
            branch_at = len(own) // 3 if chance.random() < _BRANCH_SHARE else len(own)
            for place, house in enumerate(own):
                # Behind the branching point every other house hangs on the other branch.
                parent = trunk[-1] if place <= branch_at + 1 else trunk[-2]
                junction = self.node(LV_VOLTS)
                self.line((parent, junction), cable, float(metres[place]), area=area)
                trunk.append(junction)
                self.house(area, junction, house, float(chance.uniform(*kind.service_m)), moved)
            junctions += trunk[1:]
        self.junctions.append(junctions)

    def _houses(self, kind: AreaType, members: Ints, moved: set[int]) -> list[Ints]:
        low, high = kind.per_house
        sizes = self.chance.integers(low, high + 1, len(members))
        houses, start = [], 0
        for size in sizes:
            if start >= len(members):
                break
            # A customer that is to be moved lives alone: its service cable is its own.
            end = min(start + int(size), len(members))
            for place in range(start, end):
                if int(members[place]) in moved:
                    end = place if place > start else start + 1
                    break
            houses.append(members[start:end])
            start = end
        return houses

    def house(self, area: int, junction: int, members: Ints, metres: float, moved: set[int]) -> None:
        node = self.node(LV_VOLTS)
        cable = NAYY_50 if len(members) > 2 else NAYY_35
        line = self.line((junction, node), cable, metres, area=area)
        self.customer_node[members] = node
        if len(members) == 1 and int(members[0]) in moved:
            self.old_service[int(members[0])] = line

    def second_service(self, built: Substation, customer: int) -> None:
        neighbours = built.neighbours(int(self.customers.area[customer]))
        if not neighbours:
            return
        area = int(self.chance.choice(neighbours))
        junction = int(self.chance.choice(self.junctions[area]))
        built.moved_service[customer] = self.line(
            (junction, int(self.customer_node[customer])),
            NAYY_50,
            float(self.chance.uniform(20, 60)),
            area=area,
            closed=(False, True),
            recorded=False,
        )


def _trunk(kw: float, metres: float) -> Cable:
    """The smallest trunk cable that carries the peak and keeps the voltage."""
    for cable in LV_TRUNKS:
        amperes = 1000 * kw / (np.sqrt(3) * LV_VOLTS)
        drop = 1000 * kw * cable.r_ohm * metres / 1000 / 2 / LV_VOLTS**2  # evenly spread load: half the length
        if amperes <= 0.7 * cable.rated_a and drop <= _LV_DROP:
            return cable
    return LV_TRUNKS[-1]
