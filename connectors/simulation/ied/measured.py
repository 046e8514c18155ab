"""Measurements in the reports: what held when each was made, as text."""

from __future__ import annotations

import numpy as np
import polars as pl

from connectors.simulation.grid.customers import Ints
from connectors.simulation.ied.description import MEASURANDS
from connectors.simulation.ied.table import Spans
from schemas import contract

DATA = contract("grid.ied.v1").polars["data"]
_COLUMNS = [column for column, _, _ in MEASURANDS]


class Measured:
    """The measurements that may still be reported.

    Args:
        ieds: ids of the devices.
        origin: a time before all, µs since 1970.
    """

    def __init__(self, ieds: list[str], origin: int) -> None:
        self._ids, self._origin = ieds, origin
        self._kept: pl.DataFrame | None = None
        self._spans: Spans | None = None

    def add(self, measurements: pl.DataFrame, since: int) -> None:
        """Take further measurements, and forget those that ended before a time, µs since 1970.

        Raises:
            ValueError: a measurement is missing or not finite.
        """
        numbers = pl.DataFrame(
            {"ied_id": self._ids, "ied": range(len(self._ids))}, {"ied_id": pl.String, "ied": pl.Int64}
        )
        columns = [pl.col("ied", "begin", "end").cast(pl.Int64), pl.col(_COLUMNS).cast(pl.Float64)]
        added = measurements.join(numbers, on="ied_id", maintain_order="left").select(columns)
        bad = added.filter(pl.any_horizontal(pl.col(_COLUMNS).is_finite().not_().fill_null(value=True)))
        if len(bad):
            raise ValueError(f"measurements of {self._ids[bad['ied'][0]]} are not finite")
        kept = added if self._kept is None else pl.concat([self._kept, added])
        self._kept = kept.filter(pl.col("end") > since)
        ied, begin, end = (self._kept[name].to_numpy() for name in ("ied", "begin", "end"))
        self._spans = Spans(ied, begin, end, self._origin)

    def data(self, ied: Ints, time: Ints, front: pl.DataFrame) -> pl.Series:
        """The data column of reports.

        Args:
            ied: index of the device of each.
            time: when each is made, µs since 1970.
            front: the entries before the measurands: a column of values each, named by its reference.

        Raises:
            ValueError: there is no measurement of one of the devices at that time.
        """
        if not len(ied):
            return pl.Series([], dtype=DATA)
        assert self._spans is not None
        assert self._kept is not None
        rows = self._spans.find(ied, time)
        if rows.min() < 0:
            missing = int(rows.argmin())
            raise ValueError(f"no measurement of {self._ids[ied[missing]]} at {time[missing]} µs since 1970")
        # Adding 0 turns a rounded -0.0 into 0.0.
        texts = self._kept[rows].select(
            (pl.col(column).round(places) + 0.0).cast(pl.String).alias(reference)
            for column, reference, places in MEASURANDS
        )
        return _lists(pl.concat([front, texts], how="horizontal"))


def _lists(values: pl.DataFrame) -> pl.Series:
    """Each row as a list of entries: reference, value, quality good."""
    count, width = len(values), values.width
    by_row = np.arange(count * width).reshape(width, count).T.ravel()
    entries = pl.DataFrame(
        {
            "reference": pl.Series(values.columns).gather(np.tile(np.arange(width), count)),
            "value": pl.concat(values.get_columns()).gather(by_row),
            "quality": pl.zeros(count * width, pl.Int32, eager=True),
        }
    )
    return entries.to_struct("data").reshape((count, width)).arr.to_list()
