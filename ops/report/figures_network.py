"""The network coloured by its losses: one-line diagrams, one substation at a time, and nested boxes."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.drawing import SOURCE, Draughtsman, Drawing, Path
from ops.report.figures_switching import add_switching
from ops.report.layout import Point
from ops.report.style import color_bar, count, energy, figure, label, percent
from ops.report.switching import Switching
from ops.report.topology import Element, Grid, levels

_ROW, _LEAST_WIDTH = 54, 28  # pixels of a row, and of a length across
_STATIONS_WITH_NAMES = 26  # so many lengths; beyond, names would lie over each other
_NOTES: dict[str, dict[str, Any]] = {
    "infeed": {"yanchor": "bottom", "font": {"size": 12, "color": style.INK}},
    "busbar": {"xanchor": "right", "xshift": -6, "font": {"size": 11, "color": style.INK}},
    "feeder": {"xanchor": "left", "font": {"size": 11, "color": style.INK}},
    "tie": {"xanchor": "left", "xshift": 8, "font": {"size": 10, "color": style.MUTED}, "bgcolor": style.PAPER},
    "station": {"yshift": -17, "font": {"size": 9, "color": style.MUTED}},
}
_MOST_BOXES = 4000


class NetworkFigures:
    """Draws a grid.

    Args:
        grid: the network.
        totals: losses per element.
        limit: percent of loss at which the colours end.
        switching: how its switches were operated, where that is known.
    """

    def __init__(self, grid: Grid, totals: pl.DataFrame, limit: float, switching: Switching | None = None) -> None:
        self._switching = switching
        self._grid = grid
        self._rows: dict[str, dict[str, Any]] = {row["element_id"]: row for row in totals.iter_rows(named=True)}
        self._scale = {"colorscale": style.LOSS_SCALE, "cmin": -limit, "cmax": limit}
        self._groups = grid.groups()
        self._draughtsman = Draughtsman(grid, lambda name: label(name, 14), self._caption)
        self._largest = max((grid.elements[name].rated_kva or 0.0 for name in grid.stations()), default=0.0)

    @property
    def substations(self) -> list[str]:
        """The substations with feeders, those with the greatest losses first."""

        def losses(name: str) -> float:
            return float(self._rows[name]["loss_kwh"]) if name in self._rows else 0.0

        return sorted(self._groups, key=lambda name: (-losses(name), name))

    def one_line(self, substation: str) -> tuple[go.Figure, int]:
        """One substation with all that hangs on it, and how many pixels it needs across."""
        drawing = self._draughtsman.substation(substation, self._groups[substation])
        notes = [(note.x, note.y, note.text, note.kind) for note in drawing.notes]
        if drawing.right <= _STATIONS_WITH_NAMES:
            notes += [(point.x, point.y, label(point.element_id, 9), "station") for point in drawing.stations]
        texts = [{"x": x, "y": y, "text": text, "showarrow": False, **_NOTES[kind]} for x, y, text, kind in notes]
        drawn = figure(
            self._traces(drawing),
            height=round(drawing.bottom * _ROW + 44),
            annotations=texts,
            margin={"l": 10, "r": 10, "t": 44, "b": 10},
            xaxis={"visible": False, "range": [SOURCE - 0.5, drawing.right + 1.2]},
            yaxis={"visible": False, "range": [drawing.bottom - 0.3, -0.1]},
            hovermode="closest",
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemclick": False},
        )
        members = {entry[2].element_id for entry in drawing.switches} | {p.element_id for p in drawing.stations}
        moments = [] if self._switching is None else self._switching.moments(members)
        if len(moments) > 1:
            add_switching(drawn, drawing, moments)
        return drawn, round((drawing.right - SOURCE + 2) * _LEAST_WIDTH)

    def hierarchy(self) -> go.Figure:
        """Elements with results, each in its container, as large as it has usage points; not the innermost of many."""
        wanted = [name for name in self._rows if name in self._grid.elements]
        boxes = levels(self._grid, wanted)
        while len(boxes) > _MOST_BOXES:  # level by level: where some are missing, those beside them would mislead
            inner = {parent for _, parent in boxes}
            boxes = [box for box in boxes if box[0] in inner]
        size: dict[str, int] = dict.fromkeys((name for name, _ in boxes), 0)
        for container, customers in self._grid.customers.items():
            for name in (container, *self._grid.above(container)):
                if name in size:
                    size[name] += customers
        colors = [self._percent(name) for name, _ in boxes]
        names = [name for name, _ in boxes]
        edge = 4 if len(boxes) <= 300 else 2
        return figure(
            [
                go.Treemap(
                    ids=names,
                    labels=[label(name) for name in names],
                    parents=[parent or "" for _, parent in boxes],
                    values=_at_least_one(boxes, size),
                    branchvalues="total",
                    text=[percent(color) for color in colors],
                    texttemplate="<b>%{label}</b><br>%{text}",
                    hovertext=[self._told(name) for name in names],
                    hovertemplate="%{hovertext}<extra></extra>",
                    marker={
                        "colors": [style.RULE if color is None else color for color in colors],
                        **self._scale,
                        "showscale": True,
                        "colorbar": color_bar("loss / %"),
                        "line": {"color": style.PAPER, "width": 1.5},
                        "pad": {"t": 22, "l": edge, "r": edge, "b": edge},
                    },
                    tiling={"pad": edge / 2},
                    pathbar={"thickness": 22},
                )
            ],
            height=300 if len(boxes) <= 12 else 460 if len(boxes) <= 60 else 680,
            margin={"l": 6, "r": 10, "t": 6, "b": 6},
        )

    def _traces(self, drawing: Drawing) -> list[Any]:
        closed = [entry for entry in drawing.switches if not entry[2].normal_open]
        opened = [entry for entry in drawing.switches if entry[2].normal_open]
        measured = [point for point in drawing.stations if self._percent(point.element_id) is not None]
        others = [point for point in drawing.stations if self._percent(point.element_id) is None]
        return [
            _strokes(drawing.lines, 1.6, style.MUTED),
            _strokes(drawing.bars, 6, style.INK),
            _switches(closed, "switch, closed", style.INK, style.INK),
            _switches(opened, "switch, normally open", style.PAPER, style.VERMILION),
            # Two circles that overlap: the winding at the infeed lies behind that at the busbar.
            self._circles(drawing.windings, shift=-0.075, size=26, name="HV/MV transformer"),
            self._circles(drawing.windings, shift=0.075, size=26),
            self._circles(measured, name="station, coloured by its loss, sized by its rated power", scaled=True),
            self._circles(others, name="station without results"),
        ]

    def _circles(
        self, points: list[Point], *, shift: float = 0.0, size: float = 0.0, name: str = "", scaled: bool = False
    ) -> go.Scatter:
        """Transformers; those without a result are empty rings."""
        colors = [self._percent(point.element_id) for point in points]
        look: dict[str, Any] = {"color": [style.PAPER if color is None else color for color in colors]}
        if any(color is not None for color in colors):
            look |= self._scale
        if scaled:
            look |= {
                "showscale": True,
                "colorbar": color_bar("loss / %", len=200, lenmode="pixels", y=1, yanchor="top"),
            }
        return go.Scatter(
            name=name,
            x=[point.x + shift for point in points],
            y=[point.y for point in points],
            mode="markers",
            marker={
                "size": [size or self._size(point.element_id) for point in points],
                "line": {"color": style.INK, "width": 1.2},
                "opacity": 1,
                **look,
            },
            text=[self._told(point.element_id) for point in points],
            hovertemplate="%{text}<extra></extra>",
            showlegend=bool(name and points),
        )

    def _percent(self, element: str) -> float | None:
        row = self._rows.get(element)
        return None if row is None else row["loss_percent"]

    def _size(self, element: str) -> float:
        rated = self._grid.elements[element].rated_kva
        return 7 + 11 * (rated / self._largest) ** 0.5 if rated and self._largest else 12.0

    def _caption(self, feeder: str) -> str:
        row = self._rows.get(feeder)
        name = f"<b>{label(feeder)}</b>"
        return f"{name}  {percent(row['loss_percent'])} · {energy(row['loss_kwh'])}" if row else name

    def _told(self, element: str) -> str:
        """What is known of an element, for its tooltip."""
        known, row = self._grid.elements[element], self._rows.get(element)
        lines = [f"<b>{label(element, 60)}</b> · {label(known.kind)}"]
        if known.rated_kva:
            lines.append(f"rated {count(round(known.rated_kva))} kVA")
        if element in self._grid.customers:
            lines.append(f"{count(self._grid.customers[element])} usage points")
        if row is None:
            return "<br>".join([*lines, "no results"])
        lines.append(f"loss <b>{energy(row['loss_kwh'], row['uncertainty_kwh'])}</b>")
        lines.append(f"{percent(row['loss_percent'])} of {energy(row['energy_in_kwh'])}")
        if row["expected_kwh"] is not None:
            lines.append(f"expected {energy(row['expected_kwh'])}, not accounted for {energy(row['unaccounted_kwh'])}")
        return "<br>".join([*lines, f"{percent(100 * row['completeness'])} measured"])


def _at_least_one(boxes: list[tuple[str, str | None]], size: dict[str, int]) -> list[float]:
    """Sizes of boxes of which each is to be seen, and none is smaller than those within it."""
    within: dict[str, float] = {}
    values = {}
    for name, parent in reversed(boxes):
        values[name] = max(float(size[name]), within.get(name, 0.0), 1.0)
        if parent is not None:
            within[parent] = within.get(parent, 0.0) + values[name]
    return [values[name] for name, _ in boxes]


def _strokes(path: Path, width: float, color: str) -> go.Scatter:
    line = {"color": color, "width": width}
    return go.Scatter(x=path[0], y=path[1], mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _switches(entries: list[tuple[float, float, Element]], name: str, fill: str, line: str) -> go.Scatter:
    return go.Scatter(
        name=name,
        x=[x for x, _, _ in entries],
        y=[y for _, y, _ in entries],
        mode="markers",
        marker={
            "symbol": "square",
            "size": [
                10 if element.kind == "Breaker" else 6 if not element.normal_open else 9 for _, _, element in entries
            ],
            "color": fill,
            "line": {"color": line, "width": 1.8},
            "opacity": 1,
        },
        text=[f"<b>{label(element.element_id, 60)}</b> · {label(element.kind)}" for _, _, element in entries],
        hovertemplate=f"%{{text}}<br>{name}<extra></extra>",
        showlegend=bool(entries),
    )
