"""The whole city: its customers cut into areas, the areas into substations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from connectors.simulation.chance import Chance, chosen
from connectors.simulation.grid.construction import build
from connectors.simulation.grid.customers import AreaType, Ints, draw_areas, draw_customers
from connectors.simulation.grid.layout import Substation
from connectors.simulation.options import Options

STATIONS_PER_SUBSTATION = 180
REGION = "R1"


@dataclass(frozen=True)
class City:
    """What the substations share.

    Attributes:
        options: what is simulated.
        chance: the seed's streams.
    """

    options: Options
    chance: Chance

    @cached_property
    def areas(self) -> tuple[list[AreaType], list[int]]:
        """Type and number of customers of every LV area."""
        return draw_areas(self.chance.stream("areas"), self.options.meters)

    @cached_property
    def substations(self) -> int:
        """How many there are."""
        return -(-len(self.areas[0]) // STATIONS_PER_SUBSTATION)

    @cached_property
    def meter_numbers(self) -> Ints:
        """The number on each customer's meter; it says nothing of where it hangs."""
        return self.chance.stream("meter-numbers").permutation(self.options.meters) + 1

    @cached_property
    def moved(self) -> Ints:
        """Numbers of the customers that are moved to another transformer."""
        everyone = np.arange(self.options.meters) if len(self.areas[0]) > 1 else np.empty(0, np.int64)
        return chosen(self.chance.stream("moved"), self.options.faults.moved_rate, everyone)

    def build(self) -> Iterator[Substation]:
        """The substations, one after the other."""
        types, sizes = self.areas
        first_customer = 0
        for index, part in enumerate(np.array_split(np.arange(len(types)), self.substations)):
            own_types, own_sizes = [types[i] for i in part], [sizes[i] for i in part]
            stream = self.chance.stream("substation", index)
            customers = draw_customers(stream, first_customer, own_types, own_sizes)
            inside = self.moved[(self.moved >= first_customer) & (self.moved < first_customer + len(customers))]
            moved = inside - first_customer if len(part) > 1 else inside[:0]
            yield build(index + 1, stream, customers, own_types, int(part[0]) + 1, moved)
            first_customer += len(customers)

    def meter(self, customer: int) -> str:
        """Id of a customer's meter."""
        return f"M-{self.meter_numbers[customer]:06d}"

    def usage_point(self, customer: int) -> str:
        """Id of a customer's usage point."""
        return f"UP-{customer + 1:06d}"
