"""The grid of a substation as components: nodes, lines, transformers, switches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from connectors.simulation.grid.catalogue import Cable, TransformerType
from connectors.simulation.grid.customers import Customers, Ints

FROM, TO = 0, 1
PHASE_NAMES = ("A", "B", "C")


@dataclass
class Line:
    """A cable.

    Attributes:
        name: element id.
        ends: nodes at its ends.
        cable: its type.
        km: its length.
        feeder: index of the MV feeder whose it is, or -1 of an LV line.
        area: index of the LV area whose it is, or -1 of an MV line.
        switches: element ids of the switches at its ends.
        closed: whether it is connected at its ends when nothing is switched.
        recorded: whether the network's record has it.
    """

    name: str
    ends: tuple[int, int]
    cable: Cable
    km: float
    feeder: int = -1
    area: int = -1
    switches: tuple[str | None, str | None] = (None, None)
    closed: tuple[bool, bool] = (True, True)
    recorded: bool = True


@dataclass
class Station:
    """An MV/LV station in a ring, with one transformer.

    Attributes:
        name: element id of its transformer.
        feeder: index of the feeder that normally supplies it.
        mv_node: its MV busbar.
        lv_node: its LV busbar.
        kind: of the transformer.
        telemetry: whether a feeder terminal unit tells its switches' positions and works them.
        lines: index of the line towards the feeder's head, and of that away from it.
        area_type: name of how its area is built.
    """

    name: str
    feeder: int
    mv_node: int
    lv_node: int
    kind: TransformerType
    telemetry: bool
    area_type: str
    lines: list[int] = field(default_factory=lambda: [-1, -1])

    @property
    def ftu(self) -> str:
        """Id of its feeder terminal unit."""
        return f"FTU-{self.name}"


@dataclass
class Feeder:
    """An MV feeder: half of an open ring.

    Attributes:
        name: element id.
        busbar: index of the busbar, 0 or 1.
        stations: indices of its stations, from the head on.
        head: index of its first line.
        tie: index of the line that closes the ring, or -1; the open point is one of its ends.
        partner: index of the ring's other feeder, or -1.
    """

    name: str
    busbar: int
    stations: list[int]
    head: int = -1
    tie: int = -1
    partner: int = -1

    @property
    def breaker(self) -> str:
        """Element id of its circuit breaker."""
        return f"{self.name}-XCBR1"

    @property
    def ftu(self) -> str:
        """Id of the terminal unit of its bay."""
        return f"FTU-{self.name}"


@dataclass
class Substation:
    """An HV/MV substation with two busbars, all that it feeds, and the customers.

    Attributes:
        number: in the city, from 1.
        node_names: connectivity nodes.
        node_volts: rated phase-to-phase voltage of each.
        lines: all lines.
        mains: the HV/MV transformers: name, type; each feeds the busbar of its index.
        hv_node: where both hang.
        busbars: their nodes.
        feeders: all feeders.
        stations: all MV/LV stations; a station's index is its area's.
        customers: all customers.
        customer_node: node of each customer.
        moved_service: of each customer that is to be moved the line that then serves it.
        old_service: of each of these the line that serves it until then.
    """

    number: int
    node_names: list[str]
    node_volts: list[float]
    lines: list[Line]
    mains: list[tuple[str, TransformerType]]
    hv_node: int
    busbars: list[int]
    feeders: list[Feeder]
    stations: list[Station]
    customers: Customers
    customer_node: Ints
    moved_service: dict[int, int]
    old_service: dict[int, int]

    @property
    def name(self) -> str:
        """Element id."""
        return substation_name(self.number)

    def switch_places(self) -> dict[str, tuple[int, int]]:
        """Of each switch the line that it connects, and at which end."""
        return {
            switch: (index, side)
            for index, line in enumerate(self.lines)
            for side, switch in enumerate(line.switches)
            if switch is not None
        }

    def neighbours(self, area: int) -> list[int]:
        """Areas next to one: along the ring, else any."""
        feeder = self.feeders[self.stations[area].feeder]
        ring = list(feeder.stations)
        if feeder.partner >= 0:
            ring += self.feeders[feeder.partner].stations[::-1]
        place = ring.index(area)
        near = [ring[i] for i in (place - 1, place + 1) if 0 <= i < len(ring)]
        return near or [other for other in range(len(self.stations)) if other != area]

    def line_columns(self) -> dict[str, np.ndarray]:
        """Numbers of the lines as arrays, by power-grid-model's names."""
        km = np.array([line.km for line in self.lines])
        cables = [line.cable for line in self.lines]
        per_km = {
            "r1": [c.r_ohm for c in cables],
            "x1": [c.x_ohm for c in cables],
            "c1": [c.c_nf * 1e-9 for c in cables],
            "r0": [c.r0_ohm for c in cables],
            "x0": [c.x0_ohm for c in cables],
            "c0": [c.c_nf * 1e-9 for c in cables],
        }
        return {name: np.array(values) * km for name, values in per_km.items()}


def substation_name(number: int) -> str:
    """Element id of a substation."""
    return f"S{number:02d}"
