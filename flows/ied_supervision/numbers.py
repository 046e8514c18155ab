"""Whole numbers in columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNKNOWN = -1
"""In place of a number that a message does not carry."""
