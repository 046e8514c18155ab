"""What an area's history teaches, and what that says of each window.

A *study* is made of some days of an area: the shapes of its meters' gaps, the model of its remainder, and who of its
customers explains what nobody registers. It is a pure function of the aligned energies. It is then *applied* to
windows, the same or later ones: their technical loss, their remainder without what gain errors explain, its
uncertainty, and the suspects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flows.line_loss.areas import clocks
from flows.line_loss.areas.data import AreaData, Floats, by_slot
from flows.line_loss.areas.gaps import GapShapes
from flows.line_loss.areas.model import Posterior, fit
from flows.line_loss.areas.suspects import (
    FALL,
    NOBODY,
    SHAPED,
    SHARE,
    candidates,
    course_of,
    is_quiet,
    prior_of,
    refined,
)

_MOST_NEGATIVE, _MOST_MISSING = 0.15, 0.6  # of the energy delivered
_COST_OF_SHAPE = 40.0  # a course of the day that is taken from what it explains has many free values
_MOST_CLOCKS = 4  # clocks that profiles tell in one study
_UNKNOWN_LINES = 0.03  # standard deviation of the loss of lines that are not known, as a part of the energy
_UNKNOWN = 2e-4  # standard deviation of what is left, as a part of the energy
_STEPS_KWH = (1.0, 0.1, 0.01)  # resolutions of registers that are recognised; else 0.001


@dataclass(frozen=True, slots=True)
class StudyRules:
    """What a study needs of the settings.

    Attributes:
        class_percent: accuracy class of customers' meters, +- per cent.
        head_class_percent: of head meters.
        line_percent: standard deviation of the technical loss's relative error.
        prior_theft: probability that a customer begins to have unregistered energy within the span of a study.
        step: windows between two starts that are tried.
        prior_nobody: that energy begins to be missing with no customer's profile.
        most: customers found in one area at most.
        closer: so many of the likeliest customers are looked at closer.
    """

    class_percent: float = 1.0
    head_class_percent: float = 0.5
    line_percent: float = 10.0
    prior_theft: float = 0.002
    prior_nobody: float = 0.02
    step: int = 24
    most: int = 12
    closer: int = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """Unregistered energy of a customer, or nobody's.

    Attributes:
        customer: index, or ``NOBODY``.
        kind: a kind of ``suspects``.
        start: number of the window in which it begins.
        score: probability, 0..1.
        usual: what was usual before, kWh a window by time of day; [per_day].
        scatter: variance of a window's missing energy about its column, kWh².
    """

    customer: int
    kind: int
    start: int
    score: float
    usual: Floats
    scatter: float


@dataclass(frozen=True, slots=True)
class Study:
    """What was learned of an area.

    Attributes:
        customers: ids.
        heads: ids.
        customer_gaps: shapes of the customers' gaps.
        head_gaps: of the heads'.
        posterior: of the coefficients of heads, customers, technical loss, and findings, in that order.
        findings: unregistered energy that is part of the model.
        hints: (customer, score) of those who may explain what is ``NOBODY``'s.
        reference: sums of the gain columns: what systematic errors are weighed by; [h + n].
        noise: by how much the remainder scatters more than gaps and registers' steps explain, at least 1.
        profile_offset: clocks' offsets that the profiles tell, s; [n].
        load_scale: 0 where the lines are known, else what the squared load is scaled by, 1/kWh.
        resolution: variance by the registers' steps of each customer's window, kWh²; [n].
    """

    customers: tuple[str, ...]
    heads: tuple[str, ...]
    customer_gaps: GapShapes
    head_gaps: GapShapes
    posterior: Posterior
    findings: tuple[Finding, ...]
    hints: tuple[tuple[int, float], ...]
    reference: Floats
    noise: float
    profile_offset: Floats
    load_scale: float
    resolution: Floats


@dataclass(frozen=True, slots=True)
class Applied:
    """What a study says of windows; all [W], kWh or kWh².

    Attributes:
        energy: of the customers, with gaps shaped and clocks put right; [W, n].
        offset: of their clocks, s; [W, n].
        head: of the heads; [W, h].
        technical: lost in lines: by their data, or as learned from squared load.
        head_gain: what gain errors add to the heads' energies.
        customer_gain: what they add to the customers'.
        systematic: standard uncertainty that is common to all windows.
        random: variance of the rest.
        suspects: of each suspect customer (index, score, missing kWh [W], variance [W]).
        nobody: energy that is missing with no customer's profile.
    """

    energy: Floats
    offset: Floats
    head: Floats
    technical: Floats
    head_gain: Floats
    customer_gain: Floats
    systematic: Floats
    random: Floats
    suspects: list[tuple[int, float, Floats, Floats]]
    nobody: Floats


def is_plausible(data: AreaData) -> bool:
    """Whether there is a day to learn from, and the record can be right.

    Gains, losses and thefts explain only so much.
    """
    some = data.complete
    head = float(np.abs(data.head[some]).sum())
    return (
        int(some.sum()) >= data.per_day
        and -_MOST_NEGATIVE * head < float(data.remainder[some].sum()) < _MOST_MISSING * head
    )


def study(data: AreaData, technical: Floats, rules: StudyRules) -> Study:
    """Learn from an area's history.

    Args:
        data: its energies; at least a window.
        technical: kWh lost in its lines, from their data; [W].
        rules: the rules.
    """
    area = data.head.sum(axis=1)
    customer_gaps = GapShapes.learned(data.energy, data.measured & data.present, area, data.slot, data.per_day)
    head_gaps = GapShapes.learned(data.head, data.head_measured, area, data.slot, data.per_day)
    resolution = _resolution(data)
    shift = np.zeros(len(data.customers))
    raw = data
    data, variance, _ = _prepared(raw, customer_gaps, head_gaps, resolution, shift)
    columns, target, prior, gains = _base(data, technical, rules)
    usable = data.complete & data.head_measured.all(axis=1)
    posterior = fit(columns, target, np.where(usable, variance, np.inf), prior, gains)
    # By their profiles only where no meter's messages tell when they arrived.
    told = np.logical_not(np.any(np.isfinite(data.delay), axis=0))
    for _ in range(_MOST_CLOCKS if told.any() else 0):
        more = clocks.by_profile(data.energy, data.measured & (told & (shift == 0)), columns, posterior, data.seconds)
        if not more.any():
            break
        shift = shift + more
        data, variance, _ = _prepared(raw, customer_gaps, head_gaps, resolution, shift)
        columns, target, prior, gains = _base(data, technical, rules)
        posterior = fit(columns, target, np.where(usable, variance, np.inf), prior, gains)
    # Noise that the variances do not have would speak for whatever allows of more of it.
    noise = posterior.excess
    variance = np.where(usable, variance * noise, np.inf)
    posterior = fit(columns, target, variance, prior, gains)
    model = _Model(columns, target, variance, prior, gains, posterior)
    findings: list[Finding] = []
    hints: dict[int, float] = {}
    searching = not is_quiet(data, columns, posterior)
    while searching and len(findings) < rules.most:
        better = _better(data, model, findings, rules, hints)
        if better is None:
            break
        finding, model = better
        findings.append(finding)
    taken = {finding.customer for finding in findings}
    return Study(
        data.customers,
        data.heads,
        customer_gaps,
        head_gaps,
        replace(model.posterior, weight=np.zeros(0), residual=np.zeros(0)),
        tuple(findings),
        tuple((customer, score) for customer, score in hints.items() if customer not in taken),
        columns[:, :gains].sum(axis=0),
        noise,
        shift,
        0.0 if technical.any() else _scale_of_load(data),
        resolution,
    )


def apply(learned: Study, data: AreaData, technical: Floats) -> Applied:
    """What a study says of windows.

    Args:
        learned: the study.
        data: energies of the same meters.
        technical: kWh lost in lines; [W].
    """
    data, variance, offset = _prepared(
        data, learned.customer_gaps, learned.head_gaps, learned.resolution, learned.profile_offset
    )
    energy, head = data.energy, data.head
    posterior, h, n = learned.posterior, head.shape[1], energy.shape[1]
    mean, covariance = posterior.mean, posterior.covariance
    gain = np.hstack([head, energy])
    common = covariance[: h + n, : h + n] @ learned.reference
    scale = max(float(learned.reference @ common), 1e-30) ** 0.5
    systematic = np.maximum(gain @ common / scale, 0)
    total = ((gain @ covariance[: h + n, : h + n]) * gain).sum(axis=1)
    random = np.maximum(total - systematic**2, 0) + variance * learned.noise * posterior.excess
    if learned.load_scale:
        technical = np.maximum(mean[h + n], 0) * _squared_load(head.sum(axis=1), learned.load_scale)
        unexplained = data.remainder - technical - gain @ mean[: h + n]
    else:
        unexplained = data.remainder - technical * (1 + mean[h + n]) - gain @ mean[: h + n]
    columns = [_column(data, finding) for finding in learned.findings]
    for place, column in enumerate(columns):
        unexplained = unexplained - column * mean[h + n + 1 + place]
    suspects = []
    nobody = np.zeros(data.windows)
    for place, (finding, column) in enumerate(zip(learned.findings, columns, strict=True)):
        at = h + n + 1 + place
        missing = column * mean[at]
        spread = column**2 * covariance[at, at]
        if finding.kind == FALL and finding.scatter > 0:
            # A register that stands still says nothing of when it is missing; the remainder does.
            on = (data.first + np.arange(data.windows) >= finding.start) & data.head_measured.all(axis=1)
            believed = np.where(on, finding.scatter / (finding.scatter + random + systematic**2), 0.0)
            missing = np.maximum(missing + believed * unexplained, 0)
            spread = spread + (1 - believed) * finding.scatter * on
        if finding.customer == NOBODY:
            nobody += missing
        else:
            suspects.append((finding.customer, finding.score, np.maximum(missing, 0), spread))
    for customer, score in learned.hints:
        suspects.append((customer, score, np.maximum(nobody, 0) * score, nobody**2))
    return Applied(
        energy,
        offset,
        head,
        technical,
        head @ mean[:h],
        -(energy @ mean[h : h + n]),
        systematic,
        random,
        suspects,
        nobody,
    )


def _column(data: AreaData, finding: Finding) -> Floats:
    on = data.first + np.arange(data.windows) >= finding.start
    if finding.kind == SHARE:
        return data.energy[:, finding.customer] * on
    usual = finding.usual[data.slot]
    if finding.kind == FALL:
        present = data.present[:, finding.customer]
        return np.maximum(usual * present - data.energy[:, finding.customer], 0) * on
    return usual * on


def _base(data: AreaData, technical: Floats, rules: StudyRules) -> tuple[Floats, Floats, Floats, int]:
    """Columns [W, k], target [W], priors' variances [k] of the model without findings; how many of them are gains."""
    unknown = not technical.any()
    if unknown:
        technical = _squared_load(data.head.sum(axis=1), _scale_of_load(data))
    columns = np.hstack([data.head, data.energy, technical[:, None]])
    prior = np.concatenate(
        [
            np.full(data.head.shape[1], _variance_of_class(rules.head_class_percent)),
            np.full(data.energy.shape[1], _variance_of_class(rules.class_percent)),
            [_UNKNOWN_LINES**2 if unknown else (rules.line_percent / 100) ** 2],
        ]
    )
    return columns, data.remainder - technical * (not unknown), prior, columns.shape[1] - 1


