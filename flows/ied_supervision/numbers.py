"""Whole numbers in columns."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNKNOWN = -1
"""In place of a number that a message does not carry."""


def number_of(address: str) -> int:
    """Number of a source address: its checksum, the same in every process, in capitals or not."""
    return zlib.crc32(address.lower().encode())
