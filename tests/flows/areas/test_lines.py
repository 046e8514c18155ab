"""Losses of lines against a calculation of every line by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.line_loss.areas.lines import Line, RadialLines

HOURS, VOLTS = 0.25, 230.0


def slow(source: str, lines: list[Line], nodes: list[str], phases: list[str | None], kva: list[complex]) -> float:
    """The loss of one window, kW: of each line the customers below it are looked up, and its conductors' currents."""
    total = 0.0
    for line in lines:
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
        amperes = [0j, 0j, 0j]
        for node, phase, power in zip(nodes, phases, kva, strict=True):
            if node not in reach:
                on = [p for p in range(3) if "ABC"[p] in (phase or "ABC")]
                for p in on:
                    amperes[p] += power * 1000 / len(on) / VOLTS
        turn = np.exp(-2j * np.pi / 3)
        neutral = amperes[0] + amperes[1] * turn + amperes[2] * turn**2
        total += line.r_ohm * sum(abs(i) ** 2 for i in (*amperes, neutral)) / 1000
    return total


@st.composite
def grids(draw: st.DrawFn) -> tuple[list[Line], list[str], list[str | None], list[complex]]:
    count = draw(st.integers(1, 12))
    lines = [
        Line(ends[0], ends[1], draw(st.floats(0, 0.5)))
        for n in range(1, count + 1)
        for ends in [draw(st.permutations([f"N{draw(st.integers(0, n - 1))}", f"N{n}"]))]
    ]
    customers = draw(st.integers(1, 8))
    nodes = [f"N{draw(st.integers(0, count))}" for _ in range(customers)]
    phases = [draw(st.sampled_from([None, "A", "B", "CN", "AB", "ABCN"])) for _ in range(customers)]
    kva = [complex(draw(st.floats(-5, 5)), draw(st.floats(-2, 2))) for _ in range(customers)]
    return lines, nodes, phases, kva


@settings(deadline=None)
@given(grid=grids())
def test_losses_are_those_of_every_line_by_itself(
    grid: tuple[list[Line], list[str], list[str | None], list[complex]],
) -> None:
    lines, nodes, phases, kva = grid
    found = RadialLines.of("N0", lines, nodes, phases)
    power = np.array([kva])
    losses = found.losses(power.real * HOURS, power.imag * HOURS, HOURS, np.array([VOLTS]))
    assert losses[0] == pytest.approx(slow("N0", lines, nodes, phases, kva) * HOURS, abs=1e-9)
    assert found.unreached == 0 and found.looped == 0


def test_a_balanced_load_of_30_kw_on_100_milliohm() -> None:
    """P = 3 I² R with I = 30 kW / (3 x 230 V): 43.48 A, 567 W."""
    lines = RadialLines.of("T", [Line("T", "A", 0.1)], ["A"], [None])
    loss = lines.losses(np.array([[30.0]]), np.array([[0.0]]), 1.0, np.array([230.0]))
    assert loss[0] == pytest.approx(3 * (10_000 / 230) ** 2 * 0.1 / 1000)


def test_the_same_load_on_one_phase_loses_six_times_as_much() -> None:
    def loss(phases: str | None) -> float:
        lines = RadialLines.of("T", [Line("T", "A", 0.1)], ["A"], [phases])
        return float(lines.losses(np.array([[9.0]]), np.array([[0.0]]), 1.0, np.array([230.0]))[0])

    assert loss("B") == pytest.approx(6 * loss("ABCN"))


def test_whom_no_line_reaches_is_counted_and_a_loop_is_told() -> None:
    lines = [Line("T", "A", 0.1), Line("A", "B", 0.1), Line("B", "T", 0.1)]
    found = RadialLines.of("T", lines, ["A", "Z", None], [None] * 3)
    assert (found.unreached, found.looped) == (2, 1)
