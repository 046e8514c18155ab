"""Which areas are worth a closer look, and what there is to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from ops.report import quality
from ops.report.material import Material
from ops.report.totals import Span, every_step, step_of

MOST_CASES = 12
_MOST_SUSPECTS = 4


@dataclass(frozen=True)
class Case:
    """One area.

    Attributes:
        element: its id.
        steps: rows of ``totals.per_step``, one for each step of time, with nulls where there is no result.
        suspects: meter and its highest score, the surest first.
        missing: what each suspect is estimated not to have registered: meter_id, step, missing_kwh.
        profiles: what each has registered: meter_id, step, kwh.
        alarms: step and alarm, where one was raised.
    """

    element: str
    steps: pl.DataFrame
    suspects: list[tuple[str, float]]
    missing: pl.DataFrame
    profiles: pl.DataFrame
    alarms: pl.DataFrame


def cases(of: Material, span: Span) -> list[Case]:
    """The areas with most that is missing at suspects', then those with most alarms, then the most significant."""
    named = quality.suspects(of.results.losses)
    at = named.group_by("element_id").agg(pl.col("missing_kwh").sum())
    significance = (pl.col("unaccounted_kwh").abs() / pl.col("uncertainty_kwh").clip(lower_bound=1e-9)).fill_null(0.0)
    ranked = of.areas.join(at, on="element_id", how="left").sort(
        pl.col("missing_kwh").fill_null(0.0), "alarms", significance, "element_id", descending=[True, True, True, False]
    )
    worth = ranked.filter((pl.col("missing_kwh") > 0) | (pl.col("alarms") > 0) | (significance > 1))
    chosen = worth if worth.height else ranked.head(1)
    return [_case(of, span, element, named) for element in chosen["element_id"].head(MOST_CASES)]


def _case(of: Material, span: Span, element: str, named: pl.DataFrame) -> Case:
    own = of.results.losses.filter(pl.col("element_id") == element).with_columns(step_of("window_start", span))
    suspects = named.filter(pl.col("element_id") == element).head(_MOST_SUSPECTS)
    meters = suspects["meter_id"].implode()
    missing = (
        own.filter(pl.col("suspects").list.len() > 0)
        .select("step", "suspects")
        .explode("suspects")
        .unnest("suspects")
        .filter(pl.col("meter_id").is_in(meters))
        .group_by("meter_id", "step")
        .agg(pl.col("missing_kwh").sum())
    )
    profiles = (
        of.results.profiles.filter(pl.col("meter_id").is_in(meters))
        .group_by("meter_id", step_of("window_start", span))
        .agg(pl.col("import_kwh").sum().alias("kwh"))
    )
    return Case(
        element,
        every_step(of.steps.filter(pl.col("element_id") == element), span),
        list(suspects.select("meter_id", "score").iter_rows()),
        missing,
        profiles,
        own.filter(pl.col("alarm") != "NONE").select("step", "alarm").unique(),
    )
