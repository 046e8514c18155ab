"""What customers take and feed in, block by block: columns of customers, rows of intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from connectors.simulation.chance import Chance
from connectors.simulation.grid.customers import COMMERCIAL, Customers, Floats
from connectors.simulation.options import Options
from connectors.simulation.physics.weather import Calendar, Weather, irradiance, smooth

# Share of the daily mean by local hour: residents on working days and weekends after the shape of BDEW's standard load
# profile H0, commerce after G1.
_HOUSE_WORKDAY = np.array(
    [0.55, 0.45, 0.4, 0.38, 0.4, 0.5, 0.85, 1.15, 1.1, 1.0, 0.95, 1.0,
     1.15, 1.05, 0.95, 0.9, 0.95, 1.25, 1.65, 1.85, 1.75, 1.5, 1.15, 0.8]
)  # fmt: skip
_HOUSE_WEEKEND = np.array(
    [0.65, 0.5, 0.45, 0.4, 0.4, 0.42, 0.55, 0.85, 1.2, 1.4, 1.45, 1.5,
     1.6, 1.35, 1.15, 1.05, 1.05, 1.2, 1.5, 1.6, 1.5, 1.3, 1.1, 0.85]
)  # fmt: skip
_SHOP_WORKDAY = np.array(
    [0.35, 0.33, 0.33, 0.33, 0.36, 0.45, 0.7, 1.2, 1.8, 2.1, 2.15, 2.1,
     1.95, 1.95, 2.0, 1.95, 1.8, 1.5, 1.1, 0.75, 0.55, 0.45, 0.4, 0.37]
)  # fmt: skip
_SHOP_SUNDAY = np.full(24, 0.4)
_VEHICLE_DAY = 0.55  # chance that a vehicle is charged at home on a day
_FORGET_HOURS = 1.2


@dataclass(frozen=True)
class LoadBlock:
    """Power of customers in consecutive intervals, W and var, taken is positive.

    Attributes:
        by_phase: (steps, n, 3) active power on phases A, B, C at the customer's terminals; a single-phase customer's
            is on the phase of ``Customers.phase``.
        reactive: (steps, n, 3), the same.
    """

    by_phase: npt.NDArray[np.float64]
    reactive: npt.NDArray[np.float64]


class Loads:
    """The customers of a substation; ``block`` is called for consecutive blocks of intervals.

    Args:
        customers: who they are.
        options: what is simulated.
        calendar: of all intervals.
        weather: of all intervals.
        chance: the seed's streams.
        number: of the substation.
    """

    def __init__(
        self, customers: Customers, options: Options, calendar: Calendar, weather: Weather, chance: Chance, number: int
    ) -> None:
        self._customers = customers
        self._options = options
        self._calendar = calendar
        self._weather = weather
        self._chance = chance
        self._number = number
        self._restless: Floats | None = None
        self._commercial = customers.kind == COMMERCIAL
        self._pumps = np.flatnonzero(customers.heat_pump_kw)
        self._vehicles = np.flatnonzero(customers.vehicle_kw)
        self._solar = np.flatnonzero(customers.solar_kw)
        azimuth, tilt = np.radians(customers.azimuth[self._solar]), np.radians(customers.tilt[self._solar])
        self._normals = np.stack(
            [-np.sin(azimuth) * np.sin(tilt), np.cos(azimuth) * np.sin(tilt), np.cos(tilt)], axis=1
        )
        areas = int(customers.area.max()) + 1
        self._local = smooth(chance.stream("clouds", number), len(calendar.hour), areas, 1.5, options)
        # A building forgets the weather slowly: the heat it wants follows a day's mean.
        self._felt = _running_mean(weather.temperature, round(24 * 60 / options.interval_minutes))

    def block(self, first: int, count: int) -> LoadBlock:
        """Intervals ``first`` to ``first + count``; blocks come one after the other.

        What a block holds does not depend on how the intervals are cut into blocks.
        """
        customers, steps = self._customers, range(first, first + count)
        base = np.stack([self._base(step) for step in steps])
        balanced = np.zeros_like(base)
        reactive = base * np.where(self._commercial, 0.35, 0.2)
        pump = np.stack([self._heat(step) for step in steps])
        balanced[:, self._pumps] += pump
        reactive[:, self._pumps] += 0.3 * pump
        charging = self._charging(first, count)
        balanced[:, self._vehicles] += charging
        reactive[:, self._vehicles] += 0.05 * charging
        balanced[:, self._solar] -= self._sunlight(first, count)
        shares = customers.shares[None]
        third = np.where(customers.single[:, None], customers.shares, 1 / 3)[None]
        by_phase = base[:, :, None] * shares + balanced[:, :, None] * third
        return LoadBlock(by_phase, reactive[:, :, None] * shares)

    def _base(self, step: int) -> Floats:
        """Lamps, kitchens and machines: a daily shape, restlessness that fades, and appliances switched on and off."""
        customers, calendar = self._customers, self._calendar
        stream = self._chance.stream("load", self._number, step)
        n = len(customers)
        fresh = stream.standard_normal(n)
        if self._restless is None:
            self._restless = fresh
        else:
            keep = np.exp(-self._options.interval_minutes / 60 / _FORGET_HOURS)
            self._restless = keep * self._restless + np.sqrt(1 - keep**2) * fresh
        weekday = int(calendar.weekday[step])
        house = _HOUSE_WORKDAY if weekday < 5 else _HOUSE_WEEKEND
        shop = _SHOP_WORKDAY if weekday < 5 else (0.4 + 0.35 * _SHOP_WORKDAY if weekday == 5 else _SHOP_SUNDAY)
        hour = calendar.hour[step]
        shape = np.where(self._commercial, _at(shop, hour), _at(house, hour))
        season = 1 + 0.12 * np.cos(2 * np.pi * (calendar.year_share[step] - 0.055))
        mean = customers.annual_kwh / 8.766 * season * shape  # W
        spread = np.where(self._commercial, 0.25, 0.6)
        quiet = mean * 0.7 * np.exp(spread * self._restless - spread**2 / 2)
        on = stream.random(n) < np.minimum(0.3 * mean / 1500, 0.9)
        appliance = np.where(on & ~self._commercial, stream.uniform(500, 2500, n), 0.0)
        return np.asarray(np.where(self._commercial, quiet / 0.7, quiet + appliance))

    def _heat(self, step: int) -> Floats:
        pumps = self._pumps
        stream = self._chance.stream("heat", self._number, step)
        power = self._customers.heat_pump_kw[pumps] * 1000
        duty = np.clip((16.0 - self._felt[step]) / 28.0, 0.0, 1.0) + 0.03  # the rest is hot water
        return np.asarray(power * np.clip(stream.gamma(1.5, duty / 1.5, len(pumps)), 0.0, 1.0))

    def _charging(self, first: int, count: int) -> Floats:
        """Vehicles that come home, are charged at full power until what they have driven is replaced, and stop."""
        calendar, vehicles = self._calendar, self._vehicles
        power = self._customers.vehicle_kw[vehicles] * 1000
        taken = np.zeros((count, len(vehicles)))
        # Hours since local midnight of 1970: the clock change moves the sessions with the local day.
        middle = calendar.day[first : first + count] * 24.0 + calendar.hour[first : first + count]
        half = self._options.interval_minutes / 120
        for day in range(int(calendar.day[first]) - 1, int(calendar.day[first + count - 1]) + 1):
            stream = self._chance.stream("vehicles", self._number, day)
            n = len(vehicles)
            weekend = (day + 3) % 7 >= 5  # 1970-01-01 was a Thursday
            at_home = stream.random(n) < _VEHICLE_DAY
            arrival = stream.uniform(9, 21, n) if weekend else stream.normal(17.8, 1.8, n)
            energy = np.minimum(stream.gamma(2.0, 4.5, n), 50.0) * 1000
            begin = day * 24.0 + arrival
            end = begin + energy / power
            overlap = np.minimum(end, middle[:, None] + half) - np.maximum(begin, middle[:, None] - half)
            taken += np.where(at_home, power * np.clip(overlap, 0.0, None) / (2 * half), 0.0)
        return taken

    def _sunlight(self, first: int, count: int) -> Floats:
        block, solar = slice(first, first + count), self._solar
        local = self._local[block][:, self._customers.area[solar]]
        clearness = np.clip(self._weather.clearness[block, None] + 0.15 * local, 0.05, 1.0)
        light = irradiance(self._weather, block, self._normals, clearness)
        return np.asarray(np.minimum(light * 0.85, 1.0) * self._customers.solar_kw[solar] * 1000)


def _at(profile: Floats, hour: float) -> float:
    return float(np.interp(hour, np.arange(-0.5, 25.0), np.concatenate([profile[-1:], profile, profile[:1]])))


def _running_mean(values: Floats, width: int) -> Floats:
    """Mean of each value and those before it, ``width`` at most."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    begin = np.maximum(end - width, 0)
    return np.asarray((total[end] - total[begin]) / (end - begin))
