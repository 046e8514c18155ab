"""Messages that a shard does not take, as letters for the dead-letter and the late topic."""

from __future__ import annotations

import polars as pl

from connectors.batch import HEADERS, LETTER_SCHEMA, RAW_COLUMNS, Batch

_NONE = pl.DataFrame(schema=LETTER_SCHEMA)


def without_late(
    batch: Batch, frame: pl.DataFrame, limit: int, *, device: str, time: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows from ``limit`` (µs) on, and letters of what a partition that had been idle brings too late.

    Args:
        batch: where they come from.
        frame: the rows.
        limit: µs since 1970.
        device: column that names the device.
        time: column of the event time.
    """
    times = frame.get_column(time).to_physical()
    if times.min() >= limit:  # type: ignore[operator]
        return frame, _NONE
    message = pl.format("field {}: {} is beyond the allowed lateness", pl.lit(time), pl.col(time))
    gone = frame.filter(times < limit)
    return frame.filter(times >= limit), letters_of(
        batch, gone, "event-time", "LateReading", message, device=device, time=time
    )


def letters_of(
    batch: Batch, frame: pl.DataFrame, stage: str, error_class: str, message: pl.Expr, *, device: str, time: str
) -> pl.DataFrame:
    """Letters of rows that left the flow here; key and value where the source kept them."""
    raw = "_value" in frame.columns
    json = pl.struct(pl.col(device).cast(pl.String), pl.exclude("_offset", device, *RAW_COLUMNS))
    return frame.select(
        pl.lit(batch.topic).alias("topic"),
        pl.lit(batch.partition, pl.Int32).alias("partition"),
        pl.col("_offset").alias("offset"),
        pl.lit(stage).alias("stage"),
        pl.lit(error_class).alias("error_class"),
        message.alias("error_message"),
        pl.lit(None, pl.Int64).alias("schema_id"),
        pl.col("_key") if raw else pl.col(device).cast(pl.String).cast(pl.Binary).alias("key"),
        pl.col("_value") if raw else json.struct.json_encode().cast(pl.Binary).alias("value"),
        pl.col("_headers") if raw else pl.lit(None, HEADERS).alias("headers"),
        pl.col(time).cast(LETTER_SCHEMA["time"]).alias("time"),
    ).rename({name: name[1:] for name in RAW_COLUMNS} if raw else {})
