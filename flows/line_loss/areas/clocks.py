"""Meters' clocks: how far they are off, and energies put right.

A reading that arrives before its own time was stamped by a clock that is fast; no transport explains that. One that
always arrives equally late was stamped by a slow one: a slow transport would scatter. So the least delay of a day,
beside the usual least delay of all meters, tells the offset to a few seconds. Without arrival times the area tells
it: energy that a clock puts into the wrong window is missing in one and too much in the next, so the remainder shows
the meter's own differences, the first-order term of a shift of its profile. How far the clock is off is searched for:
the shift that leaves least of the remainder (Knapp and Carter, "The generalized correlation method for estimation of
time delay", IEEE Trans. ASSP 24(4), 1976).

Offsets are meter clock minus true time, in seconds.
"""

from __future__ import annotations

import numpy as np

from flows.line_loss.areas.data import AreaData, Bools, Floats
from flows.line_loss.areas.model import Posterior

LEAST_SECONDS = 20.0
"""A smaller offset is not told from the scatter of transport."""

_SIGNIFICANT = 6.0  # standard deviations, by arrival or by profile
_LEAST_BY_PROFILE = 60.0
_SMOOTH_SECONDS = 3600.0
_FARTHEST, _STEPS = 6, 8  # windows that a shift is looked for in, and its steps in each
_CONFIRMED = 5.0  # natural logarithm of the likelihood ratio
_STEADY_SECONDS = 60.0
_ENOUGH = 12  # windows of a day in which readings came
_LEAST_WINDOWS = 96
_SIGMA = 1.4826  # of a normal distribution, per median absolute deviation


def by_arrival(delay: Floats, days: int) -> Floats:
    """Offsets by arrival, seconds, 0 where the clock is right or nothing is known; [days, n].

    Args:
        delay: least delay of the readings in each window, s, nan without any; [W, n].
        days: W is so many days.
    """
    if not days or not np.isfinite(delay).any():
        return np.zeros((days, delay.shape[1]))
    daily = delay.reshape(days, -1, delay.shape[1])
    known = np.isfinite(daily).any(axis=1)
    least = np.where(known, np.min(np.where(np.isfinite(daily), daily, np.inf), axis=1), np.nan)
    middle = _medians(daily)
    usual, usual_spread = np.nanmedian(least), np.nanmedian(middle - least)
    scatter = _SIGMA * np.nanmedian(np.abs(least - usual))
    offset = np.where(known, usual - least, 0.0)
    limit = max(LEAST_SECONDS, _SIGNIFICANT * float(scatter))
    steady = middle - least <= max(_STEADY_SECONDS, 3 * float(usual_spread))
    off = (offset > limit) | ((offset < -limit) & steady)
    # A few readings may all have come late; what a day does not tell, the nearest one does that tells.
    enough = np.isfinite(daily).sum(axis=1) >= min(_ENOUGH, daily.shape[1])
    result = np.where(off & enough, offset, 0.0)
    for meter in np.flatnonzero(result.any(axis=0) & ~enough.all(axis=0)).tolist():
        told = np.flatnonzero(enough[:, meter])
        for day in np.flatnonzero(~enough[:, meter]).tolist():
            result[day, meter] = result[told[np.argmin(np.abs(told - day))], meter]
    return result


