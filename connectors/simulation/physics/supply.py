"""Who is fed from where, as switches are operated."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

import numpy as np

from connectors.simulation.grid.customers import Bools, Ints
from connectors.simulation.grid.layout import Substation
from connectors.simulation.physics.operations import Operation

NOBODY = -1


@dataclass(frozen=True)
class SwitchingState:
    """How the grid is connected from a time on.

    Attributes:
        time: µs since 1970.
        closed: (lines, 2) whether each line is connected at its ends.
        fed_by: (stations,) index of the feeder that supplies each, or NOBODY.
        line_fed_by: (MV lines,) the same of each MV line, by its energised end.
        looped: (feeders,) whether a feeder is in a loop with another: what flows over it belongs to neither.
    """

    time: int
    closed: Bools
    fed_by: Ints
    line_fed_by: Ints
    looped: Bools


class SwitchingHistory:
    """The states of a grid's switches over time.

    Args:
        grid: the substation.
        operations: by time.
        begin: µs, from when the normal state holds.
    """

    def __init__(self, grid: Substation, operations: list[Operation], begin: int) -> None:
        closed = np.array([line.closed for line in grid.lines], bool)
        places = grid.switch_places()
        self.states = [SwitchingState(begin, closed, *supply(grid, closed))]
        for operation in operations:
            closed = closed.copy()
            if operation.switch in places:  # the last station of a radial feeder has nothing behind its XSWI2
                closed[places[operation.switch]] = operation.closed
            state = SwitchingState(operation.time, closed, *supply(grid, closed))
            if self.states[-1].time == operation.time:
                self.states[-1] = state
            else:
                self.states.append(state)
        self.times = [state.time for state in self.states]

    def at(self, time: int) -> SwitchingState:
        """The state that holds from ``time`` on."""
        return self.states[bisect_right(self.times, time) - 1]


def supply(grid: Substation, closed: Bools) -> tuple[Ints, Ints, Bools]:
    """Breadth first from both busbars over connected MV lines.

    A station that is reached from two sides, while a loop is closed, counts for the feeder that reaches it first.

    Returns:
        Of each station, and of each MV line, the feeder that supplies it, or NOBODY; of each feeder whether it meets
        another one over a line that is connected at both ends.
    """
    mv_lines = [index for index, line in enumerate(grid.lines) if line.feeder >= 0]
    at_node: dict[int, list[tuple[int, int]]] = {}
    for index in mv_lines:
        for side in (0, 1):
            if closed[index, side]:
                at_node.setdefault(grid.lines[index].ends[side], []).append((index, side))
    head_of = {feeder.head: number for number, feeder in enumerate(grid.feeders)}
    line_fed_by = np.full(len(mv_lines), NOBODY, np.int64)
    node_fed_by: dict[int, int] = dict.fromkeys(grid.busbars, NOBODY)
    open_ = deque(grid.busbars)
    while open_:
        node = open_.popleft()
        for line, side in at_node.get(node, ()):
            feeder = node_fed_by[node]
            if feeder == NOBODY:
                feeder = head_of.get(line, NOBODY)
            if feeder == NOBODY or line_fed_by[line] != NOBODY:
                continue
            line_fed_by[line] = feeder
            other = grid.lines[line].ends[1 - side]
            if closed[line, 1 - side] and other not in node_fed_by:
                node_fed_by[other] = feeder
                open_.append(other)
    fed_by = np.array([node_fed_by.get(station.mv_node, NOBODY) for station in grid.stations], np.int64)
    looped = np.zeros(len(grid.feeders), bool)
    for index in mv_lines:
        if closed[index].all():
            met = {node_fed_by.get(node, NOBODY) for node in grid.lines[index].ends} | {int(line_fed_by[index])}
            met.discard(NOBODY)
            if len(met) > 1:
                looped[list(met)] = True
    return fed_by, line_fed_by, looped
