"""Which transformer and phase each meter hangs at, from the voltages of one span.

Places (``voltages.Place``) are made of the meters that the record puts there. Of a meter with several terminals the
record does not say which is at which phase, so that is found first, beside the head meter's terminals; then every
meter is compared with all places of its neighbourhood. Meters whose record is contradicted are left out of the places
and all is done once more, so that several that were moved together do not vouch for one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from flows.topology.signals import Floats, Ints, Signals
from flows.topology.voltages import LEAST_MEMBERS, Fit, Places

PHASES = "ABC"
_ORDERS: dict[int, tuple[tuple[int, ...], ...]] = {
    count: tuple(permutations(range(len(PHASES)), count)) for count in (1, 2, 3)
}
_MOST_ORDERS = max(len(some) for some in _ORDERS.values())
_LEAST_HEAD = 0.6  # of a span that a head meter's voltage must cover


@dataclass(frozen=True, slots=True)
class Record:
    """Where meters hang by the record.

    Attributes:
        transformer: of each meter; [n].
        phase: of single-phase meters 0, 1, 2 for A, B, C; -1 where it is not recorded, or there are several; [n].
        phased: which transformers' phases are told apart: of the others all terminals are taken for one; [T].
        candidates: of each transformer those whose customers could be at it, itself among them.
    """

    transformer: Ints
    phase: Ints
    phased: npt.NDArray[np.bool_]
    candidates: Sequence[Ints]


@dataclass(frozen=True, slots=True)
class Options:
    """Where meters could hang; one row per meter, transformer and order of its terminals.

    Attributes:
        meter: [m], ascending.
        transformer: [m].
        order: which of ``orders(terminals)`` the terminals have; [m].
        likelihood: log likelihood; [m].
        misfit: as in ``Fit``, the mean of the terminals; [m].
    """

    meter: Ints
    transformer: Ints
    order: Ints
    likelihood: Floats
    misfit: Floats


@dataclass(frozen=True, slots=True)
class Findings:
    """What a span says of each meter; [n].

    Attributes:
        transformer: the likeliest one, -1 where nothing is known.
        order: the likeliest order of its terminals there.
        confidence: posterior probability of transformer and order together, all options being equal before.
        margin: log likelihood by which the record beats the best option that contradicts it; NaN where unknown.
        misfit: of the likeliest option, per window: about 1 where it fits.
        own_order: the likeliest order of its terminals among those that the record allows, -1 where unknown.
        other: the transformer of the best option that contradicts the record, -1 where there is none.
        other_order: the order of the terminals there.
        share: probability of that place among all that contradict the record, all being equal before: of the
            transformer; where it is the recorded one, of the phase.
    """

    transformer: Ints
    order: Ints
    confidence: Floats
    margin: Floats
    misfit: Floats
    own_order: Ints
    other: Ints
    other_order: Ints
    share: Floats


def orders(terminals: int) -> tuple[tuple[int, ...], ...]:
    """The phases that 1, 2 or 3 terminals can have, as tuples of 0, 1, 2 for A, B, C."""
    return _ORDERS[terminals]


def identify(signals: Signals, heads: Floats, record: Record, *, variance: float = 0.01, rounds: int = 3) -> Findings:
    """Find each meter's transformer and phase.

    Args:
        signals: of n meters over L windows.
        heads: voltages of the transformers' head meters at A, B, C (or l1 alone), centred, V, NaN where there is
            none; [T, 3, L].
        record: where the meters hang by the record.
        variance: of a voltage's noise, V²: rounding, noise, what a clock that is some seconds off does.
        rounds: how often orders and places are found anew.

    Returns:
        For every meter; those without usable voltages have transformer -1.
    """
    place = recorded_places(signals, record)
    _by_heads(signals, heads, record, place)
    for _ in range(rounds - 1):
        places = places_of(signals, heads, record.phased, place, variance)
        _by_members(signals, record, place, fits(signals, places, record, place))
    places = places_of(signals, heads, record.phased, place, variance)
    options = fits(signals, places, record, place)
    doubted = found_in(signals, record, options).margin < 0
    trusted = np.where(doubted[signals.meter], -1, place)
    places = places_of(signals, heads, record.phased, trusted, variance)
    return found_in(signals, record, fits(signals, places, record, trusted))


def places_of(signals: Signals, heads: Floats, phased: npt.NDArray[np.bool_], place: Ints, variance: float) -> Places:
    """The places of all transformers.

    Args:
        signals: of n meters.
        heads: as in ``identify``.
        phased: as in ``Record``.
        place: of each signal, 3 * transformer + phase, -1 for those that vouch for none; [S].
        variance: as in ``identify``.

    Returns:
        By number, 3 * transformer + phase, those that have members enough.
    """
    number = np.arange(3 * len(phased)).reshape(-1, 3)
    told = (np.isfinite(heads).mean(axis=2) >= _LEAST_HEAD) & (phased[:, None] | (number % 3 == 0))
    both = np.append(place, np.where(told, number, -1))
    return Places.of(signals.voltage, signals.power, heads.reshape(-1, heads.shape[2]), both, variance)


def fits(signals: Signals, places: Places, record: Record, place: Ints, meters: Ints | None = None) -> Options:
    """How likely meters are at each place of their neighbourhood.

    Args:
        signals: of n meters.
        places: as ``places_of`` makes them.
        record: where the meters hang by the record.
        place: of each signal the place that it is a member of, or -1; [S].
        meters: which; None: all.
    """
    meter, transformer = _visits(record, signals, meters)
    size = signals.terminals[meter]
    start = np.cumsum(size) - size
    rows = np.repeat(signals.first[meter] - start, size) + np.arange(int(size.sum()))
    groups = np.searchsorted(transformer, np.arange(len(record.phased) + 1))
    asked = 3 * np.arange(len(record.phased))[:, None] + np.arange(3)
    asked[:, 1:] = np.where(record.phased[:, None], asked[:, 1:], -1)
    fit = places.fit(signals.voltage, signals.power, rows, np.append(start, len(rows))[groups], asked, place[rows])
    found: list[tuple[Ints, Ints, Floats, Floats]] = []
    phased = record.phased[transformer]
    for terminals in (1, 2, 3):
        for whole in (False, True):
            some = np.flatnonzero((size == terminals) & (phased != whole))
            for number, order in enumerate([(0,) * terminals] if whole else orders(terminals)):
                likelihood, misfit = np.zeros((2, len(some)))
                for terminal, phase in enumerate(order):
                    likelihood += fit.likelihood[start[some] + terminal, phase]
                    misfit += fit.misfit[start[some] + terminal, phase]
                kept = np.flatnonzero(np.isfinite(likelihood))
                which = some[kept]
                found.append((which, np.full(len(which), number), likelihood[kept], misfit[kept] / terminals))
    visit, order_, likelihood, misfit = (np.concatenate(column) for column in zip(*found, strict=True))
    ranked = np.argsort((meter[visit] * len(groups) + transformer[visit]) * _MOST_ORDERS + order_)
    visit = visit[ranked]
    return Options(meter[visit], transformer[visit], order_[ranked], likelihood[ranked], misfit[ranked])


def fits_at(signals: Signals, places: Places, place: Ints, member: npt.NDArray[np.bool_]) -> Fit:
    """How each signal fits in one place; NaN where there is none; [S].

    Args:
        signals: of n meters.
        places: as ``places_of`` makes them.
        place: of each signal the place asked about, or -1; [S].
        member: which are members of that place; [S].
    """
    rows = np.argsort(place, kind="stable")
    number, bounds = np.unique(place[rows], return_index=True)
    belongs = np.where(member[rows], place[rows], -1)
    fit = places.fit(
        signals.voltage, signals.power, rows, np.append(bounds, len(rows)), number[:, None].astype(np.int64), belongs
    )
    likelihood, misfit = np.full((2, len(place)), np.nan)
    likelihood[rows], misfit[rows] = fit.likelihood[:, 0], fit.misfit[:, 0]
    return Fit(likelihood, misfit)


def _visits(record: Record, signals: Signals, meters: Ints | None) -> tuple[Ints, Ints]:
    """Which meters are compared with which transformers: pairs, ordered by transformer and meter."""
    usable = signals.terminals > 0
    if meters is not None:
        asked = np.zeros(len(usable), bool)
        asked[meters] = True
        usable = usable & asked
    here = np.flatnonzero(usable)
    near = np.array([len(some) for some in record.candidates], np.int64)
    first = np.cumsum(near) - near
    count = near[record.transformer[here]]
    begin = np.cumsum(count) - count
    at = np.repeat(first[record.transformer[here]] - begin, count) + np.arange(int(count.sum()))
    meter = np.repeat(here, count)
    transformer = np.concatenate([*record.candidates, np.zeros(0, np.int64)])[at]
    order = np.argsort(transformer, kind="stable")
    return meter[order], transformer[order]


def recorded_places(signals: Signals, record: Record) -> Ints:
    """The place of each signal by the record, -1 where that does not say."""
    transformer = record.transformer[signals.meter]
    phased, single = record.phased[transformer], signals.terminals[signals.meter] == 1
    known = np.where(single, record.phase[signals.meter], -1)
    phase = np.where(phased, known, 0)
    return np.where(phase >= 0, 3 * transformer + phase, -1)


def _by_heads(signals: Signals, heads: Floats, record: Record, place: Ints) -> None:
    """Where too few phases are recorded, give each meter the order in which its terminals are nearest to its head's.

    Far from the transformer that is a weak clue, and whole feeders can be taken for turned: the recorded phases are a
    better one where there are enough of them.
    """
    recorded = np.bincount(place[place >= 0], minlength=3 * len(record.phased)).reshape(-1, len(PHASES))
    few = record.phased & (recorded < LEAST_MEMBERS).any(axis=1)
    for terminals in (1, 2, 3):
        some = np.flatnonzero((signals.terminals == terminals) & few[record.transformer])
        some = some[place[signals.first[some]] < 0]
        if not len(some):
            continue
        rows, head = signals.rows(some), heads[record.transformer[some]]
        apart = signals.voltage[rows][:, :, None, :] - head[:, None, :, :]
        known = np.isfinite(apart)
        square = np.where(known, apart, 0.0) ** 2
        size = square.sum(axis=3) / np.maximum(known.sum(axis=3), 1)
        size[~known.any(axis=3)] = np.nan
        by_order = np.stack([size[:, np.arange(terminals), order].sum(axis=1) for order in orders(terminals)], axis=1)
        known_head = np.isfinite(by_order).all(axis=1)
        best = np.array(orders(terminals))[by_order[known_head].argmin(axis=1)]
        place[rows[known_head]] = 3 * record.transformer[some[known_head]][:, None] + best


def _by_members(signals: Signals, record: Record, place: Ints, options: Options) -> None:
    """Give each meter of several terminals, and each without a recorded phase, the order likeliest at its record."""
    asked = (signals.terminals > 1) | ((signals.terminals == 1) & (record.phase < 0))
    asked &= record.phased[record.transformer]
    own = (options.transformer == record.transformer[options.meter]) & asked[options.meter]
    best = _best(options, np.flatnonzero(own))
    meter, order = options.meter[best], options.order[best]
    for terminals in (1, 2, 3):
        some = signals.terminals[meter] == terminals
        if some.any():
            found = np.array(orders(terminals))[order[some]]
            place[signals.rows(meter[some])] = 3 * record.transformer[meter[some]][:, None] + found


def _best(options: Options, some: Ints) -> Ints:
    """Of some rows, ascending, the likeliest of each meter, the last one of equals; ascending."""
    meter, likelihood = options.meter[some], options.likelihood[some]
    if not len(some):
        return some
    first = np.flatnonzero(np.append(True, meter[1:] != meter[:-1]))
    size = np.diff(np.append(first, len(some)))
    best = np.flatnonzero(likelihood == np.repeat(np.maximum.reduceat(likelihood, first), size))
    last = np.append(meter[best][1:] != meter[best][:-1], True)
    found: Ints = some[best[last]]
    return found


def found_in(signals: Signals, record: Record, options: Options) -> Findings:
    """What options say of each meter.

    Args:
        signals: of n meters.
        record: where they hang by the record.
        options: of those that were asked about; of the others nothing is known.
    """
    count, windows = len(record.transformer), signals.voltage.shape[1]
    meter = options.meter
    first = _best(options, np.arange(len(meter)))
    best, misfit = np.full((2, count), np.nan)
    transformer, order = np.full(count, -1), np.full(count, -1)
    best[meter[first]], misfit[meter[first]] = options.likelihood[first], options.misfit[first] / windows
    transformer[meter[first]], order[meter[first]] = options.transformer[first], options.order[first]
    # Where nothing fits, as with a clock that is minutes off, differences count for as much less.
    doubt = np.maximum(misfit, 1.0)
    weight = np.exp((options.likelihood - best[meter]) / doubt[meter])
    confidence = 1 / np.maximum(np.bincount(meter, weight, count), 1.0)
    agrees = options.transformer == record.transformer[meter]
    fixed = (signals.terminals[meter] == 1) & (record.phase[meter] >= 0) & record.phased[record.transformer[meter]]
    agrees &= ~fixed | (options.order == record.phase[meter])
    recorded, other = np.full((2, count), np.nan)
    own_order, other_at, other_order = np.full((3, count), -1)
    own, else_ = _best(options, np.flatnonzero(agrees)), _best(options, np.flatnonzero(~agrees))
    recorded[meter[own]], own_order[meter[own]] = options.likelihood[own], options.order[own]
    other[meter[else_]], other_at[meter[else_]] = options.likelihood[else_], options.transformer[else_]
    other_order[meter[else_]] = options.order[else_]
    there = ~agrees & (options.transformer == other_at[meter])
    there &= (options.transformer != record.transformer[meter]) | (options.order == other_order[meter])
    against = np.exp(np.minimum(options.likelihood - other[meter], 0.0) / doubt[meter])
    whole = np.bincount(meter[~agrees], against[~agrees], count)
    share = np.bincount(meter[there], against[there], count) / np.maximum(whole, 1e-9)
    return Findings(
        transformer,
        order,
        np.where(transformer >= 0, confidence, 0.0),
        (recorded - other) / doubt,
        misfit,
        own_order,
        other_at,
        other_order,
        share,
    )
