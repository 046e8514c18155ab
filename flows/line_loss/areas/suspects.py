"""Who of an area's customers explains energy that nobody registers.

Two hypotheses are weighed for each customer and each time from which it may have begun:

* *share*: the register counts only a part. What is missing has the very profile that is registered, so it shows as
  a new share of it in the remainder (Krishna et al., "F-DETA", DSN 2016, and Biswas et al., "Electricity theft
  pinpointing through correlation analysis of master and individual meter readings", IEEE Trans. Smart Grid 11(4),
  2020: a regression of the remainder on the customers' profiles).
* *fall*: the register counts less than it used to at this time of day, or nothing. What is missing is what the
  customer's own past lacks now.

For each the evidence of the remainder is a Bayes factor against the model without it: what of the column no gain
error of any meter can explain. To it comes the customer's own evidence: a register that counts a part must have
fallen by that part; one that did not fall, did not begin to lose it. Energy that is missing with no customer's
profile is found as *nobody's*: it must neither accuse anybody nor be learned as gain errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from flows.line_loss.areas.data import AreaData, Floats, Ints, by_slot
from flows.line_loss.areas.model import Posterior

SHARE, FALL, FLAT, LIKE_ALL, SHAPED = range(5)
NOBODY = -1

_LEAST_SHARE = 0.08  # a smaller one is a meter's error, or no case
_PRIOR_SHARE = 0.7  # standard deviation of what is missing, as a part of what is registered
_PRIOR_FALL = 0.5  # the same of a fall, around all that the past lacks now
_OWN_CAP = 7.0  # no more than this is believed of a register's own history: customers leave and come back
_STILL_CAP = 10.0  # ... and of one that stands quite still
_DAYS_SPREAD = 0.35  # standard deviation of the logarithm of a household's energy from day to day
_LASTING_SPREAD = 0.15  # the same of what does not average out over days
_STILL = 0.03  # of the usual energy: a register that stands still
_CLOSER_LOOK = 2.0  # evidence from which hypotheses are weighed one by one
_BLOCKS = 12  # two-hour blocks of a day
_NIGHT = 4  # so many blocks together can be what falls


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best hypothesis of each customer, and of nobody.

    Attributes:
        evidence: logarithm of the Bayes factor by the remainder, about; -inf where there is none; [n].
        own: logarithm of the likelihood ratio by the customer's own register; [n].
        start: the window in which it begins, as an index; [n].
        kind: ``SHARE`` or ``FALL``; [n].
        nobody: evidence, start and kind of energy that is nobody's.
        starts: how many starts were tried.
    """

    evidence: Floats
    own: Floats
    start: Ints
    kind: Ints
    nobody: tuple[float, int, int]
    starts: int


def candidates(data: AreaData, columns: Floats, posterior: Posterior, step: int, taken: frozenset[int]) -> Candidates:
    """Weigh all hypotheses.

    Args:
        data: the area.
        columns: of the model so far; [W, k].
        posterior: its posterior.
        step: windows between two starts that are tried.
        taken: customers for whom a hypothesis is in the model already.
    """
    n, windows = data.energy.shape[1], data.windows
    best = _Best(n)
    generic = _Best(2)
    own = _Own(data)
    weight, residual = posterior.weight, posterior.residual
    starts = 0
    for start, shares, flat in _from_each_start(data, columns, posterior, step):
        starts += 1
        if windows - start < step * 2:
            continue
        evidence, share = shares.evidence(posterior.wide, 0.0, _PRIOR_SHARE)
        evidence[share < _LEAST_SHARE] = -np.inf
        best.take(evidence, own.of_share(start, share), start, SHARE)
        evidence, share = flat.evidence(posterior.wide, 0.0, 0.05)
        evidence[share < 0] = -np.inf
        generic.take(evidence, np.zeros(2), start, np.array([FLAT, LIKE_ALL]))
        if start >= data.per_day:
            column, mine = own.fall(start)
            fall = _Running(n, columns.shape[1])
            fall.add(column, weight[start:, None] * columns[start:], weight[start:], residual[start:])
            evidence, share = fall.evidence(posterior.wide, 1.0, _PRIOR_FALL)
            evidence[share < 0.3] = -np.inf
            best.take(evidence, mine, start, FALL)
    for customer in taken:
        best.evidence[customer] = -np.inf
    which = int(np.argmax(generic.evidence))
    nobody = (float(generic.evidence[which]), int(generic.start[which]), int(generic.kind[which]))
    return Candidates(best.evidence, best.own, best.start, best.kind, nobody, starts)


