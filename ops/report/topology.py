"""The reference network as it is drawn: substations, their busbars, and what hangs on each feeder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from flows.streaming.network import TRANSFORMER, USAGE_POINT

SUBSTATION, FEEDER, BUSBAR, LINE = "Substation", "Feeder", "BusbarSection", "ACLineSegment"
SWITCHES = ("Breaker", "LoadBreakSwitch")


@dataclass(frozen=True, slots=True)
class Element:
    """A network element as far as a drawing needs it; attributes as in ``grid.network.v1``."""

    element_id: str
    kind: str
    container: str | None
    terminals: tuple[str, ...]
    normal_open: bool
    rated_kva: float | None


@dataclass(frozen=True)
class Group:
    """Feeders of one substation that share a busbar.

    Attributes:
        chain: what lies between substation and feeders, from the top: transformer, busbar.
        feeders: their ids, in order.
    """

    chain: tuple[str, ...]
    feeders: tuple[str, ...]


@dataclass
class Grid:
    """The network without its customers and the lines of their areas, which a picture of a city cannot show.

    Attributes:
        elements: by id.
        children: of each container the ids of what it contains, in order.
        customers: how many usage points each container has.
    """

    elements: dict[str, Element] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    customers: dict[str, int] = field(default_factory=dict)

    def kind(self, element: str) -> str | None:
        """The CIM class of an element; None if it is not known."""
        found = self.elements.get(element)
        return found.kind if found else None

    def above(self, element: str) -> list[str]:
        """The containers of an element, the next one first; whatever the record says, no circle."""
        found: list[str] = []
        current = self.elements.get(element)
        while current and current.container and current.container not in (element, *found):
            found.append(current.container)
            current = self.elements.get(current.container)
        return found

    def inside(self, container: str, *kinds: str) -> list[Element]:
        """What a container itself contains of some kinds."""
        return [e for name in self.children.get(container, ()) if (e := self.elements[name]).kind in kinds]

    def is_station(self, element: Element) -> bool:
        """Whether it is a transformer that supplies customers."""
        if element.kind != TRANSFORMER:
            return False
        return element.element_id in self.customers or self.kind(element.container or "") == FEEDER

    def stations(self) -> frozenset[str]:
        """All transformers that supply customers."""
        return frozenset(name for name, element in self.elements.items() if self.is_station(element))

    def feeders(self) -> list[str]:
        """All feeders, in order."""
        return sorted(name for name, element in self.elements.items() if element.kind == FEEDER)

    def groups(self) -> dict[str, list[Group]]:
        """Of each substation (else of whatever is topmost) the feeders by their busbar."""
        found: dict[str, dict[tuple[str, ...], list[str]]] = defaultdict(lambda: defaultdict(list))
        for feeder in self.feeders():
            above = self.above(feeder)
            at = next((i for i, name in enumerate(above) if self.kind(name) == SUBSTATION), len(above) - 1)
            substation = above[at] if above else ""
            found[substation][tuple(reversed(above[: max(at, 0)]))].append(feeder)
        return {
            substation: [Group(chain, tuple(feeders)) for chain, feeders in sorted(chains.items())]
            for substation, chains in sorted(found.items())
        }

    def bus_nodes(self) -> frozenset[str]:
        """The connectivity nodes from which feeders are supplied: of busbars and of transformers that feed them."""
        return frozenset(
            node
            for element in self.elements.values()
            if element.kind == BUSBAR or (element.kind == TRANSFORMER and not self.is_station(element))
            for node in element.terminals
        )

    def feeders_at(self) -> dict[str, set[str]]:
        """Of each connectivity node the feeders whose lines and switches end there."""
        found: dict[str, set[str]] = defaultdict(set)
        for element in self.elements.values():
            if element.kind in (LINE, *SWITCHES) and element.container and self.kind(element.container) == FEEDER:
                for node in element.terminals:
                    found[node].add(element.container)
        return found


def grid_of(network: pl.DataFrame) -> Grid:
    """The grid of one version of each element, as ``data.as_of`` gives them."""
    kind, container = pl.col("kind"), pl.col("container_id")
    customers = network.filter((kind == USAGE_POINT) & container.is_not_null())
    grid = Grid(customers=dict(customers.group_by("container_id").len().iter_rows()))
    # Millions of usage points and LV lines: they are sifted out before anything is made of the rest.
    lines_within = (kind == LINE) & container.is_in(list(grid.customers))
    rows = network.filter((kind != USAGE_POINT) & ~lines_within.fill_null(value=False)).sort("element_id")
    columns = ("element_id", "kind", "container_id", "terminal_1", "terminal_2", "normal_open", "rated_kva")
    for name, of_kind, parent, one, two, is_open, rated in rows.select(columns).iter_rows():
        terminals = tuple(node for node in (one, two) if node)
        grid.elements[name] = Element(name, of_kind, parent, terminals, bool(is_open), rated)
        if parent and parent != name:
            grid.children[parent].append(name)
    return grid


def levels(grid: Grid, wanted: Iterable[str]) -> list[tuple[str, str | None]]:
    """The container hierarchy of some elements: each with its container, None at the top; containers come first.

    A container that holds all that there is in the one above it is left out: it would be a frame within a frame.

    Args:
        grid: the network.
        wanted: the elements that must be there; their containers come along.
    """
    paths = {name: grid.above(name) for element in wanted for name in (element, *grid.above(element))}
    within: dict[str, set[str]] = defaultdict(set)
    for name, above in paths.items():
        if above:
            within[above[0]].add(name)
    needless = {name for name, above in paths.items() if above and name in within and len(within[above[0]]) == 1}
    kept = {name: [up for up in above if up not in needless] for name, above in paths.items() if name not in needless}
    ordered = sorted(kept.items(), key=lambda item: (len(item[1]), item[0]))
    return [(name, above[0] if above else None) for name, above in ordered]
