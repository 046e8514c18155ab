"""Anomalies of IEDs on a timeline, beside what was injected."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.style import figure, label

_COLORS = {"INFO": style.SKY, "WARNING": style.ORANGE, "ALARM": style.VERMILION}  # the gravest is drawn last, on top
_ABOVE, _BELOW = 0.18, -0.18


def timeline(anomalies: pl.DataFrame, injected: pl.DataFrame) -> go.Figure:
    """A row per device: what was found as lines above, what was injected as grey bars below.

    Args:
        anomalies: columns of IedAnomaly, one row each.
        injected: events of IEDs, ``EVENT_SCHEMA``.
    """
    devices = sorted({*anomalies["ied_id"], *injected["element_id"]}, reverse=True)
    place = {name: number for number, name in enumerate(devices)}
    traces: list[Any] = []
    if injected.height:
        traces.append(_spans("injected", _injected_parts(injected, place), style.GREY, 7))
    for severity, color in _COLORS.items():
        rows = anomalies.filter(pl.col("severity") == severity)
        if rows.height:
            traces.append(_spans(severity.capitalize(), _found_parts(rows, place), color, 5))
    return figure(
        traces,
        height=110 + 30 * len(devices),
        margin={"l": 120, "r": 20, "t": 34, "b": 36},
        xaxis={"type": "date"},
        yaxis={
            "tickvals": list(range(len(devices))),
            "ticktext": [label(name) for name in devices],
            "range": [-0.6, len(devices) - 0.4],
            "showgrid": False,
            "zeroline": False,
        },
    )


Part = tuple[str, str, float, str]


def _injected_parts(injected: pl.DataFrame, place: dict[str, int]) -> list[Part]:
    columns = injected.select("element_id", "kind", "start", pl.coalesce("end", "start"))
    return [
        (
            start.isoformat(),
            end.isoformat(),
            place[name] + _BELOW,
            f"<b>{label(name, 40)}</b><br>injected: {_plain(kind)}",
        )
        for name, kind, start, end in columns.iter_rows()
    ]


def _found_parts(anomalies: pl.DataFrame, place: dict[str, int]) -> list[Part]:
    columns = anomalies.select(
        "ied_id",
        "kind",
        "start_time",
        pl.coalesce("end_time", "updated_time"),
        "detected_time",
        "message",
        "message_count",
    )
    return [
        (
            start.isoformat(),
            end.isoformat(),
            place[name] + _ABOVE,
            f"<b>{label(name, 40)}</b><br>{_plain(kind)}, raised {raised:%H:%M:%S}"
            + (f", {count:,} messages" if count else "")
            + f"<br>{label(message, 110)}",
        )
        for name, kind, start, end, raised, message, count in columns.iter_rows()
    ]


def _spans(name: str, parts: list[Part], color: str, width: int) -> go.Scatter:
    """Lines from begin to end, each with a dot where it begins, so that short ones are seen, too."""
    x: list[str | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    for start, end, height, text in parts:
        x += [start, end, None]
        y += [height, height, None]
        texts += [text, text, None]
    return go.Scatter(
        name=name,
        x=x,
        y=y,
        text=texts,
        mode="lines+markers",
        line={"color": color, "width": width},
        marker={"color": color, "size": width + 1},
        hovertemplate="%{x} UTC<br>%{text}<extra></extra>",
    )


def _plain(kind: str) -> str:
    return kind.removeprefix("IED_").lower().replace("_", " ")
