"""Registers that stand still for hours, where they did not before.

No household takes nothing for hours on end unless nobody lives there, or its meter is passed by. Which of the two, the
area's remainder tells. A register with coarse steps stands still between two of them: hence a run of windows counts
only if some steps would have been expected in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.line_loss.areas.data import AreaData, Bools, Floats, Ints

_HOURS = 4.0  # a shorter standstill says nothing
_STILL = 0.02  # of a customer's mean energy: what is as good as nothing
_LEAST_KWH = 0.0006  # half of the finest register's step, and a little
_STEPS = 5.0  # would have been expected
_MEASURED = 0.5  # of a run
_SUPPLIED = 0.05  # of the heads' mean energy: else the area has no supply
DRAWS = 23
"""Values that tell the distribution of a customer's energy; a prime, so that they can be paired in many ways."""

LEVELS = (np.arange(DRAWS) + 0.5) / DRAWS
"""Of which quantiles those are."""

_AROUND = 2  # windows to either side of a time of day
_DAYS_AFTER, _DAYS_BEFORE = 0.8, 0.1  # shares of days with a standstill


@dataclass(frozen=True, slots=True)
class Standstill:
    """A customer's register that stands still, always or for hours of each day, from a window on.

    Attributes:
        customer: its index.
        start: the window as an index.
        always: whether for good.
    """

    customer: int
    start: int
    always: bool


def standing(data: AreaData, step: Floats, mean: Floats) -> Bools:
    """Windows in which registers stand still for hours; [W, n].

    Args:
        data: the area.
        step: of the registers, kWh; [n].
        mean: of what each customer takes or feeds in in a window, as long as it does, kWh; [n].
    """
    hours = max(int(_HOURS * 3600 / data.seconds), 1)
    head = data.head.sum(axis=1)
    supplied = np.abs(head) > _SUPPLIED * np.abs(head).mean()
    idle: Bools = (np.abs(data.energy) <= np.maximum(_STILL * mean, _LEAST_KWH)) & data.present & supplied[:, None]
    # Of coarse registers a longer run is asked.
    long = np.maximum(hours, np.ceil(_STEPS * step / np.maximum(mean, 1e-9))).astype(np.int64)
    result = np.zeros_like(idle)
    for meter in np.flatnonzero(idle.sum(axis=0) >= long).tolist():
        for begin, end in _runs(idle[:, meter]):
            if end - begin >= long[meter] and data.measured[begin:end, meter].mean() >= _MEASURED:
                result[begin:end, meter] = True
    return result


def begun(data: AreaData, still: Bools) -> list[Standstill]:
    """Standstills that began after a day or more without any.

    Args:
        data: the area.
        still: what ``standing`` says.
    """
    found = []
    for meter in np.flatnonzero(still.any(axis=0)).tolist():
        starts = np.array([begin for begin, _ in _runs(still[:, meter])], np.int64)
        best, most = -1, 0.0
        for begin in starts[starts >= data.per_day].tolist():
            after, before = _days(still[begin:, meter], data.per_day), _days(still[:begin, meter][::-1], data.per_day)
            if after >= _DAYS_AFTER and before <= _DAYS_BEFORE and after - before > most:
                best, most = begin, after - before
        if best >= 0:
            found.append(Standstill(meter, best, bool(still[best:, meter].mean() > 0.9)))
    return found


def draws_before(data: AreaData, still: Bools, customer: int, start: int) -> Floats:
    """What a customer took before a standstill around each time of day, kWh: ascending quantiles; [per_day, DRAWS].

    Args:
        data: the area.
        still: windows in which the customer's register stands still; [W].
        customer: its index.
        start: of the standstill, as an index.
    """
    sure = (data.measured[:, customer] & data.present[:, customer] & ~still)[:start]
    days, before = -(-start // data.per_day), int(data.slot[0])
    table = np.full((days + 1) * data.per_day, np.nan)
    table[before : before + start] = np.where(sure, data.energy[:start, customer], np.nan)
    by_day = table.reshape(-1, data.per_day)
    pool = np.concatenate([np.roll(by_day, shift, axis=1) for shift in range(-_AROUND, _AROUND + 1)])
    empty = ~np.isfinite(pool).any(axis=0)
    pool[0, empty] = np.nanmean(by_day) if sure.any() else 0.0
    return np.asarray(np.nanquantile(pool, LEVELS, axis=0).T)


def _days(still: Bools, per_day: int) -> float:
    """Share of the whole days, counted from the first window, in which there is a standstill."""
    days = max(len(still) // per_day, 1)
    return float(np.mean([still[day * per_day : (day + 1) * per_day].any() for day in range(days)]))


def _runs(marks: Bools) -> list[tuple[int, int]]:
    edges: Ints = np.flatnonzero(np.diff(np.concatenate([[False], marks, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
