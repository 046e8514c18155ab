"""The life of what is found about usage points: proposed, accepted, withdrawn.

A change is proposed when it is likelier than not by all that was seen since, which is looked at where the last hours
tell of one, or all steps of late together do. It is accepted when its confidence is that of the settings at two steps
that follow one another, or at once where it is beyond doubt or several move together; a mismatch of the record at two
whole days apart. The confidence is the probability that it went, and there: never more than the share of that place
among all where it could have gone. What is accepted is believed from then on. A proposal is withdrawn when nothing
speaks for it any more, an acceptance when the meter shows within days that it is where it was.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np

from flows.topology.estimate import estimate
from flows.topology.identification import PHASES, Record
from flows.topology.memory import SPANS, Belief, Memory
from flows.topology.moment import LEAST_BEFORE, Surroundings, Where
from flows.topology.neighbourhood import Neighbourhood
from flows.topology.signals import Floats, Ints
from flows.topology.slots import Slots
from flows.topology.tracker import BALANCED, DAY, DOUBT, FITS, GOOD, ODDS, STEP, Scores

MOVED, REPHASED, MISMATCH = "METER_TRANSFORMER_CHANGED", "METER_PHASE_CHANGED", "RECORD_MISMATCH"
PROPOSED, ACCEPTED, WITHDRAWN = "PROPOSED", "ACCEPTED", "WITHDRAWN"

_BEYOND_DOUBT = 15.0  # nats over the odds
_CABLE = 2  # others that show the same move: then it is a cable that was moved
_WEAK = 5.0  # nats, gathered, from which on all that was seen since is looked at
_UNFIT, _OF = 5, 6  # so many of the last steps speak against where it is: so all that was seen since is looked at
_UNTOLD = 3.0  # nats more against a change that the last hours do not tell
_UNSURE = 2.0  # and by so much of its misfit differences count for less: who fits well is off by a half
_TAKEN_BACK = 3 * DAY  # slots in which an acceptance is withdrawn rather than followed by a change back
_LOOK_BACK = DAY + DAY // 4  # slots in which the moment of a change is sought
_MOST = 0.9999


@dataclass(frozen=True, slots=True)
class Finding:
    """A change of one usage point; times in slots.

    Attributes:
        point: element id.
        ordinal: how manieth of its kind there.
        kind: of TopologyChange.
        previous: transformer or phase.
        current: transformer or phase.
        transformer: where it is, by this.
        phase: there, -1 where none is told.
        state: PROPOSED, ACCEPTED or WITHDRAWN.
        since: first step at which it was seen in an unbroken run.
        seen: last step at which it was seen.
        detected: step at which the state was reached.
        effective: since when it is so.
        within: half width of the 95 % interval of that, slots.
        score: nats, odds taken off.
        together: how many other usage points show the same.
        recorded: transformer and phase by the record.
        believed: transformer and phase where it was believed to be until then.
        accepted: whether it has been accepted.
        against: last step at which an accepted change showed to be none.
    """

    point: str
    ordinal: int
    kind: str
    previous: str
    current: str
    transformer: str
    phase: int
    state: str
    since: int
    seen: int
    detected: int
    effective: int
    within: float
    score: float
    together: int
    recorded: tuple[str, int]
    believed: tuple[str, int]
    accepted: bool = False
    against: int = 0

    @property
    def change_id(self) -> str:
        """The same over all revisions."""
        return f"{self.point}/{self.kind}/{self.ordinal}"

    @property
    def confidence(self) -> float:
        """Probability that it is so."""
        return min(_MOST, 1 / (1 + math.exp(-min(self.score, 50.0))))


@dataclass
class Changes:
    """All findings that are open, or that may still be withdrawn or taken up again.

    Attributes:
        last: of each usage point the last finding.
        count: how many findings of each kind there were; by usage point and kind.
        accepted: of each usage point the last change that was.
    """

    last: dict[str, Finding] = field(default_factory=dict)
    count: dict[tuple[str, str], int] = field(default_factory=dict)
    accepted: dict[str, Finding] = field(default_factory=dict)

    def copy(self) -> Changes:
        """One that goes its own way."""
        return deepcopy(self)


@dataclass(frozen=True, slots=True)
class Step:
    """All that decisions of a step rest on.

    ``stayed`` are those who were where they are believed to be for hours, and left since.
    """

    memory: Memory
    slots: Slots
    near: Neighbourhood
    record: Record
    scores: Scores
    slot: int
    accept: float
    stayed: frozenset[int] = frozenset()


def decide(changes: Changes, step: Step) -> list[Finding]:
    """What is new after a step: findings whose state changed; ``changes`` and ``memory`` take note."""
    said = _confirmed_by_record(changes, step)
    named = dict(zip(step.near.points, range(len(step.near.points)), strict=True))
    around, step = _named(changes, step, named)
    asked = np.flatnonzero((step.scores.change >= ODDS) | (step.scores.mismatch >= ODDS))
    shown = {step.near.points[n]: found for n in asked.tolist() if (found := _shown(changes, step, n)) is not None}
    for point, finding in sorted(changes.last.items()):
        if finding.state == PROPOSED and point not in shown and _is_gone(finding, step, named):
            shown[point] = replace(finding, state=WITHDRAWN, detected=step.slot)
    fresh: list[Finding] = []
    taken_back: dict[str, Finding] = {}
    for point, finding in sorted(shown.items()):
        before = changes.last.get(point)
        if before is not None and before.state == ACCEPTED and finding.state == WITHDRAWN:
            taken_back[point] = before
        if before is not None and before.state == PROPOSED and before.change_id != finding.change_id:
            said.append(replace(before, state=WITHDRAWN, detected=step.slot))
        changes.last[point] = finding
        if before is None or (before.change_id, before.state) != (finding.change_id, finding.state):
            fresh.append(finding)
    dated = _dated(
        changes, step, [one for one in fresh if one.kind != MISMATCH and one.state != WITHDRAWN], named, around
    )
    step.memory.held = {point for point, one in changes.last.items() if one.state == PROPOSED}
    for finding in fresh:
        one = dated.get(finding.point, finding)
        changes.last[one.point] = one
        changes.count[one.point, one.kind] = max(one.ordinal, changes.count.get((one.point, one.kind), 0))
        if one.state == ACCEPTED:
            if (earlier := changes.accepted.get(one.point)) is not None and _is_same_event(one, earlier):
                said.append(_superseded(earlier, one))
                one = replace(one, previous=earlier.previous) if one.kind == earlier.kind else one
                changes.last[one.point] = one
            if one.kind == MOVED:
                step.memory.moves.append((step.slot, one.previous, one.current))
            if one.kind != MISMATCH:
                changes.accepted[one.point] = one
            _believe(step.memory, one, step.slot)
        elif one.point in taken_back:
            _believe_again(step.memory, taken_back[one.point])
            changes.accepted.pop(one.point, None)
            # What it showed since speaks of the place to which it goes back.
            step.memory.forget(one.point, step.slot - DAY)
            step.memory.good[step.memory.points[one.point]] = GOOD
        said.append(one)
    return said


def _names(step: Step, n: int) -> tuple[str, str]:
    """From where to where the scores of a usage point tell that it went."""
    here, there = int(step.record.transformer[n]), int(step.scores.transformer[n])
    if here != there:
        return step.near.transformers[here], step.near.transformers[there]
    return _letter(_before(step, n)[1]), _letter(int(step.scores.phase[n]))


def _shown(changes: Changes, step: Step, n: int) -> Finding | None:
    """The finding that a step shows of a usage point."""
    near, scores, slot = step.near, step.scores, step.slot
    point = near.points[n]
    here, there = int(step.record.transformer[n]), int(scores.transformer[n])
    phase = int(scores.phase[n])
    moved = here != there
    previous, current = _names(step, n)
    before = changes.last.get(point)
    mismatch = bool(scores.mismatch[n] >= ODDS) and not scores.change[n] >= ODDS
    score = float(scores.mismatch[n]) - ODDS if mismatch else float(scores.change[n]) - ODDS
    kind = MISMATCH if mismatch else MOVED if moved else REPHASED
    back = before is not None and before.state == ACCEPTED and _back(before, kind, previous, current, slot)
    if before is not None and back and not _was_there(before, step, n):
        if score >= _BEYOND_DOUBT or slot - before.against <= STEP:
            return replace(before, state=WITHDRAWN, detected=slot)
        return replace(before, against=slot)
    same = before is not None and (before.kind, before.previous, before.current) == (kind, previous, current)
    again = same and before is not None and before.state != ACCEPTED
    ordinal = before.ordinal if again and before is not None else changes.count.get((point, kind), 0) + 1
    running = again and before is not None and before.state == PROPOSED
    pause = DAY if mismatch else STEP if np.isnan(scores.effective[n]) else BALANCED * STEP
    unbroken = running and before is not None and slot - before.seen <= pause
    since = before.since if unbroken and before is not None else slot
    finding = Finding(
        point,
        ordinal,
        kind,
        previous,
        current,
        near.transformers[there],
        phase if moved or not mismatch or phase >= 0 else int(step.record.phase[n]),
        PROPOSED,
        since,
        slot,
        slot,
        step.memory.begun(point) if mismatch else slot - SPANS[-1],
        0.0 if mismatch else float(SPANS[-1]),
        score,
        0,
        (near.transformers[int(near.transformer[n])], int(near.phase[n])),
        (near.transformers[here], int(step.record.phase[n])),
    )
    lasted = slot - since
    sure = finding.confidence >= step.accept
    plain = score >= _BEYOND_DOUBT or scores.together[n] >= _CABLE
    if sure and (lasted >= DAY if mismatch else lasted >= STEP or plain):
        return replace(finding, state=ACCEPTED, accepted=True)
    if running and before is not None:
        return replace(finding, detected=before.detected, effective=before.effective, within=before.within)
    return finding


def _letter(phase: int) -> str:
    return PHASES[phase] if phase >= 0 else ""


def _back(before: Finding, kind: str, previous: str, current: str, slot: int) -> bool:
    """Whether what is shown is that an accepted change was none."""
    turned = (previous, current) == (before.current, before.previous)
    return kind != MISMATCH and turned and slot - before.detected <= _TAKEN_BACK


def _was_there(before: Finding, step: Step, n: int) -> bool:
    """Whether it fitted for hours where it is accepted to have gone, so that what shows now is that it went back."""
    if np.isfinite(step.scores.effective[n]):
        return bool(step.scores.effective[n] >= before.detected + DAY // 4)
    return n in step.stayed


def _is_same_event(finding: Finding, earlier: Finding) -> bool:
    """Whether a change happened before another was accepted that is no longer true then: it was misnamed."""
    if finding.kind == MISMATCH or finding.change_id == earlier.change_id or finding.effective > earlier.detected:
        return False
    return finding.kind in (earlier.kind, MOVED)


def _superseded(earlier: Finding, finding: Finding) -> Finding:
    """An accepted change, withdrawn for what the event is named now."""
    place = (finding.transformer, finding.phase) if finding.effective <= earlier.effective else earlier.believed
    return replace(earlier, state=WITHDRAWN, detected=finding.detected, believed=place)


def _is_gone(finding: Finding, step: Step, named: dict[str, int]) -> bool:
    pause = 2 * DAY if finding.kind == MISMATCH else DAY
    return finding.point not in named or step.slot - finding.seen > pause


def _confirmed_by_record(changes: Changes, step: Step) -> list[Finding]:
    """Proposals that a new version of the record has made true, or idle."""
    said = []
    for point in step.memory.updated:
        before = changes.last.get(point)
        if before is None or before.state != PROPOSED:
            continue
        now = step.memory.recorded[point]
        true = now[0] == before.transformer and (before.phase < 0 or now[1] in (-1, before.phase))
        changes.last[point] = replace(before, state=ACCEPTED if true else WITHDRAWN, accepted=true, detected=step.slot)
        said.append(changes.last[point])
    step.memory.updated.clear()
    return said


def _believe_again(memory: Memory, finding: Finding) -> None:
    """What was believed before an acceptance that is taken back."""
    memory.came.pop(finding.point, None)
    memory.beliefs.pop(finding.point, None)
    if finding.believed != finding.recorded:
        memory.beliefs[finding.point] = Belief(finding.recorded, *finding.believed)


def _believe(memory: Memory, finding: Finding, slot: int) -> None:
    memory.beliefs[finding.point] = Belief(finding.recorded, finding.transformer, finding.phase)
    memory.forget(finding.point, slot)
    if finding.kind == MOVED:
        memory.came[finding.point] = finding.effective, finding.previous
    # It fitted, before; so where it does not fit now, either, is to be seen at once.
    memory.good[memory.points[finding.point]] = GOOD


# ------------------------------------------------------------------------- where and when


def _before(step: Step, n: int) -> Where:
    """Where a usage point is believed to be."""
    phase = int(step.record.phase[n])
    order = phase if phase >= 0 else int(step.memory.order[step.memory.points[step.near.points[n]]])
    return int(step.record.transformer[n]), order


def _named(changes: Changes, step: Step, named: dict[str, int]) -> tuple[Surroundings | None, Step]:
    """What surrounds those that may have changed, and the step naming the likeliest places by all windows since."""
    scores, rows = step.scores, step.memory.rows
    proposed = [named[point] for point, one in changes.last.items() if one.state == PROPOSED and point in named]
    asked = np.flatnonzero((scores.change >= ODDS) | (scores.mismatch >= ODDS))
    asked = np.union1d(asked, np.array([n for n in proposed if scores.change[n] > 0], np.int64))
    asked = np.union1d(asked, np.flatnonzero((step.memory.gathered[rows] >= _WEAK) & (scores.change > 0)))
    unfit = np.setdiff1d(_unfit(step, rows), asked)
    asked = np.union1d(asked, unfit)
    if not len(asked):
        return None, step
    around = Surroundings.of(
        step.slots,
        step.near,
        step.record,
        step.memory.order[rows],
        step.memory.doubted[rows],
        asked,
        step.slot - _LOOK_BACK,
        step.slot,
        step.memory.moved(step.near, step.slot - _LOOK_BACK),
    )
    change, mismatch, transformer = scores.change.copy(), scores.mismatch.copy(), scores.transformer.copy()
    phase, order = scores.phase.copy(), scores.order.copy()
    stayed: set[int] = set()
    for n in asked.tolist():
        untold = n in unfit
        begin = max(int(step.memory.since[rows[n]]) - (step.slot - _LOOK_BACK), 0)
        long = begin + 2 * LEAST_BEFORE <= _LOOK_BACK
        if not (long if untold else scores.change[n] > 0):
            continue
        before = _before(step, n)
        rivals = around.rivals(n, before, max(1.0, float(scores.misfit[n])))
        if not rivals:
            continue
        (there, its), share = rivals[0]
        others = sum(other for _, other in rivals[1:])
        told = around.span.signals.terminals[around.row[n]] == 1 and around.record.phased[there]
        transformer[n], phase[n], order[n] = there, its if told else -1, its
        if long:
            doubt = max(1.0, float(scores.misfit[n]), float(step.memory.usual[rows[n]]))
            if untold:
                doubt = max(doubt, _UNSURE * around.misfit(n, before, (there, its)))
            told, always = (nats / doubt for nats in around.ratio(n, before, (there, its), begin))
            if always >= ODDS and change[n] >= ODDS:
                # That it fitted where the record says was because others were not known yet.
                mismatch[n] = ODDS + _both(always - ODDS, share, others)
            if told > 0:
                stayed.add(n)
            change[n] = told - _UNTOLD if untold else told
        change[n] = ODDS + _both(change[n] - ODDS, share, others)
    found = replace(scores, change=change, mismatch=mismatch, transformer=transformer, phase=phase, order=order)
    return around, replace(step, scores=found, stayed=frozenset(stayed))


def _unfit(step: Step, rows: Ints) -> Ints:
    """Who has fitted well and no longer does, though the last hours do not tell where else it is."""
    against = step.memory.ring[rows, -1, -_OF:] < DOUBT
    settled = (step.memory.good[rows] >= GOOD) & (step.memory.usual[rows] <= FITS)
    return np.flatnonzero(settled & against[:, -1] & (against.sum(axis=1) >= _UNFIT))


def _both(score: float, share: float, others: float) -> float:
    """Nats for a change to one place, from those for any change and the probabilities of that place and the others."""
    even = math.exp(max(min(-score, 50.0), -50.0))  # odds against
    return math.log(share) - math.log(others * (1 + even) + share * even)


def _dated(
    changes: Changes, step: Step, some: list[Finding], named: dict[str, int], around: Surroundings | None
) -> dict[str, Finding]:
    """The findings with the moment of the change; those that moved together have one."""
    if around is None:
        return {}
    groups: dict[tuple[str, ...], list[tuple[Finding, Floats | None]]] = {}
    for one in some:
        key = (one.previous, one.current) if one.kind == MOVED else (one.point,)
        n = named[one.point]
        after = int(step.scores.transformer[n]), int(step.scores.order[n])
        groups.setdefault(key, []).append((one, around.moments(n, _before(step, n), after)))
    dated = {}
    for members_ in groups.values():
        told = [moments for _, moments in members_ if moments is not None]
        for one, _ in members_:
            found = replace(one, together=len(members_) - 1)
            n = named[one.point]
            if told:
                found = _at(found, step, np.sum(told, axis=0))
            elif np.isfinite(step.scores.effective[n]):
                found = replace(found, effective=int(step.scores.effective[n]), within=float(step.scores.within[n]))
            dated[one.point] = _dated_anew(changes, step, found, n, around)
    return dated


def _dated_anew(changes: Changes, step: Step, finding: Finding, n: int, around: Surroundings) -> Finding:
    """Of an event that was misnamed at first: when it left where it truly was before."""
    earlier = changes.accepted.get(finding.point)
    if earlier is None or not _is_same_event(finding, earlier) or earlier.believed[0] not in step.near.transformers:
        return finding
    before = step.near.transformers.index(earlier.believed[0]), earlier.believed[1]
    moments = around.moments(n, before, (int(step.scores.transformer[n]), int(step.scores.order[n])))
    return finding if moments is None else _at(finding, step, moments)


def _at(finding: Finding, step: Step, moments: Floats) -> Finding:
    """A finding with its moment, by the likelihood of each."""
    middle, within = estimate(moments)
    return replace(finding, effective=step.slot - _LOOK_BACK + round(middle), within=within)
