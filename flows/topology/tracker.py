"""Which usage points are not where they are believed to be: one step of an hour.

Every hour each meter's voltages of the last hours are compared with those of the places where it could hang. The
evidence for a change is by how much its place is contradicted now and was not before: of a meter that never fitted
well, because its clock is wrong or its neighbours are few, that is no news. The odds before looking are long, so that
among many meters and hours chance alone changes nothing. Meters that show the same move at the same time vouch for
one another: it is cables that are moved.

A meter that has never fitted where the record puts it is a mismatch of the record, found from whole days.

Of meters without voltages the energy balances of the last days tell, every few hours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from flows.topology.balance import Balances, find
from flows.topology.evidence import VARIANCE, Span, members, surroundings, weigh
from flows.topology.identification import Findings, Record, fits, fits_at, found_in, identify
from flows.topology.memory import SPANS, Bools, Memory
from flows.topology.neighbourhood import Neighbourhood
from flows.topology.signals import Floats, Ints
from flows.topology.slots import Slots

DAY = 96  # slots
STEP = 4  # slots from one step to the next
ODDS = 10.0  # nats against a change of one meter in the last hours

BALANCED = 6  # steps after which the energy balances are looked at
BALANCE = 3 * DAY  # slots of them

DOUBT = -3.0
"""Margin from which on a meter vouches for nobody."""

FITS = 1.2
"""Misfit per window up to which a meter fits."""

GOOD = 6
"""Steps at least LAG old in which a meter must have fitted, so that not fitting is a change."""

_DAYLONG, _YOUNG = 24, 0.4  # so many steps tell what it shows in the course of a day; nats against, for each that lacks

_PLAIN = 3.0  # margin from which on a meter is not asked about, as long as it fits
_MORE, _LITTLE = 2.5, 0.2  # times, and above, what it usually is
_GREAT = 4.0  # misfit beyond which more of it says nothing more
_MOST_MISFIT = 2.0  # of a finding that contradicts the record
_TOGETHER = (6.0, 4.0, 7.0)  # score from which on others vouch, what of theirs does not count, and the most that does
_EVERY = 12  # steps after which all meters are asked about


@dataclass(frozen=True, slots=True)
class Scores:
    """What a step says of n usage points, beside the odds.

    Attributes:
        change: nats for it; -inf where nothing speaks for one.
        mismatch: nats for a record that was wrong from the start; NaN where it was not asked about.
        transformer: number of the one to which it points.
        phase: 0, 1, 2 for A, B, C where a phase is told apart, else -1.
        order: which order of the meter's terminals that is.
        misfit: of it, per window; about 1 where it fits.
        together: how many others show the same move.
        effective: slot since when it is so, where the energy balances tell it, else NaN.
        within: half width of the 95 % interval of that.
    """

    change: Floats
    mismatch: Floats
    transformer: Ints
    phase: Ints
    order: Ints
    misfit: Floats
    together: Ints
    effective: Floats
    within: Floats


def step(memory: Memory, slots: Slots, near: Neighbourhood, slot: int) -> tuple[Scores, Record]:
    """Look at the spans that end at a slot.

    Args:
        memory: what is remembered; the step is noted in it.
        slots: of all meters.
        near: the record as of the slot.
        slot: the first slot after the spans.

    Returns:
        What is found, and the record with what was believed in its place.
    """
    if memory.started < 0:
        memory.started, memory.first = slot, slot if slots.first is None else slots.first
    at = memory.follow(near, slot)
    transformer, phase = memory.believed(near)
    rows, heads = slots.rows(near.meters), slots.rows([head or "" for head in near.heads])

    def span(length: int) -> Span:
        return Span.of(slots, near, rows, heads, slot - length, slot)

    number = slot // STEP
    if number % (DAY // STEP) == 0:
        _orders(memory, span(DAY), at, transformer, phase, near)
    everybody = number % _EVERY == 0
    scores: list[Scores] = []
    for short, length in enumerate(SPANS):
        here = span(length)
        record = Record(transformer, phase, here.phased, near.candidates)
        found, misfit = _look(memory, here, record, at, everybody=everybody)
        _note(memory, at, short, found, misfit)
        scores.append(_scores(memory, at, short, found, record, here, slot))
    memory.moves = [move for move in memory.moves if move[0] > slot - SPANS[-1]]
    best = reduce(_better, scores)
    told = np.clip(best.change, -ODDS, ODDS) * STEP / SPANS[-1]
    memory.gathered[at] = np.maximum(memory.gathered[at] + told, 0.0)
    best = _together(best, record, memory.moves, near)
    if everybody:
        day = span(DAY)
        best = _mismatches(best, memory, day, at, Record(transformer, phase, day.phased, near.candidates), slot)
    # Not of whom there are voltages, but of whom they have told anything: some have too few neighbours.
    sighted = (here.signals.terminals > 0) & np.isfinite(memory.ring[at, -1, -1])
    memory.seen[at] = np.where(sighted, slot, memory.seen[at])
    memory.came = {point: one for point, one in memory.came.items() if one[0] > slot - BALANCE}
    if number % BALANCED == 0:
        blind = np.flatnonzero(memory.seen[at] < slot - BALANCE)
        if len(blind):
            best = _by_energies(best, memory, slots, near, at, transformer, blind, slot)
    return best, record


def _by_energies(
    scores: Scores,
    memory: Memory,
    slots: Slots,
    near: Neighbourhood,
    at: Ints,
    transformer: Ints,
    some: Ints,
    slot: int,
) -> Scores:
    """What the energy balances say of some usage points, whose voltages say nothing."""
    begin = slot - BALANCE
    balances = Balances.of(
        slots.powers(slots.rows(near.meters), begin, slot),
        slots.powers(slots.rows([head or "" for head in near.heads]), begin, slot),
        transformer,
        [(n, came - begin, before) for n, came, before in memory.moved(near, begin)],
    )
    found, plain = find(balances, transformer, near.candidates, some, np.maximum(memory.since[at] - begin, 0))
    change, mismatch = scores.change.copy(), scores.mismatch.copy()
    other, effective, within = scores.transformer.copy(), scores.effective.copy(), scores.within.copy()
    n = found.meter
    settled = memory.good[at[n]] >= GOOD
    nats = found.likely + np.log(found.share)
    always = found.always > found.change
    # Who plainly was where the record says has moved, if only before the span; else a change must be plain to be one.
    wrong = ~settled & (found.always > found.change - _PLAIN)
    change[n], mismatch[n] = np.where(wrong, -np.inf, nats), np.where(wrong, nats, np.nan)
    other[n], within[n] = found.other, found.within
    effective[n] = np.where(always, np.maximum(memory.since[at[n]], begin), begin + np.round(found.window))
    memory.good[at[plain]] = GOOD
    return replace(scores, change=change, mismatch=mismatch, transformer=other, effective=effective, within=within)


def _look(memory: Memory, span: Span, record: Record, at: Ints, *, everybody: bool) -> tuple[Findings, Floats]:
    """Compare those that do not fit well with all places of their neighbourhood; now and then, everybody."""
    doubted = memory.doubted[at]
    if everybody:
        found = weigh(span, record, memory.order[at], doubted)
        return found, found.misfit
    places, place = surroundings(span, record, memory.order[at], doubted)
    fit = fits_at(span.signals, places, members(span, record, memory.order[at]), place >= 0)
    windows = span.signals.voltage.shape[1]
    odd: Bools = np.asarray((memory.ring[at, :, -1] <= _PLAIN).any(axis=1))
    worst = np.full(len(at), np.nan)
    np.fmax.at(worst, span.signals.meter, fit.misfit / windows)
    odd |= worst > np.minimum(FITS, _MORE * memory.usual[at] + _LITTLE)
    np.logical_or.at(odd, span.signals.meter, np.isnan(fit.misfit))
    asked = np.flatnonzero(odd & (span.signals.terminals > 0))
    found = found_in(span.signals, record, fits(span.signals, places, record, place, asked))
    return found, np.where(np.isfinite(found.misfit), found.misfit, worst)


def _orders(memory: Memory, span: Span, at: Ints, transformer: Ints, phase: Ints, near: Neighbourhood) -> None:
    """Find which terminal of a meter is at which phase, from a day; what is known is given up for what two days say."""
    # Only their own transformers are looked at: which others they could be at takes most of the time of a day.
    record = Record(transformer, phase, span.phased, [np.array([n]) for n in range(len(near.transformers))])
    found = identify(span.signals, span.heads, record, variance=VARIANCE).own_order
    believed = (found >= 0) & ((memory.order[at] < 0) | (found == memory.turned[at]))
    memory.turned[at] = found
    memory.order[at] = np.where(believed, found, memory.order[at])


def _note(memory: Memory, at: Ints, short: int, found: Findings, misfit: Floats) -> None:
    last = memory.ring[at, short, -1]
    memory.note(at, short, np.where(np.isfinite(found.margin), found.margin, last))
    fresh = (memory.order[at] < 0) & (found.own_order >= 0)
    memory.order[at[fresh]] = found.own_order[fresh]
    if short == len(SPANS) - 1:
        # Of a change itself the misfit is great, but not for long; who is silent shows none.
        news = (np.minimum(misfit, _GREAT) - memory.usual[at]) / _DAYLONG
        memory.usual[at] += np.where(np.isfinite(news), news, 0.0)
        memory.doubted[at] = (memory.ring[at, :, -1] < DOUBT).any(axis=1)


def _scores(memory: Memory, at: Ints, short: int, found: Findings, record: Record, span: Span, slot: int) -> Scores:
    settled = (memory.good[at] >= GOOD) & (memory.since[at] <= slot - SPANS[-1])
    # Of what never fits well, as with a clock that is minutes off, differences count for as much less.
    doubt = np.maximum(memory.usual[at], 1.0) / np.maximum(np.minimum(memory.usual[at], found.misfit), 1.0)
    change = (np.minimum(0.0, memory.low[at, short]) - found.margin) / doubt
    change += np.log(np.maximum(found.share, 1e-9))
    change -= _YOUNG * np.maximum(_DAYLONG - memory.good[at], 0)
    change = np.where(settled & np.isfinite(found.margin), change, -np.inf)
    return Scores(
        change,
        np.full(len(at), np.nan),
        found.other,
        _phase(span, record, found),
        found.other_order,
        found.misfit,
        np.zeros(len(at), np.int64),
        np.full(len(at), np.nan),
        np.full(len(at), np.nan),
    )


def _phase(span: Span, record: Record, found: Findings) -> Ints:
    """The phase to which a finding points: of meters of one terminal, where phases are told apart."""
    told = (span.signals.terminals == 1) & (found.other >= 0)
    told &= record.phased[np.maximum(found.other, 0)]
    return np.where(told, found.other_order, -1)


def _better(one: Scores, other: Scores) -> Scores:
    first = one.change >= other.change
    return Scores(*(np.where(first, getattr(one, name), getattr(other, name)) for name in Scores.__dataclass_fields__))


def _together(scores: Scores, record: Record, moves: list[tuple[int, str, str]], near: Neighbourhood) -> Scores:
    """Let those vouch for one another that show the same move, or of whom it has just been accepted."""
    least, less, most = _TOGETHER
    some = np.flatnonzero((scores.change >= least) & (scores.transformer != record.transformer))
    number = {transformer: n for n, transformer in enumerate(near.transformers)}
    count = len(near.transformers)
    done = [number[a] * count + number[b] for _, a, b in moves if a in number and b in number]
    if len(some) + len(done) < 2 or not len(some):
        return scores
    shown = record.transformer[some] * count + scores.transformer[some]
    kinds, group = np.unique(np.concatenate([shown, np.array(done, np.int64)]), return_inverse=True)
    vouched = np.full(len(group), most)
    vouched[: len(some)] = np.minimum(scores.change[some], most + less) - less
    change, together = scores.change.copy(), scores.together.copy()
    whole, members_ = np.bincount(group, vouched, len(kinds)), np.bincount(group, minlength=len(kinds))
    mine = group[: len(some)]
    change[some] += np.minimum(whole[mine] - vouched[: len(some)], most)
    together[some] = members_[mine] - 1
    return replace(scores, change=change, together=together)


def _mismatches(scores: Scores, memory: Memory, span: Span, at: Ints, record: Record, slot: int) -> Scores:
    """Compare those that never fitted, by a whole day that they have been there."""
    new = (memory.good[at] < GOOD) & (memory.since[at] <= slot - DAY) & (span.signals.terminals > 0)
    # What fits plainly over most spans of hours fits over the day as well, and is not asked about.
    margins = np.nan_to_num(memory.ring[at, -1], nan=-np.inf)
    asked = np.flatnonzero(new & (np.median(margins, axis=1) <= _PLAIN))
    if not len(asked):
        return scores
    places, place = surroundings(span, record, memory.order[at], memory.doubted[at])
    found = found_in(span.signals, record, fits(span.signals, places, record, place, asked))
    known = np.isfinite(found.margin)
    score = np.where(found.misfit < _MOST_MISFIT, np.log(np.maximum(found.share, 1e-9)) - found.margin, -np.inf)
    told = known & (score > 0)
    return Scores(
        scores.change,
        np.where(known, score, np.nan),
        np.where(told, found.other, scores.transformer),
        np.where(told, _phase(span, record, found), scores.phase),
        np.where(told, found.other_order, scores.order),
        np.where(told, found.misfit, scores.misfit),
        scores.together,
        scores.effective,
        scores.within,
    )
