"""A street of transformers by the physics alone: what meters measure when their loads flow through known lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.topology.identification import Record
from flows.topology.signals import Floats, Ints, Signals, centred

FEEDERS, CUSTOMERS = 3, 14  # feeders of a transformer, customers along one
_OHM = 0.012  # of a line from one customer to the next
_REACTANCE = 0.3  # of a line, times its resistance
_NEUTRAL = 0.5  # of a phase's drop is seen, turned round, by each of the others


@dataclass(frozen=True)
class Street:
    """n meters over L windows; the truth, and what they say.

    Attributes:
        transformer: where each truly hangs; [n].
        phases: to which phases its terminals truly go; [n] tuples.
        voltages: V; [L, n, 3].
        powers: kW and kvar; [L, n, 2].
        heads: centred, V; [T, 3, L].
    """

    transformer: Ints
    phases: list[tuple[int, ...]]
    voltages: Floats
    powers: Floats
    heads: Floats

    @property
    def terminals(self) -> Ints:
        return np.array([len(p) for p in self.phases])

    @property
    def signals(self) -> Signals:
        return Signals.of(self.voltages, self.powers, self.terminals)

    def record(self) -> Record:
        """The truth as a record holds it: of a meter with three terminals not which is which."""
        count = len(self.heads)
        phase = np.array([p[0] if len(p) == 1 else -1 for p in self.phases])
        return Record(self.transformer.copy(), phase, np.ones(count, bool), [np.arange(count)] * count)


def street(seed: int, windows: int = 48, transformers: int = 3, noise: float = 0.08) -> Street:
    """A street whose customers' loads come and go."""
    rng = np.random.default_rng(seed)
    count = transformers * FEEDERS * CUSTOMERS
    transformer = np.repeat(np.arange(transformers), FEEDERS * CUSTOMERS)
    feeder = np.repeat(np.arange(transformers * FEEDERS), CUSTOMERS)
    along = np.tile(np.arange(1, CUSTOMERS + 1), transformers * FEEDERS)
    turned = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    phases: list[tuple[int, ...]] = [
        turned[rng.integers(3)] if rng.random() < 1 / 3 else (int(rng.integers(3)),) for _ in range(count)
    ]
    active = rng.exponential(0.5, (windows, count)) + rng.binomial(1, 0.08, (windows, count)) * 3.0
    reactive = active * np.random.default_rng(seed + 1000).uniform(-0.1, 0.6, active.shape)
    powers = np.stack([active, reactive], axis=2)
    causing = active + _REACTANCE * reactive
    by_phase = np.zeros((windows, count, 3))
    for meter, its in enumerate(phases):
        by_phase[:, meter, list(its)] = causing[:, meter, None] / len(its)
    medium = 235 + np.cumsum(rng.normal(0, 0.3, windows))
    same = feeder[:, None] == feeder[None, :]
    shared = np.where(same, np.minimum(along[:, None], along[None, :]), 0) * _OHM + np.where(
        transformer[:, None] == transformer[None, :], _OHM, 0.0
    )
    drop = np.einsum("nm,wmp->wnp", shared, by_phase) / 0.23
    seen = medium[:, None, None] - drop + _NEUTRAL * (drop.sum(axis=2, keepdims=True) - drop)
    voltages = np.full((windows, count, 3), np.nan)
    for meter, its in enumerate(phases):
        voltages[:, meter, : len(its)] = seen[:, meter, list(its)]
    gain = 1 + rng.normal(0, 0.0035, count)
    voltages = np.round(voltages * gain[:, None] + rng.normal(0, noise, voltages.shape), 1)
    of_head = by_phase.reshape(windows, transformers, -1, 3).sum(axis=2) * _OHM / 0.23
    head = medium[:, None, None] - of_head + _NEUTRAL * (of_head.sum(axis=2, keepdims=True) - of_head)
    heads = centred(np.round(head, 1).reshape(windows, -1).T).reshape(transformers, 3, windows)
    return Street(transformer, phases, voltages, powers, heads)
