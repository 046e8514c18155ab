"""What was found of the IEDs of a simulated grid, beside what was injected into them."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

_SHOWN_BY: dict[str, tuple[str, ...]] = {
    "IED_SILENCE": ("SILENCE", "COMMON_CAUSE"),
    "IED_RESTART": ("SILENCE", "RESTARTED"),
    "IED_TIME_LOSS": ("NOT_SYNCHRONIZED", "CLOCK_FAILURE", "CLOCK_OFFSET"),
    "IED_FALSE_PUBLISHER": ("RIVAL_PUBLISHER", "FOREIGN_ADDRESS"),
    "IED_CONFIG_CHANGE": ("CONFIGURATION_CHANGED",),
    "IED_OUTAGE": ("COMMON_CAUSE",),
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "silence": ("SILENCE", "COMMON_CAUSE"),
    "publisher": (
        "CHANGE_WITHOUT_STATE",
        "FLOODING",
        "FOREIGN_ADDRESS",
        "REPEATED",
        "REPLAYED",
        "REPORT_GAP",
        "RESTARTED",
        "RETRANSMISSION",
        "RIVAL_PUBLISHER",
        "SEQUENCE_GAP",
        "SEQUENCE_JUMP",
        "STATE_WITHOUT_CHANGE",
        "TIME_ALLOWED_TO_LIVE",
        "TIME_WITHOUT_STATE",
        "UNREPEATED",
    ),
    "configuration": ("CONFIGURATION_CHANGED", "ENTRIES_MISSING", "NEEDS_COMMISSIONING", "SIMULATION"),
    "time": ("CLOCK_FAILURE", "CLOCK_OFFSET", "DELAYED", "NOT_SYNCHRONIZED"),
    "health": (
        "BEH",
        "BUFFER_OVERFLOW",
        "HEALTH_ALARM",
        "HEALTH_WARNING",
        "PHY_HEALTH_ALARM",
        "PHY_HEALTH_WARNING",
    ),
    "values": (
        "BREAKER_CONTRADICTED",
        "FROZEN",
        "LONE_EVENT",
        "OUT_OF_RANGE",
        "OVERCURRENT_WITHOUT_TRIP",
        "PICKUP_WITHOUT_TRIP",
        "TRIP_WITHOUT_PICKUP",
    ),
}
"""The rules by what they watch."""
_FAMILY_OF = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}

# What is told by messages comes with the first one after the fault; so long after its end it still belongs to it.
_AFTER = timedelta(minutes=3)
_BEFORE = timedelta(minutes=2)  # a silence begins with the last message


def family_of(kind: str) -> str:
    """What the rule of an anomaly watches; of what is injected, what the rule does that shows it."""
    return _FAMILY_OF.get(_SHOWN_BY.get(kind, (kind,))[0], "other")


def injected_ieds(events: pl.DataFrame) -> pl.DataFrame:
    """The injected events that concern IEDs."""
    return events.filter(pl.col("kind").is_in(list(_SHOWN_BY)))


def matched(events: pl.DataFrame, anomalies: pl.DataFrame) -> pl.DataFrame:
    """Each injected event with how long after it the first anomaly was raised that shows it.

    Args:
        events: ``EVENT_SCHEMA``.
        anomalies: columns of IedAnomaly, one row each.

    Returns:
        The events of IEDs with ``raised`` (when; null: never).
    """
    mine = injected_ieds(events).with_row_index("_event")
    kinds = pl.DataFrame(
        [(kind, shown) for kind, several in _SHOWN_BY.items() for shown in several], ["kind", "shown"], orient="row"
    )
    pairs = mine.join(kinds, on="kind").join(
        anomalies.select("ied_id", "detected_time", shown="kind"),
        left_on=["element_id", "shown"],
        right_on=["ied_id", "shown"],
    )
    end = pl.coalesce("end", "start") + _AFTER
    first = (
        pairs.filter(pl.col("detected_time").is_between(pl.col("start"), end))
        .group_by("_event")
        .agg(pl.col("detected_time").min().alias("raised"))
    )
    return mine.join(first, on="_event", how="left").drop("_event")


def unexplained(events: pl.DataFrame, anomalies: pl.DataFrame) -> pl.DataFrame:
    """The anomalies that lie near no injected event of their device or its substation."""
    spans = injected_ieds(events).select(
        "element_id", since=pl.col("start") - _BEFORE, until=pl.coalesce("end", "start") + _AFTER
    )
    near = anomalies.join(spans, how="cross").filter(
        pl.col("ied_id").str.starts_with(pl.col("element_id"))
        & (pl.col("start_time") <= pl.col("until"))
        & (pl.coalesce("end_time", "updated_time") >= pl.col("since"))
    )
    return anomalies.join(near, on="anomaly_id", how="anti")
