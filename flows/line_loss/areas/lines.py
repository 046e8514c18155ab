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

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PHASES = "ABC"
_TURN = np.exp(-2j * np.pi / 3 * np.arange(3))


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
        apparent: npt.NDArray[np.complex128] = np.zeros((len(active), len(self.order)), np.complex128)  # kVA
        apparent.real, apparent.imag = active[:, self.order] / hours, reactive[:, self.order] / hours
        balanced = bool(np.all(self.share == self.share[:, :1]))
        if balanced:
            squared = np.abs(self._through(apparent)) ** 2 / 3
        else:
            phases = [self._through(np.asarray(apparent * self.share[:, phase])) for phase in range(3)]
            neutral = phases[0] + phases[1] * _TURN[1] + phases[2] * _TURN[2]
            squared = np.stack([np.abs(flow) ** 2 for flow in (*phases, neutral)]).sum(axis=0)
        # (kVA / V)² ohm = 10^6 W = 10^3 kW
        kilowatts = (squared @ self.resistance) / volts**2 * 1e3
        return np.asarray(kilowatts * hours)

    def _through(self, taken: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
        """Of each line what flows through it; [windows, lines]."""
        running = np.zeros((taken.shape[0], taken.shape[1] + 1), np.complex128)
        np.cumsum(taken, axis=1, out=running[:, 1:])
        return running[:, self.end] - running[:, self.begin]


def _share(phases: str | None) -> list[float]:
    named = [name in (phases or "") for name in _PHASES]
    if not any(named):
        named = [True] * 3
    return [one / sum(named) for one in named]
