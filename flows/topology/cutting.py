"""Spans cut out of the matrices of readings, and made ready to be compared, compiled: one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled
from flows.topology.signals import Floats, Ints


@compiled
def cut(matrix: npt.NDArray[Any], rows: Ints, offset: int, found: Floats) -> None:
    """Columns of some rows; NaN where there is no such row or column.

    Args:
        matrix: [m, s].
        rows: -1 for none; [n].
        offset: the column that becomes the first one.
        found: gets them; [n, k].
    """
    columns = matrix.shape[1]
    for n in range(len(rows)):
        row = rows[n]
        for column in range(found.shape[1]):
            at = offset + column
            found[n, column] = matrix[row, at] if row >= 0 and 0 <= at < columns else np.nan


@compiled
def increments(matrix: Floats, rows: Ints, offset: int, found: Floats) -> None:
    """By how much some rows grow from column to column, gaps inside filled by straight lines; NaN where unknown.

    Args:
        matrix: NaN where unknown; [m, s].
        rows: -1 for none; [n].
        offset: the column up to which the first increment reaches.
        found: gets them; [n, k].
    """
    columns = matrix.shape[1]
    for n in range(len(rows)):
        row, last, before, low = rows[n], -1, np.nan, np.nan
        # Values k + 1 bound k increments. A gap is filled when what ends it is met.
        for place in range(found.shape[1] + 1):
            at = offset - 1 + place
            value = matrix[row, at] if row >= 0 and 0 <= at < columns else np.nan
            if not np.isfinite(value):
                if place:
                    found[n, place - 1] = np.nan
                continue
            if last >= 0:
                before = low
                for between in range(last + 1, place):
                    here = low + (value - low) * ((between - last) / (place - last))
                    found[n, between - 1] = here - before
                    before = here
                found[n, place - 1] = value - before
            elif place:
                found[n, place - 1] = np.nan
            last, low = place, value
