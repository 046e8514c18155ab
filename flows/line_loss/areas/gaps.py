"""The shape of energy over a gap, and how sure it is.

Over a gap the registers on both sides tell the energy, not how it fell on the windows between. Three shapes are
tried on the meter's own measured windows, as if these had been gaps: the straight line, the meter's usual course of
the day, and the area's course. The best of them is taken, and what it was off there is the uncertainty of each
window (GUM, 4.2: a type A evaluation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.line_loss.areas.data import Bools, Floats, Ints, by_slot

_SHORT, _LONG = 2, 8  # windows: one missing reading joins two of them
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
    """

    shape: Ints
    error: Floats
    usual: Floats

    @classmethod
    def learned(cls, energy: Floats, sure: Bools, area: Floats, slot: Ints, per_day: int) -> GapShapes:
        """Learn from history.

        Args:
            energy: kWh; [W, n].
            sure: where that is measured; [W, n].
            area: kWh of all together, the area's course; [W].
            slot: time of day; [W].
            per_day: slots in a day.
        """
        n = energy.shape[1]
        some = np.flatnonzero(~sure.all(axis=0))
        shape, error, usual = np.zeros(n, np.int64), np.zeros((3, per_day, n)), np.zeros((per_day, n))
        if len(some):
            part = cls._tried_out(energy[:, some], sure[:, some], area, slot, per_day)
            shape[some], error[:, :, some], usual[:, some] = part.shape, part.error, part.usual
        # Of those without gaps so far only what a short one would be off is told.
        rest = np.setdiff1d(np.arange(n), some)
        if len(rest) and len(energy) > 1:
            error[:2, :, rest] = (np.diff(energy[:, rest], axis=0) ** 2).mean(axis=0) / 4
            error[2, :, rest] = energy[:, rest].var(axis=0)[:, None]
        return cls(shape, error, usual)

    @classmethod
    def _tried_out(cls, energy: Floats, sure: Bools, area: Floats, slot: Ints, per_day: int) -> GapShapes:
        usual = by_slot(energy, slot, per_day, sure.astype(np.float64))
        courses = _courses(usual, area, slot)
        off, tried = _tried(energy, sure, courses, _SHORT)
        errors = (off * tried).sum(axis=1) / np.maximum(tried.sum(axis=0), 1)
        errors[1, sure.sum(axis=0) < per_day] = np.inf  # a course that is not known yet
        best = np.where(tried.sum(axis=0) >= _ENOUGH, np.argmin(errors, axis=0), 0)
        error = []
        for length in (_SHORT, _LONG):
            off, tried = _tried(energy, sure, courses, length)
            mine = np.take_along_axis(off, best[None, None, :], axis=0)[0]
            # Nothing measured to try it on: the energy itself is the scale.
            scale = np.mean(energy**2, axis=0) + _LEAST
            known = by_slot(mine, slot[: len(mine)], per_day, tried.astype(np.float64))
            error.append(np.where(tried.sum(axis=0) >= _ENOUGH, known, scale))
        error.append(by_slot((energy - usual[slot]) ** 2, slot, per_day, sure.astype(np.float64)))
        return cls(best, np.stack(error), usual)

    def fill(self, energy: Floats, sure: Bools, present: Bools, area: Floats, slot: Ints) -> tuple[Floats, Floats]:
        """Energies with their gaps shaped, the same in sum; and the variance of each that is not measured, kWh²."""
        courses = _courses(self.usual, area, slot)
        filled, variance = energy.copy(), np.zeros_like(energy)
        gaps = ~sure & present
        for meter in np.flatnonzero(gaps.any(axis=0)).tolist():
            starts, stops = _runs(gaps[:, meter])
            course = courses[int(self.shape[meter])]
            course = course[:, meter] if course.shape[1] > 1 else course[:, 0]
            for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                weights = course[start:stop]
                if self.shape[meter] and weights.min() >= 0 and weights.sum() > _LEAST:
                    filled[start:stop, meter] = energy[start:stop, meter].sum() * weights / weights.sum()
                kind = 0 if stop - start <= _SHORT else 1
                if start == 0 or stop == len(energy):
                    kind = 2  # its energy itself is an estimate
                variance[start:stop, meter] = self.error[kind, slot[start:stop], meter]
        return filled, variance


def _courses(usual: Floats, area: Floats, slot: Ints) -> list[Floats]:
    """Straight, the meters' own, the area's; each [W, n] or [W, 1]."""
    return [np.ones((len(area), 1)), np.maximum(usual[slot], 0), np.maximum(area, 0)[:, None]]


def _tried(energy: Floats, sure: Bools, courses: list[Floats], length: int) -> tuple[Floats, Bools]:
    """Squared error of each window by each shape, as if stretches of so many windows were gaps, kWh²; and where tried.

    Returns:
        [3, W', n] and [W', n]; W' is W, cut to whole stretches.
    """
    windows, n = energy.shape
    whole = windows // length * length
    cut = energy[:whole].reshape(-1, length, n)
    known = np.repeat(sure[:whole].reshape(-1, length, n).all(axis=1), length, axis=0)
    total = cut.sum(axis=1, keepdims=True)
    found = []
    for course in courses:
        shape = course[:whole].reshape(-1, length, course.shape[1])
        sums = shape.sum(axis=1, keepdims=True)
        share = np.where(sums > _LEAST, shape / np.maximum(sums, _LEAST), 1 / length)
        found.append(((cut - share * total) ** 2).reshape(whole, n))
    return np.stack(found), known


def _runs(marks: Bools) -> tuple[Ints, Ints]:
    """Begin and end of each run of marks."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]
