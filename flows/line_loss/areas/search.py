"""The search for what explains an area's unregistered energy: one hypothesis after the other goes into its model.

In each round the likeliest hypotheses are weighed against each other, and against none at all, each with its own model
of the whole history. One that is more likely than all others together is found. Where several could explain it alike,
nobody is accused: the energy is nobody's, and those customers are hints. What a later finding makes needless, goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from flows.line_loss.areas.data import AreaData, Bools, Floats, by_slot
from flows.line_loss.areas.findings import Finding, Model
from flows.line_loss.areas.standstills import LEVELS, begun, draws_before
from flows.line_loss.areas.suspects import (
    ABSENT,
    NOBODY,
    SHAPED,
    SHARE,
    SOMEBODY,
    STILL,
    candidates,
    counted,
    course_of,
    is_quiet,
    refined,
)

_COST_OF_SHAPE = 40.0  # a course of the day that is taken from what it explains has many free values
_ALWAYS, _DAILY = 2.0, 4.0  # logarithms of the odds by a register that stands still: homes stand empty, too
_INDEPENDENT = 0.6  # of the windows: what a model does not know stays the same for hours
_MOST_UNKNOWN = 3  # energies that are nobody's in one area
_CLOSER_ABSENT = 3
_AT_ONCE = -15.0  # logarithm of the odds of one who had begun before the first day ended
_SOMEBODY = (0.5, 1.0, 2.0)  # of the mean remainder, what somebody takes
_DOUBTED = 0.5
_LEAST_HINT = 0.1


Option = tuple[float, Finding, Model]
"""Logarithm of the odds of a hypothesis against none, and the model with it."""


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
        most: customers found in one area at most; 0: nobody is looked for.
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


def searched(
    data: AreaData, still: Bools, model: Model, rules: StudyRules
) -> tuple[Model, list[Finding], dict[int, float]]:
    """The model with all that was found, the findings in its order, and customers who may explain what is nobody's.

    Args:
        data: the area.
        still: windows in which registers stand still; [W, n].
        model: without findings.
        rules: the rules.
    """
    search = _Search(data, still, model, rules)
    search.add_standstills()
    if not is_quiet(data, search.model.columns, search.model.posterior):
        stood: set[tuple[tuple[int, int, int], ...]] = set()
        while len(search.findings) < rules.most and search.more():
            search.prune()
            # What one round puts in the next may take out: once round is enough.
            standing_at = tuple(sorted((one.customer, one.kind, one.start) for one in search.findings))
            if standing_at in stood:
                break
            stood.add(standing_at)
        search.reconsider()
    search.find_owners()
    search.doubt()
    return search.model, search.findings, search.hints


def second_look(
    data: AreaData, still: Bools, model: Model, findings: list[Finding], rules: StudyRules
) -> tuple[Model, list[Finding]]:
    """Registers that stand still once more, when what has been found is no longer taken for noise.

    Args:
        data: the area.
        still: windows in which registers stand still; [W, n].
        model: without findings, with less noise.
        findings: so far.
        rules: the rules.
    """
    search = _Search(data, still, model, rules)
    search.note_standstills()
    search.take_up(findings)
    search.look_again()
    return search.model, search.findings


class _Search:
    def __init__(self, data: AreaData, still: Bools, model: Model, rules: StudyRules) -> None:
        self._data, self._still, self._base, self._rules = data, still, model, rules
        self._usual: Floats | None = None
        self._standstills: dict[int, Finding] = {}
        self._odds: dict[int, float] = {}  # of these
        self.model = model
        self.findings: list[Finding] = []
        self.hints: dict[int, float] = {}

    def note_standstills(self) -> None:
        """Registers that stand still, as findings, and the odds of each before the remainder is looked at."""
        for one in begun(self._data, self._still):
            draws = draws_before(self._data, self._still[:, one.customer], one.customer, one.start)
            start = self._data.first + one.start
            self._standstills[one.customer] = Finding(one.customer, STILL, start, 1.0, draws=draws)
            self._odds[one.customer] = float(np.log(self._rules.prior_theft)) + (_ALWAYS if one.always else _DAILY)

    def add_standstills(self) -> None:
        """Take all registers that stand still, and let go those whose energy is not missing."""
        self.note_standstills()
        if self._standstills:
            self.findings = list(self._standstills.values())
            self.model = self._model_of(self.findings)
            self._let_go(self.findings)
            odds = [self._without(finding)[0] for finding in self.findings]
            self.findings = [
                replace(finding, score=_score(-gain)) for finding, gain in zip(self.findings, odds, strict=True)
            ]

    def take_up(self, findings: list[Finding]) -> None:
        """Begin with what an earlier search has found."""
        self.model, self.findings = self._model_of(findings), list(findings)

    def _model_of(self, findings: list[Finding]) -> Model:
        return self._base.plus(self._data, self._still, findings) if findings else self._base

    def look_again(self) -> None:
        """Take up standing registers whose energy is missing after all, the likeliest first."""
        while True:
            taken = {finding.customer for finding in self.findings}
            options = []
            for finding in self._standstills.values():
                if finding.customer not in taken:
                    model = self.model.plus(self._data, self._still, [finding])
                    odds = _INDEPENDENT * (model.evidence - self.model.evidence) + self._odds[finding.customer]
                    options.append((odds, finding, model))
            best = max(options, key=lambda option: option[0], default=None)
            if best is None or best[0] <= 0:
                return
            odds, finding, self.model = best
            self.findings.append(replace(finding, score=_score(odds)))

    def more(self) -> bool:
        """Add the hypothesis that goes into the model next, if there is need of one."""
        return self._take(self._options())

    def _take(self, options: list[Option]) -> bool:
        most = max([0.0, *(evidence for evidence, _, _ in options)])
        weights = np.exp(np.array([evidence for evidence, _, _ in options]) - most)
        total = float(np.exp(-most) + weights.sum())
        if np.exp(-most) / total > 0.5:
            return False
        best = int(np.argmax(weights))
        _, finding, model = options[best]
        score = float(weights[best] / total)
        if finding.customer == NOBODY or score >= 0.5:
            self.model = model
            self.findings.append(finding if finding.customer == NOBODY else replace(finding, score=score))
            return True
        for weight, (_, other, _) in zip(weights, options, strict=True):
            if other.kind in (SHARE, STILL) and weight / total >= _LEAST_HINT:
                self.hints[other.customer] = max(float(weight / total), self.hints.get(other.customer, 0.0))
        nobodys = [option for option in options if option[1].customer == NOBODY]
        if not nobodys:
            return False
        _, finding, self.model = max(nobodys, key=lambda option: option[0])
        self.findings.append(finding)
        return True

    def prune(self) -> None:
        """Take out what the last finding has made needless.

        Somebody unknown who begins just as a register stands still is that register's customer.
        """
        unknown = self.findings[-1].customer == NOBODY
        self._let_go([finding for finding in self.findings[:-1] if not (unknown and finding.kind == STILL)])

    def reconsider(self) -> None:
        """Ask of each that is nobody's whether what was found since then tells whose it is."""
        for unknown in [finding for finding in self.findings if finding.customer == NOBODY]:
            before = self.model, self.findings
            self.findings = [finding for finding in self.findings if finding is not unknown]
            self.model = self._model_of(self.findings)
            options = self._options()
            if not self._take_pair(options) and (not self._take(options) or self.findings[-1].customer == NOBODY):
                self.model, self.findings = before

    def find_owners(self) -> None:
        """Energy with nobody's profile that begins after a register began to stand still is its customer's.

        That he takes more than he used to is likelier than that another one begins whom nobody knows.
        """
        still = [finding for finding in self.findings if finding.kind == STILL]
        for place, finding in enumerate(self.findings):
            before = [one for one in still if one.start <= finding.start + self._data.per_day // 2]
            if finding.customer == NOBODY and before:
                nearest = min(before, key=lambda one: (abs(finding.start - one.start), one.customer))
                self.findings[place] = replace(finding, owner=nearest.customer)

    def doubt(self) -> None:
        """Where energy has been missing from the first day on with nobody's profile, the head or the record is wrong.

        What shares explain beside that is not to be relied on.
        """
        begun = self._data.first + self._data.per_day
        if any(one.customer == NOBODY and one.owner == NOBODY and one.start < begun for one in self.findings):
            self.findings = [
                replace(one, score=one.score * _DOUBTED) if one.kind == SHARE else one for one in self.findings
            ]

    def _take_pair(self, options: list[Option]) -> bool:
        """Two customers who begin about the same time: neither alone explains as much as somebody unknown would."""
        nobody = max((odds for odds, finding, _ in options if finding.customer == NOBODY), default=np.inf)
        alone = [option for option in options if option[1].kind == SHARE]
        if not alone or not np.isfinite(nobody):
            return False
        before = self.model, self.findings
        odds, first, self.model = max(alone, key=lambda option: option[0])
        self.findings = [*self.findings, first]
        beside = [option for option in self._options() if option[1].kind == SHARE]
        if beside:
            more, second, model = max(beside, key=lambda option: option[0])
            score = _score(odds + more - nobody)
            if score > 0.5:
                self.model = model
                self.findings = [*before[1], replace(first, score=score), replace(second, score=score)]
                return True
        self.model, self.findings = before
        return False

    def _let_go(self, findings: list[Finding]) -> None:
        """Take out, one after the other, those of some findings without which the model is likelier."""
        findings = list(findings)
        while findings:
            options = [(*self._without(finding), finding) for finding in findings]
            gain, model, gone = max(options, key=lambda option: option[0])
            if gain <= 0:
                return
            self.model = model
            self.findings = [finding for finding in self.findings if finding is not gone]
            findings = [finding for finding in findings if finding is not gone]

    def _without(self, gone: Finding) -> tuple[float, Model]:
        """The logarithm of the odds that a finding is needless, and the model without it."""
        model = self._model_of([finding for finding in self.findings if finding is not gone])
        tried = float(np.log(max(self._data.windows // self._rules.step, 1)))
        if gone.kind == STILL:
            odds = self._odds[gone.customer]
        else:
            odds = (
                float(np.log(self._rules.prior_nobody if gone.customer == NOBODY else self._rules.prior_theft)) - tried
            )
        return model.evidence - self.model.evidence - odds, model

    def _options(self) -> list[Option]:
        """Hypotheses with the logarithm of their odds against none, and the model with each."""
        data, rules, model = self._data, self._rules, self.model
        taken = frozenset(finding.customer for finding in self.findings)
        found = candidates(data, model.columns, model.posterior, rules.step, taken)
        theft, tried = float(np.log(rules.prior_theft)), float(np.log(max(found.starts, 1)))
        unknown = float(np.log(rules.prior_nobody)) - tried
        rough = found.evidence + found.own + theft - tried
        absent = float(found.absent[0].max(initial=-np.inf)) + theft - tried
        standstills = [one for one in self._standstills.values() if one.customer not in taken and self.findings]
        if max(float(rough.max(initial=-np.inf)), absent, found.nobody[0] + unknown) < 0 and not standstills:
            return []
        options: list[Option] = []

        def weigh(finding: Finding, odds: float) -> None:
            whole = model.plus(data, self._still, [finding])
            options.append((_INDEPENDENT * (whole.evidence - model.evidence) + odds, finding, whole))

        unknowns = sum(finding.customer == NOBODY for finding in self.findings)
        if unknowns < _MOST_UNKNOWN and found.nobody[0] + unknown > 0:
            generic = self._of_nobody(found.nobody[2], found.nobody[1])
            weigh(generic, unknown)
            weigh(replace(generic, scatter=0.0), unknown)  # where the noise has it already
            weigh(self._of_nobody(SHAPED, found.nobody[1]), unknown - _COST_OF_SHAPE)
            self._weigh_somebody(found.nobody[1], weigh, unknown)
        for place, customer in enumerate(np.argsort(-rough)[: rules.closer].tolist()):
            if rough[customer] < 0:
                break
            start = refined(
                data, model.columns, model.posterior, customer, int(found.start[customer]), rules.step, SHARE
            )
            odds = float(found.own[customer]) + theft - tried
            # Of what was there from the first day on no register tells whether it began: the record may be wrong.
            weigh(Finding(customer, SHARE, data.first + start, 1.0), odds + (_AT_ONCE if start < data.per_day else 0))
            if place == 0 and unknowns < _MOST_UNKNOWN:
                self._weigh_somebody(start, weigh, unknown)
        for finding in standstills:
            weigh(finding, self._odds[finding.customer])
        elsewhere, starts = found.absent
        for customer in np.argsort(-elsewhere)[:_CLOSER_ABSENT].tolist():
            if elsewhere[customer] + theft - tried < 0:
                break
            start = refined(data, model.columns, model.posterior, customer, int(starts[customer]), rules.step, ABSENT)
            weigh(Finding(customer, ABSENT, data.first + start, 1.0), theft - tried)
        nobodys = [option for option in options if option[1].customer == NOBODY]
        best = max(nobodys, key=lambda option: option[0], default=None)
        return [option for option in options if option[1].customer != NOBODY or option is best]

    def _weigh_somebody(self, start: int, weigh: Callable[[Finding, float], None], odds: float) -> None:
        """Energy that is missing as households take it, with nobody's profile."""
        posterior = self.model.posterior
        level = float(posterior.residual[start:][posterior.weight[start:] > 0].mean())
        for scale in _SOMEBODY if level > 0 else ():
            draws = self._households() * (level * scale)
            finding = Finding(NOBODY, SOMEBODY, self._data.first + start, 1.0, draws=draws)
            weigh(finding, odds - float(np.log(len(_SOMEBODY))))

    def _households(self) -> Floats:
        """How any one customer's energy is distributed at each time of day, by its mean; [per_day, DRAWS]."""
        if self._usual is None:
            data = self._data
            taken = counted(data.energy)
            mean = taken.mean(axis=0)
            some = mean > 1e-6
            whole, days, _ = data.whole_days(taken[:, some] / mean[some], np.nan)
            pool = whole.reshape(days, data.per_day, -1).transpose(1, 0, 2).reshape(data.per_day, -1)
            self._usual = np.asarray(np.nanquantile(pool, LEVELS, axis=1).T)
            self._usual /= self._usual.mean()
        return self._usual

    def _of_nobody(self, kind: int, start: int) -> Finding:
        data, posterior = self._data, self.model.posterior
        usual = np.zeros(data.per_day)
        if kind == SHAPED:
            sure = (posterior.weight[start:] > 0).astype(np.float64)[:, None]
            usual = by_slot(posterior.residual[start:, None], data.slot[start:], data.per_day, sure, smooth=False)[:, 0]
        else:
            usual[data.slot] = course_of(data, kind)
        after = np.diff(posterior.residual[start:][posterior.weight[start:] > 0])
        scatter = float(np.mean(after**2)) / 2 if len(after) else 0.0
        return Finding(NOBODY, kind, data.first + start, 1.0, usual, scatter)


def _score(odds: float) -> float:
    """A probability from the logarithm of the odds."""
    return float(1 / (1 + np.exp(-max(odds, -50.0))))
