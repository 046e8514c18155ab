"""Readings that a shard does not take, as letters for the dead-letter and the late topic."""

from __future__ import annotations

import polars as pl

from connectors.batch import HEADERS, LETTER_SCHEMA, RAW_COLUMNS, Batch
from flows.streaming.network import NetworkTable

_NONE = pl.DataFrame(schema=LETTER_SCHEMA)


def without_unknown(batch: Batch, frame: pl.DataFrame, network: NetworkTable) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of meters that the network knows, and letters of the others."""
    meters = frame.get_column("meter_id").cast(pl.String)
    mask = meters.is_in([m for m in meters.unique().to_list() if network.knows_device(m)])
    if mask.all():
        return frame, _NONE
    message = pl.format("meter_id: the network knows no meter '{}'", pl.col("meter_id").cast(pl.String))
    return frame.filter(mask), _letters(batch, frame.filter(~mask), "network", "UnknownMeter", message)


def without_late(batch: Batch, frame: pl.DataFrame, limit: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows from ``limit`` (µs) on, and letters of what a partition that had been idle brings too late."""
    times = frame.get_column("time").to_physical()
    if times.min() >= limit:  # type: ignore[operator]
        return frame, _NONE
    message = pl.format("field time: {} is beyond the allowed lateness", pl.col("time"))
    gone = frame.filter(times < limit)
    return frame.filter(times >= limit), _letters(batch, gone, "event-time", "LateReading", message)


def _letters(batch: Batch, frame: pl.DataFrame, stage: str, error_class: str, message: pl.Expr) -> pl.DataFrame:
    """Letters of rows that left the flow here; key and value where the source kept them."""
    raw = "_value" in frame.columns
    json = pl.struct(pl.col("meter_id").cast(pl.String), pl.exclude("_offset", "meter_id", *RAW_COLUMNS))
    return frame.select(
        pl.lit(batch.topic).alias("topic"),
        pl.lit(batch.partition, pl.Int32).alias("partition"),
        pl.col("_offset").alias("offset"),
        pl.lit(stage).alias("stage"),
        pl.lit(error_class).alias("error_class"),
        message.alias("error_message"),
        pl.lit(None, pl.Int64).alias("schema_id"),
        pl.col("_key") if raw else pl.col("meter_id").cast(pl.String).cast(pl.Binary).alias("key"),
        pl.col("_value") if raw else json.struct.json_encode().cast(pl.Binary).alias("value"),
        pl.col("_headers") if raw else pl.lit(None, HEADERS).alias("headers"),
        pl.col("time").cast(LETTER_SCHEMA["time"]),
    ).rename({name: name[1:] for name in RAW_COLUMNS} if raw else {})
