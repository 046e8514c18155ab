"""What is kept of each control block, in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np


@dataclass(slots=True)
class Columns:
    """Arrays of one length, a place for each block; the fields of those that are derived from it.

    Attributes:
        BEFORE: what stands in a column before the first message, where that is not 0.
        WIDTHS: of the columns that have several numbers for each block, how many.
    """

    BEFORE: ClassVar[Mapping[str, int]] = {}
    WIDTHS: ClassVar[Mapping[str, int]] = {}

    @classmethod
    def none(cls) -> Self:
        """Of no blocks."""
        widths = ((cls.WIDTHS[one.name],) if one.name in cls.WIDTHS else () for one in fields(cls))
        return cls(*(np.zeros((0, *width), np.int64) for width in widths))

    def reach(self, blocks: int) -> None:
        """Make room for blocks."""
        for one in fields(self):
            old = getattr(self, one.name)
            more = blocks - len(old)
            if more > 0:
                room = np.full((more, *old.shape[1:]), self.BEFORE.get(one.name, 0), np.int64)
                setattr(self, one.name, np.concatenate([old, room]))

    def copy(self) -> Self:
        """A copy that can go its own way."""
        return type(self)(*(getattr(self, one.name).copy() for one in fields(self)))
