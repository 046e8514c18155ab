"""A substation with all that hangs on it, as points and strokes: the geometry of its one-line diagram."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flows.streaming.network import TRANSFORMER
from ops.report.layout import Lane, Point, lay_out
from ops.report.topology import BUSBAR, LINE, SWITCHES, Element, Grid, Group

SOURCE, WINDING, BUS = -1.5, -0.8, 0.0
"""Where the infeed, the transformers and the busbars of the substation lie; its feeders begin at the busbars."""

_ABOVE_LANE, _BELOW_LANE, _BETWEEN_BUSBARS = 0.75, 0.55, 0.45

Path = tuple[list[float | None], list[float | None]]


@dataclass(frozen=True, slots=True)
class Note:
    """A text on the diagram.

    Attributes:
        x: where.
        y: where.
        text: the text, its markup escaped.
        kind: infeed, busbar, feeder or tie.
    """

    x: float
    y: float
    text: str
    kind: str


@dataclass
class Drawing:
    """A diagram; x to the right in lengths of lines, y downwards in rows. Paths are broken by None.

    Attributes:
        lines: lines, and what connects the rest.
        bars: busbars, and the infeed.
        switches: closed ones and open ones, at their places.
        stations: MV/LV transformers.
        windings: HV/MV transformers.
        notes: texts.
        right: how far it reaches.
        bottom: how deep.
    """

    lines: Path = field(default_factory=lambda: ([], []))
    bars: Path = field(default_factory=lambda: ([], []))
    switches: list[tuple[float, float, Element]] = field(default_factory=list)
    stations: list[Point] = field(default_factory=list)
    windings: list[Point] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    right: float = 0.0
    bottom: float = 0.0


class Draughtsman:
    """Draws substations.

    Args:
        grid: the network.
        escaped: an identifier as text for a figure.
        caption: the same of a feeder, with what is to be told of it.
    """

    def __init__(self, grid: Grid, escaped: Callable[[str], str], caption: Callable[[str], str]) -> None:
        self._grid = grid
        self._escaped = escaped
        self._caption = caption
        self._bus_nodes = grid.bus_nodes()
        self._feeders_at = grid.feeders_at()

    def substation(self, name: str, groups: list[Group]) -> Drawing:
        """A substation with its feeders, busbar by busbar."""
        drawing = Drawing()
        heights: list[float] = []
        bars: dict[str, tuple[float, float]] = {}
        for group in groups:
            heights += self._group(drawing, group, bars)
        self._couplers(drawing, name, bars)
        if heights:
            _bar(drawing, SOURCE, min(heights) - 0.4, max(heights) + 0.4)
            drawing.notes.append(Note(SOURCE, min(heights) - 0.45, self._escaped(name), "infeed"))
        return drawing

    def _group(self, drawing: Drawing, group: Group, bars: dict[str, tuple[float, float]]) -> list[float]:
        """Feeders of a busbar, which goes into ``bars`` by its nodes; the heights at which its transformers lie."""
        top = drawing.bottom + _ABOVE_LANE
        for feeder in group.feeders:
            self._feeder(drawing, feeder, drawing.bottom + _ABOVE_LANE)
        bottom = drawing.bottom - _BELOW_LANE
        bar = (top - 0.3, bottom + 0.15)
        _bar(drawing, BUS, *bar)
        busbars = [name for name in group.chain if self._grid.kind(name) == BUSBAR]
        if busbars:
            drawing.notes.append(Note(BUS, top - 0.2, self._escaped(busbars[-1]), "busbar"))
        for name in group.chain:
            bars.update(dict.fromkeys(self._bus_nodes & {*self._grid.elements[name].terminals}, bar))
        heights: list[float] = []
        for name in group.chain:
            if self._grid.kind(name) == TRANSFORMER:
                heights.append((top + bottom) / 2 + len(heights) * 0.6)
                drawing.windings.append(Point(name, WINDING, heights[-1]))
                _line(drawing, [SOURCE, BUS], [heights[-1]] * 2)
        drawing.bottom += _BETWEEN_BUSBARS
        return heights

    def _couplers(self, drawing: Drawing, substation: str, bars: dict[str, tuple[float, float]]) -> None:
        """The switches between busbars."""
        for element in self._grid.inside(substation, *SWITCHES):
            ends = {bars[node] for node in element.terminals if node in bars}
            if len(ends) == 2:
                upper, lower = sorted(ends)
                _line(drawing, [BUS, BUS], [upper[1], lower[0]])
                drawing.switches.append((BUS, (upper[1] + lower[0]) / 2, element))

    def _feeder(self, drawing: Drawing, feeder: str, top: float) -> None:
        members = self._grid.inside(feeder, LINE, *SWITCHES)
        lane = lay_out(members, self._grid.inside(feeder, TRANSFORMER), self._bus_nodes)
        drawing.notes.append(Note(0.06, top - 0.36, self._caption(feeder), "feeder"))
        stations = {(point.x, point.y) for point in lane.stations}
        for stroke in lane.strokes:
            (x, y), (to_x, to_y) = stroke.start, stroke.stop
            _line(drawing, [x, x, to_x], [top + y, top + to_y, top + to_y])
            if stroke.element.kind != LINE:
                across, down = stroke.symbol(stations)
                drawing.switches.append((across, top + down, stroke.element))
        drawing.stations += [Point(point.element_id, point.x, top + point.y) for point in lane.stations]
        self._ties(drawing, feeder, lane, top)
        drawing.right = max(drawing.right, lane.length)
        drawing.bottom = top + lane.rows - 1 + _BELOW_LANE

    def _ties(self, drawing: Drawing, feeder: str, lane: Lane, top: float) -> None:
        """Where a feeder meets another one, say which."""
        for node, (x, y) in lane.nodes.items():
            others = sorted(self._feeders_at[node] - {feeder}) if node not in self._bus_nodes else []
            if others:
                names = ", ".join(self._escaped(name) for name in others)
                drawing.notes.append(Note(x, top + y, f"⇄ {names}", "tie"))


def _line(drawing: Drawing, x: list[float], y: list[float]) -> None:
    drawing.lines[0].extend((*(round(value, 3) for value in x), None))
    drawing.lines[1].extend((*(round(value, 3) for value in y), None))


def _bar(drawing: Drawing, x: float, top: float, bottom: float) -> None:
    drawing.bars[0].extend((x, x, None))
    drawing.bars[1].extend((top, bottom, None))
