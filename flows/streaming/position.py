"""Searching in the rows of a matrix, for compiled code."""

from __future__ import annotations

from typing import Any

from connectors.compiled import compiled


@compiled
def position(time: Any, row: int, count: int, moment: int, after_equal: bool) -> int:
    """Where ``moment`` belongs in ``time[row, :count]``, as ``bisect`` does; quick near the end.

    Args:
        time: int64[rows, capacity], each row ascending.
        row: which row.
        count: how many of the row's places are filled.
        moment: what is looked for.
        after_equal: behind what equals it, or before.
    """
    high = count
    step = 1
    low = high
    while low > 0:
        low = max(high - step, 0)
        here = time[row, low]
        if here < moment or (after_equal and here == moment):
            break
        high = low
        step *= 2
    while low < high:
        middle = (low + high) // 2
        here = time[row, middle]
        if here < moment or (after_equal and here == moment):
            low = middle + 1
        else:
            high = middle
    return low
