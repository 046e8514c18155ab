"""Where a meter went, and when: before it fits where it was, after it where it is.

Over a span that begins well before, each moment is weighed by the likelihood of the voltages before it where the meter
was, times that of those after it where it could be now (a change point of known kinds before and after; all moments are
equal before looking). The level of the voltage is left open on both sides. So places are compared by all windows since
the change, however many, and by none before it.

Where both transformers have head meters, their energy balances are weighed along with the voltages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from flows.topology.balance import Balances
from flows.topology.evidence import VARIANCE, Span, members
from flows.topology.identification import PHASES, Record, orders, places_of
from flows.topology.neighbourhood import Neighbourhood
from flows.topology.signals import LEAST_SHARE, Floats, Ints
from flows.topology.slots import Slots
from flows.topology.voltages import DF, SLOPES, Places

_ANY = 1e15  # more than the square of any course by its covariance is
_LEVEL = 30.0  # V, prior standard deviation of a side's level
_CLOCK = 0.1  # of a window, prior standard deviation of a meter's clock, either way
_LEAST_ASKED = 0.1  # share of the windows in which the voltage of who is asked about must be known
_LEAST_AFTER = 4  # windows after a change by which places are compared
LEAST_BEFORE = 24
"""Windows before a change in which a meter was elsewhere."""


Where = tuple[int, int]
"""Number of a transformer and which order of the terminals, -1 where unknown."""


@dataclass
class Surroundings:
    """Some usage points, and the places around them, over one span.

    Attributes:
        span: L windows, of these usage points and those recorded at the places.
        record: where they are believed to be.
        row: of each in both, by its number in the neighbourhood.
        places: the usage points that are asked about not among their members.
        balances: of the transformers.
    """

    span: Span
    record: Record
    row: dict[int, int]
    places: Places
    balances: Balances
    _covariances: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)
    _told: dict[tuple[int, int, bool], tuple[Floats, Floats]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        slots: Slots,
        near: Neighbourhood,
        believed: Record,
        order: Ints,
        doubted: np.ndarray,
        some: Ints,
        begin: int,
        end: int,
        moved: Iterable[tuple[int, int, int]] = (),
    ) -> Surroundings:
        """Of some usage points, over slots [begin, end).

        Args:
            slots: of all meters.
            near: the record, n usage points.
            believed: where they are believed to be.
            order: of each meter's terminals, -1 where unknown; [n].
            doubted: who vouches for no place; [n].
            some: numbers of those that are asked about.
            begin: first slot.
            end: the slot after the last one.
            moved: who came within them: number, slot since when it is there, transformer before.
        """
        concerned = np.unique(np.concatenate([near.candidates[at] for at in np.unique(believed.transformer[some])]))
        there = np.isin(believed.transformer, concerned)
        there[some] = True
        number = np.flatnonzero(there)
        part = Neighbourhood(
            [near.points[n] for n in number],
            [near.meters[n] for n in number],
            believed.transformer[number],
            believed.phase[number],
            near.transformers,
            near.heads,
            near.candidates,
        )
        at_heads = np.full(len(near.heads), -1)
        at_heads[concerned] = slots.rows([near.heads[at] or "" for at in concerned])
        # Who is asked about vouches for nobody, so that little of it need be known.
        least = np.where(np.isin(number, some), _LEAST_ASKED, LEAST_SHARE)
        span = Span.of(slots, part, slots.rows(part.meters), at_heads, begin, end, least)
        record = Record(part.transformer, part.phase, span.phased, near.candidates)
        place = members(span, record, order[number])
        away = doubted.copy()
        away[some] = True
        place = np.where(away[number][span.signals.meter], -1, place)
        places = places_of(span.signals, span.heads, record.phased, place, VARIANCE)
        row = {int(n): row for row, n in enumerate(number)}
        balances = Balances.of(
            slots.powers(slots.rows(part.meters), begin, end),
            slots.powers(at_heads, begin, end),
            part.transformer,
            [(row[n], slot - begin, before) for n, slot, before in moved if n in row],
        )
        return cls(span, record, row, places, balances)

    def moments(self, n: int, before: Where, after: Where) -> Floats | None:
        """The log likelihood of each moment of a change; None where a place is not known.

        Args:
            n: number of the usage point.
            before: where it was.
            after: where it is.

        Returns:
            Of a change before each window, and after the last one; [L + 1].
        """
        sides = self._sides(n, before, after)
        if not sides:
            return None
        whole: Floats = np.sum([likelihood for likelihood, _ in sides], axis=0)
        return whole + self._balanced(n, before[0], after[0])

    def misfit(self, n: int, before: Where, after: Where) -> float:
        """How far a usage point is off, at the likeliest moment of a change: 1 per window where all fits; NaN: unknown.

        Args:
            n: number of the usage point.
            before: where it was.
            after: where it is.
        """
        moments = self.moments(n, before, after)
        if moments is None:
            return float("nan")
        square = sum(squares[moments.argmax()] for _, squares in self._sides(n, before, after))
        rows = self.span.signals.rows(np.array([self.row[n]]))[0]
        return float(square / max(np.isfinite(self.span.signals.voltage[rows]).sum(), 1))

    def _balanced(self, n: int, before: int, after: int) -> Floats:
        """What the energies say of each moment, against no change; [L + 1]."""
        told = np.zeros(self.span.signals.voltage.shape[1] + 1)
        row, metered = self.row[n], self.balances.metered
        if before != after and metered[before] and metered[after] and self.balances.told[row]:
            nats = self.balances.told_by(np.array([row]), before, after)[0]
            told[1:-1] = np.cumsum(nats[::-1])[::-1]
            told[0] = told[1]
        return told

    def rivals(self, n: int, before: Where, doubt: float) -> list[tuple[Where, float]]:
        """Where a usage point could have gone, the likeliest first, and how likely that is if it went anywhere.

        Args:
            n: number of the usage point.
            before: where it was.
            doubt: by so much differences count for less.
        """
        here = before[0]
        terminals = int(self.span.signals.terminals[self.row[n]])
        found: list[tuple[Where, float]] = []
        for there in self.record.candidates[here].tolist() if terminals else ():
            phased = bool(self.record.phased[there])
            for order in range(len(orders(terminals)) if phased else 1):
                if there == here and (terminals > 1 or not phased or order == before[1]):
                    continue
                moments = self.moments(n, before, (there, order))
                if moments is not None:
                    found.append(((there, order), float(np.logaddexp.reduce(moments[:-_LEAST_AFTER])) / doubt))
        if not found:
            return []
        weights = np.array([likelihood for _, likelihood in found])
        shares = np.exp(weights - np.logaddexp.reduce(weights))
        ranked = np.argsort(-shares, kind="stable")
        return [(found[one][0], float(shares[one])) for one in ranked]

    def ratio(self, n: int, before: Where, after: Where, begin: int = 0) -> tuple[float, float]:
        """Nats for a change at some moment, all being equal, and for having been at the other place all the time.

        Args:
            n: number of the usage point.
            before: where it was.
            after: where it is.
            begin: first window in which it was there, if it came within the span; ``LEAST_BEFORE`` must follow it.

        Returns:
            Each against the likelier one of the other and of no change; -inf where a place is not known.
        """
        moments = self.moments(n, before, after)
        if moments is None:
            return -np.inf, -np.inf
        some = moments[begin + LEAST_BEFORE : -_LEAST_AFTER]
        change = float(np.logaddexp.reduce(some) - np.log(len(some)))
        always, never = float(moments[begin]), float(moments[-1])
        return change - max(always, never), always - max(change, never)

    def _place(self, terminals: int, terminal: int, where: Where) -> int:
        transformer, order = where
        known = bool(self.record.phased[transformer]) and order >= 0
        if known and order >= len(orders(terminals)):
            return -1
        phase = orders(terminals)[order][terminal] if known else 0
        number, index = len(PHASES) * transformer + phase, self.places.index
        return int(index[number]) if number < len(index) else -1

    def _sides(self, n: int, before: Where, after: Where) -> list[tuple[Floats, Floats]]:
        """Both sides of each moment, terminal by terminal; none where a place is not known."""
        rows = self.span.signals.rows(np.array([self.row[n]]))[0].tolist()
        asked = [
            (row, self._place(len(rows), terminal, where), backward)
            for terminal, row in enumerate(rows)
            for where, backward in ((before, False), (after, True))
        ]
        if any(place < 0 for _, place, _ in asked):
            return []
        return [self._side(row, place, backward=backward) for row, place, backward in asked]

    def _side(self, row: int, place: int, *, backward: bool) -> tuple[Floats, Floats]:
        """The log likelihood of one side of each moment, and the squares of what is left there."""
        key = row, place, backward
        if key not in self._told:
            centre = self.places.centre[place]
            if place not in self._covariances:
                # A clock that is minutes off takes so much of the window before, or after, for this one.
                steps = np.diff(centre, prepend=centre[0]), np.diff(centre, append=centre[-1])
                covariance = np.asarray(np.linalg.inv(self.places.precision[place]), np.float64)
                self._covariances[place] = covariance, _CLOCK * np.column_stack(steps)
            covariance, clock = self._covariances[place]
            causes = np.concatenate([self.span.signals.power[row] * SLOPES, clock], axis=1)
            rest = self.span.signals.voltage[row] - centre
            self._told[key] = _prefixes(rest, causes, covariance, backward=backward)
        return self._told[key]


def _prefixes(rest: Floats, causes: Floats, covariance: Floats, *, backward: bool) -> tuple[Floats, Floats]:
    """The log likelihood of the windows before each moment, or, backward, of those after it, and the squares; [L + 1].

    Args:
        rest: V less the place's middle, NaN where unknown; [L].
        causes: what the meter's own draws and its clock may cause, V at one standard deviation of each; [L, causes].
        covariance: of a deviation from the middle, V²; [L, L].
        backward: from the last window on.
    """
    there = np.isfinite(rest)
    known = np.flatnonzero(there)
    if backward:
        known = known[::-1]
    count = len(known)
    # The factor's last row is what is left of the course itself, each window less what those before it tell.
    both = np.empty((count + 1, count + 1))
    both[:count, :count] = covariance[known[:, None], known] + causes[known] @ causes[known].T
    both[:count, :count] += _LEVEL**2
    both[count, :count] = rest[known]
    both[count, count] = _ANY
    factor = np.linalg.cholesky(both)
    white, factor = factor[count, :count], factor[:count, :count]
    square = np.append(0.0, np.cumsum(white**2))
    logdet = np.append(0.0, np.cumsum(2 * np.log(np.diagonal(factor))))
    windows = np.arange(count + 1)
    told = -((DF + windows) * np.log1p(square / DF) + logdet) / 2
    # How many of the known windows lie before (after) each moment.
    before = np.append(0, np.cumsum(there))
    at = before[-1] - before if backward else before
    return told[at], square[at]
