"""Two areas between which meters moved: their losses as they are, and without the move."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from flows.topology.changes import MOVED
from ops.report import style
from ops.report.figures_losses import along, band
from ops.report.moved import Pair
from ops.report.style import figure, floats, label
from ops.report.totals import Span


def moved(pair: Pair, span: Span) -> go.Figure:
    """Above the area that they left, below that where they are; a line where each moved.

    Args:
        pair: the areas.
        span: what the results cover.
    """
    traces: list[Any] = []
    for number, (area, rows) in enumerate(pair.steps.items(), 1):
        if not rows.height:
            continue
        x, middles = along(rows, span)
        axis = {} if number == 1 else {"yaxis": "y2"}
        loss, margin = floats(rows["loss_kwh"]), floats(rows["uncertainty_kwh"])
        traces.append(band(middles, loss - margin, loss + margin).update(**axis, showlegend=number == 1))
        for name, values, look in (
            ("loss", loss, {"color": style.BLUE, "width": 1.8}),
            (
                "without the move",
                floats(rows["unmoved_kwh"]),
                {"color": style.VERMILION, "width": 1.6, "dash": "dot"},
            ),
        ):
            told = f"{label(area)}, {name} <b>%{{y:.3f}} kWh</b><extra></extra>"
            traces.append(
                go.Scatter(
                    name=name,
                    legendgroup=name,
                    showlegend=number == 1,
                    y=values,
                    line=look,
                    hovertemplate=told,
                    **axis,
                    **x,
                )
            )
    times = [row["effective_time"] for row in pair.moves.iter_rows(named=True) if row["kind"] == MOVED]
    per = f"kWh per {span.step_name}"
    return figure(
        traces,
        height=460,
        hovermode="x unified",
        hoversubplots="axis",
        margin={"l": 70, "r": 20, "t": 60, "b": 44},
        xaxis={"type": "date", "anchor": "y2"},
        yaxis={"domain": [0.55, 1], "title": {"text": f"{label(pair.previous, 20)} /<br>{per}"}, "zeroline": True},
        yaxis2={
            "domain": [0, 0.45],
            "title": {"text": f"{label(pair.current, 20)} /<br>{per}"},
            "zeroline": True,
            "gridcolor": style.RULE,
        },
        shapes=[
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": time,
                "x1": time,
                "y0": 0,
                "y1": 1,
                "line": {"color": style.MUTED, "width": 1, "dash": "dash"},
            }
            for time in sorted(set(times))
        ],
    )
