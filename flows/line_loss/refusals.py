"""Readings of meters that the network does not know, as letters for the dead-letter topic."""

from __future__ import annotations

import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.streaming.letters import letters_of
from flows.streaming.network import NetworkTable

_NONE = pl.DataFrame(schema=LETTER_SCHEMA)


def without_unknown(batch: Batch, frame: pl.DataFrame, network: NetworkTable) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of meters that the network knows, and letters of the others."""
    meters = frame.get_column("meter_id").cast(pl.String)
    mask = meters.is_in([m for m in meters.unique().to_list() if network.knows_device(m)])
    if mask.all():
        return frame, _NONE
    message = pl.format("meter_id: the network knows no meter '{}'", pl.col("meter_id").cast(pl.String))
    return frame.filter(mask), letters_of(
        batch, frame.filter(~mask), "network", "UnknownMeter", message, device="meter_id", time="time"
    )
