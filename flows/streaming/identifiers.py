"""Device ids as small integers, so that state can be kept in arrays and found by an index.

Every id that a process has seen has a code, the same in the whole process (a Polars category). Codes are not kept:
a frame that goes to another process, or into a snapshot, carries its ids and has other codes where it arrives.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

DEVICE = pl.Categorical(pl.Categories("device", namespace="gridflow"))
# Polars forgets the codes when no column has them any more.
_KEPT = pl.Series(dtype=DEVICE)

Codes = npt.NDArray[np.uint32]

_ABSENT = -1


def codes_of(devices: pl.Series) -> Codes:
    """The codes of ids, as strings or categories; no nulls."""
    return devices.cast(DEVICE).to_physical().to_numpy()


class CodeMap:
    """A number for each id, looked up by code.

    Example:
        >>> known = CodeMap()
        >>> ids = pl.Series(["a", "b", "a"])
        >>> known.get(codes_of(ids)).tolist()
        [-1, -1, -1]
        >>> known.put(codes_of(ids), np.array([7, 8, 7]))
        >>> known.get(codes_of(ids)).tolist()
        [7, 8, 7]
    """

    def __init__(self) -> None:
        self._number = np.full(1024, _ABSENT, np.int64)

    def get(self, codes: Codes) -> npt.NDArray[np.int64]:
        """The number of each id, -1 where it has none."""
        self._reach(codes)
        return self._number[codes]

    def put(self, codes: Codes, numbers: npt.NDArray[np.int64]) -> None:
        """Give numbers, none of them negative, to ids."""
        self._reach(codes)
        self._number[codes] = numbers

    def _reach(self, codes: Codes) -> None:
        most = int(codes.max(initial=0))
        if most >= len(self._number):
            more = np.full(max(most + 1, 2 * len(self._number)) - len(self._number), _ABSENT, np.int64)
            self._number = np.concatenate([self._number, more])
