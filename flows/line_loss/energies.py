"""Rows of MeterEnergy: what each meter took and gave in each window."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from flows.line_loss.history import EnergyPiece
from flows.line_loss.meters import Floats, MeterEnergies
from flows.line_loss.restatement import Pairs
from flows.streaming.registers import MICRO_WH_PER_KWH, Ints, RegisterStore

_TIME = pl.Datetime("us", "UTC")


@dataclass(slots=True)
class Energies:
    """Collects energies, and makes one frame of them."""

    _pairs: list[Pairs] = field(default_factory=list)
    _aligned: list[MeterEnergies] = field(default_factory=list)

    def add(self, pairs: Pairs, aligned: MeterEnergies) -> None:
        """Add rows. What is estimated before a meter's first reading serves the balances; it is no row of its own."""
        pairs, aligned = _those(pairs, aligned, aligned.known)
        if len(pairs):
            self._pairs.append(pairs)
            self._aligned.append(aligned)

    def frames(self, store: RegisterStore, width: int) -> list[pl.DataFrame]:
        """The rows in the order in which they were added.

        Args:
            store: knows the meters.
            width: of windows, µs.
        """
        every = zip(self._pairs, self._aligned, strict=True)
        started = [_those(pairs, aligned, aligned.started) for pairs, aligned in every]
        return [_frame(store, width, *one) for one in started if len(one[0])]

    def pieces(self, width: int) -> list[EnergyPiece]:
        """The same for the study of areas, with what is estimated before a meter's first reading."""
        return [EnergyPiece.of(*one, width) for one in zip(self._pairs, self._aligned, strict=True)]


def energy_rows(
    meters: pl.Series,
    windows: Ints,
    width: int,
    *,
    imported: Floats,
    exported: Floats,
    measured_share: Floats,
    offset: pl.Series,
    revision: Ints,
) -> pl.DataFrame:
    """A frame of MeterEnergy; all columns of one length.

    Args:
        meters: ids.
        windows: numbers of the windows.
        width: of windows, µs.
        imported: kWh.
        exported: kWh.
        measured_share: 0..1.
        offset: of the meters' clocks, s, null where none is known.
        revision: of the rows.
    """
    begin = windows * width
    return pl.DataFrame(
        [
            meters.alias("meter_id"),
            pl.Series("window_start", begin).cast(_TIME),
            pl.Series("window_end", begin + width).cast(_TIME),
            pl.Series("import_kwh", imported),
            pl.Series("export_kwh", exported),
            pl.Series("measured_share", measured_share),
            offset.alias("clock_offset_seconds"),
            pl.Series("revision", revision),
        ]
    )


def _those(pairs: Pairs, aligned: MeterEnergies, which: npt.NDArray[np.bool_]) -> tuple[Pairs, MeterEnergies]:
    if which.all():
        return pairs, aligned
    some = np.flatnonzero(which)
    return pairs.take(some), aligned.take(some)


def _frame(store: RegisterStore, width: int, pairs: Pairs, aligned: MeterEnergies) -> pl.DataFrame:
    return energy_rows(
        store.names(pairs.row),
        pairs.window,
        width,
        imported=aligned.imported / MICRO_WH_PER_KWH,
        exported=aligned.exported / MICRO_WH_PER_KWH,
        measured_share=aligned.measured / width,
        offset=pl.Series([None], dtype=pl.Float64).new_from_index(0, len(pairs)),
        revision=aligned.facts,
    )
