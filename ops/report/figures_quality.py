"""What is missing, refused or restated, and what was injected, over time."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.data import LATE
from ops.report.style import energy_unit, figure, floats, label, times
from ops.report.totals import LEVELS, Span

_CLASS_COLORS = (style.BLUE, style.PURPLE, style.GREEN, style.SKY, style.VERMILION, style.INK)
_STATUS_COLORS = {"COMPLETE": style.BLUE, "PROVISIONAL": style.ORANGE, "INCOMPLETE": style.GREY}


def letters_over_time(steps: pl.DataFrame, span: Span) -> go.Figure:
    """Readings that came too late or were refused, by class.

    Args:
        steps: of ``quality.letters_per_step``, those with a step.
        span: what the results cover.
    """
    order = steps.group_by("error_class").agg(pl.col("messages").sum()).sort("messages", descending=True)
    classes = order.get_column("error_class").to_list()
    colors = dict(zip((name for name in classes if name != LATE), _CLASS_COLORS, strict=False)) | {LATE: style.ORANGE}
    traces = [
        go.Bar(
            name=label(name, 40),
            x=times(rows.get_column("step")),
            y=rows.get_column("messages").to_list(),
            width=span.step.total_seconds() * 1000,
            offset=0,
            marker={"color": colors.get(name, style.GREY), "line": {"width": 0}},
            hovertemplate="%{x} UTC<br><b>%{y:,}</b> %{fullData.name}<extra></extra>",
        )
        for name in classes
        for rows in (steps.filter(pl.col("error_class") == name),)
    ]
    return _bars(traces, span, f"messages per {span.step_name}", barmode="stack", legend=len(classes) > 0)


def status_bars(counts: pl.DataFrame) -> go.Figure:
    """How many results of each kind of element are complete, provisional or incomplete."""
    there = set(counts.get_column("element_kind"))
    kinds = [*sorted(there - set(LEVELS)), *(kind for kind in reversed(LEVELS) if kind in there)]
    share = counts.with_columns((100 * pl.col("results") / pl.col("results").sum().over("element_kind")).alias("share"))
    traces = []
    for status, color in _STATUS_COLORS.items():
        rows = share.filter(pl.col("status") == status)
        if rows.height:
            traces.append(
                go.Bar(
                    name=status.capitalize(),
                    y=[label(kind, 30) for kind in rows.get_column("element_kind")],
                    x=floats(rows.get_column("share")),
                    orientation="h",
                    marker={"color": color},
                    customdata=rows.get_column("results").to_list(),
                    hovertemplate=f"<b>%{{y}}</b><br>{status}: %{{customdata:,}} results, %{{x:.1f}} %<extra></extra>",
                )
            )
    return figure(
        traces,
        height=80 + 34 * len(kinds),
        barmode="stack",
        bargap=0.3,
        margin={"l": 150, "r": 20, "t": 34, "b": 36},
        legend={"traceorder": "normal"},
        xaxis={"range": [0, 100], "ticksuffix": " %"},
        yaxis={"categoryorder": "array", "categoryarray": [label(kind, 30) for kind in kinds], "showgrid": False},
    )


def restated_over_time(steps: pl.DataFrame, span: Span) -> go.Figure:
    """How many results were restated, and how far their losses moved.

    Args:
        steps: of ``quality.restated_per_step``.
        span: what the results cover.
    """
    factor, unit = energy_unit(float(steps.get_column("moved_kwh").max() or 0.0))  # type: ignore[arg-type]
    x = times(steps.get_column("step"))
    shared: dict[str, Any] = {"x": x, "width": span.step.total_seconds() * 1000, "offset": 0}
    traces = [
        go.Bar(
            name="results restated",
            y=steps.get_column("results").to_list(),
            marker={"color": style.BLUE},
            hovertemplate="%{x} UTC<br><b>%{y:,}</b> results restated<extra></extra>",
            **shared,
        ),
        go.Bar(
            name="change of loss, sum of sizes",
            y=floats(steps.get_column("moved_kwh") / factor),
            yaxis="y2",
            marker={"color": style.ORANGE},
            customdata=floats(steps.get_column("largest_kwh") / factor),
            hovertemplate=f"%{{x}} UTC<br>moved by <b>%{{y:.3f}} {unit}</b> in all"
            f"<br>one result by up to %{{customdata:.3f}} {unit}<extra></extra>",
            **shared,
        ),
    ]
    made = _bars(traces, span, "results", barmode="overlay", legend=True, height=340)
    made.update_layout(
        yaxis={"domain": [0.55, 1]},
        yaxis2={"domain": [0, 0.43], "title": {"text": f"change / {unit}"}, "gridcolor": style.RULE},
        xaxis={"anchor": "y2"},
    )
    return made


def events_over_time(events: pl.DataFrame, span: Span | None) -> go.Figure:
    """When what was injected: a dot where it begins, a line as long as it lasts."""
    kinds = events.group_by("kind").agg(pl.col("start").min()).sort("start", "kind").get_column("kind").to_list()
    last = max(events.get_column("start").max(), span.end) if span else events.get_column("start").max()  # type: ignore[type-var]
    traces = []
    for kind in kinds:
        rows = events.filter(pl.col("kind") == kind).sort("start", "element_id").head(2000)
        begins = times(rows.get_column("start"))
        ends = times(rows.get_column("end").fill_null(pl.lit(last)))
        name = label(kind, 40)
        path = [stop for begin, end in zip(begins, ends, strict=True) for stop in (begin, end, None)]
        line = {"color": style.VERMILION, "width": 5}
        look: dict[str, Any] = {"y": [name] * len(path), "mode": "lines", "opacity": 0.3, "hoverinfo": "skip"}
        traces.append(go.Scatter(x=path, line=line, showlegend=False, **look))
        traces.append(
            go.Scatter(
                x=begins,
                y=[name] * len(begins),
                mode="markers",
                marker={"color": style.VERMILION, "size": 8, "line": {"color": style.PAPER, "width": 1}},
                text=[label(element, 60) for element in rows.get_column("element_id")],
                hovertemplate="<b>%{y}</b><br>%{text}<br>from %{x} UTC<extra></extra>",
                showlegend=False,
            )
        )
    return figure(
        traces,
        height=70 + 24 * len(kinds),
        margin={"l": 190, "r": 20, "t": 20, "b": 44},
        hovermode="closest",
        xaxis={"type": "date", **_range(span)},
        yaxis={"type": "category", "range": [len(kinds) - 0.5, -0.5], "automargin": True},
    )


def _bars(traces: list[go.Bar], span: Span, title: str, *, barmode: str, legend: bool, height: int = 260) -> go.Figure:
    return figure(
        traces,
        height=height,
        barmode=barmode,
        margin={"l": 70, "r": 20, "t": 34, "b": 44},
        showlegend=legend,
        xaxis={"type": "date", **_range(span)},
        yaxis={"title": {"text": title}, "rangemode": "tozero"},
    )


def _range(span: Span | None) -> dict[str, Any]:
    return {} if span is None else {"range": times(pl.Series([span.start, span.end]))}
