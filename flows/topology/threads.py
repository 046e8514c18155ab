"""Work on many rows, in threads: compiled code and numpy on long columns let others run meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Found = TypeVar("Found")

THREADS = 2


def pieces(count: int, size: int) -> list[slice]:
    """Cut rows into pieces of some size at most, none of them empty."""
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def shares(bounds: npt.NDArray[np.int64], count: int) -> list[slice]:
    """Cut groups of rows into about as many pieces, of about as many rows each, none of them empty.

    Args:
        bounds: where the rows of each group begin, and the last one's end; [G + 1].
        count: of pieces.
    """
    cuts: list[int] = np.searchsorted(bounds, np.linspace(0, bounds[-1], count + 1)).tolist()
    return [slice(begin, end) for begin, end in pairwise(cuts) if begin < end]


def in_threads(task: Callable[[slice], Found], parts: list[slice]) -> list[Found]:
    """Do a task for each part; what is found, in the order of the parts."""
    if len(parts) < 2:
        return [task(part) for part in parts]
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(task, parts))
