"""What standing registers do not count: draws from what they counted before.

A household takes little most of the time and much now and then: no normal distribution tells that. What a standing
register does not count is taken to be distributed as it was at that time of day before: a kernel density over so many
draws, each as wide as its neighbours are apart (Silverman, Density Estimation for Statistics and Data Analysis, 1986,
5.2: the nearest neighbour method). The draws of several such registers are paired at random for their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.line_loss.areas.data import Bools, Floats
from flows.line_loss.areas.model import student
from flows.line_loss.areas.standstills import DRAWS

_NEIGHBOURS = 2  # to either side
_BEYOND = 0.5
_STRIDES = (1, 5, 7, 10, 14, 17, 20, 3, 12, 19, 8, 15)  # prime to DRAWS


@dataclass(frozen=True, slots=True)
class Unregistered:
    """Draws of some standing registers.

    Attributes:
        draws: kWh; [S, W, DRAWS], 0 where a register does not stand still.
        width: variance of each, kWh²; [S, W, DRAWS].
        on: where any register stands still; [W].
    """

    draws: Floats
    width: Floats
    on: Bools

    @classmethod
    def none(cls, windows: int) -> Unregistered:
        """No such register."""
        return cls(np.zeros((0, windows, DRAWS)), np.zeros((0, windows, DRAWS)), np.zeros(windows, bool))

    def plus(self, draws: Floats, on: Bools) -> Unregistered:
        """One more.

        Args:
            draws: of each window, kWh, ascending; [W, DRAWS].
            on: where it stands still; [W].
        """
        padded = np.pad(draws, ((0, 0), (_NEIGHBOURS, _NEIGHBOURS)), mode="edge")
        apart = (padded[:, 2 * _NEIGHBOURS :] - padded[:, : -2 * _NEIGHBOURS]) / 2
        # The most so far is not the most that can be.
        apart[:, -1] = np.maximum(apart[:, -1], _BEYOND * np.abs(draws[:, -1]))
        pairing = np.arange(DRAWS) * _STRIDES[len(self.draws) % len(_STRIDES)] % DRAWS
        mine, width = (np.where(on[:, None], one[:, pairing], 0.0)[None] for one in (draws, apart**2))
        return Unregistered(np.concatenate([self.draws, mine]), np.concatenate([self.width, width]), self.on | on)

    @property
    def middle(self) -> Floats:
        """Medians, kWh; [S, W]."""
        return np.asarray(np.median(self.draws, axis=2))

    @property
    def scatter(self) -> Floats:
        """Variance of all together about that, kWh², as the middle two thirds tell; [W]."""
        low, high = np.quantile(self.draws, (0.16, 0.84), axis=2)
        return np.asarray((((high - low) / 2) ** 2).sum(axis=0))

    def density(self, residual: Floats, variance: Floats) -> Floats:
        """Logarithm of the density of what is unregistered and noise together, up to a constant; [W].

        Args:
            residual: kWh that nothing else explains; [W].
            variance: of the noise, kWh²; infinite where a window says nothing; [W].
        """
        result = np.where(np.isfinite(variance), 0.0, np.nan)
        known = np.isfinite(variance)
        alone, mixed = known & ~self.on, known & self.on
        result[alone] = student(residual[alone], variance[alone])
        if mixed.any():
            each = self._each(residual, variance, mixed)
            most = each.max(axis=1, keepdims=True)
            result[mixed] = (np.log(np.exp(each - most).mean(axis=1, keepdims=True)) + most)[:, 0]
        return np.where(known, result, 0.0)

    def expected(self, residual: Floats, variance: Floats) -> tuple[Floats, Floats]:
        """What each register does not count, given the residual: mean and variance, kWh and kWh²; [S, W] each.

        Args:
            residual: kWh that nothing else explains; [W].
            variance: of the noise, kWh²; infinite where a window says nothing; [W].
        """
        sure = np.where(np.isfinite(variance), variance, 0.0)
        weight = np.full(self.draws.shape[1:], 1 / DRAWS)
        known = np.isfinite(variance) & self.on
        each = self._each(residual, sure, known)
        each = np.exp(each - each.max(axis=1, keepdims=True))
        weight[known] = each / each.sum(axis=1, keepdims=True)
        total = self.width.sum(axis=0) + sure[:, None]
        part = np.where(known[:, None] & (total > 0), self.width / np.maximum(total, 1e-12), 0.0)
        value = self.draws + part * (residual[:, None] - self.draws.sum(axis=0))
        mean = (weight * value).sum(axis=2)
        return mean, (weight * ((value - mean[:, :, None]) ** 2 + (1 - part) * self.width)).sum(axis=2)

    def _each(self, residual: Floats, variance: Floats, some: Bools) -> Floats:
        off = residual[some, None] - self.draws[:, some].sum(axis=0)
        return student(off, variance[some, None] + self.width[:, some].sum(axis=0))