def _medians(daily: Floats) -> Floats:
    """Medians of each day's values, nan where there are none; [days, windows, n] to [days, n]."""
    ascending = np.sort(daily, axis=1)  # nan at the end
    count = np.isfinite(daily).sum(axis=1)[:, None]
    low, high = (
        np.take_along_axis(ascending, np.maximum(place, 0), axis=1)[:, 0]
        for place in ((count - 1) // 2, np.minimum(count // 2, daily.shape[1] - 1))
    )
    return np.asarray((low + high) / 2)


def over_windows(daily: Floats, per_day: int) -> Floats:
    """Offsets of each window from those of the days, straight between their middles: clocks drift; [W, n]."""
    days, n = daily.shape
    result = np.zeros((days * per_day, n))
    middles = (np.arange(days) + 0.5) * per_day
    for meter in np.flatnonzero(daily.any(axis=0)).tolist():
        on = daily[:, meter] != 0
        result[:, meter] = np.interp(np.arange(len(result)) + 0.5, middles[on], daily[on, meter])
        result[:, meter] *= np.repeat(on, per_day)
    return result


def over_days(daily: Floats, first_day: int, data: AreaData) -> Floats:
    """Offsets of an area's windows from those of days, the outermost of which go on; s, [W, n].

    Args:
        daily: of each day from the first on; [days, n].
        first_day: its number.
        data: the area.
    """
    per_day = data.per_day
    begin, end = data.first // per_day, -(-(data.first + data.windows) // per_day)
    known = np.clip(np.arange(begin, end) - first_day, 0, len(daily) - 1)
    before = data.first - begin * per_day
    # With the days beside them, so that what lies between two middles does not depend on which days are asked for.
    around = np.clip(np.array([known[0] - 1, *known, known[-1] + 1]), 0, len(daily) - 1)
    return over_windows(daily[around], per_day)[per_day + before : per_day + before + data.windows]


def by_profile(
    energy: Floats, asked: Bools, columns: Floats, target: Floats, prior: Floats, posterior: Posterior, seconds: float
) -> tuple[int, float] | None:
    """The meter whose clock is most clearly off by the area's remainder, and its offset, s; None where none is.

    Only one: the others' evidence may be its shadow. Its offset is 0 if the search does not confirm what the first
    order says.

    Args:
        energy: kWh; [W, n].
        asked: which of them are measured by a meter that is asked for; [W, n].
        columns: of the model; [W, k].
        target: of the model; [W].
        prior: variances of its coefficients; [k].
        posterior: its posterior.
        seconds: length of a window.
    """
    if len(energy) < _LEAST_WINDOWS:
        return None
    difference = np.zeros_like(energy)
    difference[1:-1] = (energy[2:] - energy[:-2]) / 2
    difference *= asked
    gram = difference.T @ (posterior.weight[:, None] * columns)
    moment = difference.T @ (posterior.weight * posterior.residual)
    square = (difference**2 * posterior.weight[:, None]).sum(axis=0)
    precision = np.maximum(square - ((gram @ posterior.wide) * gram).sum(axis=1), 1e-6 * square + 1e-12)
    z = np.abs(moment) / np.sqrt(precision)
    meter = int(np.argmax(z))
    if z[meter] < _SIGNIFICANT:
        return None
    return meter, _best_shift(energy[:, meter], columns, target, prior, posterior.weight, seconds)


def _best_shift(
    energy: Floats, columns: Floats, target: Floats, prior: Floats, weight: Floats, seconds: float
) -> float:
    """The offset that leaves least of the remainder, s; 0 where that is not clearly less than without one.

    Sums over an hour are compared. A shift by a part of a window smooths what it shifts: beside what is not smooth,
    whole windows would always seem better; over an hour the way a register rises within a window does not matter.

    Args:
        energy: kWh; [W].
        columns: [W, k].
        target: kWh; [W].
        prior: variances; [k].
        weight: 1/kWh², 0 where a window says nothing; [W].
        seconds: length of a window.
    """
    span = max(round(_SMOOTH_SECONDS / seconds), 1)
    usable = _means((weight > 0).astype(np.float64), span) > 1 - 1e-9
    if not usable.any():
        return 0.0
    root = np.sqrt(1 / _means(1 / np.maximum(weight, 1e-12), span)[usable])
    averages = np.stack([_means(column, span)[usable] for column in columns.T], axis=1)
    known, _ = np.linalg.qr(np.vstack([root[:, None] * averages, np.diag(1 / np.sqrt(prior))]))
    shifts = np.arange(-_FARTHEST * _STEPS, _FARTHEST * _STEPS + 1) / _STEPS * seconds
    remainders = np.stack(
        [_means(target + energy - corrected(energy, np.full(len(energy), shift), seconds), span) for shift in shifts],
        axis=1,
    )
    remainders = np.vstack([root[:, None] * remainders[usable], np.zeros((len(prior), len(shifts)))])
    squares = (remainders**2).sum(axis=0) - ((known.T @ remainders) ** 2).sum(axis=0)
    best = int(np.argmin(squares))
    gain = np.log(squares[_FARTHEST * _STEPS] / max(float(squares[best]), 1e-12)) * usable.sum() / (2 * span)
    if gain < _CONFIRMED or not 0 < best < len(shifts) - 1:
        return 0.0
    before, at, after = squares[best - 1 : best + 2].tolist()
    offset = float(shifts[best] + (before - after) / (2 * (before - 2 * at + after)) * seconds / _STEPS)
    return offset if abs(offset) >= _LEAST_BY_PROFILE else 0.0


def _means(values: Floats, span: int) -> Floats:
    """Moving averages over so many windows; [W - span + 1]."""
    return np.convolve(values, np.full(span, 1 / span), "valid")


def corrected(energy: Floats, offset: Floats, seconds: float) -> Floats:
    """Energies of windows in true time.

    What was stamped t was taken at t less the offset, so a window [a, b) of true time is [a + offset, b + offset) of
    the meter's. Within a window the register is taken to rise evenly.

    Args:
        energy: kWh of windows by the meter's clock; [W].
        offset: of each window, s; [W].
        seconds: length of a window.
    """
    bounds = np.arange(len(energy) + 1, dtype=np.float64)
    register = np.concatenate([[0.0], np.cumsum(energy)])
    at_bounds = np.concatenate([offset[:1], (offset[1:] + offset[:-1]) / 2, offset[-1:]]) / seconds
    rise = np.interp(bounds + at_bounds, bounds, register)
    # Beyond the ends the last power goes on.
    rise += np.minimum(bounds + at_bounds, 0) * energy[0]
    rise += np.maximum(bounds + at_bounds - len(energy), 0) * energy[-1]
    return np.diff(rise)


def worth(energy: Floats, offset: Floats, seconds: float) -> Floats:
    """By how much energies should be shifted, s: whole windows always, a part of one only where it helps; [W].

    To take a register as rising evenly within a window smooths what it shifts. Where a meter's energies jump from
    window to window, that costs more than a small shift gains: their mean squared second differences tell, beside
    the first ones.

    Args:
        energy: kWh by the meter's clock; [W].
        offset: s; [W].
        seconds: length of a window.
    """
    windows = np.rint(offset / seconds) * seconds
    part = np.abs(offset - windows) / seconds
    if len(energy) < 3:
        return windows
    first, second = np.mean(np.diff(energy) ** 2), np.mean(np.diff(energy, 2) ** 2)
    return np.where((1 - part) ** 2 * second < first, offset, windows)


def variance(offset: Floats, error: Floats, seconds: float) -> Floats:
    """Variance of energies by a clock that is off, kWh²; [W].

    How unevenly a register rises within a window is not known, whether shifted or not.

    Args:
        offset: s; [W].
        error: mean square error of dividing two windows' energy evenly, kWh²; [W].
        seconds: length of a window.
    """
    part = np.abs(offset) / seconds % 1
    return np.asarray(3 * part * (1 - part) * error)
