"""The state of the switches over time, laid over a one-line diagram: a slider moves through what was operated."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from ops.report import style
from ops.report.drawing import Drawing
from ops.report.style import label, moment
from ops.report.switching import Moment
from ops.report.topology import Element

SLIDER_HEIGHT = 86  # pixels
_NAMED = 3  # switches in a slider's label


def add_switching(drawn: go.Figure, drawing: Drawing, moments: list[Moment]) -> None:
    """Lay the states over a diagram, the first of them shown.

    Args:
        drawn: the figure, which is changed.
        drawing: its geometry.
        moments: the states, by time; at least two, or nothing is there to move through.
    """
    first, note = len(drawn.data), len(drawn.layout.annotations)
    told = "%{text}<extra></extra>"
    for name, look in _LOOKS:
        drawn.add_trace(go.Scatter(x=[], y=[], text=[], mode="markers", name=name, marker=look, hovertemplate=told))
    drawn.add_annotation(
        text=_said(moments[0]),
        showarrow=False,
        xref="paper",
        yref="paper",
        x=1,
        y=0,
        xanchor="right",
        yanchor="top",
        yshift=-16,
        font={"size": 12, "color": style.INK},
    )
    steps = []
    for state in moments:
        layers = _layers(drawing, state)
        change = {key: [layer[key] for layer in layers] for key in ("x", "y", "text")}
        steps.append(
            {
                "method": "update",
                "args": [
                    change,
                    {f"annotations[{note}].text": _said(state)},
                    [first + number for number in range(len(layers))],
                ],
                "label": moment(state.time),
            }
        )
    for number, layer in enumerate(_layers(drawing, moments[0])):
        drawn.data[first + number].update(layer)
    drawn.update_layout(
        height=drawn.layout.height + SLIDER_HEIGHT,
        margin_b=SLIDER_HEIGHT,
        sliders=[
            {
                "steps": steps,
                "active": 0,
                "x": 0.02,
                "len": 0.96,
                "y": 0,
                "yanchor": "top",
                "pad": {"t": 18, "b": 0},
                "ticklen": 4,
                "font": {"size": 10, "color": style.MUTED},
                "currentvalue": {"prefix": "from ", "suffix": " UTC", "font": {"size": 12, "color": style.INK}},
            }
        ],
    )


_LOOKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("open, though normally closed", {"symbol": "square", "size": 12, "color": style.PAPER}),
    ("closed, though normally open", {"symbol": "square", "size": 12, "color": style.VERMILION}),
    ("station without supply", {"symbol": "x", "size": 13, "color": style.INK}),
)
for _, _look in _LOOKS:
    _look["line"] = {"color": style.VERMILION if _look["symbol"] == "square" else style.PAPER, "width": 2.4}


def _layers(drawing: Drawing, state: Moment) -> list[dict[str, list[Any]]]:
    """Of each look the places and texts."""

    def out_of_order(*, opened: bool) -> dict[str, list[Any]]:
        found: list[tuple[float, float, Element]] = [
            entry
            for entry in drawing.switches
            if (closed := state.closed.get(entry[2].element_id)) is not None
            and closed is not opened
            and bool(entry[2].normal_open) is not opened
        ]
        word = "open" if opened else "closed"
        return {
            "x": [x for x, _, _ in found],
            "y": [y for _, y, _ in found],
            "text": [f"<b>{label(e.element_id, 60)}</b><br>{word}, out of the ordinary" for _, _, e in found],
        }

    dark = [point for point in drawing.stations if point.element_id in state.dark]
    return [
        out_of_order(opened=True),
        out_of_order(opened=False),
        {
            "x": [point.x for point in dark],
            "y": [point.y for point in dark],
            "text": [f"<b>{label(point.element_id, 60)}</b><br>without supply" for point in dark],
        },
    ]


def _said(state: Moment) -> str:
    """What was operated, for the slider."""
    if not state.operated:
        return "as it was at the start"
    names = ", ".join(label(name, 24) for name in state.operated[:_NAMED])
    more = f" and {len(state.operated) - _NAMED} more" if len(state.operated) > _NAMED else ""
    return f"operated: {names}{more}"
