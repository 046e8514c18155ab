"""The shape of energy over a gap, and how sure it is.

Over a gap the registers on both sides tell the energy, not how it fell on the windows between. Three shapes are
tried on the meter's own measured windows, as if these had been gaps: the straight line, the meter's usual course of
the day, and the area's course. The best of them is taken, and what it was off there is the uncertainty of each
window (GUM, 4.2: a type A evaluation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connectors.compiled import compiled
from flows.line_loss.areas.data import Bools, Floats, Ints, by_slot, smoothed

_SHORT, _LONG = 2, 8  # windows: one missing reading joins two of them
_DAYS = 5  # on which shapes are tried
_LEAST = 1e-9
_ENOUGH = 4  # stretches on which a shape was tried


@dataclass(frozen=True, slots=True)
class GapShapes:
    """How the gaps of n meters are shaped.

    Attributes:
        shape: 0 straight, 1 the meter's own course, 2 the area's; [n].
        error: kWh², mean square error of a window by that shape, in short gaps and in long ones, and where no reading
            bounds the gap, by time of day; [3, per_day, n].
        usual: the meter's course of the day, kWh a window; [per_day, n].
        even: whether what a course does not tell is spread evenly over the gap, and not in proportion: of meters
            through which energy flows either way; [n].
        alike: the area's course is the meters' own, up to what is lost: they are its heads.
    """

    shape: Ints
    error: Floats
    usual: Floats
    even: Bools
    alike: bool

    @classmethod
    def learned(
        cls, energy: Floats, sure: Bools, area: Floats, slot: Ints, per_day: int, *, alike: bool = False
    ) -> GapShapes:
        """Learn from history.

        Args:
            energy: kWh; [W, n].
            sure: where that is measured; [W, n].
            area: kWh of all together, the area's course; [W].
            slot: time of day; [W].
            per_day: slots in a day.
            alike: see above.
        """
        n = energy.shape[1]
        known = sure.astype(np.float64)
        usual = by_slot(energy, slot, per_day, known)
        gaps: Bools = np.logical_not(sure.all(axis=0))
        # Of those without gaps so far only what a short one would be off is told, and by the straight line.
        total, count = np.zeros((2, 3, per_day, n)), np.zeros((2, per_day, n))
        even: Bools = np.full(n, True) if alike else np.asarray((energy < 0).any(axis=0))
        area = area if alike else np.maximum(area, 0)
        first = max(len(energy) - _DAYS * per_day, 0)
        for place, length in enumerate((_SHORT, _LONG)):
            _try(energy, sure, usual, area, slot, gaps, even, alike, length, first, total[place], count[place])
        tried = count.sum(axis=1)
        errors = total[0].sum(axis=1) / np.maximum(tried[0], 1)
        errors[1, known.sum(axis=0) < per_day] = np.inf  # a course that is not known yet
        best = np.where((tried[0] >= _ENOUGH) & gaps, np.argmin(errors, axis=0), 0)
        mine = np.take_along_axis(total, best[None, None, None, :], axis=1)[:, 0]
        # Nothing measured to try it on: the energy itself is the scale.
        scale = np.mean(energy**2, axis=0) + _LEAST
        error = [
            np.where(tried[place] >= _ENOUGH, smoothed(mine[place], count[place], per_day), scale) for place in (0, 1)
        ]
        error.append(by_slot((energy - usual[slot]) ** 2, slot, per_day, known))
        return cls(best, np.stack(error), usual, even, alike)

    def fill(self, energy: Floats, sure: Bools, present: Bools, area: Floats, slot: Ints) -> tuple[Floats, Floats]:
        """Energies with their gaps shaped, the same in sum; and the variance of each that is not measured, kWh²."""
        filled, variance = energy.copy(), np.zeros_like(energy)
        area = area if self.alike else np.maximum(area, 0)
        how = (self.shape, self.even, self.alike, self.error)
        _fill(filled, ~sure & present, self.usual, area, slot, *how, variance)
        return filled, variance


@compiled
def _try(
    energy: Floats,
    sure: Bools,
    usual: Floats,
    area: Floats,
    slot: Ints,
    gaps: Bools,
    even: Bools,
    alike: bool,
    length: int,
    first: int,
    total: Floats,
    count: Floats,
) -> None:
    """Squared errors of each shape, as if stretches of so many windows were gaps, summed by time of day.

    Args:
        energy: kWh; [W, n].
        sure: [W, n].
        usual: the meters' courses of the day; [per_day, n].
        area: the area's course; [W].
        slot: time of day; [W].
        gaps: of whom all shapes are tried, else only the straight line; [n].
        even: see ``GapShapes``; [n].
        alike: see ``GapShapes``.
        length: of stretches.
        first: window from which on they are tried.
        total: kWh²; [3, per_day, n].
        count: [per_day, n].
    """
    meters = energy.shape[1]
    whole, own, known = np.zeros(meters), np.zeros(meters), np.zeros(meters, np.bool_)
    for start in range(first, energy.shape[0] - length + 1, length):
        whole[:], own[:], known[:], common = 0.0, 0.0, True, 0.0
        for window in range(start, start + length):
            common += area[window]
            for meter in range(meters):
                known[meter] &= sure[window, meter]
                whole[meter] += energy[window, meter]
                own[meter] += usual[slot[window], meter] if even[meter] else max(usual[slot[window], meter], 0.0)
        for window in range(start, start + length):
            at = slot[window]
            share = area[window] / common if common > _LEAST else 1 / length
            for meter in range(meters):
                if not known[meter]:
                    continue
                count[at, meter] += 1
                total[0, at, meter] += (energy[window, meter] - whole[meter] / length) ** 2
                if not gaps[meter]:
                    continue
                mine = whole[meter] / length
                if even[meter]:
                    mine = usual[at, meter] + (whole[meter] - own[meter]) / length
                elif own[meter] > _LEAST:
                    mine = max(usual[at, meter], 0.0) / own[meter] * whole[meter]
                theirs = area[window] + (whole[meter] - common) / length if alike else share * whole[meter]
                total[1, at, meter] += (energy[window, meter] - mine) ** 2
                total[2, at, meter] += (energy[window, meter] - theirs) ** 2


@compiled
def _fill(
    filled: Floats,
    gaps: Bools,
    usual: Floats,
    area: Floats,
    slot: Ints,
    shape: Ints,
    even: Bools,
    alike: bool,
    error: Floats,
    variance: Floats,
) -> None:
    windows = filled.shape[0]
    for meter in range(filled.shape[1]):
        start = 0
        while start < windows:
            if not gaps[start, meter]:
                start += 1
                continue
            own = shape[meter] == 1
            additive = even[meter] if own else alike
            stop, whole, weights = start, 0.0, 0.0
            while stop < windows and gaps[stop, meter]:
                whole += filled[stop, meter]
                weight = usual[slot[stop], meter] if own else area[stop]
                weights += weight if additive else max(weight, 0.0)
                stop += 1
            kind = 0 if stop - start <= _SHORT else 1
            if start == 0 or stop == windows:
                kind = 2  # its energy itself is an estimate
            for window in range(start, stop):
                weight = usual[slot[window], meter] if own else area[window]
                if shape[meter] and additive:
                    filled[window, meter] = weight + (whole - weights) / (stop - start)
                elif shape[meter] and weights > _LEAST:
                    filled[window, meter] = whole * max(weight, 0.0) / weights
                variance[window, meter] = error[kind, slot[window], meter]
            start = stop
