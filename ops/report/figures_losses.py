"""Losses as bars per area, and as lines over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.figures_heat import worst
from ops.report.style import energy, energy_unit, figure, floats, label, percent, times
from ops.report.totals import Span, every_step

MOST_BARS = 30


def expected_label(*, simulated: bool) -> str:
    """What the expected loss is called, which must tell who says so."""
    return "expected (technical loss of the simulation)" if simulated else "expected (technical loss)"


def worst_areas(totals: pl.DataFrame, by: str) -> go.Figure:
    """Bars of the areas with the greatest losses: what is to be expected, and what is not accounted for.

    Args:
        totals: losses per area.
        by: the column that says which are the worst.
    """
    areas = worst(totals, by, most=MOST_BARS)
    order = pl.DataFrame({"element_id": areas}).with_row_index("_row")
    rows = totals.join(order, on="element_id").sort("_row")
    sizes = rows.select(pl.max_horizontal("loss_kwh", "expected_kwh").max()).item() or 0.0
    factor, unit = energy_unit(sizes)
    names = [label(area, 200) for area in areas]
    loss = floats(rows.get_column("loss_kwh") / factor)
    margin = floats(rows.get_column("uncertainty_kwh") / factor)
    share = [percent(value) for value in rows.get_column("loss_percent")]
    traces = _bars(rows, names, factor, unit)
    traces.append(
        go.Scatter(
            name="loss, with its 95 % interval",
            x=loss,
            y=names,
            mode="markers",
            marker={"color": style.INK, "size": 7, "symbol": "line-ns-open", "line": {"width": 2}},
            error_x={"array": margin, "color": style.INK, "thickness": 1.2, "width": 4},
            customdata=[
                [energy(row["loss_kwh"], row["uncertainty_kwh"]), text, energy(row["energy_in_kwh"])]
                for row, text in zip(rows.iter_rows(named=True), share, strict=True)
            ],
            hovertemplate="<b>%{y}</b><br>loss <b>%{customdata[0]}</b>"
            "<br>%{customdata[1]} of %{customdata[2]}<extra></extra>",
        )
    )
    # Beyond the whole interval, so that it is never struck through.
    traces.append(
        go.Scatter(
            x=np.maximum(loss + margin, floats(rows.get_column("expected_kwh").fill_null(0.0) / factor)),
            y=names,
            mode="text",
            text=[f"  {text}" for text in share],
            textposition="middle right",
            textfont={"color": style.MUTED, "size": 11},
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    )
    return figure(
        traces,
        height=len(areas) * (24 if len(areas) > 8 else 34) + 100,
        barmode="overlay",
        bargap=0.35,
        margin={"l": 90, "r": 70, "t": 40, "b": 44},
        xaxis={"title": {"text": f"loss / {unit}", "standoff": 6}, "zeroline": True, "zerolinecolor": style.MUTED},
        yaxis={
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [len(areas) - 0.5, -0.5],
            "showgrid": False,
            "automargin": True,
            "tickvals": names,
            "ticktext": [label(area, 16) for area in areas],
        },
    )


def _bars(rows: pl.DataFrame, names: list[str], factor: float, unit: str) -> list[Any]:
    """Bars from zero: the expected, then what goes beyond it, or is short of it."""
    loss = floats(rows.get_column("loss_kwh") / factor)
    expected = rows.get_column("expected_kwh")
    if expected.is_null().all():
        hover = {"hoverinfo": "skip"}
        return [go.Bar(name="loss", x=loss, y=names, orientation="h", marker={"color": style.SKY}, **hover)]
    base = floats(expected / factor)
    beyond = floats(rows.get_column("unaccounted_kwh") / factor)
    simulated = bool(rows.get_column("simulated").any())
    shared: dict[str, Any] = {"y": names, "orientation": "h"}
    first = go.Bar(
        name=expected_label(simulated=simulated),
        x=base,
        marker={"color": style.BLUE},
        hovertemplate=f"<b>%{{y}}</b><br>expected %{{x:.3f}} {unit}<extra></extra>",
        **shared,
    )
    over = go.Bar(
        name="not accounted for",
        base=base,
        x=np.where(beyond > 0, beyond, np.nan),
        marker={"color": style.ORANGE},
        hovertemplate=f"<b>%{{y}}</b><br>not accounted for %{{customdata:.3f}} {unit}<extra></extra>",
        customdata=beyond,
        **shared,
    )
    bars = [first, over]
    if (beyond < 0).any():
        under = go.Bar(
            name="less than expected",
            base=base,
            x=np.where(beyond < 0, beyond, np.nan),
            marker={"color": style.PAPER, "opacity": 0.75, "line": {"color": style.BLUE, "width": 1}},
            hovertemplate=f"<b>%{{y}}</b><br>%{{customdata:.3f}} {unit} less than expected<extra></extra>",
            customdata=-beyond,
            **shared,
        )
        bars.append(under)
    # Windows of which no expectation is known belong to neither part.
    rest = loss - base - beyond
    if np.nanmax(np.abs(rest), initial=0.0) > 0.01 * max(float(np.nanmax(np.abs(loss))), 1e-9):
        unknown = go.Bar(name="in windows without an expectation", base=base + beyond, x=rest, **shared)
        unknown.update(marker={"color": style.GREY}, hoverinfo="skip")
        bars.append(unknown)
    return bars


def over_time(rows: pl.DataFrame, span: Span) -> go.Figure:
    """One element's losses and energy over time.

    Args:
        rows: of ``totals.per_step`` or ``together``: one row per step.
        span: what they cover.
    """
    rows = every_step(rows, span)
    factor, unit = energy_unit(float(rows["loss_kwh"].abs().quantile(0.9) or 0.0))
    energy_factor, energy_name = energy_unit(float(rows["energy_in_kwh"].max() or 0.0))  # type: ignore[arg-type]
    x, middles = along(rows, span)
    loss, margin = floats(rows["loss_kwh"] / factor), floats(rows["uncertainty_kwh"] / factor)
    traces: list[Any] = [
        band(middles, loss - margin, loss + margin),
        go.Scatter(
            name="loss",
            y=loss,
            **x,
            line={"color": style.BLUE, "width": 1.8},
            customdata=np.stack([margin, floats(rows["loss_percent"])], axis=-1),
            hovertemplate=f"loss <b>%{{y:.3f}} ± %{{customdata[0]:.3f}} {unit}</b> (%{{customdata[1]:.2f}} %)"
            "<extra></extra>",
        ),
    ]
    simulated = bool(rows["simulated"].any())
    for column, name, look in (
        ("true_kwh", "true loss, not registered energy included", {"color": style.INK, "width": 1.4, "dash": "dot"}),
        ("expected_kwh", expected_label(simulated=simulated), {"color": style.VERMILION, "width": 1.4, "dash": "dash"}),
    ):
        if rows[column].is_not_null().any():
            hover = f"{name} %{{y:.3f}} {unit}<extra></extra>"
            y = floats(rows[column] / factor)
            traces.append(go.Scatter(name=name, y=y, line=look, hovertemplate=hover, **x))
    traces.append(
        go.Scatter(
            name="energy in",
            **x,
            y=floats(rows["energy_in_kwh"] / energy_factor),
            yaxis="y2",
            fill="tozeroy",
            fillcolor="rgba(93,107,121,.18)",
            line={"color": style.MUTED, "width": 1.2},
            hovertemplate=f"energy in %{{y:.3f}} {energy_name}<extra></extra>",
        )
    )
    per = f"per {span.step_name}"
    return figure(
        traces,
        height=430,
        hovermode="x unified",
        hoversubplots="axis",
        margin={"l": 70, "r": 20, "t": 40, "b": 44},
        xaxis={"type": "date", "anchor": "y2"},
        yaxis={"domain": [0.36, 1], "title": {"text": f"loss / {unit} {per}"}, "range": _reach(loss, margin)},
        yaxis2={
            "domain": [0, 0.28],
            "title": {"text": f"energy in /<br>{energy_name} {per}"},
            "rangemode": "tozero",
            "gridcolor": style.RULE,
        },
    )


def along(rows: pl.DataFrame, span: Span) -> tuple[dict[str, Any], Any]:
    """What places traces along an even row of steps, and the steps' middles, ms.

    The row is said by its first and its step; a period is drawn at its middle, and named by its begin.
    """
    step = span.step.total_seconds() * 1000
    x = {"x0": times(rows["step"][:1])[0], "dx": step, "xperiod": step, "xperiodalignment": "middle"}
    return x, rows["step"].dt.epoch("ms").to_numpy() + step / 2


def band(x: Any, low: Any, high: Any) -> go.Scatter:
    """The interval as one outline for each stretch without a gap."""
    known = np.isfinite(low)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
    across, along = [], []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        across += [x[begin:end], x[begin:end][::-1], [np.nan]]
        along += [low[begin:end], high[begin:end][::-1], [np.nan]]
    return go.Scatter(
        name="95 % interval",
        x=np.concatenate(across),
        y=np.concatenate(along).astype(np.float32),
        fill="toself",
        fillcolor="rgba(86,180,233,.30)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )


def _reach(loss: Any, margin: Any) -> list[float] | None:
    """A range in which all losses lie, and most of their intervals: a few wide ones must not flatten the rest."""
    known = np.isfinite(loss)
    if not known.any():
        return None
    loss, margin = loss[known], margin[known]
    low = min(float(loss.min()), float(np.quantile(loss - margin, 0.15)), 0.0)
    high = max(float(loss.max()), float(np.quantile(loss + margin, 0.85)), 0.0)
    pad = 0.06 * (high - low or 1.0)
    return [low - pad, high + pad]