def is_quiet(data: AreaData, columns: Floats, posterior: Posterior) -> bool:
    """Whether nothing is worth a closer look: no customer's profile, nor energy at all, is missing from some day on."""
    step = max(data.per_day // 2, 1)
    for _, shares, flat in _from_each_start(data, columns, posterior, step):
        for running, spread, least in ((shares, _PRIOR_SHARE, _LEAST_SHARE), (flat, 0.05, 0.0)):
            evidence, share = running.evidence(posterior.wide, 0.0, spread)
            if np.any((evidence > _CLOSER_LOOK) & (share > least)):
                return False
    return True


def course_of(data: AreaData, kind: int) -> Floats:
    """What the heads usually deliver, kWh: the same always (``FLAT``), or by time of day (``LIKE_ALL``); [W]."""
    sure = data.head_measured.astype(np.float64)
    usual = by_slot(data.head, data.slot, data.per_day, sure).sum(axis=1)[data.slot]
    return np.full(data.windows, usual.mean()) if kind == FLAT else np.maximum(usual, 0)


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
        shares.add(data.energy[part], weighted, weight[part], residual[part])
        flat.add(everyone[part], weighted, weight[part], residual[part])
        yield start, shares, flat


def prior_of(kind: int) -> float:
    """Variance of a hypothesis's coefficient."""
    return {SHARE: _PRIOR_SHARE**2, FALL: 1 + _PRIOR_FALL**2, SHAPED: 4.0}.get(kind, 0.05**2)


class _Best:
    """The best start so far of each."""

    def __init__(self, n: int) -> None:
        self.evidence = np.full(n, -np.inf)
        self.own = np.zeros(n)
        self.start: Ints = np.zeros(n, np.int64)
        self.kind: Ints = np.zeros(n, np.int64)

    def take(self, evidence: Floats, own: Floats, start: int, kind: int | Ints) -> None:
        better = evidence + own > self.evidence + self.own
        self.own = np.where(better, own, self.own)
        self.evidence = np.where(better, evidence, self.evidence)
        self.start = np.where(better, start, self.start)
        self.kind = np.where(better, kind, self.kind)


class _Running:
    """Sums over the windows from a start to the end, for the evidence of columns that begin there."""

    def __init__(self, n: int, k: int) -> None:
        self.gram, self.moment, self.square = np.zeros((n, k)), np.zeros(n), np.zeros(n)

    def add(self, column: Floats, weighted: Floats, weight: Floats, residual: Floats) -> None:
        self.gram += column.T @ weighted
        self.moment += column.T @ (weight * residual)
        self.square += (column**2 * weight[:, None]).sum(axis=0)

    def evidence(self, covariance: Floats, mean: float, spread: float) -> tuple[Floats, Floats]:
        """Log Bayes factor of a coefficient with a normal prior against none, and its estimate."""
        explained = ((self.gram @ covariance) * self.gram).sum(axis=1)
        precision = np.maximum(self.square - explained, 1e-6 * self.square)
        before = spread**-2
        share = (self.moment + mean * before) / (precision + before)
        evidence = 0.5 * share**2 * (precision + before) - 0.5 * mean**2 * before
        return evidence - 0.5 * np.log1p(spread**2 * precision), share


class _Own:
    """What a customer's own register says of a start: how its energy compares with the days before."""

    def __init__(self, data: AreaData) -> None:
        self._data = data
        self._sure = (data.measured & data.present).astype(np.float64)
        self._block = data.slot * _BLOCKS // data.per_day
        self._feeds_in = (data.energy < 0).any(axis=0)

    def _before(self, start: int) -> Floats:
        """What was usual before, at the times of day from the start on; [W - start, n]."""
        data = self._data
        usual = by_slot(data.energy[:start], data.slot[:start], data.per_day, self._sure[:start])
        return np.maximum(usual[data.slot[start:]], 0) * data.present[start:]

    def _spread2(self, start: int) -> float:
        """Variance of the logarithm of the ratio of energies after and before."""
        day, after = self._data.per_day, self._data.windows - start
        return _DAYS_SPREAD**2 * (day / start + min(day / after, 2.0)) + _LASTING_SPREAD**2

    def of_share(self, start: int, share: Floats) -> Floats:
        """Log likelihood ratio of the register's fall, had it begun to count 1 / (1 + share) of what it should."""
        if start < self._data.per_day:
            return np.zeros(len(share))
        ratio, sure = _log_ratio(self._data.energy[start:].sum(axis=0), self._before(start).sum(axis=0))
        expected = np.log1p(np.maximum(share, 0))
        mine = (ratio**2 - (ratio + expected) ** 2) / (2 * self._spread2(start))
        return np.where(sure & ~self._feeds_in, np.clip(mine, -_OWN_CAP, _OWN_CAP), 0.0)

    def lacks(self, start: int) -> Floats:
        """What the past lacks now, kWh; [W - start, n]."""
        return np.maximum(self._before(start) - self._data.energy[start:], 0)

    def fall(self, start: int) -> tuple[Floats, Floats]:
        """What ``lacks`` says; and how seldom an honest register falls so, in logarithms."""
        before, after = self._before(start), self._data.energy[start:]
        spread2 = self._spread2(start)
        every, sure = _log_ratio(after.sum(axis=0), before.sum(axis=0))
        mine = np.where(every < -0.3, _seldom(every, spread2), -np.inf)
        blocks = self._block[start:]
        usual = np.stack([before[blocks == b].sum(axis=0) for b in range(_BLOCKS)])
        now = np.stack([after[blocks == b].sum(axis=0) for b in range(_BLOCKS)])
        for first in range(_BLOCKS):
            some = [(first + k) % _BLOCKS for k in range(_NIGHT)]
            ratio, _ = _log_ratio(now[some].sum(axis=0), usual[some].sum(axis=0))
            enough = usual[some].sum(axis=0) > 0.1 * usual.sum(axis=0)
            part = np.where((ratio < -0.7) & enough, _seldom(ratio, spread2 + 0.2) - 1.0, -np.inf)
            mine = np.maximum(mine, part)
        return np.maximum(before - after, 0), np.where(sure & ~self._feeds_in, mine, -np.inf)


def _log_ratio(after: Floats, before: Floats) -> tuple[Floats, np.typing.NDArray[np.bool_]]:
    sure = before > 0
    floor = np.maximum(before, 1e-9)
    return np.log(np.maximum(after, _STILL * floor) / floor), sure


def _seldom(ratio: Floats, spread2: float) -> Floats:
    cap = np.where(ratio <= np.log(_STILL) + 0.5, _STILL_CAP, _OWN_CAP)
    return np.asarray(np.minimum(ratio**2 / (2 * spread2), cap) - 1.0)


def refined(
    data: AreaData, columns: Floats, posterior: Posterior, customer: int, start: int, kind: int, step: int
) -> int:
    """The likeliest start near one that was found on the grid."""
    least = data.per_day if kind == FALL else 0
    near = np.unique(np.clip(np.arange(start - step, start + step + 1, max(step // 12, 1)), least, data.windows - 2))
    only = replace(data, **{name: getattr(data, name)[:, [customer]] for name in ("energy", "measured", "present")})
    own = _Own(only)
    tried = np.zeros((data.windows, len(near)))
    for place, at in enumerate(near.tolist()):
        tried[at:, place] = own.lacks(at)[:, 0] if kind == FALL else only.energy[at:, 0]
    sums = _Running(len(near), columns.shape[1])
    sums.add(tried, posterior.weight[:, None] * columns, posterior.weight, posterior.residual)
    mean, spread = (1.0, _PRIOR_FALL) if kind == FALL else (0.0, _PRIOR_SHARE)
    return int(near[np.argmax(sums.evidence(posterior.wide, mean, spread)[0])])
