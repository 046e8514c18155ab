"""How everything looks: colours, numbers with their units, and what all figures share.

The colours are those of Okabe and Ito, which people with any common colour blindness tell apart; the scales run
between blue and brown, or in lightness alone.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import polars as pl

INK, MUTED, RULE, PAPER = "#1c2834", "#5d6b79", "#dfe5ea", "#ffffff"
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"
GREY = "#a9b4be"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"

Scale = list[tuple[float, str]]
LOSS_SCALE: Scale = [
    (0.0, "#08519c"),
    (0.25, "#6baed6"),
    (0.5, "#f6f5f0"),
    (0.65, "#fdc97a"),
    (0.82, "#e0722a"),
    (1.0, "#7f2704"),
]
"""Below zero blue, at zero nearly white, above from yellow to brown."""
SHARE_SCALE: Scale = [(0.0, "#2d1e4f"), (0.5, "#8675b5"), (0.85, "#cfc8e3"), (1.0, "#f4f3f8")]
"""What is complete recedes, what is missing stands out."""

_UNITS = ((1e6, "GWh"), (1e3, "MWh"), (1.0, "kWh"))
_THIN, _MINUS, DASH = "\u2009", "\u2212", "\u2013"


def energy(kwh: float, uncertainty: float | None = None) -> str:
    """An energy in a unit that suits it, with its uncertainty; the last digit shown is the second of that.

    Example:
        >>> energy(12_345.6, 78.9)
        '12.346 ± 0.079 MWh'
    """
    factor, unit = energy_unit(kwh)
    if uncertainty is None:
        return f"{number(kwh / factor)} {unit}"
    digits = _digits(uncertainty / factor)
    return f"{_fixed(kwh / factor, digits)} ± {_fixed(uncertainty / factor, digits)} {unit}"


def energy_unit(kwh: float) -> tuple[float, str]:
    """How many kWh make the unit in which an energy is best shown, and that unit's name."""
    return next(((factor, unit) for factor, unit in _UNITS if abs(kwh) >= 10 * factor), _UNITS[-1])


def number(value: float) -> str:
    """A number with four digits that count, or all before the point; thousands apart."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return _fixed(value, min(max(3 - magnitude, 0), 3))


def percent(value: float | None, uncertainty: float | None = None) -> str:
    """A percentage with its uncertainty; a dash where there is none."""
    if value is None:
        return DASH
    if uncertainty is None:
        return f"{_fixed(value, 2)} %"
    digits = min(_digits(uncertainty), 3)
    return f"{_fixed(value, digits)} ± {_fixed(uncertainty, digits)} %"


def count(value: int) -> str:
    """A whole number, thousands apart."""
    return f"{value:,}".replace(",", _THIN)


def moment(time: datetime) -> str:
    """A time to the minute, UTC."""
    return f"{time:%Y-%m-%d %H:%M}"


def duration(length: timedelta) -> str:
    """A length of time in the largest unit that divides it."""
    seconds = round(length.total_seconds())
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} s" if seconds < 86_400 else f"{seconds / 86_400:.1f} d"


def _fixed(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}".replace(",", _THIN)
    return text.replace("-", _MINUS)


def _digits(uncertainty: float) -> int:
    if not uncertainty > 0:
        return 2
    return min(max(1 - math.floor(math.log10(uncertainty)), 0), 3)


def label(identifier: str, most: int = 22) -> str:
    """An identifier for a figure: what Plotly would take for markup is text, and what is too long is cut."""
    cut = identifier if len(identifier) <= most else f"{identifier[: most - 1]}…"
    return escape(cut)


def floats(column: pl.Series) -> npt.NDArray[np.float32]:
    """A column for a figure: null is NaN, in four bytes a value."""
    return column.cast(pl.Float32).fill_null(float("nan")).to_numpy()


def times(column: pl.Series) -> list[str]:
    """Times for an axis, which Plotly takes without a zone."""
    return column.dt.strftime("%Y-%m-%d %H:%M").to_list()


def color_limit(values: npt.NDArray[np.float32], least: float) -> float:
    """How far a scale reaches on either side of zero: five times the median, so that what is usual is pale."""
    sizes = np.abs(values[np.isfinite(values)])
    return max(5 * float(np.median(sizes)) if sizes.size else 0.0, least)


def figure(traces: list[Any], height: int, **layout: Any) -> go.Figure:
    """A figure in the report's style; ``layout`` goes over it."""
    made = go.Figure(
        traces,
        layout={
            "template": go.layout.Template(),
            "height": height,
            "margin": {"l": 70, "r": 20, "t": 16, "b": 40},
            "font": {"family": FONT, "size": 12, "color": INK},
            "paper_bgcolor": PAPER,
            "plot_bgcolor": PAPER,
            "separators": "." + _THIN,
            "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"size": 12, "color": INK}, "align": "left"},
            "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
        },
    )
    made.update_xaxes(gridcolor=RULE, zerolinecolor=GREY, linecolor=GREY, ticks="outside", tickcolor=RULE)
    made.update_yaxes(gridcolor=RULE, zerolinecolor=GREY, linecolor=GREY)
    made.update_layout(**layout)
    return made


def color_bar(title: str, **more: Any) -> dict[str, Any]:
    """A colour bar at the right of a figure."""
    return {
        "title": {"text": title, "side": "right"},
        "thickness": 12,
        "outlinewidth": 0,
        "len": 1,
        "y": 0.5,
        **more,
    }
