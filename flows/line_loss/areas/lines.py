"""Losses of a radial network's lines, from what is taken at its nodes (a backward sweep, in columns).

In a radial network the power through a line is the sum of what is taken below it (Shirmohammadi et al., "A
compensation-based power flow method for weakly meshed distribution and transmission networks", IEEE Trans. Power
Syst. 3(2), 1988: the backward sweep). With the customers in depth-first order, those below a line are neighbours, so
the flows of all lines in all windows are differences of one running sum. The losses' own share in the flows is left
out: it is of the order of the loss in per cent, squared.

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


class Line(NamedTuple):
    """A line between two connectivity nodes; ohm per phase."""

    terminal_1: str
    terminal_2: str
    r_ohm: float


@dataclass(frozen=True, slots=True)
class RadialLines:
    """The lines between a source and customers.

    Attributes:
        order: the customers in depth-first order, as indices into those that were given; [reached].
        share: of each of them the share of its power in the phases A, B, C; [reached, 3].
        begin: of each line with customers below it the first of these in ``order``; [lines].
        end: one past the last of them; [lines].
        resistance: ohm per phase; lines with the same customers below are one; [lines].
        unreached: how many customers no line reaches.
        looped: how many lines close a loop, and are left out.
    """

    order: Ints
    share: Floats
    begin: Ints
    end: Ints
    resistance: Floats
    unreached: int
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
            phases: the phases of each (``A``, ``AB``, ``ABCN``, ...); None means all three.
        """
        at: dict[str, list[int]] = defaultdict(list)
        for customer, node in enumerate(nodes):
            if node is not None:
                at[node].append(customer)
        beside: dict[str, list[tuple[str, float, int]]] = defaultdict(list)
        for number, line in enumerate(sorted(lines)):
            beside[line.terminal_1].append((line.terminal_2, line.r_ohm, number))
            beside[line.terminal_2].append((line.terminal_1, line.r_ohm, number))
        order: list[int] = []
        spans: dict[tuple[int, int], float] = defaultdict(float)
        seen: set[str] = set()
        used: set[int] = set()
        # (node, resistance and number of the line that leads to it, where its customers begin); -1: not entered yet.
        stack: list[tuple[str, float, int, int]] = [] if source is None else [(source, 0.0, -1, -1)]
        while stack:
            node, resistance, begin, by = stack.pop()
            if begin >= 0:
                if len(order) > begin:
                    spans[begin, len(order)] += resistance
                continue
            if node in seen:
                continue
            seen.add(node)
            stack.append((node, resistance, len(order), by))
            order += at.get(node, [])
            if by >= 0:
                used.add(by)
            for other, ohm, number in beside.get(node, ()):
                if other not in seen:
                    stack.append((other, ohm, -1, number))
        named = [(begin, end, ohm) for (begin, end), ohm in spans.items() if ohm > 0]
        reachable = {n for n, line in enumerate(sorted(lines)) if line.terminal_1 in seen or line.terminal_2 in seen}
        return cls(
            order=np.array(order, np.int64),
            share=np.array([_share(phases[customer]) for customer in order], np.float64).reshape(-1, 3),
            begin=np.array([begin for begin, _, _ in named], np.int64),
            end=np.array([end for _, end, _ in named], np.int64),
            resistance=np.array([ohm for _, _, ohm in named], np.float64),
            unreached=len(nodes) - len(order),
            looped=len(reachable - used),
        )

    def losses(self, active: Floats, reactive: Floats, hours: float, volts: Floats) -> Floats:
        """The energy lost in each window, kWh.

        Args:
            active: kWh that each customer takes, less what it feeds in; [windows, customers].
            reactive: kvarh, the same; [windows, customers].
            hours: length of a window.
            volts: phase to neutral, of each window; [windows].
        """
        if not len(self.begin):
            return np.zeros(len(active))
        squared = np.zeros(len(active))
        _sweep(active, reactive, self.order, self.share, self.begin, self.end, self.resistance, squared)
        # (kWh / h / V)² ohm = 10^6 W = 10^3 kW
        return np.asarray(squared / hours**2 / volts**2 * 1e3 * hours)


@compiled
def _sweep(
    active: Floats,
    reactive: Floats,
    order: Ints,
    share: Floats,
    begin: Ints,
    end: Ints,
    resistance: Floats,
    squared: Floats,
) -> None:
    """The squares of the phases' and the neutral's flows times the resistances, summed over the lines; [windows]."""
    customers = len(order)
    running = np.zeros((6, customers + 1))  # active and reactive of each phase
    half, root = -0.5, -math.sqrt(3) / 2  # phases follow each other by 120 degrees
    for window in range(active.shape[0]):
        for place in range(customers):
            p, q = active[window, order[place]], reactive[window, order[place]]
            for phase in range(3):
                part = share[place, phase]
                running[phase, place + 1] = running[phase, place] + p * part
                running[phase + 3, place + 1] = running[phase + 3, place] + q * part
        total = 0.0
        for line in range(len(begin)):
            low, high = begin[line], end[line]
            pa, pb = running[0, high] - running[0, low], running[1, high] - running[1, low]
            pc = running[2, high] - running[2, low]
            qa, qb = running[3, high] - running[3, low], running[4, high] - running[4, low]
            qc = running[5, high] - running[5, low]
            real = pa + half * (pb + pc) - root * (qb - qc)
            imaginary = qa + half * (qb + qc) + root * (pb - pc)
            flows = pa * pa + pb * pb + pc * pc + qa * qa + qb * qb + qc * qc + real * real + imaginary * imaginary
            total += flows * resistance[line]
        squared[window] = total


def _share(phases: str | None) -> list[float]:
    named = [name in (phases or "") for name in _PHASES]
    if not any(named):
        named = [True] * 3
    return [one / sum(named) for one in named]
