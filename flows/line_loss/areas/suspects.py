"""Who of an area's customers explains energy that nobody registers.

Two hypotheses are weighed for each customer:

* *share*: the register counts only a part, from some time on. What is missing has the very profile that is
  registered, so it shows as a new share of it in the remainder (Krishna et al., "F-DETA", DSN 2016, and Biswas et
  al., "Electricity theft pinpointing through correlation analysis of master and individual meter readings", IEEE
  Trans. Smart Grid 11(4), 2020: a regression of the remainder on the customers' profiles).
* *still*: the register stands still, for good or for hours of each day (see ``standstills``). What is missing is what
  the customer used to take then, give or take what it scattered.

For each the evidence of the remainder is a Bayes factor against the model without it: what of the column no gain
error of any meter can explain. To it comes the customer's own evidence: a register that counts a part must have
fallen by that part; one that did not fall, did not begin to lose it. Energy that is missing with no customer's
profile is found as *nobody's*: it must neither accuse anybody nor be learned as gain errors. So is a customer whose
energy comes from elsewhere, whatever the record says, *absent* in short: else others would have to explain its lack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flows.line_loss.areas.data import AreaData, Floats, Ints, by_slot
from flows.line_loss.areas.model import Posterior

SHARE, STILL, FLAT, LIKE_ALL, SHAPED, SOMEBODY, ABSENT = range(7)
NOBODY = -1

_LEAST_SHARE = 0.08  # a smaller one is a meter's error, or no case
_PRIOR_SHARE = 0.7  # standard deviation of what is missing, as a part of what is registered
_PRIOR_STILL = 0.5  # the same of a standstill, around what was usual
_PRIOR_ABSENT = 0.05  # around all of it
_OWN_CAP = 7.0  # no more than this is believed of a register's own history: customers leave and come back
_DAYS_SPREAD = 0.35  # standard deviation of the logarithm of a household's energy from day to day
_LASTING_SPREAD = 0.15  # the same of what does not average out over days
_SUN = 4.0
_STILL = 0.03  # of the usual energy: a register that stands still
_CUSTOMERS_KINDS = ((0.0, _PRIOR_SHARE, _LEAST_SHARE), (-1.0, _PRIOR_ABSENT, -np.inf))  # mean, spread, the least
_CLOSER_LOOK = 2.0  # evidence from which hypotheses are weighed one by one


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best share of each customer, and of nobody.

    Attributes:
        evidence: logarithm of the Bayes factor by the remainder, about; -inf where there is none; [n].
        own: logarithm of the likelihood ratio by the customer's own register; [n].
        start: the window in which it begins, as an index; [n].
        nobody: evidence, start and kind of energy that is nobody's.
        absent: evidence and start of each customer's being fed from elsewhere; [n] each.
        starts: how many starts were tried.
    """

    evidence: Floats
    own: Floats
    start: Ints
    nobody: tuple[float, int, int]
    absent: tuple[Floats, Ints]
    starts: int


def candidates(data: AreaData, columns: Floats, posterior: Posterior, step: int, taken: frozenset[int]) -> Candidates:
    """Weigh all shares.

    Args:
        data: the area.
        columns: of the model so far; [W, k].
        posterior: its posterior.
        step: windows between two starts that are tried.
        taken: customers for whom a hypothesis is in the model already.
    """
    best = _Best(data.energy.shape[1])
    generic = _Best(2)
    absent = _Best(data.energy.shape[1])
    own = _Own(data)
    starts = 0
    for start, shares, flat in _from_each_start(data, columns, posterior, step):
        starts += 1
        if data.windows - start < step * 2:
            continue
        precision = shares.precision(posterior.wide)
        evidence, share = shares.evidence(precision, 0.0, _PRIOR_SHARE)
        evidence[share < _LEAST_SHARE] = -np.inf
        best.take(evidence, own.of_share(start, share), start)
        evidence, _ = shares.evidence(precision, -1.0, _PRIOR_ABSENT)
        absent.take(evidence, np.zeros(len(evidence)), start)
        evidence, share = flat.evidence(flat.precision(posterior.wide), 0.0, 0.05)
        evidence[share < 0] = -np.inf
        generic.take(evidence, np.zeros(2), start)
    for customer in taken:
        best.evidence[customer] = absent.evidence[customer] = -np.inf
    which = int(np.argmax(generic.evidence))
    nobody = (float(generic.evidence[which]), int(generic.start[which]), (FLAT, LIKE_ALL)[which])
    return Candidates(best.evidence, best.own, best.start, nobody, (absent.evidence, absent.start), starts)


def is_quiet(data: AreaData, columns: Floats, posterior: Posterior) -> bool:
    """Whether nothing is worth a closer look: no customer's profile, nor energy at all, is missing from some day on."""
    for _, shares, flat in _from_each_start(data, columns, posterior, data.per_day):
        for running, kinds in ((shares, _CUSTOMERS_KINDS), (flat, ((0.0, 0.05, 0.0),))):
            precision = running.precision(posterior.wide)
            for mean, spread, least in kinds:
                evidence, share = running.evidence(precision, mean, spread)
                if np.any((evidence > _CLOSER_LOOK) & (share > least)):
                    return False
    return True


def course_of(data: AreaData, kind: int) -> Floats:
    """What the heads usually deliver, kWh: the same always (``FLAT``), or by time of day (``LIKE_ALL``); [W]."""
    sure = data.head_measured.astype(np.float64)
    usual = by_slot(data.head, data.slot, data.per_day, sure).sum(axis=1)[data.slot]
    return np.full(data.windows, usual.mean()) if kind == FLAT else np.maximum(usual, 0)


