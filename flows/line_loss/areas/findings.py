"""What has been found to explain an area's unregistered energy, and the model of the remainder that it makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.line_loss.areas.data import AreaData, Bools, Floats
from flows.line_loss.areas.model import Posterior, fit
from flows.line_loss.areas.suspects import ABSENT, NOBODY, counted, prior_of
from flows.line_loss.areas.unregistered import Unregistered


@dataclass(frozen=True, slots=True)
class Finding:
    """Unregistered energy of a customer, or nobody's; or one who is absent.

    Attributes:
        customer: index, or ``NOBODY``.
        kind: a kind of ``suspects``.
        start: number of the window in which it begins.
        score: probability, 0..1.
        usual: of what is nobody's, kWh a window by time of day; [per_day].
        scatter: variance of that, kWh².
        draws: of a register that stands still, what it counted before, kWh by time of day; [per_day, DRAWS].
        owner: of what has nobody's profile, the customer whose it is all the same, or ``NOBODY``.
    """

    customer: int
    kind: int
    start: int
    score: float
    usual: Floats | None = None
    scatter: float = 0.0
    draws: Floats | None = None
    owner: int = NOBODY


def column_of(data: AreaData, still: Bools, finding: Finding) -> Floats:
    """What is missing by a finding but for its coefficient, kWh; [W].

    Args:
        data: the area.
        still: windows in which registers stand still; [W, n].
        finding: the finding.
    """
    on = since(data, finding)
    if finding.draws is not None:
        return np.asarray(np.median(finding.draws, axis=1))[data.slot] * where(data, still, finding)
    if finding.usual is not None:
        return finding.usual[data.slot] * on
    energy = data.energy[:, finding.customer]
    return (energy if finding.kind == ABSENT else counted(energy)) * on


def where(data: AreaData, still: Bools, finding: Finding) -> Bools:
    """The windows in which what is missing is told by its distribution; [W]."""
    on = since(data, finding)
    return on if finding.customer == NOBODY else on & still[:, finding.customer]


def since(data: AreaData, finding: Finding) -> Bools:
    """The windows from a finding's start on; [W]."""
    return np.asarray(data.first + np.arange(data.windows) >= finding.start)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the remainder; see ``fit``.

    Attributes:
        columns: [W, k].
        target: kWh; [W].
        variance: kWh² of the noise, nobody's energy included; [W].
        before: mean and variance of each coefficient before; [2, k].
        gains: so many of the first coefficients are gain errors.
        unregistered: what standing registers do not count.
        standing: which coefficients are theirs; [k].
        posterior: of the coefficients, less their means before.
        evidence: logarithm of the probability of the target by this model, up to a constant.
    """

    columns: Floats
    target: Floats
    variance: Floats
    before: Floats
    gains: int
    unregistered: Unregistered
    standing: Bools
    posterior: Posterior
    evidence: float

    @classmethod
    def of(
        cls,
        columns: Floats,
        target: Floats,
        variance: Floats,
        before: Floats,
        gains: int,
        unregistered: Unregistered,
        standing: Bools,
        posterior: Posterior | None = None,
    ) -> Model:
        """A model from what ``fit`` takes, or has made of it, and what standing registers do not count."""
        if posterior is None:
            posterior = fit(columns, target - columns @ before[0], variance + unregistered.scatter, before[1], gains)
        # What these do not count is told by its distribution, not by its column.
        rest = target - columns @ np.where(standing, 0.0, before[0] + posterior.mean)
        evidence = posterior.occam + float(unregistered.density(rest, variance).sum())
        return cls(columns, target, variance, before, gains, unregistered, standing, posterior, evidence)

    def plus(self, data: AreaData, still: Bools, findings: list[Finding]) -> Model:
        """The model with findings."""
        variance, unregistered = self.variance, self.unregistered
        for finding in findings:
            if finding.draws is not None:
                unregistered = unregistered.plus(finding.draws[data.slot], where(data, still, finding))
            # What nobody registers comes and goes as it likes.
            variance = variance + finding.scatter * since(data, finding)
        return Model.of(
            np.column_stack([self.columns, *(column_of(data, still, finding) for finding in findings)]),
            self.target,
            variance,
            np.column_stack([self.before, *(prior_of(finding.kind) for finding in findings)]),
            self.gains,
            unregistered,
            np.append(self.standing, [finding.draws is not None for finding in findings]),
        )
