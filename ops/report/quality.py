"""How good the results are: what is missing, what was refused, what was restated, who is suspected."""

from __future__ import annotations

import polars as pl

from flows.streaming.network import TRANSFORMER
from ops.report.data import LATE
from ops.report.totals import Span, step_of

SUSPECT_SCHEMA = pl.Schema(
    {
        "meter_id": pl.String(),
        "element_id": pl.String(),
        "score": pl.Float64(),
        "missing_kwh": pl.Float64(),
        "windows": pl.UInt32(),
    }
)


def suspects(losses: pl.DataFrame) -> pl.DataFrame:
    """The meters that are suspected, the surest first.

    A meter is named by the smallest element that names it: what is missing in an area is missing in its feeder, too.

    Returns:
        Columns meter_id, element_id, score (the highest), missing_kwh (over all windows), windows (that name it).
    """
    named = losses.filter(pl.col("suspects").list.len() > 0)
    if named.is_empty():
        return SUSPECT_SCHEMA.to_frame()
    rows = (
        named.select("element_id", "element_kind", "expected_meters", "suspects")
        .explode("suspects")
        .unnest("suspects")
        .group_by("meter_id", "element_id")
        .agg(
            pl.col("score").max(),
            pl.col("missing_kwh").sum(),
            pl.len().alias("windows"),
            (pl.col("element_kind") != TRANSFORMER).first().alias("_wide"),
            pl.col("expected_meters").max().alias("_size"),
        )
    )
    return (
        rows.sort("_wide", "_size", "element_id")
        .unique("meter_id", keep="first", maintain_order=True)
        .sort(["score", "missing_kwh", "meter_id"], descending=[True, True, False])
        .select(SUSPECT_SCHEMA.names())
        .cast(SUSPECT_SCHEMA)
    )


def letters_per_step(letters: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Refused and late messages by error class and step; ``step`` is null where no time can be believed."""
    inside = pl.col("time").is_between(span.start, span.end)
    return (
        letters.with_columns(pl.when(inside).then(pl.col("time")).alias("time"))
        .group_by("error_class", step_of("time", span))
        .agg(pl.len().alias("messages"))
        .sort("error_class", "step")
    )


def letter_classes(letters: pl.DataFrame) -> pl.DataFrame:
    """Refused and late messages by class, the most frequent first, each with one example of what was wrong."""
    return (
        letters.group_by("topic", "stage", "error_class")
        .agg(
            pl.len().alias("messages"), pl.col("error_message").sort_by("partition", "offset").first().alias("example")
        )
        .sort(["messages", "topic", "stage", "error_class"], descending=[True, False, False, False])
    )


def late(letters: pl.DataFrame) -> int:
    """How many readings came beyond the allowed lateness; all other letters were refused."""
    return letters.filter(pl.col("error_class") == LATE).height


def status_counts(rows: pl.DataFrame) -> pl.DataFrame:
    """How many results have which status, per kind of element."""
    return rows.group_by("element_kind", "status").agg(pl.len().alias("results")).sort("element_kind", "status")


def restated_per_step(restated: pl.DataFrame, span: Span) -> pl.DataFrame:
    """Per step of the windows: results restated, and how far their losses moved from first to last revision.

    Returns:
        Columns step, results, moved_kwh (sum of the sizes), largest_kwh (the largest size).
    """
    change = (pl.col("last_kwh") - pl.col("first_kwh")).abs()
    return (
        restated.group_by(step_of("window_start", span))
        .agg(pl.len().alias("results"), change.sum().alias("moved_kwh"), change.max().alias("largest_kwh"))
        .sort("step")
    )
