"""What the voltages of one span say against where meters are believed to hang."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.topology.identification import (
    Findings,
    Record,
    fits,
    found_in,
    orders,
    places_of,
    recorded_places,
)
from flows.topology.neighbourhood import Neighbourhood
from flows.topology.signals import LEAST_SHARE, Floats, Ints, Signals, centred
from flows.topology.slots import Slots
from flows.topology.voltages import LEAST_MEMBERS, Places

VARIANCE = 0.01  # V², of a voltage: rounding, noise, what a clock that is some seconds off does
_LEAST_TRUSTED = 0.5  # of a place's members


@dataclass(frozen=True, slots=True)
class Span:
    """The voltages of all meters over some slots.

    Attributes:
        signals: of the n usage points.
        heads: of the transformers' head meters, centred, V; [T, 3, L].
        phased: whose phases can be told apart; [T].
    """

    signals: Signals
    heads: Floats
    phased: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        slots: Slots,
        near: Neighbourhood,
        rows: Ints,
        head_rows: Ints,
        begin: int,
        end: int,
        least: float | Floats = LEAST_SHARE,
    ) -> Span:
        """Over slots [begin, end).

        Args:
            slots: of all meters.
            near: the record.
            rows: of the meters in ``slots``; [n].
            head_rows: of the head meters in ``slots``; [T].
            begin: first slot.
            end: the slot after the last one.
            least: share of the windows that must have a voltage, of all meters or each; [n].
        """
        voltages, powers = slots.span(rows, begin, end)
        at_heads, _ = slots.span(head_rows, begin, end)
        heads = np.stack([centred(at_heads[:, :, phase].T) for phase in range(3)], axis=1)
        single = (near.phase >= 0).astype(float)
        named = np.bincount(near.transformer, single, len(near.transformers)) >= LEAST_MEMBERS
        phased = named | np.isfinite(heads[:, 1:]).any(axis=(1, 2))
        return cls(Signals.of(voltages, powers, None, least), heads, phased)


def members(span: Span, record: Record, order: Ints) -> Ints:
    """The place of each signal, -1 where the order of a meter's terminals is not known; [S].

    Args:
        span: the voltages.
        record: where meters are believed to be.
        order: of each meter's terminals, which of ``orders``, -1 where it is not known; [n].
    """
    place = recorded_places(span.signals, record)
    for terminals in (1, 2, 3):
        some = np.flatnonzero((span.signals.terminals == terminals) & (order >= 0) & record.phased[record.transformer])
        some = some[place[span.signals.first[some]] < 0]
        some = some[order[some] < len(orders(terminals))]
        if len(some):
            found = np.array(orders(terminals))[order[some]]
            place[span.signals.rows(some)] = 3 * record.transformer[some][:, None] + found
    return place


def trusted(place: Ints, doubted: npt.NDArray[np.bool_], count: int) -> Ints:
    """Leave those in doubt out of their places, unless too few would remain to say anything.

    Args:
        place: of each signal; [S].
        doubted: of each signal; [S].
        count: of places.
    """
    there = place >= 0
    every = np.bincount(place[there], minlength=count)
    sure = np.bincount(place[there & ~doubted], minlength=count)
    enough = (sure >= LEAST_MEMBERS) & (sure >= _LEAST_TRUSTED * every)
    return np.where(there & doubted & enough[np.maximum(place, 0)], -1, place)


def surroundings(span: Span, record: Record, order: Ints, doubted: npt.NDArray[np.bool_]) -> tuple[Places, Ints]:
    """The places, and the place of each signal that vouches for one, else -1.

    Args:
        span: the voltages.
        record: where meters are believed to be.
        order: as in ``members``.
        doubted: those who vouch for no place if others can; [n].
    """
    place = members(span, record, order)
    place = trusted(place, doubted[span.signals.meter], 3 * len(record.phased))
    return places_of(span.signals, span.heads, record.phased, place, VARIANCE), place


def weigh(span: Span, record: Record, order: Ints, doubted: npt.NDArray[np.bool_]) -> Findings:
    """Compare all meters with the places of their neighbourhood; arguments as of ``surroundings``."""
    places, place = surroundings(span, record, order, doubted)
    return found_in(span.signals, record, fits(span.signals, places, record, place))
