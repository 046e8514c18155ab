"""The moment of a change, from the likelihood of each."""

from __future__ import annotations

import numpy as np

from flows.topology.signals import Floats


def estimate(likelihoods: Floats) -> tuple[float, float]:
    """The median of the moments, and half the width of the 95 % interval, in windows.

    Args:
        likelihoods: of the moments, those of meters that changed together added up; [L + 1].
    """
    weight = np.exp(likelihoods - likelihoods.max())
    share = np.cumsum(weight) / weight.sum()
    low, middle, high = (int(np.searchsorted(share, part)) for part in (0.025, 0.5, 0.975))
    return float(middle), (high - low) / 2
