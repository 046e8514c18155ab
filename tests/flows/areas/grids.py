"""Small areas with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flows.line_loss.areas.data import AreaData, Floats

PER_DAY = 96


def area(
    *, customers: int = 30, days: int = 6, seed: int = 1, gain: float = 0.0, step: float = 0.001, noise: float = 0.0
) -> tuple[AreaData, Floats]:
    """An area whose head delivers what its customers take, and a technical loss.

    Args:
        customers: how many.
        days: how long.
        seed: of chance.
        gain: standard deviation of the customers' gain errors.
        step: of the registers, kWh.
        noise: standard deviation of what the head delivers besides, kWh.

    Returns:
        the area, and its technical loss, kWh [W].
    """
    chance = np.random.default_rng(seed)
    windows = days * PER_DAY
    hour = np.arange(windows) % PER_DAY / 4
    evening = 0.4 + np.exp(-((hour - 19) ** 2) / 8)[:, None] + 0.5 * np.exp(-((hour - 8) ** 2) / 4)[:, None]
    usual = chance.lognormal(-2.2, 0.6, customers)
    true = usual * evening * chance.gamma(3, 1 / 3, (windows, customers))
    technical = 2e-3 * true.sum(axis=1) ** 2
    registered = true * (1 + chance.normal(0, gain, customers)) if gain else true
    registers = np.floor(np.cumsum(np.vstack([np.zeros(customers), registered]), axis=0) / step) * step
    head = true.sum(axis=1) + technical + chance.normal(0, noise, windows) * (noise > 0)
    data = AreaData(
        customers=tuple(f"M{n:03d}" for n in range(customers)),
        heads=("H",),
        first=0,
        per_day=PER_DAY,
        seconds=900.0,
        energy=np.diff(registers, axis=0),
        measured=np.ones(true.shape, bool),
        present=np.ones(true.shape, bool),
        head=head[:, None],
        head_measured=np.ones((windows, 1), bool),
        delay=np.full(true.shape, np.nan),
        lost=np.zeros(windows),
        complete=np.ones(windows, bool),
    )
    return data, technical


def stolen(data: AreaData, customer: int, start: int, share: float) -> AreaData:
    """From ``start`` on the customer's register counts only a part: ``share`` is missing."""
    energy = data.energy.copy()
    energy[start:, customer] *= 1 - share
    return replace(data, energy=energy)
