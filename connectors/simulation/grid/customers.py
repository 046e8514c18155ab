"""Who lives where: the customers of a substation, and what they have on their roofs and in their garages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOUSE, FLAT, COMMERCIAL = 0, 1, 2
KIND_NAMES = ("house", "flat", "commercial")


@dataclass(frozen=True)
class AreaType:
    """How an LV area is built.

    Attributes:
        name: its name.
        customers: least and most customers.
        per_house: least and most customers behind one service cable.
        spacing_m: least and most distance between two houses along the street.
        service_m: least and most length of a service cable.
        per_feeder: customers on one LV feeder.
        commercial: share of commercial customers.
        heat_pumps: share of houses with a heat pump.
        vehicles: share with a charging point.
        solar: share of houses with PV.
    """

    name: str
    customers: tuple[int, int]
    per_house: tuple[int, int]
    spacing_m: tuple[float, float]
    service_m: tuple[float, float]
    per_feeder: int
    commercial: float
    heat_pumps: float
    vehicles: float
    solar: float


RURAL = AreaType("rural", (18, 50), (1, 1), (35, 65), (15, 50), 12, 0.04, 0.22, 0.15, 0.30)
SUBURBAN = AreaType("suburban", (60, 140), (1, 2), (20, 34), (8, 25), 26, 0.04, 0.15, 0.18, 0.20)
URBAN = AreaType("urban", (110, 240), (4, 12), (20, 36), (5, 15), 45, 0.07, 0.04, 0.08, 0.05)
AREA_TYPES = (RURAL, SUBURBAN, URBAN)
AREA_SHARES = (0.25, 0.45, 0.30)

_MOST_SINGLE_KWH = 20_000.0  # a year


@dataclass
class Customers:
    """Arrays over the customers of a substation, by area, then house.

    Attributes:
        number: over the whole city.
        area: index of the area (MV/LV station) in the substation.
        kind: HOUSE, FLAT or COMMERCIAL.
        single: has a single-phase connection.
        phase: 0, 1, 2 for A, B, C: of a single-phase connection its phase, else the phase at meter terminal 1; the
            terminals follow in the grid's rotation.
        annual_kwh: yearly energy of all but the equipment below.
        shares: (n, 3) share of that energy by phase.
        heat_pump_kw: electric power of the heat pump, or 0.
        vehicle_kw: power of the charging point, or 0.
        solar_kw: peak power of the PV generator, or 0.
        azimuth: of the PV generator, degrees clockwise from south.
        tilt: of the PV generator, degrees.
    """

    number: Ints
    area: Ints
    kind: Ints
    single: Bools
    phase: Ints
    annual_kwh: Floats
    shares: Floats
    heat_pump_kw: Floats
    vehicle_kw: Floats
    solar_kw: Floats
    azimuth: Floats
    tilt: Floats

    def __len__(self) -> int:
        return len(self.number)

    def peak_kw(self) -> Floats:
        """What each adds to the peak of many: diversified, by rule of thumb."""
        base = np.where(self.kind == COMMERCIAL, self.annual_kwh / 2200, np.where(self.kind == HOUSE, 1.4, 0.9))
        return np.asarray(base + 0.8 * self.heat_pump_kw + 0.3 * self.vehicle_kw)


def draw_customers(chance: np.random.Generator, first: int, types: list[AreaType], sizes: list[int]) -> Customers:
    """Draw the customers of a substation.

    Args:
        chance: the stream.
        first: number of the first customer in the city.
        types: of each area.
        sizes: number of customers of each area.
    """
    area = np.repeat(np.arange(len(sizes)), sizes)
    n = len(area)

    def by_type(name: str) -> Floats:
        return np.array([float(getattr(kind, name)) for kind in types])[area]

    flats = np.array([kind is URBAN for kind in types], bool)[area]
    kind = np.where(chance.random(n) < by_type("commercial"), COMMERCIAL, np.where(flats, FLAT, HOUSE))
    typical = np.array([3400.0, 2000.0, 14_000.0])[kind]
    annual = typical * np.exp(np.array([0.4, 0.4, 0.8])[kind] * chance.standard_normal(n)).clip(0.2, 6)
    pump = (chance.random(n) < by_type("heat_pumps")) & (kind == HOUSE)
    vehicle = chance.random(n) < by_type("vehicles")
    solar = (chance.random(n) < by_type("solar")) & (kind != FLAT)
    # A heat pump, a wallbox of 11 kW and a generator above 4.6 kVA (VDE-AR-N 4105) want three phases.
    # So does who would blow a single fuse of 63 A.
    single = (chance.random(n) < np.array([0.55, 0.8, 0.1])[kind]) & ~pump & (annual <= _MOST_SINGLE_KWH)
    solar_kw = np.where(solar, np.where(single, chance.uniform(2, 4.6, n), chance.uniform(4, 14, n)), 0.0)
    phase = chance.integers(0, 3, n)
    shares = chance.dirichlet((4.0, 4.0, 4.0), n)
    shares[single] = np.eye(3)[phase[single]]
    return Customers(
        number=first + np.arange(n),
        area=area,
        kind=kind,
        single=single,
        phase=phase,
        annual_kwh=annual,
        shares=shares,
        heat_pump_kw=np.where(pump, chance.uniform(2.0, 4.5, n), 0.0),
        vehicle_kw=np.where(vehicle, np.where(single, 3.7, 11.0), 0.0),
        solar_kw=solar_kw,
        azimuth=chance.choice([-80.0, -30.0, 0.0, 20.0, 80.0], n) + chance.uniform(-15, 15, n),
        tilt=chance.uniform(10, 45, n),
    )


def draw_areas(chance: np.random.Generator, meters: int) -> tuple[list[AreaType], list[int]]:
    """Cut a number of customers into LV areas."""
    types: list[AreaType] = []
    sizes: list[int] = []
    left = meters
    while left:
        kind = AREA_TYPES[int(chance.choice(len(AREA_TYPES), p=AREA_SHARES))]
        size = min(left, int(chance.integers(kind.customers[0], kind.customers[1] + 1)))
        if left - size < RURAL.customers[0] and left - size > 0:
            size = left if left <= kind.customers[1] else size - RURAL.customers[0]  # no area of a handful
        size = max(size, 1)
        types.append(kind)
        sizes.append(size)
        left -= size
    return types, sizes
