"""What was found of the topology of a simulated grid, beside what was changed in it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

METERS_SHOWN_BY = {
    "METER_TRANSFORMER_CHANGED": "METER_TRANSFORMER_CHANGED",
    "METER_PHASE_CHANGED": "METER_PHASE_CHANGED",
    "WRONG_TRANSFORMER": "RECORD_MISMATCH",
    "WRONG_PHASE": "RECORD_MISMATCH",
}
"""What is done to meters in a simulated grid, and the kind of change that shows it."""

_SHOWN_BY = METERS_SHOWN_BY | {
    "SWITCHING": "SWITCH_OPERATED",
    "DE_ENERGISED": "DE_ENERGISED",
}
_NEAR = timedelta(hours=2)  # effective times that are farther off are of something else


def matched_changes(events: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Each injected change with when it was found.

    Args:
        events: ``EVENT_SCHEMA``.
        changes: columns of TopologyChange, one row each.

    Returns:
        The events of the topology with ``shown`` (the kind of change that shows them), ``found`` (detected_time of the
        first accepted change of the element that is near; null: none) and ``at`` (its effective_time).
    """
    kinds = pl.DataFrame({"kind": list(_SHOWN_BY), "shown": list(_SHOWN_BY.values())})
    mine = events.join(kinds, on="kind").with_row_index("_event")
    accepted = changes.filter(pl.col("state") == "ACCEPTED").select(
        "element_id", "detected_time", "effective_time", shown="kind", now="current"
    )
    pairs = mine.join(accepted, on=["element_id", "shown"])
    near = (pl.col("effective_time") - pl.col("start")).abs() <= _NEAR
    right = pl.col("current").is_null() | (pl.col("shown") == "RECORD_MISMATCH") | (pl.col("current") == pl.col("now"))
    first = (
        pairs.filter((near | (pl.col("shown") == "RECORD_MISMATCH")) & right)
        .sort("detected_time")
        .group_by("_event")
        .agg(found=pl.col("detected_time").first(), at=pl.col("effective_time").first())
    )
    return mine.join(first, on="_event", how="left").sort("_event").drop("_event")


def unexplained_changes(events: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """The accepted changes of usage points to which nothing was done."""
    shown = set(_SHOWN_BY)
    done = events.filter(pl.col("kind").is_in(shown))["element_id"].implode()
    of_meters = pl.col("kind").str.starts_with("METER_") | (pl.col("kind") == "RECORD_MISMATCH")
    return changes.filter(of_meters & (pl.col("state") == "ACCEPTED") & ~pl.col("element_id").is_in(done))
