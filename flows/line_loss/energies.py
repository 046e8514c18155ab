"""Rows of MeterEnergy: what each meter took and gave in each window."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flows.line_loss.restatement import Pairs
from flows.streaming.alignment import Aligned
from flows.streaming.registers import MICRO_WH_PER_KWH, RegisterStore

_TIME = pl.Datetime("us", "UTC")


@dataclass(slots=True)
class Energies:
    """Collects energies, and makes one frame of them."""

    _pairs: list[Pairs] = field(default_factory=list)
    _aligned: list[Aligned] = field(default_factory=list)

    def add(self, pairs: Pairs, aligned: Aligned) -> None:
        """Add rows. What is estimated before a meter's first reading serves the balances; it is no row of its own."""
        if not aligned.started.all():
            some = np.flatnonzero(aligned.started)
            pairs, aligned = pairs.take(some), aligned.take(some)
        if len(pairs):
            self._pairs.append(pairs)
            self._aligned.append(aligned)

    def frame(self, store: RegisterStore, width: int) -> pl.DataFrame:
        """The rows in the order in which they were added.

        Args:
            store: knows the meters.
            width: of windows, µs.
        """
        if not self._pairs:
            return pl.DataFrame()
        columns = ("imported", "exported", "measured", "facts")
        imported, exported, measured, facts = (
            np.concatenate([getattr(aligned, name) for aligned in self._aligned]) for name in columns
        )
        begin = np.concatenate([pairs.window for pairs in self._pairs]) * width
        return pl.DataFrame(
            [
                store.names(np.concatenate([pairs.row for pairs in self._pairs])).alias("meter_id"),
                pl.Series("window_start", begin),
                pl.Series("window_end", begin + width),
                pl.Series("import_kwh", imported / MICRO_WH_PER_KWH),
                pl.Series("export_kwh", exported / MICRO_WH_PER_KWH),
                pl.Series("measured_share", measured / width),
                pl.Series("revision", facts),
            ]
        ).select(
            "meter_id",
            pl.col("window_start", "window_end").cast(_TIME),
            "import_kwh",
            "export_kwh",
            "measured_share",
            pl.lit(None, pl.Float64).alias("clock_offset_seconds"),
            "revision",
        )
