"""The columns of one area."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AreaData:
    """An area's energies, aligned; W windows in a row, n customers' meters, h head meters.

    Attributes:
        customers: ids of the meters, ascending.
        heads: ids of the head meters, ascending.
        first: number of the first window.
        per_day: windows in a day.
        seconds: length of a window.
        energy: kWh taken less fed in by each customer, 0 where it does not belong to the area; [W, n].
        measured: whether that is measured in full; [W, n].
        present: whether the customer belongs to the area; [W, n].
        head: kWh delivered less returned by each head; [W, h].
        head_measured: [W, h].
        delay: least delay of the customers' readings in each window, s, nan where none is known; [W, n].
        lost: kWh that are known to be lost besides in lines, in the area's own transformer; [W].
        complete: windows in which the heads are known, and nobody comes or goes; [W].
    """

    customers: tuple[str, ...]
    heads: tuple[str, ...]
    first: int
    per_day: int
    seconds: float
    energy: Floats
    measured: Bools
    present: Bools
    head: Floats
    head_measured: Bools
    delay: Floats
    lost: Floats
    complete: Bools

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self.energy)

    @property
    def slot(self) -> Ints:
        """The time of day of each window; [W]."""
        return (self.first + np.arange(self.windows)) % self.per_day

    @property
    def remainder(self) -> Floats:
        """The energy that the heads delivered and no customer took, less what is known to be lost, kWh; [W]."""
        return np.asarray(self.head.sum(axis=1) - self.energy.sum(axis=1) - self.lost)

    def part(self, begin: int, end: int) -> AreaData:
        """The windows with numbers ``begin .. end`` (exclusive), as far as they are here."""
        first = max(begin, self.first)
        some = slice(first - self.first, max(end - self.first, 0))
        by_window = ("energy", "measured", "present", "head", "head_measured", "delay", "lost", "complete")
        return replace(self, first=first, **{name: getattr(self, name)[some] for name in by_window})

    def whole_days(self, values: Floats, fill: float) -> tuple[Floats, int, int]:
        """Values [W, n] with whole days of UTC; how many days, and where the first window is in them."""
        before = self.first % self.per_day
        days = -(-(before + self.windows) // self.per_day)
        whole = np.full((days * self.per_day, values.shape[1]), fill)
        whole[before : before + self.windows] = values
        return whole, days, before


def by_slot(values: Floats, slot: Ints, per_day: int, weight: Floats, *, smooth: bool = True) -> Floats:
    """Weighted means by time of day, as a rule smoothed over an hour and a quarter; [per_day, n].

    Where there is no weight, the mean of all.

    Args:
        values: [W, n].
        slot: time of day of each window; [W].
        per_day: slots in a day.
        weight: [W, n].
        smooth: whether to smooth.
    """
    total, count = _daily(values * weight, slot, per_day), _daily(weight, slot, per_day)
    return smoothed(total, count, per_day if smooth else 0)


def smoothed(total: Floats, count: Floats, per_day: int) -> Floats:
    """Means from sums and counts by time of day, smoothed over an hour and a quarter; [per_day, n]."""
    mean = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1e-12)
    reach = per_day // 38
    if reach:
        total, count = _around(total, reach), _around(count, reach)
    return np.where(count > 0.5, total / np.maximum(count, 1e-12), mean)


def _around(table: Floats, reach: int) -> Floats:
    """Of each slot the sum of those around it, over midnight."""
    padded = np.concatenate([table[-reach:], table, table[:reach]])
    running = np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(padded, axis=0)])
    return np.asarray(running[2 * reach + 1 :] - running[: -2 * reach - 1])


def _daily(values: Floats, slot: Ints, per_day: int) -> Floats:
    """Sums over the days; [per_day, n]."""
    before = int(slot[0]) if len(slot) else 0
    days = -(-(before + len(values)) // per_day)
    whole = np.zeros((days * per_day, values.shape[1]))
    whole[before : before + len(values)] = values
    return np.asarray(whole.reshape(days, per_day, values.shape[1]).sum(axis=0))
