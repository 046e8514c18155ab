"""Where things lie on a one-line diagram: a feeder as a lane, stations in the order in which current reaches them.

The way of the current is the tree of shortest paths from the busbar over closed switches; what is only reached over
open ones comes last. The branch that goes farthest stays in its row, others take rows below.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

from ops.report.topology import LINE, Element

LINE_LENGTH, SWITCH_LENGTH = 0.4, 0.3
_GAP = 0.3  # between two branches in one row


@dataclass(frozen=True, slots=True)
class Point:
    """An element on the diagram; x to the right, in lengths of lines and switches, y downwards, in rows."""

    element_id: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line or a switch between two points; it leaves the first one vertically, and reaches the second horizontally.

    Attributes:
        element: what it is.
        start: x and y of the end that is nearer to the busbar.
        stop: x and y of the other end.
    """

    element: Element
    start: tuple[float, float]
    stop: tuple[float, float]

    def symbol(self, stations: Container[tuple[float, float]]) -> tuple[float, float]:
        """Where a switch's symbol lies: in the middle, but of one at a station at the end away from it."""
        if self.stop in stations:
            return self.start[0], self.stop[1]
        return (self.stop[0] if self.start in stations else (self.start[0] + self.stop[0]) / 2), self.stop[1]


@dataclass
class Lane:
    """A feeder, laid out from (0, 0).

    Attributes:
        stations: where transformers stand.
        strokes: lines and switches.
        nodes: where each connectivity node lies.
        rows: how many rows it takes.
        length: how far it reaches.
    """

    stations: list[Point] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)
    nodes: dict[str, tuple[float, float]] = field(default_factory=dict)
    rows: int = 1
    length: float = 0.0


def lay_out(members: Sequence[Element], stations: Sequence[Element], roots: Iterable[str]) -> Lane:
    """Lay out a feeder.

    Args:
        members: its lines and switches.
        stations: its transformers, which hang on the node of their first terminal.
        roots: nodes from which it may be supplied.
    """
    edges: dict[str, list[tuple[str, Element]]] = defaultdict(list)
    for element in members:
        if len(element.terminals) == 2:
            one, two = element.terminals
            edges[one].append((two, element))
            edges[two].append((one, element))
    lane = Lane()
    supplied = sorted(set(roots) & edges.keys()) or _ends(edges)[:1]
    row = 0
    used: set[str] = set()
    while supplied:
        tree = _Tree(edges, supplied)
        row = tree.place(lane, row)
        used |= {element.element_id for element in tree.via.values()}
        # What hangs on nothing is drawn all the same: a gap in the record must be seen.
        supplied = _ends({node: edges[node] for node in edges if node not in lane.nodes})[:1]
    for element in members:
        if len(element.terminals) == 2 and element.element_id not in used:  # closes a ring
            lane.strokes.append(Stroke(element, *(lane.nodes[node] for node in element.terminals)))
    _stand(lane, stations, row)
    return lane


def _ends(edges: dict[str, list[tuple[str, Element]]]) -> list[str]:
    """Nodes from which to begin where nothing says so: those with one neighbour first."""
    return sorted(edges, key=lambda node: (len(edges[node]), node))


def _stand(lane: Lane, stations: Sequence[Element], row: int) -> None:
    """Put transformers on their nodes, several of one node below each other; those without a node in a row last."""
    crowd: dict[tuple[float, float], int] = defaultdict(int)
    lost = 0
    for station in stations:
        at = next((lane.nodes[node] for node in station.terminals if node in lane.nodes), None)
        if at is None:
            lost += 1
            at = (lost * (LINE_LENGTH + 2 * SWITCH_LENGTH), float(row))
        lane.stations.append(Point(station.element_id, at[0], at[1] + 0.3 * crowd[at]))
        crowd[at] += 1
    lane.rows = max(row + (1 if lost else 0), 1)
    places = [*lane.nodes.values(), *((point.x, point.y) for point in lane.stations)]
    lane.length = max((x for x, _ in places), default=0.0)


class _Tree:
    """Shortest paths from some nodes; a path over fewer open switches is always shorter."""

    def __init__(self, edges: dict[str, list[tuple[str, Element]]], roots: list[str]) -> None:
        self.via: dict[str, Element] = {}
        self.order: list[str] = []
        self.parent: dict[str, str] = {}
        self.far: dict[str, float] = {}
        number = count()  # of two ways of one length the one that was found first
        queue: list[tuple[int, float, int, str, str, Element | None]]
        queue = [(0, 0.0, next(number), root, "", None) for root in roots]
        while queue:
            opened, distance, _, node, before, element = heapq.heappop(queue)
            if node in self.far:
                continue
            self.far[node] = distance
            self.order.append(node)
            if element is not None:
                self.parent[node], self.via[node] = before, element
            for other, edge in edges[node]:
                if other not in self.far:
                    length = LINE_LENGTH if edge.kind == LINE else SWITCH_LENGTH
                    opens = opened + edge.normal_open
                    heapq.heappush(queue, (opens, distance + length, next(number), other, node, edge))

    def place(self, lane: Lane, first_row: int) -> int:
        """Give every node a place in a lane, and draw what leads to it; the next free row."""
        children: dict[str, list[str]] = defaultdict(list)
        reach = dict(self.far)
        for node in reversed(self.order):
            if node in self.parent:
                parent = self.parent[node]
                children[parent].append(node)
                reach[parent] = max(reach[parent], reach[node])
        taken: dict[int, list[tuple[float, float]]] = defaultdict(list)
        branches = [(node, first_row) for node in reversed(self.order) if node not in self.parent]
        while branches:
            node, least = branches.pop()
            begin = self.far[self.parent.get(node, node)]
            row = _free(taken, least, begin, reach[node])
            taken[row].append((begin, reach[node]))
            while True:  # along the branch
                lane.nodes[node] = (self.far[node], float(row))
                if node in self.parent:
                    lane.strokes.append(Stroke(self.via[node], lane.nodes[self.parent[node]], lane.nodes[node]))
                following = sorted(children[node], key=lambda child: (-reach[child], child))
                if not following:
                    break
                branches += [(child, row + 1) for child in reversed(following[1:])]
                node = following[0]
        return max(taken) + 1


def _free(taken: dict[int, list[tuple[float, float]]], least: int, begin: float, end: float) -> int:
    row = least
    while any(begin < stop + _GAP and start < end + _GAP for start, stop in taken[row]):
        row += 1
    return row
