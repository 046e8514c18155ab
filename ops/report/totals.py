"""Losses summed over windows, per element and per stretch of time.

Over windows ``systematic_uncertainty_kwh`` adds up, for it is the same error again and again; what else there is to
``uncertainty_kwh`` adds in squares. Over elements all of it adds in squares: other elements have other head meters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from flows.streaming.network import REGION, TRANSFORMER

LEVELS = (REGION, "Substation", "BusbarSection", "Feeder", TRANSFORMER)
"""Kinds of elements with a balance, from the whole to its parts."""

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MOST_HOURS, _MOST_DAYS = 31 * 24, 800  # beyond, a picture has more columns than a screen has pixels


@dataclass(frozen=True)
class Span:
    """The time that the results cover, and in which steps it is shown.

    Attributes:
        start: begin of the first window.
        end: end of the last one.
        window: length of a window.
        step: length of a step.
        step_name: hour, day or week; window where that is the step.
    """

    start: datetime
    end: datetime
    window: timedelta
    step: timedelta
    step_name: str

    @property
    def every(self) -> str:
        """The step as Polars writes it."""
        return f"{self.step // timedelta(microseconds=1)}us" if self.step_name != "week" else "1w"


def span_of(losses: pl.DataFrame) -> Span | None:
    """What the results cover; None where there are none."""
    if losses.is_empty():
        return None
    start, end, window = losses.select(
        pl.col("window_start").min(),
        pl.col("window_end").max().alias("end"),
        (pl.col("window_end") - pl.col("window_start")).median().alias("window"),
    ).row(0)
    length = end - start
    step, name = timedelta(days=7), "week"
    if length <= _MOST_HOURS * _HOUR:
        step, name = _HOUR, "hour"
    elif length <= _MOST_DAYS * _DAY:
        step, name = _DAY, "day"
    if window > step:
        step, name = window, "window"
    return Span(start, end, window, step, name)


def summed(losses: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Losses of elements over windows.

    Args:
        losses: rows as in ``data.Results.losses``.
        by: what is not summed over; the element is always one of them.

    Returns:
        A row for each: energy_in_kwh, energy_out_kwh, loss_kwh, loss_percent, uncertainty_kwh, windows, completeness,
        expected_meters, alarms; ``expected_kwh`` and ``unaccounted_kwh`` (over the windows where the expected loss is
        known; null where it never is), ``simulated`` whether the expected is the simulation's; ``true_kwh``, loss in
        the simulated grid, energy that is not registered included (null unless known of all windows).
    """
    # One origin for all: what the flow expects and what was simulated must not mix within a picture.
    simulated = losses.get_column("technical_loss_kwh").is_null().all()
    technical = pl.col("simulated_technical_kwh" if simulated else "technical_loss_kwh")
    true = pl.col("simulated_technical_kwh") + pl.col("simulated_unregistered_kwh")
    systematic = pl.col("systematic_uncertainty_kwh")
    known = technical.is_not_null()
    return (
        losses.group_by("element_id", *by)
        .agg(
            pl.col("element_kind").last(),
            pl.col("energy_in_kwh", "energy_out_kwh", "loss_kwh").sum(),
            systematic.sum().alias("_systematic"),
            (pl.col("uncertainty_kwh").pow(2) - systematic.pow(2)).clip(lower_bound=0).sum().alias("_rest"),
            pl.len().alias("windows"),
            pl.col("completeness").mean(),
            pl.col("expected_meters").max(),
            (pl.col("alarm") != "NONE").sum().alias("alarms"),
            _or_null(technical.sum(), known.any()).alias("expected_kwh"),
            _or_null((pl.col("loss_kwh") - technical).sum(), known.any()).alias("unaccounted_kwh"),
            _or_null(true.sum(), true.is_not_null().all()).alias("true_kwh"),
        )
        .with_columns(
            _percent().alias("loss_percent"),
            (pl.col("_systematic").pow(2) + pl.col("_rest")).sqrt().alias("uncertainty_kwh"),
            pl.lit(simulated).alias("simulated"),
        )
        .drop("_systematic", "_rest")
        .sort("element_id", *by)
    )


def per_element(losses: pl.DataFrame) -> pl.DataFrame:
    """Over all windows: one row per element."""
    return summed(losses, [])


def per_step(losses: pl.DataFrame, span: Span) -> pl.DataFrame:
    """One row per element and step of time, which is the column ``step``."""
    return summed(losses.with_columns(step_of("window_start", span)), ["step"])


def step_of(time: str, span: Span) -> pl.Expr:
    """The begin of the step that a time lies in, as the column ``step``."""
    return pl.col(time).dt.truncate(span.every).alias("step")


def every_step(rows: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Rows of one element with a row for each step from the first to the last, of nulls where there is no result.

    So that a line breaks there instead of bridging it.
    """
    first, last = rows.select(pl.col("step").min(), pl.col("step").max().alias("last")).row(0)
    axis = pl.datetime_range(first, last, span.every, eager=True).alias("step")
    return axis.to_frame().join(rows.sort("step"), on="step", how="left", maintain_order="left")


def together(sums: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Several elements as one: their sums, the uncertainties in squares.

    Args:
        sums: rows of ``summed``.
        by: what is not summed over; may be empty.
    """
    nullable = ("expected_kwh", "unaccounted_kwh", "true_kwh")
    grouped = sums.group_by(by, maintain_order=True) if by else sums.group_by(pl.lit(0).alias("_all"))
    return (
        grouped.agg(
            pl.col("energy_in_kwh", "energy_out_kwh", "loss_kwh", "windows", "alarms").sum(),
            pl.col("uncertainty_kwh").pow(2).sum().sqrt(),
            ((pl.col("completeness") * pl.col("expected_meters")).sum() / pl.col("expected_meters").sum()).alias(
                "completeness"
            ),
            pl.col("expected_meters").sum(),
            *(_or_null(pl.col(name).sum(), pl.col(name).is_not_null().all()).alias(name) for name in nullable),
            pl.col("simulated").any(),
        )
        .with_columns(_percent().alias("loss_percent"))
        .select(pl.exclude("^_all$"))
    )


def topmost(elements: pl.DataFrame) -> pl.DataFrame:
    """Of rows with ``element_kind`` those of the highest level that there is."""
    kinds = set(elements.get_column("element_kind"))
    top = next((kind for kind in LEVELS if kind in kinds), None)
    return elements.filter(pl.col("element_kind") == top) if top else elements


def areas_of(losses: pl.DataFrame, transformers: frozenset[str]) -> pl.DataFrame:
    """The rows of transformer areas.

    Args:
        losses: rows with ``element_id`` and ``element_kind``.
        transformers: those that supply customers, where that is known; else every transformer counts.
    """
    rows = losses.filter(pl.col("element_kind") == TRANSFORMER)
    known = rows.filter(pl.col("element_id").is_in(list(transformers)))
    return rows if known.is_empty() else known


def _percent() -> pl.Expr:
    return pl.when(pl.col("energy_in_kwh") > 0).then(100 * pl.col("loss_kwh") / pl.col("energy_in_kwh"))


def _or_null(value: pl.Expr, condition: pl.Expr) -> pl.Expr:
    """The value where the condition holds; Polars' sum of nothing is zero."""
    return pl.when(condition).then(value)