def counted(energy: Floats) -> Floats:
    """What a register that counts a part has counted: of one who feeds in, only what is taken goes missing."""
    return np.maximum(energy, 0)


def _from_each_start(
    data: AreaData, columns: Floats, posterior: Posterior, step: int
) -> Iterator[tuple[int, _Running, _Running]]:
    """Starts from the last to the first; the sums from there on of the customers' columns, and of nobody's two."""
    weight, residual = posterior.weight, posterior.residual
    shares, flat = (_Running(n, columns.shape[1]) for n in (data.energy.shape[1], 2))
    everyone = np.stack([course_of(data, FLAT), course_of(data, LIKE_ALL)], axis=1)
    for start in range((data.windows - 1) // step * step, -1, -step):
        part = slice(start, min(start + step, data.windows))
        weighted = weight[part, None] * columns[part]
        shares.add(counted(data.energy[part]), weighted, weight[part], residual[part])
        flat.add(everyone[part], weighted, weight[part], residual[part])
        yield start, shares, flat


def prior_of(kind: int) -> tuple[float, float]:
    """Mean and variance of a hypothesis's coefficient."""
    if kind == ABSENT:
        return -1.0, _PRIOR_ABSENT**2
    if kind in (STILL, SOMEBODY):
        return 1.0, _PRIOR_STILL**2
    return 0.0, {SHARE: _PRIOR_SHARE**2, SHAPED: 4.0}.get(kind, 0.05**2)


class _Best:
    """The best start so far of each."""

    def __init__(self, n: int) -> None:
        self.evidence = np.full(n, -np.inf)
        self.own = np.zeros(n)
        self.start: Ints = np.zeros(n, np.int64)

    def take(self, evidence: Floats, own: Floats, start: int) -> None:
        better = evidence + own > self.evidence + self.own
        self.own = np.where(better, own, self.own)
        self.evidence = np.where(better, evidence, self.evidence)
        self.start = np.where(better, start, self.start)


class _Running:
    """Sums over the windows from a start to the end, for the evidence of columns that begin there."""

    def __init__(self, n: int, k: int) -> None:
        self.gram, self.moment, self.square = np.zeros((n, k)), np.zeros(n), np.zeros(n)

    def add(self, column: Floats, weighted: Floats, weight: Floats, residual: Floats) -> None:
        self.gram += column.T @ weighted
        self.moment += column.T @ (weight * residual)
        self.square += (column**2 * weight[:, None]).sum(axis=0)

    def precision(self, covariance: Floats) -> Floats:
        """Of a coefficient, by what of its column the model's own cannot explain; [n]."""
        explained = ((self.gram @ covariance) * self.gram).sum(axis=1)
        return np.asarray(np.maximum(self.square - explained, 1e-6 * self.square))

    def evidence(self, precision: Floats, mean: float, spread: float) -> tuple[Floats, Floats]:
        """Log Bayes factor of a coefficient with a normal prior against none, and its estimate."""
        before = spread**-2
        share = (self.moment + mean * before) / (precision + before)
        evidence = 0.5 * share**2 * (precision + before) - 0.5 * mean**2 * before
        return evidence - 0.5 * np.log1p(spread**2 * precision), share


class _Own:
    """What a customer's own register says of a start: how its energy compares with the days before."""

    def __init__(self, data: AreaData) -> None:
        self._data = data
        self._sure = (data.measured & data.present).astype(np.float64)
        self._feeds_in = (data.energy < 0).any(axis=0)

    def of_share(self, start: int, share: Floats) -> Floats:
        """Log likelihood ratio of the register's fall, had it begun to count 1 / (1 + share) of what it should."""
        data, day = self._data, self._data.per_day
        if start < day:
            return np.zeros(len(share))
        taken = counted(data.energy)
        usual = by_slot(taken[:start], data.slot[:start], day, self._sure[:start])
        before = (usual[data.slot[start:]] * data.present[start:]).sum(axis=0)
        spread2 = _DAYS_SPREAD**2 * (day / start + min(day / (data.windows - start), 2.0)) + _LASTING_SPREAD**2
        # What is taken beside one's own sun depends on the weather.
        spreads = spread2 * np.where(self._feeds_in, _SUN, 1.0)
        floor = np.maximum(before, 1e-9)
        ratio = np.log(np.maximum(taken[start:].sum(axis=0), _STILL * floor) / floor)
        expected = np.log1p(np.maximum(share, 0))
        mine = (ratio**2 - (ratio + expected) ** 2) / (2 * spreads)
        return np.where(before > 0, np.clip(mine, -_OWN_CAP, _OWN_CAP), 0.0)


def refined(
    data: AreaData, columns: Floats, posterior: Posterior, customer: int, start: int, step: int, kind: int
) -> int:
    """The likeliest start of a share, or of an absence, near one that was found on the grid."""
    mean, spread = (-1.0, _PRIOR_ABSENT) if kind == ABSENT else (0.0, _PRIOR_SHARE)
    near = np.unique(np.clip(np.arange(start - step, start + step + 1, max(step // 12, 1)), 0, data.windows - 2))
    tried = counted(data.energy[:, [customer]]) * (np.arange(data.windows)[:, None] >= near)
    sums = _Running(len(near), columns.shape[1])
    sums.add(tried, posterior.weight[:, None] * columns, posterior.weight, posterior.residual)
    return int(near[np.argmax(sums.evidence(sums.precision(posterior.wide), mean, spread)[0])])
