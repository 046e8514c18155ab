"""Where energy goes: a meter that was moved leaves a hole in the balance of one transformer and a surplus in another.

Over a span of windows the head meter of a transformer tells the sum of its customers and what is lost. Of a customer
that is not there the rest has the course of that customer's own load, turned round; where the customer is, it has that
course as it is. So each meter is compared with the rests of both, window by window, by a heavy-tailed density (Lange,
Little and Taylor, "Robust statistical modeling using the t distribution", JASA 84, 1989): one odd window proves
nothing.

All courses are taken less their own mean of the two hours before: a rest that shifts for good, because somebody else
came or went, or a meter's gain is wrong, looks like anybody who draws less than before. What goes with the load and
its square, as gains and losses do, is taken out by least squares, and what is left of its memory by the correlation
of neighbouring windows (Cochrane and Orcutt, "Application of least squares regression to relationships containing
auto-correlated error terms", JASA 44, 1949).

That energy balances tell which meters belong to a transformer is from Pappu, Bhatt, Pasumarthy and Rajeswaran,
"Identifying topology of low voltage distribution networks based on smart meter data" (IEEE Trans. Smart Grid 9, 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from flows.topology.estimate import estimate
from flows.topology.signals import Floats, Ints

_HEAVY = 2.0  # degrees of freedom of a window's rest (Student's t)
_RECENT = 8  # windows whose mean is taken off the next one
_COUNTED = 0.6  # of a window's nats: rests of windows, and of transformers, are not quite independent
_LEAST_SCALE = 0.01  # kW, of a rest: what registers round off
_MOST = (50.0, 10.0)  # kW, and times its median, beyond which a power is a register's jump
_LEAST_KNOWN = 0.6  # of the windows
_NORMAL = 1.4826  # standard deviation by the median of the absolute
_LONGEST_MEMORY = 0.95
_AT_ONCE = 8192  # meters whose courses are made together
_LEAST_SIDE = (24, 16)  # windows before, and after, a change
_HOT, _TAKEN = 3.0, 10.0  # nats from which a meter is asked again, and from which its move is taken for true
_PLAIN = -10.0  # nats below which it plainly is where it is believed to be


@dataclass(frozen=True, slots=True)
class Balances:
    """Rests of T transformers over L windows, and what it takes to compare meters with them; windows after the first.

    Attributes:
        rest: kW, 0 where unknown; [T, L - 1].
        known: where it is known; [T, L - 1].
        memory: correlation of neighbouring windows; [T].
        basis: what the course of the load explains, orthonormal; [T, L - 1, 3].
        metered: which transformers have a head meter that is known well enough; [T].
        power: of n meters, kW, less the mean of the windows before; [n, L].
        told: whose power is known well enough; [n].
    """

    rest: Floats
    known: np.ndarray
    memory: Floats
    basis: Floats
    metered: np.ndarray
    power: Floats
    told: np.ndarray
    _scales: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, power: Floats, heads: Floats, transformer: Ints, moved: Iterable[tuple[int, int, int]] = ()
    ) -> Balances:
        """The rests by where the meters are believed to be.

        Args:
            power: of n meters, net, kW, NaN where unknown; [n, L].
            heads: of the transformers' head meters, kW, NaN where unknown or none; [T, L].
            transformer: of each meter; [n].
            moved: meters that came within the span: number, first window where it is now, transformer before.
        """
        told = np.isfinite(power).mean(axis=1) >= _LEAST_KNOWN
        power = _believable(power, told)
        load = _loads(power, transformer, heads.shape, moved)
        there = np.isfinite(heads)
        metered = there.mean(axis=1) >= _LEAST_KNOWN
        rest = _lately(np.where(there, heads - load, 0.0))
        memory = (rest[:, 1:] * rest[:, :-1]).sum(axis=1) / np.maximum((rest**2).sum(axis=1), 1e-12)
        memory = np.clip(memory, 0.0, _LONGEST_MEMORY)
        both = there[:, 1:] & there[:, :-1]
        courses = [np.ones(load.shape), _lately(load), _lately(load**2)]
        columns = np.stack([_fresh(course, memory) / np.maximum(np.abs(course).max(), 1e-9) for course in courses], 2)
        basis, triangle = np.linalg.qr(np.where(both[:, :, None], columns, 0.0))
        # A course that the others explain has no direction of its own.
        own = np.abs(np.diagonal(triangle, axis1=1, axis2=2)) > 1e-9
        basis = np.where(own[:, None, :], basis, 0.0)
        rest = np.where(both, _fresh(rest, memory), 0.0)
        return cls(_less(rest, basis), both, memory, basis, metered, _lately(power), told)

    def own(self, meters: Ints, at: int) -> Floats:
        """The course of meters as the rest of a transformer would have it, kW; [m, L - 1]."""
        course = self.power[meters, 1:] - self.memory[at] * self.power[meters, :-1]
        course = np.where(self.known[at], course, 0.0)
        own: Floats = course - (course @ self.basis[at]) @ self.basis[at].T
        return own

    def told_by(self, meters: Ints, before: int, after: int) -> Floats:
        """How much likelier each window is where meters are behind another transformer; nats; [m, L - 1].

        Args:
            meters: numbers of meters at one transformer.
            before: the transformer where they are believed to be.
            after: another one.
        """
        found = np.zeros((len(meters), self.rest.shape[1]))
        for at, sign in ((before, 1.0), (after, -1.0)):
            scale = self.scale(at)
            there = self.rest[at] + sign * self.own(meters, at)
            found += _nats(there / scale) - _nats(self.rest[at] / scale)
        return found

    def scale(self, at: int) -> float:
        """Of the rest of a transformer, kW: what holds of its windows on the whole, odd ones or not."""
        if at not in self._scales:
            known = self.rest[at, self.known[at]]
            self._scales[at] = float(np.hypot(_NORMAL * np.median(np.abs(known)) if len(known) else 0.0, _LEAST_SCALE))
        return self._scales[at]

    def move(self, meter: int, before: int, after: int, window: int) -> None:
        """Let a meter be behind another transformer from a window on."""
        for at, sign in ((before, 1.0), (after, -1.0)):
            self.rest[at, window:] += sign * self.own(np.array([meter]), at)[0, window:]
            self._scales.pop(at, None)


@dataclass(frozen=True, slots=True)
class Moves:
    """Who is likelier behind another transformer; one row per meter of whom that may be.

    Attributes:
        meter: numbers, ascending; [m].
        other: the likeliest other transformer; [m].
        share: its probability among all others, all being equal before; [m].
        change: nats for a change to it at some moment against none; [m].
        always: nats for having been there all the time against none; [m].
        window: median of the moment, in windows of the span; [m].
        within: half width of its 95 % interval, windows; [m].
    """

    meter: Ints
    other: Ints
    share: Floats
    change: Floats
    always: Floats
    window: Floats
    within: Floats

    @classmethod
    def of(cls, parts: Sequence[Moves]) -> Moves:
        """All of some, in order of their meters."""
        order = np.argsort(np.concatenate([part.meter for part in parts]), kind="stable")
        columns = (np.concatenate([getattr(part, name) for part in parts])[order] for name in cls.__dataclass_fields__)
        return cls(*columns)

    @classmethod
    def none(cls) -> Moves:
        """Nobody."""
        whole, real = np.zeros(0, np.int64), np.zeros(0)
        return cls(whole, whole, real, real, real, real, real)

    @property
    def likely(self) -> Floats:
        """Nats for being at the other one, since whenever; [m]."""
        both: Floats = np.logaddexp(self.change, self.always)
        return both

    def rows(self, rows: Ints) -> Moves:
        """Some of them."""
        return Moves(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def find(
    balances: Balances, transformer: Ints, candidates: Sequence[Ints], asked: Ints, since: Ints
) -> tuple[Moves, Ints]:
    """Who of some meters is likelier behind another transformer, and who plainly is where it is believed to be.

    The hole that one leaves is much like all whose loads have the same course, as those of two roofs have. So the
    likeliest is taken first, and the others are asked again what is left for them.

    Args:
        balances: the rests.
        transformer: where n meters are believed to be; [n].
        candidates: of each transformer those whose customers could be at it, itself among them.
        asked: numbers of the meters.
        since: first window from which each is believed to be there; [n].
    """
    asked = np.sort(asked[balances.told[asked] & balances.metered[transformer[asked]]])
    left, done = _compare(balances, transformer, candidates, asked, since), []
    hot, plain = left.meter[left.likely > _HOT], left.meter[left.likely < _PLAIN]
    while len(left.meter):
        taken = _apart(left, transformer)
        for one in taken.tolist():
            balances.move(*_move(left, one, transformer))
        done.append(left.rows(taken))
        hot = np.setdiff1d(hot, left.meter[taken])
        left = _compare(balances, transformer, candidates, hot, since) if len(taken) else Moves.none()
    again = []
    for one in done:
        for row in range(len(one.meter)):
            meter, before, after, window = _move(one, row, transformer)
            balances.move(meter, after, before, window)
            again.append(_compare(balances, transformer, candidates, np.array([meter]), since))
            balances.move(meter, before, after, window)
    return Moves.of([Moves.none(), *again]), plain


def _compare(balances: Balances, transformer: Ints, candidates: Sequence[Ints], asked: Ints, since: Ints) -> Moves:
    """Each with the likeliest other transformer."""
    found = [Moves.none()]
    moments = np.arange(balances.rest.shape[1] + 1)
    for here in np.unique(transformer[asked]).tolist():
        some = asked[transformer[asked] == here]
        others = np.array([other for other in candidates[here].tolist() if other != here and balances.metered[other]])
        if not len(others):
            continue
        known = since[some][:, None] <= moments[:-1]
        nats = np.stack([np.where(known, balances.told_by(some, here, other), 0.0) for other in others.tolist()])
        after = np.zeros((len(others), len(some), len(moments)))
        after[:, :, :-1] = np.cumsum(nats[:, :, ::-1], axis=2)[:, :, ::-1]
        possible = (moments >= since[some][:, None] + _LEAST_SIDE[0]) & (moments <= len(moments) - 1 - _LEAST_SIDE[1])
        always = after[:, :, 0]
        weighed = np.where(possible, after, -np.inf)
        most = np.maximum(weighed.max(axis=2), -1e9)  # where no moment is possible, too
        change = most + np.log(np.exp(weighed - most[:, :, None]).sum(axis=2) + 1e-300)
        change -= np.log(np.maximum(possible.sum(axis=1), 1))
        likely = np.logaddexp(change, always)
        best = likely.argmax(axis=0)
        row = np.arange(len(some))
        share = np.exp(likely[best, row] - np.logaddexp.reduce(likely, axis=0))
        window, within = np.zeros((2, len(some)))
        for one in np.flatnonzero(change[best, row] > _HOT).tolist():
            window[one], within[one] = estimate(weighed[best[one], one])
        found.append(Moves(some, others[best], share, change[best, row], always[best, row], window, within))
    return Moves.of(found)


def _apart(moves: Moves, transformer: Ints) -> Ints:
    """Rows of the likeliest moves of which no two concern one transformer."""
    touched: set[int] = set()
    taken, likely = [], moves.likely
    for row in np.argsort(-likely, kind="stable").tolist():
        if likely[row] < _TAKEN:
            break
        both = {int(transformer[moves.meter[row]]), int(moves.other[row])}
        if touched & both:
            continue
        touched |= both
        taken.append(row)
    return np.array(taken, np.int64)


def _move(moves: Moves, row: int, transformer: Ints) -> tuple[int, int, int, int]:
    meter = int(moves.meter[row])
    window = round(moves.window[row]) if moves.change[row] > moves.always[row] else 0
    return meter, int(transformer[meter]), int(moves.other[row]), window


def _believable(power: Floats, told: np.ndarray) -> Floats:
    """Powers of meters, their mean where they are unknown or a register's jump; kW; [n, L]."""
    believed = np.empty(power.shape)
    for start in range(0, len(power), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        size, usual = np.abs(power[some]), np.zeros(len(power[some]))
        usual[told[some]] = _medians(size[told[some]])
        known = size <= _MOST[0] + _MOST[1] * usual[:, None]  # and not where it is NaN
        mean = power[some].sum(axis=1, where=known) / np.maximum(known.sum(axis=1), 1)
        believed[some] = np.where(known, power[some], mean[:, None])
    return believed


def _medians(values: Floats) -> Floats:
    """Of what is known of each row, of which something is; [n]."""
    known = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN last
    at = np.arange(len(values))
    medians: Floats = (ordered[at, (known - 1) // 2] + ordered[at, known // 2]) / 2
    return medians


def _loads(power: Floats, transformer: Ints, shape: tuple[int, ...], moved: Iterable[tuple[int, int, int]]) -> Floats:
    """Sums of the meters behind each transformer; [T, L]."""
    order = np.argsort(transformer, kind="stable")
    load = np.zeros(shape)
    here, first = np.unique(transformer[order], return_index=True)
    if len(here):
        load[here] = np.add.reduceat(power[order], first, axis=0)
    for meter, window, before in moved:
        load[transformer[meter], :window] -= power[meter, :window]
        load[before, :window] += power[meter, :window]
    return load


def _lately(course: Floats) -> Floats:
    """Less the mean of the windows before each, 0 for the first; [n, L]."""
    lately = np.zeros(course.shape)
    for start in range(0, len(course), _AT_ONCE):
        some = course[start : start + _AT_ONCE]
        sums = np.cumsum(np.pad(some, ((0, 0), (1, 0))), axis=1)
        at = np.arange(1, course.shape[1])
        before = np.maximum(at - _RECENT, 0)
        lately[start : start + _AT_ONCE, 1:] = some[:, 1:] - (sums[:, at] - sums[:, before]) / (at - before)
    return lately


def _fresh(course: Floats, memory: Floats) -> Floats:
    """What of a course the window before does not tell; [T, L - 1]."""
    return course[:, 1:] - memory[:, None] * course[:, :-1]


def _less(rest: Floats, basis: Floats) -> Floats:
    """Less what a basis explains; [T, L]."""
    left: Floats = rest - np.einsum("tlk,tk->tl", basis, np.einsum("tlk,tl->tk", basis, rest))
    return left


def _nats(rest: Floats) -> Floats:
    nats: Floats = -_COUNTED * (_HEAVY + 1) / 2 * np.log1p(rest**2 / _HEAVY)
    return nats