def _scale_of_load(data: AreaData) -> float:
    """Mean energy over mean squared energy of the heads, 1/kWh."""
    head = data.head.sum(axis=1)[data.complete]
    return float(np.abs(head).sum() / max(float((head**2).sum()), 1e-12))


def _squared_load(head: Floats, scale: float) -> Floats:
    """What lines would lose that lose as much as is delivered: their loss is a small part of this."""
    return head**2 * scale


def _prepared(
    data: AreaData, customer_gaps: GapShapes, head_gaps: GapShapes, resolution: Floats, shift: Floats
) -> tuple[AreaData, Floats, Floats]:
    """Gaps shaped and clocks put right; the variance of the remainder, kWh² [W]; and the clocks' offsets, s [W, n]."""
    area = data.head.sum(axis=1)
    energy, unsure = customer_gaps.fill(data.energy, data.measured & data.present, data.present, area, data.slot)
    head, unsure_head = head_gaps.fill(
        data.head, data.head_measured, np.ones_like(data.head_measured), data.energy.sum(axis=1), data.slot
    )
    delay, days, before = data.whole_days(data.delay, np.nan)
    offset = clocks.over_windows(clocks.by_arrival(delay, days), data.per_day)[before : before + data.windows]
    offset = offset + shift * (offset == 0)
    for meter in np.flatnonzero(offset.any(axis=0)).tolist():
        shifted = clocks.worth(energy[:, meter], offset[:, meter], data.seconds)
        energy[:, meter] = clocks.corrected(energy[:, meter], shifted, data.seconds)
        error = customer_gaps.error[0, data.slot, meter]
        unsure[:, meter] += clocks.variance(offset[:, meter], error, data.seconds)
    variance = unsure.sum(axis=1) + unsure_head.sum(axis=1) + data.present @ resolution
    # What no model of meters has: unequal instants of freezing, second-order terms of the lines.
    variance += (_UNKNOWN * head.sum(axis=1)) ** 2
    return replace(data, energy=energy * data.present, head=head), variance, offset


