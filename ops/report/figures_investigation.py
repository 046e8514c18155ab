"""One area as an engineer looks into it: its loss, what is not accounted for, and the profiles of its suspects."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.figures_losses import along, band, expected_label
from ops.report.investigation import Case
from ops.report.style import figure, floats
from ops.report.totals import Span

_COLORS = (style.ORANGE, style.PURPLE, style.GREEN, style.SKY)
_ALARMS = {"HIGH_LOSS": (style.VERMILION, "alarm HIGH_LOSS"), "NEGATIVE_LOSS": (style.BLUE, "alarm NEGATIVE_LOSS")}


def investigated(case: Case, span: Span) -> go.Figure:
    """Three pictures over the same time: loss with its band and alarms; the remainder; registered energies.

    Args:
        case: the area.
        span: what the results cover.
    """
    x, middles = along(case.steps, span)
    per = f"kWh per {span.step_name}"
    traces = [*_loss(case, middles, x), *_remainder(case, x), *_profiles(case, x)]
    drawn = figure(
        traces,
        height=640,
        barmode="stack",
        bargap=0.0,
        hovermode="x unified",
        hoversubplots="axis",
        margin={"l": 70, "r": 20, "t": 60, "b": 44},
        xaxis={"type": "date", "anchor": "y3"},
        yaxis={"domain": [0.62, 1], "title": {"text": f"loss /<br>{per}"}, "zeroline": True},
        yaxis2={"domain": [0.32, 0.56], "title": {"text": f"not accounted for /<br>{per}"}, "zeroline": True},
        yaxis3={
            "domain": [0, 0.26],
            "title": {"text": f"registered /<br>{per}"},
            "rangemode": "tozero",
            "gridcolor": style.RULE,
        },
    )
    return drawn.update_layout(legend_traceorder="normal")  # stacked bars would reverse it


def _loss(case: Case, middles: Any, x: dict[str, Any]) -> list[Any]:
    rows = case.steps
    loss, margin = floats(rows["loss_kwh"]), floats(rows["uncertainty_kwh"])
    traces: list[Any] = [
        band(middles, loss - margin, loss + margin),
        go.Scatter(
            name="loss",
            y=loss,
            **x,
            line={"color": style.BLUE, "width": 1.8},
            customdata=margin,
            hovertemplate="loss <b>%{y:.3f} ± %{customdata:.3f} kWh</b><extra></extra>",
        ),
    ]
    if rows["expected_kwh"].is_not_null().any():
        name = expected_label(simulated=bool(rows["simulated"].any()))
        look = {"color": style.VERMILION, "width": 1.4, "dash": "dash"}
        hover = f"{name} %{{y:.3f}} kWh<extra></extra>"
        traces.append(go.Scatter(name=name, y=floats(rows["expected_kwh"]), line=look, hovertemplate=hover, **x))
    top = float(np.nanmax(loss + margin, initial=0.0))
    for kind, (color, name) in _ALARMS.items():
        raised = rows["step"].is_in(case.alarms.filter(pl.col("alarm") == kind)["step"].implode()).to_numpy()
        if raised.any():
            marker = {"color": color, "symbol": "square", "size": 6}
            y = np.where(raised, top, np.nan)
            traces.append(go.Scatter(name=name, y=y, mode="markers", marker=marker, hoverinfo="skip", **x))
    return traces


def _remainder(case: Case, x: dict[str, Any]) -> list[Any]:
    rows = case.steps
    traces: list[Any] = []
    for (meter, score), color in zip(case.suspects, _COLORS, strict=False):
        missing = _along(rows, case.missing.filter(pl.col("meter_id") == meter), "missing_kwh")
        name = f"missing at {meter} (score {score:.2f})"
        hover = f"{name} %{{y:.3f}} kWh<extra></extra>"
        traces.append(go.Bar(name=name, y=missing, marker={"color": color}, yaxis="y2", hovertemplate=hover, **x))
    if rows["unaccounted_kwh"].is_not_null().any():
        line = go.Scatter(
            name="not accounted for",
            y=floats(rows["unaccounted_kwh"]),
            yaxis="y2",
            line={"color": style.INK, "width": 1.3},
            hovertemplate="not accounted for <b>%{y:.3f} kWh</b><extra></extra>",
            **x,
        )
        traces.append(line)
    return traces


def _profiles(case: Case, x: dict[str, Any]) -> list[Any]:
    traces: list[Any] = []
    for (meter, _), color in zip(case.suspects, _COLORS, strict=False):
        own = case.profiles.filter(pl.col("meter_id") == meter)
        if own.is_empty():
            continue
        name = f"registered by {meter}"
        traces.append(
            go.Scatter(
                name=name,
                y=_along(case.steps, own, "kwh"),
                yaxis="y3",
                line={"color": color, "width": 1.5},
                hovertemplate=f"{name} %{{y:.3f}} kWh<extra></extra>",
                **x,
            )
        )
    return traces


def _along(rows: pl.DataFrame, values: pl.DataFrame, name: str) -> Any:
    """Values at the steps of rows, nan where there is none."""
    return floats(rows.select("step").join(values, on="step", how="left", maintain_order="left")[name])
