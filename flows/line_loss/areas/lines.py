"""Losses of a radial network's lines, from what is taken at its nodes (backward and forward sweeps, in columns).

In a radial network the power through a line is the sum of what is taken and lost below it, and the voltage at its end
that of its beginning less the drop in it (Shirmohammadi et al., "A compensation-based power flow method for weakly
meshed distribution and transmission networks", IEEE Trans. Power Syst. 3(2), 1988). With the customers in depth-first
order, those below a line are neighbours, so what flows through all lines are differences of one running sum. A first
sweep tells drops and losses as if there were none, a second one with them: what a third would change is of their third
order.

Four-wire lines: a single-phase customer loads its phase and the neutral. The return of the three phases adds up as
phasors, at 120 degrees to each other (Kersting, Distribution System Modeling and Analysis, ch. 4).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from connectors.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PHASES = "ABC"
_LEAST_VOLTS, _MOST_VOLTS = 0.7, 1.3  # of the source's: what is beyond is no supply, but wrong data


class Line(NamedTuple):
    """A line between two connectivity nodes; ohm per phase."""

    terminal_1: str
    terminal_2: str
    r_ohm: float
    x_ohm: float = 0.0


@dataclass(frozen=True, slots=True)
class RadialLines:
    """The lines between a source and customers.

    Attributes:
        order: the customers in depth-first order, as indices into those that were given; [reached].
        share: of each of them the share of its power in the phases A, B, C; [reached, 3].
        begin: of each line with customers below it the first of these in ``order``; [lines].
        end: one past the last of them; [lines].
        resistance: ohm per phase; lines with the same customers below are one; [lines].
        reactance: ohm per phase; [lines].
        above: of each line that by which it is fed, which comes after it; -1 where that is the source; [lines].
        unreached: how many customers no line reaches.
        nowhere: how many customers' nodes are not known; they are taken to be spread over those of the others.
        phaseless: how many customers' phases are not known; they are taken for balanced.
        looped: how many lines close a loop, and are left out.
    """

    order: Ints
    share: Floats
    begin: Ints
    end: Ints
    resistance: Floats
    reactance: Floats
    above: Ints
    unreached: int
    nowhere: int
    phaseless: int
    looped: int

    @classmethod
    def of(
        cls, source: str | None, lines: Sequence[Line], nodes: Sequence[str | None], phases: Sequence[str | None]
    ) -> RadialLines:
        """Walk the network from its source.

        Args:
            source: the node that feeds it.
            lines: its lines, in any order.
            nodes: the node of each customer.
            phases: the phases of each (``A``, ``AB``, ``ABCN``, ...); None where they are not known.
        """
        lines = sorted(_merged(lines))
        reached = _reached(source, lines)
        nowhere = [customer for customer, node in enumerate(nodes) if node is None]
        others = [node for node in nodes if node in reached]
        nodes = list(nodes)
        for place, customer in enumerate(nowhere):
            nodes[customer] = others[place * len(others) // len(nowhere)] if others else None
        at: dict[str, list[int]] = defaultdict(list)
        for customer, node in enumerate(nodes):
            if node is not None:
                at[node].append(customer)
        beside: dict[str, list[tuple[str, complex, int]]] = defaultdict(list)
        for number, line in enumerate(lines):
            beside[line.terminal_1].append((line.terminal_2, complex(line.r_ohm, line.x_ohm), number))
            beside[line.terminal_2].append((line.terminal_1, complex(line.r_ohm, line.x_ohm), number))
        order: list[int] = []
        spans: dict[tuple[int, int], complex] = defaultdict(complex)
        seen: set[str] = set()
        used: set[int] = set()
        # (node, impedance and number of the line that leads to it, where its customers begin); -1: not entered yet.
        stack: list[tuple[str, complex, int, int]] = [] if source is None else [(source, 0j, -1, -1)]
        while stack:
            node, impedance, begin, by = stack.pop()
            if begin >= 0:
                if len(order) > begin:
                    spans[begin, len(order)] += impedance
                continue
            if node in seen:
                continue
            seen.add(node)
            stack.append((node, impedance, len(order), by))
            order += at.get(node, [])
            if by >= 0:
                used.add(by)
            for other, ohm, number in beside.get(node, ()):
                if other not in seen:
                    stack.append((other, ohm, -1, number))
        named = {span: ohm for span, ohm in spans.items() if ohm.real > 0}
        firsts, ends = (np.array([span[place] for span in named], np.int64) for place in (0, 1))
        reachable = {n for n, line in enumerate(lines) if line.terminal_1 in seen or line.terminal_2 in seen}
        return cls(
            order=np.array(order, np.int64),
            share=np.array([_share(phases[customer]) for customer in order], np.float64).reshape(-1, 3),
            begin=firsts,
            end=ends,
            resistance=np.array([ohm.real for ohm in named.values()], np.float64),
            reactance=np.array([ohm.imag for ohm in named.values()], np.float64),
            above=_above(firsts, ends),
            unreached=len(nodes) - len(order),
            nowhere=len(nowhere),
            phaseless=sum(phase is None for phase in phases),
            looped=len(reachable - used),
        )

    def losses(self, active: Floats, reactive: Floats, hours: float, volts: Floats, *, at_source: bool) -> Floats:
        """The energy lost in each window, kWh.

        Args:
            active: kWh that each customer takes, less what it feeds in; [windows, customers].
            reactive: kvarh, the same; [windows, customers].
            hours: length of a window.
            volts: phase to neutral, of each window; [windows].
            at_source: whether that is the source's voltage, else the mean of the customers'.
        """
        lost = np.zeros(len(active))
        if len(self.begin):
            lines = (self.begin, self.end, self.resistance, self.reactance, self.above)
            _sweep(active / hours, reactive / hours, self.order, self.share, *lines, volts, at_source, lost)
        return lost * hours


@compiled
def _sweep(
    active: Floats,
    reactive: Floats,
    order: Ints,
    share: Floats,
    begin: Ints,
    end: Ints,
    resistance: Floats,
    reactance: Floats,
    above: Ints,
    volts: Floats,
    at_source: bool,
    lost: Floats,
) -> None:
    """What the lines lose in each window by what their customers take, kW and kvar; [windows].

    Phases follow each other by 120 degrees, and a current is that of the conjugate of its power.
    """
    customers, lines = len(order), len(begin)
    running = np.zeros((6, customers + 1))  # active and reactive of each phase
    cosine, sine = np.array([1.0, -0.5, -0.5]), np.array([0.0, math.sqrt(3) / 2, -math.sqrt(3) / 2])
    flow, part = np.zeros(6), np.zeros(3)
    below = np.zeros((lines, 6))  # what is lost below each line, kW and kvar of each phase
    at_end = np.zeros((lines, 3))  # V
    for window in range(active.shape[0]):
        for place in range(customers):
            p, q = active[window, order[place]], reactive[window, order[place]]
            for phase in range(3):
                running[phase, place + 1] = running[phase, place] + p * share[place, phase]
                running[phase + 3, place + 1] = running[phase + 3, place] + q * share[place, phase]
        at_end[:] = volts[window]
        below[:] = 0.0
        for sweep in range(2):
            total, mean_drop = 0.0, 0.0
            for line in range(lines):  # those that are fed come before that by which they are
                low, high = begin[line], end[line]
                real, imaginary, squares = 0.0, 0.0, 0.0  # of the neutral's current, A; the phases', A²
                for phase in range(3):
                    p = running[phase, high] - running[phase, low] + below[line, phase]
                    q = running[phase + 3, high] - running[phase + 3, low] + below[line, phase + 3]
                    p, q = p * 1e3 / at_end[line, phase], q * 1e3 / at_end[line, phase]
                    real += cosine[phase] * p - sine[phase] * q
                    imaginary -= cosine[phase] * q + sine[phase] * p
                    flow[phase], flow[phase + 3] = p, q
                    part[phase] = p * p + q * q
                    squares += part[phase]
                r, x = resistance[line], reactance[line]
                loss = (squares + real * real + imaginary * imaginary) * r / 1e3
                total += loss
                if sweep == 1:
                    continue
                along, across = r * real - x * imaginary, x * real + r * imaginary
                for phase in range(3):
                    if above[line] >= 0 and squares > 0:
                        lost_here = loss * part[phase] / squares
                        below[above[line], phase] += below[line, phase] + lost_here
                        below[above[line], phase + 3] += below[line, phase + 3] + lost_here * x / r
                    drop = r * flow[phase] + x * flow[phase + 3] + along * cosine[phase] - across * sine[phase]
                    at_end[line, phase] = drop  # for now
                    mean_drop += drop * (high - low) / customers / 3
            if sweep == 0:
                source = volts[window] + (0.0 if at_source else mean_drop)
                for line in range(lines - 1, -1, -1):
                    for phase in range(3):
                        before = source if above[line] < 0 else at_end[above[line], phase]
                        after = before - at_end[line, phase]
                        at_end[line, phase] = min(max(after, _LEAST_VOLTS * source), _MOST_VOLTS * source)
        lost[window] = total


def _reached(source: str | None, lines: Sequence[Line]) -> set[str]:
    """The nodes that lines connect with a source."""
    beside: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        beside[line.terminal_1].append(line.terminal_2)
        beside[line.terminal_2].append(line.terminal_1)
    found: set[str] = set()
    open_ = [] if source is None else [source]
    while open_:
        node = open_.pop()
        if node not in found:
            found.add(node)
            open_ += beside[node]
    return found


def _merged(lines: Sequence[Line]) -> list[Line]:
    """The lines, those between the same two nodes as one: in parallel their admittances add up."""
    between: dict[tuple[str, str], list[complex]] = defaultdict(list)
    for line in lines:
        ends = (min(line.terminal_1, line.terminal_2), max(line.terminal_1, line.terminal_2))
        if ends[0] != ends[1]:
            between[ends].append(complex(line.r_ohm, line.x_ohm))
    merged = []
    for ends, impedances in between.items():
        if len(impedances) == 1 or any(one == 0 for one in impedances):
            whole = min(impedances, key=abs)
        else:
            whole = 1 / sum(1 / one for one in sorted(impedances, key=lambda one: (one.real, one.imag)))
        merged.append(Line(*ends, whole.real, whole.imag))
    return merged


def _above(begin: Ints, end: Ints) -> Ints:
    """Of each line the next one that has its customers below it, too; -1 where there is none."""
    result = np.full(len(begin), -1, np.int64)
    for line in range(len(begin)):
        around = np.flatnonzero((begin[line + 1 :] <= begin[line]) & (end[line + 1 :] >= end[line]))
        if len(around):
            result[line] = line + 1 + around[0]
    return result


def _share(phases: str | None) -> list[float]:
    named = [name in (phases or "") for name in _PHASES]
    if not any(named):
        named = [True] * 3
    return [one / sum(named) for one in named]
