"""Anomalies of IEDs on a timeline, beside what was injected."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.ieds import family_of
from ops.report.style import figure, label

_COLORS = {
    "silence": style.VERMILION,
    "publisher": style.PURPLE,
    "configuration": style.BLUE,
    "time": style.SKY,
    "health": style.ORANGE,
    "values": style.GREEN,
    "other": style.INK,
}
_SIZES = {"INFO": 5, "WARNING": 8, "ALARM": 11}
_ABOVE, _BELOW = 0.18, -0.18


def timeline(anomalies: pl.DataFrame, injected: pl.DataFrame) -> go.Figure:
    """A row per device: what was found above, what was injected below and paler; colours by what is wrong.

    Args:
        anomalies: columns of IedAnomaly, one row each.
        injected: events of IEDs, ``EVENT_SCHEMA``.
    """
    devices = sorted({*anomalies["ied_id"], *injected["element_id"]}, reverse=True)
    place = {name: number for number, name in enumerate(devices)}
    traces: list[Any] = []
    for family, color in _COLORS.items():
        below = _injected_parts(_of_family(injected, family), place)
        above = _found_parts(_of_family(anomalies, family), place)
        if below:
            traces.append(_spans(family, below, color, shown=not above, opacity=0.4))
        if above:
            traces.append(_spans(family, above, color, shown=True))
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


def _of_family(rows: pl.DataFrame, family: str) -> pl.DataFrame:
    kinds = [kind for kind in rows["kind"].unique() if family_of(kind) == family]
    return rows.filter(pl.col("kind").is_in(kinds)).sort("kind")


Part = tuple[str, str, float, str, int]


def _injected_parts(injected: pl.DataFrame, place: dict[str, int]) -> list[Part]:
    columns = injected.select("element_id", "kind", "start", pl.coalesce("end", "start"))
    return [
        (
            start.isoformat(),
            end.isoformat(),
            place[name] + _BELOW,
            f"<b>{label(name, 40)}</b><br>injected: {_plain(kind)}",
            _SIZES["WARNING"],
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
        "severity",
    )
    return [
        (
            start.isoformat(),
            end.isoformat(),
            place[name] + _ABOVE,
            f"<b>{label(name, 40)}</b><br>{severity}: {_plain(kind)}, raised {raised:%H:%M:%S}"
            + (f", {count:,} messages" if count else "")
            + f"<br>{label(message, 110)}",
            _SIZES[severity],
        )
        for name, kind, start, end, raised, message, count, severity in columns.iter_rows()
    ]


def _spans(name: str, parts: list[Part], color: str, *, shown: bool, opacity: float = 1.0) -> go.Scatter:
    """Lines from begin to end, each with a dot where it begins, so that short ones are seen, too."""
    x: list[str | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    sizes: list[int] = []
    for start, end, height, text, size in parts:
        x += [start, end, None]
        y += [height, height, None]
        texts += [text, text, None]
        sizes += [size, size // 2, 0]
    return go.Scatter(
        name=name,
        x=x,
        y=y,
        text=texts,
        mode="lines+markers",
        line={"color": color, "width": 4},
        marker={"color": color, "size": sizes, "opacity": 1, "line": {"width": 0}},
        opacity=opacity,
        legendgroup=name,
        showlegend=shown,
        hovertemplate="%{x} UTC<br>%{text}<extra></extra>",
    )


def _plain(kind: str) -> str:
    return kind.removeprefix("IED_").lower().replace("_", " ")
