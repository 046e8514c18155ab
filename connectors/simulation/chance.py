"""Randomness that is the same for the same seed, however the work is cut into pieces.

Every use has a stream of its own, named by its purpose and by numbers (a substation, a step): what one part of the
simulation draws never shifts what another part gets.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


class Chance:
    """The streams of one seed.

    Args:
        seed: not negative.

    Example:
        >>> Chance(1).stream("weather").integers(100) == Chance(1).stream("weather").integers(100)
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, purpose: str, *numbers: int) -> np.random.Generator:
        """The generator for a purpose; the same arguments give the same draws."""
        return np.random.Generator(
            np.random.Philox(np.random.SeedSequence([self.seed, zlib.crc32(purpose.encode()), *numbers]))
        )


def how_many(rate: float, units: float) -> int:
    """How many are hit at a rate: none at 0, else at least one."""
    return 0 if rate <= 0 or units <= 0 else max(1, round(rate * units))


def chosen(
    stream: np.random.Generator, rate: float, among: Sequence[int] | npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """A share of some numbers, ascending, each at most once.

    Args:
        stream: where the choice comes from.
        rate: the share, 0 .. 1.
        among: what is chosen from.
    """
    numbers = np.asarray(among, np.int64)
    count = min(how_many(rate, len(numbers)), len(numbers))
    return np.sort(stream.choice(numbers, count, replace=False)) if count else numbers[:0]
