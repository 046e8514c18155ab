"""Sums per (element, window) of the windows that can still change, however far apart these lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.line_loss.sums import COLUMNS
from flows.streaming.registers import Ints

HEARD = ("head", "customers", "technical", "systematic", "random", "taken", "doubt", "beyond")
"""What a study says of an area's window, see ``Said``: energies in kWh, standard uncertainties, a variance."""

SAID = (*HEARD, "beside", "spoken")
"""That, kWh that an element's transformer loses beside its balance, and 1 where a study speaks."""

_NOT_STATED = -1


@dataclass
class WindowTable:
    """Matrices [element, place, ...]; a window keeps its place until it is forgotten.

    Attributes:
        sums: int64[elements, places, len(COLUMNS)].
        stated: revision last stated of each, -1 if none was.
        said: what studies say of each; float64[elements, places, len(SAID)].
        studied: how good the study is that says it, the larger the better.
        settled: of each place whether all that is learned of its window is final.
        evidence: what each adds to the sums of the alarms; float64[elements, places, 2].
    """

    sums: Ints = field(default_factory=lambda: np.zeros((0, 0, len(COLUMNS)), np.int64))
    stated: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    said: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, len(SAID))))
    studied: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    settled: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    evidence: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 2)))
    _place: dict[int, int] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)
    _marked: set[int] = field(default_factory=set)
    _forgotten: int | None = None  # windows before this number are gone, unless they still have a place

    @property
    def end(self) -> int:
        """One past the last window."""
        return max(self._place, default=-1) + 1

    def reach(self, elements: int, more_windows: int = 0) -> None:
        """Make room for so many elements, and for more windows than there are."""
        rows, width = self.stated.shape
        need = width + max(more_windows - len(self._free), 0)
        if elements <= rows and need <= width:
            return
        rows_new = rows if elements <= rows else max(elements, 2 * rows)
        width_new = width if need <= width else max(need, 2 * width)
        sums = np.zeros((rows_new, width_new, len(COLUMNS)), np.int64)
        stated = np.full((rows_new, width_new), _NOT_STATED, np.int64)
        sums[:rows, :width], stated[:rows, :width] = self.sums, self.stated
        self.sums, self.stated = sums, stated
        for name in ("said", "studied", "evidence"):
            old = getattr(self, name)
            new = np.zeros((rows_new, width_new, *old.shape[2:]), old.dtype)
            new[:rows, :width] = old
            setattr(self, name, new)
        self.settled = np.concatenate([self.settled, np.zeros(width_new - width, bool)])
        self._free.extend(range(width_new - 1, width - 1, -1))

    def add(self, elements: int, element: Ints, window: Ints, values: Ints) -> None:
        """Add to the sums, and mark their windows.

        Args:
            elements: how many elements there are.
            element: of each cell; no cell is there twice.
            window: of each cell.
            values: [len(COLUMNS), cells].
        """
        windows, which = np.unique(window, return_inverse=True)
        named = windows.tolist()
        fresh = [number for number in named if number not in self._place]
        self.reach(elements, len(fresh))
        for number in fresh:
            self._place[number] = self._free.pop()
        self._marked.update(named)
        self.sums[element, self.places(windows)[which]] += values.T

    def places(self, windows: Ints) -> Ints:
        """Where windows have their places."""
        return np.array([self._place[number] for number in windows.tolist()], np.int64)

    def known(self, begin: int, end: int) -> Ints:
        """The windows begin .. end (exclusive) that have a place, ascending."""
        return np.array(sorted(number for number in self._place if begin <= number < end), np.int64)

    def mark_each(self, windows: Ints) -> None:
        """Mark windows that have a place as to be stated."""
        self._marked.update(windows.tolist())

    def settle(self, begin: int, end: int) -> None:
        """What is learned of windows begin .. end (exclusive) is final: all elements are to be stated once more."""
        windows = self.known(begin, end)
        self.settled[self.places(windows)] = True
        self.mark_each(windows)

    def mark(self, begin: int, end: int) -> None:
        """Mark the windows begin .. end (exclusive) as to be stated."""
        self._marked.update(number for number in self._place if begin <= number < end)

    def mark_all(self) -> None:
        """Mark all windows as to be stated."""
        self._marked.update(self._place)

    def take_marked(self, end: int) -> Ints:
        """The marked windows before ``end``, ascending; they are marked no more."""
        taken = sorted(number for number in self._marked if number < end)
        self._marked.difference_update(taken)
        return np.array(taken, np.int64)

    def knows(self, windows: Ints) -> npt.NDArray[np.bool_]:
        """Which windows have not been forgotten: what is added to one that has would stand there alone."""
        if self._forgotten is None or int(windows.min(initial=self._forgotten)) >= self._forgotten:
            return np.ones(len(windows), bool)
        return (windows >= self._forgotten) | np.isin(windows, np.array([*self._place], np.int64))

    def forget(self, before: int) -> None:
        """Drop the windows before a number that are not marked."""
        self._forgotten = before if self._forgotten is None else max(before, self._forgotten)
        for number in [number for number in self._place if number < before and number not in self._marked]:
            place = self._place.pop(number)
            self.sums[:, place] = 0
            self.stated[:, place] = _NOT_STATED
            self.settled[place] = False
            self.said[:, place] = self.studied[:, place] = self.evidence[:, place] = 0
            self._free.append(place)
