"""Heat maps of areas over time: losses, and what is missing of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import polars as pl

from ops.report import style
from ops.report.style import color_bar, color_limit, energy_unit, figure, floats, label, times
from ops.report.totals import Span

MOST_AREAS = 60
"""More rows than this cannot be told apart on a page."""

LEAST_PERCENT = 4.0
"""Losses up to a few percent are usual, and must not look alarming."""

Matrix = npt.NDArray[np.float32]


def worst(totals: pl.DataFrame, column: str, *, descending: bool = True, most: int = MOST_AREAS) -> list[str]:
    """The areas with the highest (or lowest) value of a column, worst first."""
    ordered = totals.sort([column, "element_id"], descending=[descending, False], nulls_last=True)
    return ordered.get_column("element_id").head(most).to_list()


def loss_percent(steps: pl.DataFrame, totals: pl.DataFrame, span: Span) -> go.Figure:
    """Loss in percent of energy in, per area and step."""
    areas = worst(totals, "loss_percent")
    table = _Table(steps, areas, span)
    values = table.of("loss_percent")
    limit = color_limit(values, LEAST_PERCENT)
    return _map(
        table,
        values,
        [table.of("loss_kwh"), table.of("uncertainty_kwh"), table.of("energy_in_kwh")],
        "<b>%{y}</b><br>%{x} UTC<br>loss <b>%{z:.2f} %</b>"
        "<br>%{customdata[0]:.3f} ± %{customdata[1]:.3f} kWh of %{customdata[2]:,.1f} kWh<extra></extra>",
        colorscale=style.LOSS_SCALE,
        zmid=0,
        zmin=-limit,
        zmax=limit,
        colorbar=color_bar("loss / %"),
    )


def loss_energy(steps: pl.DataFrame, totals: pl.DataFrame, span: Span) -> go.Figure:
    """Loss as energy, per area and step."""
    areas = worst(totals, "loss_kwh")
    table = _Table(steps, areas, span)
    largest = color_limit(table.of("loss_kwh"), 0.01)
    factor, unit = energy_unit(largest)
    values = table.of("loss_kwh") / np.float32(factor)
    return _map(
        table,
        values,
        [table.of("loss_percent"), table.of("uncertainty_kwh") / np.float32(factor), table.of("energy_in_kwh")],
        f"<b>%{{y}}</b><br>%{{x}} UTC<br>loss <b>%{{z:.3f}} ± %{{customdata[1]:.3f}} {unit}</b>"
        "<br>%{customdata[0]:.2f} % of %{customdata[2]:,.1f} kWh<extra></extra>",
        colorscale=style.LOSS_SCALE,
        zmid=0,
        zmin=-largest / factor,
        zmax=largest / factor,
        colorbar=color_bar(f"loss / {unit} per {span.step_name}"),
    )


def completeness(steps: pl.DataFrame, totals: pl.DataFrame, span: Span) -> go.Figure:
    """Share of what was to be measured that was, per area and step."""
    table = _Table(steps, worst(totals, "completeness", descending=False), span)
    values = table.of("completeness") * np.float32(100)
    known = values[np.isfinite(values)]
    # A scale from 0 would show nothing where 97 % is bad and 99.9 % is good.
    lowest = float(np.floor(np.quantile(known, 0.01))) if known.size else 0.0
    return _map(
        table,
        values,
        [table.of("expected_meters"), table.of("windows")],
        "<b>%{y}</b><br>%{x} UTC<br><b>%{z:.1f} %</b> measured, of %{customdata[0]:.0f} meters"
        "<br>in %{customdata[1]:.0f} windows<extra></extra>",
        colorscale=style.SHARE_SCALE,
        zmin=min(lowest, 95.0),
        zmax=100,
        colorbar=color_bar("measured / %"),
    )


class _Table:
    """Values of areas over an even row of steps: a gap in time stays a gap."""

    def __init__(self, steps: pl.DataFrame, areas: list[str], span: Span) -> None:
        first, last = steps.select(pl.col("step").min(), pl.col("step").max().alias("last")).row(0)
        axis = pl.datetime_range(first, last, span.every, eager=True).alias("step")
        position = pl.DataFrame({"element_id": areas}).with_row_index("_row")
        columns = axis.to_frame().with_row_index("_column")
        self.areas = areas
        self.axis = axis
        self.step = span.step.total_seconds() * 1000
        self._rows = steps.join(position, on="element_id").join(columns, on="step")
        self._shape = (len(areas), len(axis))

    def of(self, column: str) -> Matrix:
        """A column's values; NaN where there is none."""
        values = np.full(self._shape, np.nan, np.float32)
        at = self._rows.get_column("_row").to_numpy(), self._rows.get_column("_column").to_numpy()
        values[at] = floats(self._rows.get_column(column))
        return values


def _map(table: _Table, values: Matrix, more: list[Matrix], hover: str, **look: object) -> go.Figure:
    areas, columns = values.shape
    names = [label(area, 200) for area in table.areas]
    row = 46 if areas <= 3 else 34 if areas <= 12 else 22 if areas <= 30 else 14
    trace = go.Heatmap(
        x=times(table.axis),
        xperiod=table.step,
        xperiodalignment="middle",
        y=names,
        z=values,
        customdata=np.stack(more, axis=-1),
        hovertemplate=hover,
        hoverongaps=False,
        xgap=1 if columns <= 200 else 0,
        ygap=1,
        **look,
    )
    return figure(
        [trace],
        height=areas * row + 82,
        margin={"l": 90, "r": 20, "t": 30, "b": 40},
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "tickmode": "array",
            "tickvals": names,
            "ticktext": [label(area, 16) for area in table.areas],
            "tickfont": {"size": 12 if row > 14 else 9},
            "showgrid": False,
            "automargin": True,
        },
        xaxis={"showgrid": False, "type": "date"},
        plot_bgcolor="#eceff2",  # nothing was measured: neither good nor bad
    )