@dataclass(frozen=True, slots=True)
class _Model:
    """A model of the remainder; see ``fit``."""

    columns: Floats
    target: Floats
    variance: Floats
    prior: Floats
    gains: int
    posterior: Posterior

    def plus(self, data: AreaData, finding: Finding) -> _Model:
        """The model with a finding."""
        start = finding.start - data.first
        column = _column(data, finding)
        columns = np.hstack([self.columns, column[:, None]])
        prior = np.append(self.prior, prior_of(finding.kind))
        # What nobody registers comes and goes as it likes.
        variance = self.variance + finding.scatter * (np.arange(data.windows) >= start)
        return _Model(
            columns, self.target, variance, prior, self.gains, fit(columns, self.target, variance, prior, self.gains)
        )


def _better(
    data: AreaData, model: _Model, findings: list[Finding], rules: StudyRules, hints: dict[int, float]
) -> tuple[Finding, _Model] | None:
    """The model with the hypothesis that goes into it next, None when there is no need of one."""
    taken = frozenset(finding.customer for finding in findings)
    found = candidates(data, model.columns, model.posterior, rules.step, taken)
    tried = float(np.log(max(found.starts, 1)))
    theft, unknown = np.log(rules.prior_theft) - tried, np.log(rules.prior_nobody) - tried
    rough = found.evidence + found.own
    if max(float(rough.max(initial=-np.inf)) + theft, found.nobody[0] + unknown) < 0:
        return None
    options: list[tuple[float, Finding, _Model]] = []
    if NOBODY not in taken:
        for kind, cost in ((found.nobody[2], 0.0), (SHAPED, _COST_OF_SHAPE)):
            finding = _finding(data, NOBODY, kind, found.nobody[1], model.posterior)
            whole = model.plus(data, finding)
            options.append((whole.posterior.evidence - model.posterior.evidence + unknown - cost, finding, whole))
        options.sort(key=lambda option: -option[0])
    for customer in np.argsort(-rough)[: rules.closer].tolist():
        if not np.isfinite(rough[customer]):
            break
        kind, start = int(found.kind[customer]), int(found.start[customer])
        start = refined(data, model.columns, model.posterior, customer, start, kind, rules.step)
        finding = _finding(data, customer, kind, start, model.posterior)
        whole = model.plus(data, finding)
        evidence = whole.posterior.evidence - model.posterior.evidence + float(found.own[customer]) + theft
        options.append((evidence, finding, whole))
    most = max([0.0, *(evidence for evidence, _, _ in options)])
    weights = np.exp(np.array([evidence for evidence, _, _ in options]) - most)
    total = float(np.exp(-most) + weights.sum())
    if np.exp(-most) / total > 0.5:
        return None
    best = int(np.argmax(weights))
    _, finding, whole = options[best]
    if finding.customer != NOBODY and weights[best] / total >= 0.5:
        return replace(finding, score=float(weights[best] / total)), whole
    for weight, (_, other, _) in zip(weights, options, strict=True):
        if other.customer != NOBODY and weight / total >= 0.1:
            hints[other.customer] = max(float(weight / total), hints.get(other.customer, 0.0))
    return None if NOBODY in taken else (options[0][1], options[0][2])


