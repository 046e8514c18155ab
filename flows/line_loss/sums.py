"""Sums per (element, window): what the shards of meters send to the balances."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.streaming.registers import Ints

# What is summed, all int64. Energies in µWh, variances in 1e-9 kWh², times in µs.
COLUMNS = (
    "head_in",
    "head_out",
    "customers_out",
    "customers_in",
    "variance_systematic",
    "variance_random",
    "heads_known",
    "heads_measured",
    "customers_measured",
    "heads_us",
    "customers_us",
    "started",
    "facts",
)

_DENSE = 1 << 21  # cells that are summed in a table; with more of them only those that occur


@dataclass(frozen=True, slots=True)
class Contributions:
    """Differences of sums; cells that no difference touches are absent.

    Attributes:
        elements: names of elements.
        element: index into ``elements``, one per cell.
        window: number of the window, one per cell.
        values: [len(COLUMNS), cells].
    """

    elements: list[str]
    element: Ints
    window: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.element)

    def take(self, cells: npt.NDArray[np.bool_]) -> Contributions:
        """Some of the cells."""
        return Contributions(self.elements, self.element[cells], self.window[cells], self.values[:, cells])


@dataclass(slots=True)
class _Piece:
    element: Ints
    window: Ints
    sign: int
    values: dict[str, Ints]


@dataclass(slots=True)
class Sums:
    """Collects values and adds them up."""

    _pieces: list[_Piece] = field(default_factory=list)

    def add(self, element: Ints, window: Ints, sign: int, values: dict[str, Ints]) -> None:
        """Add ``sign`` times the values; all arrays of one length."""
        if len(element):
            self._pieces.append(_Piece(element, window, sign, values))

    def total(self, names: list[str]) -> Contributions:
        """The sums; ``names`` of the elements by their codes."""
        if not self._pieces:
            none = np.zeros(0, np.int64)
            return Contributions([], none, none, np.zeros((len(COLUMNS), 0), np.int64))
        low = min(int(piece.window.min()) for piece in self._pieces)
        width = max(int(piece.window.max()) for piece in self._pieces) + 1 - low
        cells = [piece.element * width + (piece.window - low) for piece in self._pieces]
        count = len(names) * width
        if count <= _DENSE:
            hit = np.zeros(count, bool)
            for cell in cells:
                hit[cell] = True
            touched = np.flatnonzero(hit)
        else:
            touched = np.unique(np.concatenate(cells))
            cells = [np.searchsorted(touched, cell) for cell in cells]
            count = len(touched)
        table = np.zeros((len(COLUMNS), count), np.int64)
        for cell, piece in zip(cells, self._pieces, strict=True):
            for line, name in enumerate(COLUMNS):
                values = piece.values.get(name)
                if values is None:
                    continue
                if piece.sign > 0:
                    np.add.at(table[line], cell, values)
                else:
                    np.subtract.at(table[line], cell, values)
        if count != len(touched):
            table = table[:, touched]
        changed = np.flatnonzero(table.any(axis=0))
        code = touched[changed] // width
        used: npt.NDArray[np.int64] = np.unique(code)
        return Contributions(
            [names[one] for one in used.tolist()],
            np.searchsorted(used, code),
            touched[changed] % width + low,
            table[:, changed],
        )
