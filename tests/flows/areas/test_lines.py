"""Losses of lines against a power flow, to the end, of four conductors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flows.line_loss.areas.lines import Line, RadialLines

HOURS, VOLTS = 0.25, 230.0


def exact(
    source: str, lines: list[Line], nodes: list[str], phases: list[str | None], kva: list[complex], volts: float
) -> tuple[float, float, float]:
    """One window's power flow: the loss, kW, customers' mean voltage and the least one, V.

    Voltages of the four conductors at every node (the neutral's last), from currents of the four in every line, and
    back, until nothing changes any more.
    """
    turn = np.exp(-2j * np.pi / 3 * np.arange(3))
    at = {node: np.append(volts * turn, 0j) for line in lines for node in (line.terminal_1, line.terminal_2)}
    at[source] = np.append(volts * turn, 0j)
    after = [behind(line, source, lines) for line in lines]
    total = 0.0
    for _ in range(60):
        taken = {node: np.zeros(4, complex) for node in at}
        for node, phase, power in zip(nodes, phases, kva, strict=True):
            on = [p for p in range(3) if "ABC"[p] in (phase or "ABC")]
            for p in on:
                ampere = np.conj(power * 1000 / len(on) / (at[node][p] - at[node][3]))
                taken[node][p] += ampere
                taken[node][3] -= ampere
        currents = [sum((taken[node] for node in there), np.zeros(4, complex)) for there in after]
        for node in at:
            passed = [m for m in range(len(lines)) if node in after[m]]
            drop = sum(((lines[m].r_ohm + 1j * lines[m].x_ohm) * currents[m] for m in passed), np.zeros(4, complex))
            at[node] = np.append(volts * turn, 0j) - drop
        total = sum(line.r_ohm * float((np.abs(i) ** 2).sum()) for line, i in zip(lines, currents, strict=True)) / 1000
    felt = {node: np.abs(u[:3] - u[3]) for node, u in at.items()}
    return total, float(np.mean([felt[node].mean() for node in nodes])), float(min(u.min() for u in felt.values()))


def behind(line: Line, source: str, lines: list[Line]) -> set[str]:
    """Nodes that lose their way to the source without a line."""
    every = {node for one in lines for node in (one.terminal_1, one.terminal_2)}
    reach, open_ = {source}, [source]
    while open_:
        here = open_.pop()
        for other in lines:
            if other is line:
                continue
            for a, b in ((other.terminal_1, other.terminal_2), (other.terminal_2, other.terminal_1)):
                if a == here and b not in reach:
                    reach.add(b)
                    open_.append(b)
    return every - reach


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[Line], list[str], list[str | None], list[complex]]:
    count = draw(st.integers(1, 12))
    lines = [
        Line(ends[0], ends[1], draw(st.just(0.0) | st.floats(0.001, 0.05)), draw(st.floats(0, 0.02)))
        for n in range(1, count + 1)
        for ends in [draw(st.permutations([f"N{draw(st.integers(0, n - 1))}", f"N{n}"]))]
    ]
    customers = draw(st.integers(1, 8))
    nodes = [f"N{draw(st.integers(0, count))}" for _ in range(customers)]
    phases = [draw(st.sampled_from([None, "A", "B", "CN", "AB", "ABCN"])) for _ in range(customers)]
    kva = [complex(draw(st.floats(-5, 5)), draw(st.floats(-2, 2))) for _ in range(customers)]
    return lines, nodes, phases, kva


@settings(deadline=None)
@given(grid=grids(), at_source=st.booleans())
def test_losses_are_those_of_a_power_flow(
    grid: tuple[list[Line], list[str], list[str | None], list[complex]], at_source: bool
) -> None:
    lines, nodes, phases, kva = grid
    loss, mean, least = exact("N0", lines, nodes, phases, kva, VOLTS)
    assume(least > 0.93 * VOLTS)
    found = RadialLines.of("N0", lines, nodes, phases)
    power = np.array([kva])
    told = np.array([VOLTS if at_source else mean])
    losses = found.losses(power.real * HOURS, power.imag * HOURS, HOURS, told, at_source=at_source)
    assert losses[0] == pytest.approx(loss * HOURS, rel=0.02, abs=1e-9)
    assert found.unreached == 0 and found.looped == 0


def test_a_balanced_load_of_30_kw_on_100_milliohm() -> None:
    """P = 3 I² R with I = 30 kW / (3 x 225.6 V), 4.4 V being lost on the way: 44.3 A, 589 W."""
    lines = RadialLines.of("T", [Line("T", "A", 0.1)], ["A"], [None])
    loss = lines.losses(np.array([[30.0]]), np.array([[0.0]]), 1.0, np.array([230.0]), at_source=True)
    assert loss[0] == pytest.approx(3 * (10_000 / (230 - 10_000 / 230 * 0.1)) ** 2 * 0.1 / 1000)


def test_the_same_load_on_one_phase_loses_six_times_as_much() -> None:
    def loss(phases: str | None) -> float:
        lines = RadialLines.of("T", [Line("T", "A", 0.1)], ["A"], [phases])
        return float(lines.losses(np.array([[0.09]]), np.array([[0.0]]), 1.0, np.array([230.0]), at_source=True)[0])

    assert loss("B") == pytest.approx(6 * loss("ABCN"), rel=1e-3)


def test_whom_no_line_reaches_is_counted_and_a_loop_is_told() -> None:
    lines = [Line("T", "A", 0.1), Line("A", "B", 0.1), Line("B", "T", 0.1)]
    found = RadialLines.of("T", lines, ["A", "Z", None], [None] * 3)
    assert (found.unreached, found.nowhere, found.phaseless, found.looped) == (1, 1, 3, 1)


def test_lines_in_parallel_share_the_current() -> None:
    """Two of 0.2 ohm are one of 0.1."""
    power = (np.array([[2.3]]), np.array([[0.0]]))
    two = RadialLines.of("T", [Line("T", "A", 0.2), Line("A", "T", 0.2)], ["A"], ["ABC"])
    one = RadialLines.of("T", [Line("T", "A", 0.1)], ["A"], ["ABC"])
    told = np.array([230.0])
    assert two.looped == 0
    assert two.losses(*power, 1.0, told, at_source=True) == pytest.approx(one.losses(*power, 1.0, told, at_source=True))


def test_customers_whose_node_is_not_known_are_spread_over_the_others() -> None:
    lines = [Line("T", "A", 0.1), Line("A", "B", 0.1)]
    power = (np.full((1, 4), 3.0), np.zeros((1, 4)))
    known = RadialLines.of("T", lines, ["A", "B", "A", "B"], ["ABC"] * 4)
    told = RadialLines.of("T", lines, ["A", "B", None, None], ["ABC"] * 4)
    assert (told.nowhere, told.unreached) == (2, 0)
    volts = np.array([230.0])
    expected = known.losses(*power, 1.0, volts, at_source=True)
    assert told.losses(*power, 1.0, volts, at_source=True) == pytest.approx(expected)
