"""Customers of a few transformers by the physics alone: loads, losses, and what head meters deliver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.topology.signals import Floats, Ints

CUSTOMERS = 20
_LOSS = 0.002  # 1/kW: loss by the square of a transformer's load


@dataclass(frozen=True)
class Loads:
    """n meters of T transformers over L windows.

    Attributes:
        power: kW, as metered; [n, L].
        heads: kW; [T, L].
        recorded: where the meters are by the record; [n].
    """

    power: Floats
    heads: Floats
    recorded: Ints


def loads(
    seed: int,
    windows: int = 288,
    transformers: int = 3,
    moves: tuple[tuple[int, int, int], ...] = (),
    roofs: tuple[int, ...] = (),
) -> Loads:
    """Loads that come and go, with the profile of a day, gain errors of meters, and losses.

    Args:
        seed: of the chance.
        windows: L, of a quarter of an hour.
        transformers: T, each with ``CUSTOMERS``.
        moves: meter, transformer where it truly is, and window from which it is there.
        roofs: meters with the same solar course.
    """
    rng = np.random.default_rng(seed)
    count = transformers * CUSTOMERS
    recorded = np.repeat(np.arange(transformers), CUSTOMERS)
    at = np.arange(windows)
    day = 0.3 + 0.25 * np.sin(2 * np.pi * (at - 40) / 96)
    power = rng.exponential(day, (count, windows)) + rng.binomial(1, 0.06, (count, windows)) * 2.0
    sun = np.clip(np.sin(2 * np.pi * (at - 30) / 96), 0, 1) * (1 - 0.6 * (rng.random(windows) < 0.3))
    for meter in roofs:
        power[meter] -= 4.0 * sun
    where = np.repeat(recorded[:, None], windows, axis=1)
    for meter, transformer, window in moves:
        where[meter, window:] = transformer
    behind = np.stack([np.where(where == n, power, 0.0).sum(axis=0) for n in range(transformers)])
    heads = behind + _LOSS * behind**2 + rng.normal(0, 0.05, behind.shape)
    metered = power * (1 + rng.normal(0, 0.0035, count))[:, None]
    return Loads(np.round(metered * 250) / 250, heads, recorded)