def _finding(data: AreaData, customer: int, kind: int, start: int, posterior: Posterior) -> Finding:
    usual, scatter = np.zeros(data.per_day), 0.0
    if kind == FALL:
        sure = (data.measured & data.present)[:start, [customer]].astype(np.float64)
        past = data.energy[:start, [customer]]
        usual = by_slot(past, data.slot[:start], data.per_day, sure)[:, 0]
        off = past[:, 0] - usual[data.slot[:start]]
        scatter = float((off**2 * sure[:, 0]).sum() / max(sure.sum(), 1.0))
    elif kind != SHARE:
        if kind == SHAPED:
            sure = (posterior.weight[start:] > 0).astype(np.float64)[:, None]
            usual = by_slot(posterior.residual[start:, None], data.slot[start:], data.per_day, sure, smooth=False)[:, 0]
        else:
            usual[data.slot] = course_of(data, kind)
        after = np.diff(posterior.residual[start:][posterior.weight[start:] > 0])
        scatter = float(np.mean(after**2)) / 2 if len(after) else 0.0
    return Finding(customer, kind, data.first + start, 1.0, usual, scatter)


def _variance_of_class(percent: float) -> float:
    """A class limit is the half-width of a rectangular distribution (GUM, 4.3.7)."""
    return (percent / 100) ** 2 / 3


def _resolution(data: AreaData) -> Floats:
    """Variance of a difference of two register readings, each cut to a step, kWh²; [n]."""
    sure = data.measured & data.present & (data.energy != 0)
    count = np.maximum(sure.sum(axis=0), 1)
    steps = np.full(data.energy.shape[1], 0.001)
    for step in reversed(_STEPS_KWH):
        multiples = data.energy / step
        fits = (np.abs(multiples - np.rint(multiples)) < 1e-3) & sure
        steps = np.where(fits.sum(axis=0) >= 0.9 * count, step, steps)
    steps = np.where(sure.any(axis=0), steps, 0.001)
    return np.asarray(steps**2 / 6)
