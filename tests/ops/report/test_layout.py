"""The network as a drawing."""

from __future__ import annotations

import pytest

from ops.report.drawing import BUS, Draughtsman
from ops.report.layout import LINE_LENGTH, SWITCH_LENGTH, lay_out
from ops.report.topology import Element, Grid, Group, grid_of, levels
from tests.ops.report.grids import city


def element(name: str, kind: str, *nodes: str, is_open: bool = False) -> Element:
    return Element(name, kind, "F", nodes, is_open, None)


def line(name: str, one: str, two: str) -> Element:
    return element(name, "ACLineSegment", one, two)


def station(name: str, node: str) -> Element:
    return element(name, "PowerTransformer", node, f"{name}-LV")


def test_groups_of_a_city() -> None:
    grid = grid_of(city(substations=2, feeders=3, stations=4))
    assert grid.groups() == {
        f"S0{s}": [
            Group((f"S0{s}-TR1", f"S0{s}-BB1"), (f"S0{s}-F01", f"S0{s}-F02")),
            Group((f"S0{s}-TR2", f"S0{s}-BB2"), (f"S0{s}-F03",)),
        ]
        for s in (1, 2)
    }
    assert len(grid.stations()) == 24
    assert "S01-TR1" not in grid.stations()
    assert grid.customers["T0001"] == 5
    # Lines of areas are not drawn, and would be many.
    assert sum(e.kind == "ACLineSegment" for e in grid.elements.values()) == 26


def test_stations_stand_in_the_order_in_which_current_reaches_them() -> None:
    grid = grid_of(city(feeders=2, stations=3))
    members = grid.inside("S01-F01", "ACLineSegment", "Breaker", "LoadBreakSwitch")[::-1]
    lane = lay_out(members, grid.inside("S01-F01", "PowerTransformer"), grid.bus_nodes())
    between = LINE_LENGTH + 2 * SWITCH_LENGTH
    assert [p.element_id for p in lane.stations] == ["T0001", "T0002", "T0003"]
    assert [p.x for p in lane.stations] == pytest.approx([between, 2 * between, 3 * between])
    assert {p.y for p in lane.stations} == {0.0}
    assert lane.rows == 1
    assert [s.element.element_id for s in lane.strokes if s.element.normal_open] == ["T0003-XSWI2"]


def test_a_branch_takes_a_row_of_its_own_and_the_longest_goes_straight_on() -> None:
    members = [
        line("1", "bus", "a"),
        line("2", "a", "b"),
        line("3", "b", "c"),
        line("4", "a", "d"),
        line("5", "b", "e"),
    ]
    stations = [station(f"T{n}", n) for n in "abcde"]
    lane = lay_out(members, stations, ["bus"])
    places = {p.element_id: (round(p.x / LINE_LENGTH, 6), p.y) for p in lane.stations}
    # The farther branch lies nearer: so the way down to the other one crosses nothing.
    assert places == {"Ta": (1, 0), "Tb": (2, 0), "Tc": (3, 0), "Te": (3, 1), "Td": (2, 2)}
    drop = next(s for s in lane.strokes if s.element.element_id == "4")
    assert drop.start == pytest.approx((LINE_LENGTH, 0.0))
    assert drop.stop == pytest.approx((2 * LINE_LENGTH, 2.0))


def test_what_is_reached_over_an_open_switch_comes_last() -> None:
    # A ring: the short way to b is open, so it is reached the long way round.
    members = [
        element("open", "LoadBreakSwitch", "bus", "b", is_open=True),
        line("1", "bus", "a"),
        line("2", "a", "b"),
    ]
    lane = lay_out(members, [station("Ta", "a"), station("Tb", "b")], ["bus"])
    assert {p.element_id: p.x for p in lane.stations} == pytest.approx({"Ta": LINE_LENGTH, "Tb": 2 * LINE_LENGTH})
    assert {s.element.element_id for s in lane.strokes} == {"open", "1", "2"}


def test_whatever_the_record_lacks_everything_is_drawn() -> None:
    members = [line("1", "bus", "a"), line("2", "x", "y"), element("3", "Breaker", "bus")]
    stations = [station("Ta", "a"), station("Ty", "y"), station("Tz", "z"), station("Ta2", "a"), element("T", "X")]
    lane = lay_out(members, stations, ["elsewhere"])
    assert sorted(p.element_id for p in lane.stations) == ["T", "Ta", "Ta2", "Ty", "Tz"]
    assert len({(p.x, p.y) for p in lane.stations}) == 5
    assert lay_out([], [], []).rows == 1
    long = [line(f"{n}", f"n{n}", f"n{n + 1}") for n in range(5000)]
    assert lay_out(long, [], ["n0"]).length == pytest.approx(5000 * LINE_LENGTH)


def test_a_substation_with_its_coupler_and_ties() -> None:
    grid = grid_of(city(feeders=4, stations=2))
    drawing = Draughtsman(grid, str, str).substation("S01", grid.groups()["S01"])
    assert [p.element_id for p in drawing.windings] == ["S01-TR1", "S01-TR2"]
    assert sorted(p.element_id for p in drawing.stations) == [f"T{n:04d}" for n in range(1, 9)]
    couplers = [(x, e.normal_open) for x, _, e in drawing.switches if e.element_id == "S01-XCBR1"]
    assert couplers == [(BUS, True)]
    ties = [note.text for note in drawing.notes if note.kind == "tie"]
    assert ties == ["⇄ S01-F02", "⇄ S01-F01", "⇄ S01-F04", "⇄ S01-F03"]
    heights = [note.y for note in drawing.notes if note.kind == "feeder"]
    assert heights == sorted(heights)


def test_feeders_without_a_substation_are_a_group_too() -> None:
    grid = Grid()
    for name, kind, container in (("R", "SubGeographicalRegion", None), ("F1", "Feeder", "R"), ("F2", "Feeder", None)):
        grid.elements[name] = Element(name, kind, container, (), False, None)
    assert grid.groups() == {"": [Group((), ("F2",))], "R": [Group((), ("F1",))]}


def test_a_circle_of_containers_ends() -> None:
    grid = Grid()
    for name, container in (("A", "B"), ("B", "A"), ("C", "C")):
        grid.elements[name] = Element(name, "Substation", container, (), False, None)
    assert grid.above("A") == ["B"]
    assert grid.above("C") == []


def test_levels_leave_out_what_would_be_a_frame_within_a_frame() -> None:
    grid = grid_of(city(substations=1, feeders=2, stations=1))
    assert levels(grid, ["T0001", "T0002"]) == [
        ("R1", None),
        ("S01-TR1", "R1"),
        ("S01-TR2", "R1"),
        ("T0001", "S01-TR1"),
        ("T0002", "S01-TR2"),
    ]
