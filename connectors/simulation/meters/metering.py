"""How meters see the grid: which there are, how wrong they are, and whose customers deceive them.

Everything here is drawn before anything is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.simulation.chance import Chance, chosen, how_many
from connectors.simulation.events import EventKind
from connectors.simulation.grid.city import City
from connectors.simulation.grid.customers import Bools, Floats, Ints
from connectors.simulation.grid.layout import Substation
from connectors.simulation.options import Options
from connectors.simulation.physics.operations import SECOND

REGISTER_END_KWH = 100_000.0  # five digits before the decimal point
_THEFTS = (
    (EventKind.THEFT_PARTIAL, "theft_partial_rate"),
    (EventKind.THEFT_NIGHT, "theft_night_rate"),
    (EventKind.THEFT_BYPASS, "theft_bypass_rate"),
)


@dataclass(frozen=True)
class Theft:
    """A customer whose meter does not count all that is taken.

    Attributes:
        kind: how.
        customer: index in the substation.
        step: the interval with which it begins.
        share: what is not counted, while it is not.
    """

    kind: EventKind
    customer: int
    step: int
    share: float


@dataclass(frozen=True)
class Exchange:
    """A meter is exchanged for another.

    Attributes:
        customer: index in the substation.
        time: µs since 1970.
        new_meter: id of the new one.
        first_kwh: its import register when it is put in.
    """

    customer: int
    time: int
    new_meter: str
    first_kwh: float


@dataclass
class Meters:
    """The meters of a substation: its n customers', then those of its measured elements (heads).

    Attributes:
        ids: meter ids.
        customers: n.
        gain: of the energy registers.
        volt_gain: of the voltages.
        offset: clock minus true time at the start, µs.
        drift: of the clock, share.
        first_import: import register at the start, kWh.
        first_export: export register at the start, kWh.
        has_export: whether the export register is read.
        terminals: (all, 3) which terminals are measured.
        thefts: by customer.
        exchanges: by customer.
        rollovers: customers whose import register is to pass its last digit.
    """

    ids: list[str]
    customers: int
    gain: Floats
    volt_gain: Floats
    offset: Ints
    drift: Floats
    first_import: Floats
    first_export: Floats
    has_export: Bools
    terminals: Bools
    thefts: list[Theft]
    exchanges: list[Exchange]
    rollovers: Ints

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def wrong_clocks(self) -> Ints:
        """Indices of the meters whose clock is not right."""
        return np.flatnonzero((self.offset != 0) | (self.drift != 0))

    def true_time(self, which: Ints, labels: Ints, start: int) -> Ints:
        """When a clock shows a time.

        Args:
            which: meters.
            labels: (k,) what their clocks show, µs since 1970.
            start: of the simulation, µs.

        Returns:
            (k, which) true times, µs.
        """
        shown = labels[:, None] - start - self.offset[which]
        return np.asarray(start + np.round(shown / (1 + self.drift[which])).astype(np.int64))


def draw_meters(grid: Substation, city: City, options: Options, chance: Chance) -> Meters:
    """The meters of a substation."""
    customers, faults = grid.customers, options.faults
    n, heads = len(customers), head_ids(grid)
    total = n + len(heads)
    stream = chance.stream("meters", grid.number)
    gain, volt_gain, registers = stream.standard_normal(total), stream.standard_normal(total), stream.random((2, total))
    is_head = np.arange(total) >= n
    spread = np.where(is_head, faults.head_class_error_percent, faults.class_error_percent)
    first_import = np.where(is_head, 90_000.0, 40_000.0) * registers[0] + 100.0
    rollovers = _rollovers(grid, options, chance, first_import)
    thefts = draw_thefts(grid, options, chance)
    taken = {theft.customer for theft in thefts} | set(rollovers.tolist()) | set(grid.moved_service)
    offset, drift = _clocks(n, options, chance, grid.number)
    heads_zero = np.zeros(len(heads))
    return Meters(
        ids=[city.meter(int(number)) for number in customers.number] + heads,
        customers=n,
        gain=1 + gain * spread / 100,
        volt_gain=1 + volt_gain * faults.voltage_error_percent / 100,
        offset=np.concatenate([offset, heads_zero.astype(np.int64)]),
        drift=np.concatenate([drift, heads_zero]),
        first_import=first_import,
        first_export=20_000.0 * registers[1],
        has_export=np.concatenate([customers.solar_kw > 0, np.ones(len(heads), bool)]),
        terminals=np.concatenate([~customers.single[:, None] | (np.arange(3) == 0), _head_terminals(grid)]),
        thefts=thefts,
        exchanges=_exchanges(grid, city, options, chance, taken | set(np.flatnonzero(offset | (drift != 0)).tolist())),
        rollovers=rollovers,
    )


def head_ids(grid: Substation) -> list[str]:
    """Ids of the head meters: of the mains, the feeders, the stations."""
    names = [name for name, _ in grid.mains] + [f.name for f in grid.feeders] + [s.name for s in grid.stations]
    return [f"H-{name}" for name in names]


def _head_terminals(grid: Substation) -> Bools:
    measured = np.ones((2 + len(grid.feeders) + len(grid.stations), 3), bool)
    measured[:2] = False  # the mains' meters send energies only
    return measured


def draw_thefts(grid: Substation, options: Options, chance: Chance) -> list[Theft]:
    """Thefts in a substation; each customer steals in one way at most, and begins in the middle half of the time."""
    thefts = []
    free = np.arange(options.meters)
    first = int(grid.customers.number[0])
    for kind, field in _THEFTS:
        stream = chance.stream(f"theft-{kind}")
        picked = chosen(stream, getattr(options.faults, field), free)
        free = np.setdiff1d(free, picked)
        quarter = options.steps // 4
        starts = stream.integers(quarter, max(options.steps - quarter, quarter + 1), len(picked))
        shares = stream.uniform(0.3, 0.7, len(picked)) if kind is EventKind.THEFT_PARTIAL else np.ones(len(picked))
        thefts += [
            Theft(kind, int(number) - first, int(start), float(share))
            for number, start, share in zip(picked, starts, shares, strict=True)
            if first <= number < first + len(grid.customers)
        ]
    return thefts


def counted_share(thefts: list[Theft], local_hour: Floats, first: int, customers: int) -> Floats:
    """What meters count of the energy taken in consecutive intervals, (steps, customers).

    Args:
        thefts: the thefts.
        local_hour: in the middle of each interval of the block.
        first: number of the block's first interval.
        customers: how many.
    """
    share = np.ones((len(local_hour), customers))
    night = (local_hour >= 22) | (local_hour < 6)
    steps = first + np.arange(len(local_hour))
    for theft in thefts:
        on = steps >= theft.step
        if theft.kind is EventKind.THEFT_NIGHT:
            on &= night
        share[on, theft.customer] = 1 - theft.share
    return share


def _clocks(n: int, options: Options, chance: Chance, number: int) -> tuple[Ints, Floats]:
    stream = chance.stream("clocks", number)
    offset, drift = np.zeros(n, np.int64), np.zeros(n)
    most = min(600, 50 * options.interval_minutes)
    wrong = chosen(stream, options.faults.clock_offset_rate, np.arange(n))
    offset[wrong] = stream.integers(30, most + 1, len(wrong)) * stream.choice([-1, 1], len(wrong)) * SECOND
    drifting = chosen(stream, options.faults.clock_drift_rate, np.setdiff1d(np.arange(n), wrong))
    # However long the simulation: no clock ends more than half an interval off.
    ppm = min(400.0, 0.5 * options.interval_us / (options.end_us - options.start_us) * 1e6)
    drift[drifting] = stream.uniform(ppm / 20, ppm, len(drifting)) * stream.choice([-1, 1], len(drifting)) * 1e-6
    return offset, drift


def _rollovers(grid: Substation, options: Options, chance: Chance, first_import: Floats) -> Ints:
    stream = chance.stream("rollovers", grid.number)
    customers = grid.customers
    steady = np.flatnonzero((customers.solar_kw == 0) & (customers.annual_kwh > 1500))
    wanted = min(how_many(options.faults.rollover_rate, len(customers)), len(steady))
    picked = np.sort(stream.choice(steady, wanted, replace=False))
    taken = customers.annual_kwh[picked] / 365 * options.days
    first_import[picked] = REGISTER_END_KWH - taken * stream.uniform(0.2, 0.5, len(picked))
    return picked


def _exchanges(grid: Substation, city: City, options: Options, chance: Chance, taken: set[int]) -> list[Exchange]:
    stream = chance.stream("exchanges", grid.number)
    free = np.setdiff1d(np.arange(len(grid.customers)), np.array(sorted(taken), np.int64))
    picked = chosen(stream, options.faults.exchange_rate, free)
    first, last = options.start_us + options.interval_us, options.end_us - options.interval_us
    found = []
    for customer in picked.tolist():
        if last <= first:
            break
        old = city.meter(int(grid.customers.number[customer]))
        time = int(stream.integers(first // SECOND, last // SECOND)) * SECOND
        time += SECOND if time % options.interval_us == 0 else 0  # no reading of the head-end's beside the fitter's
        found.append(Exchange(customer, time, f"{old}-2", round(float(stream.uniform(0, 3)), 3)))
    return found
