"""Rows of MeterEnergy: what each meter took and gave in each window."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flows.line_loss.history import EnergyPiece
from flows.line_loss.meters import MeterEnergies
from flows.line_loss.restatement import Pairs
from flows.streaming.registers import MICRO_WH_PER_KWH, RegisterStore

_TIME = pl.Datetime("us", "UTC")


@dataclass(slots=True)
class Energies:
    """Collects energies, and makes one frame of them."""

    _pairs: list[Pairs] = field(default_factory=list)
    _aligned: list[MeterEnergies] = field(default_factory=list)

    def add(self, pairs: Pairs, aligned: MeterEnergies) -> None:
        """Add rows. What is estimated before a meter's first reading serves the balances; it is no row of its own."""
        if not aligned.known.all():
            some = np.flatnonzero(aligned.known)
            pairs, aligned = pairs.take(some), aligned.take(some)
        if len(pairs):
            self._pairs.append(pairs)
            self._aligned.append(aligned)

    def frames(self, store: RegisterStore, width: int) -> list[pl.DataFrame]:
        """The rows in the order in which they were added.

        Args:
            store: knows the meters.
            width: of windows, µs.
        """
        started = []
        for pairs, aligned in zip(self._pairs, self._aligned, strict=True):
            some = slice(None) if aligned.started.all() else np.flatnonzero(aligned.started)
            started.append((pairs if isinstance(some, slice) else pairs.take(some), aligned.take(some)))
        return [_frame(store, width, *one) for one in started if len(one[0])]

    def pieces(self, width: int) -> list[EnergyPiece]:
        """The same for the study of areas, with what is estimated before a meter's first reading."""
        return [EnergyPiece.of(*one, width) for one in zip(self._pairs, self._aligned, strict=True)]


def _frame(store: RegisterStore, width: int, pairs: Pairs, aligned: MeterEnergies) -> pl.DataFrame:
    begin = pairs.window * width
    return pl.DataFrame(
        [
            store.names(pairs.row).alias("meter_id"),
            pl.Series("window_start", begin).cast(_TIME),
            pl.Series("window_end", begin + width).cast(_TIME),
            pl.Series("import_kwh", aligned.imported / MICRO_WH_PER_KWH),
            pl.Series("export_kwh", aligned.exported / MICRO_WH_PER_KWH),
            pl.Series("measured_share", aligned.measured / width),
            pl.Series("clock_offset_seconds", [None], pl.Float64).new_from_index(0, len(begin)),
            pl.Series("revision", aligned.facts),
        ]
    )
