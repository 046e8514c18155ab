"""What of the double points of switches is believed."""

from __future__ import annotations

import polars as pl
import pytest

from flows.streaming.event_time import SECOND
from flows.topology.positions import Operation, Positions, bay_of

ELEMENTS = {("F", "XCBR1.Pos"): "B", ("F", "XSWI2.Pos"): "D"}
NORMAL = {"B": True, "D": False}
DEBOUNCE = SECOND
END = 100_000 * SECOND


def frame(
    *rows: tuple[float, str, float] | tuple[float, str, float, int] | tuple[float, str, float, int, str],
) -> pl.DataFrame:
    full = [(*row, *(0, "SPONTANEOUS")[len(row) - 3 :]) for row in rows]
    return pl.DataFrame(
        {
            "ftu_id": ["F"] * len(full),
            "point": [row[1] for row in full],
            "time": [round(row[0] * SECOND) for row in full],
            "value": [float(row[2]) for row in full],
            "quality": [row[3] for row in full],
            "cause": [row[4] for row in full],
        }
    ).sort("time")


def operations(
    *rows: tuple[float, str, float] | tuple[float, str, float, int] | tuple[float, str, float, int, str],
) -> list[Operation]:
    return Positions(DEBOUNCE).advance(frame(*rows), END, ELEMENTS, NORMAL)


def seen(found: list[Operation]) -> list[tuple[str, bool, bool, float]]:
    return [(one.element, one.closed, one.withdrawn, one.effective / SECOND) for one in found]


def test_an_opening_and_a_closing() -> None:
    found = operations((10, "XCBR1.Pos", 1), (20, "XCBR1.Pos", 2), (30, "XSWI2.Pos", 2))
    assert seen(found) == [("B", False, False, 10), ("B", True, False, 20), ("D", True, False, 30)]
    assert [one.ordinal for one in found] == [1, 2, 1]
    assert [one.detected / SECOND for one in found] == [11, 21, 31]


@pytest.mark.parametrize("value", [0, 3])
def test_neither_on_nor_off_is_no_position(value: int) -> None:
    assert operations((10, "XCBR1.Pos", value)) == []
    moved = operations((10, "XCBR1.Pos", value), (10.4, "XCBR1.Pos", 1))
    assert seen(moved) == [("B", False, False, 10.4)]
    assert moved[0].evidence["intermediate_seconds"] == "0.400"


@pytest.mark.parametrize(
    ("quality", "believed"), [(0x80, False), (0x40, False), (0x10, False), (0x20, True), (0x01, True)]
)
def test_quality_says_what_is_believed(quality: int, believed: bool) -> None:
    assert bool(operations((10, "XCBR1.Pos", 1, quality))) is believed


def test_chatter_is_one_operation_or_none() -> None:
    chatter = [(10 + n / 10, "XCBR1.Pos", 1 + n % 2) for n in range(5)]
    found = operations(*chatter)
    assert seen(found) == [("B", False, False, 10.4)]
    assert found[0].evidence["flips"] == "4"
    assert operations(*chatter[:4]) == []


@pytest.mark.parametrize("value", [0, 3])
def test_a_position_that_is_left_again_has_not_stood(value: int) -> None:
    assert operations((10, "XCBR1.Pos", 1), (10.3, "XCBR1.Pos", value)) == []
    found = operations((10, "XCBR1.Pos", 1), (10.3, "XCBR1.Pos", value), (12, "XCBR1.Pos", 1))
    assert seen(found) == [("B", False, False, 12)]
    assert found[0].evidence["intermediate_seconds"] == "1.700"


def test_bays_beyond_nine_have_their_own_measurements() -> None:
    assert [bay_of(point) for point in ("XCBR1.Pos", "XSWI11.Pos", "XCBR120.Pos")] == ["MMXU1", "MMXU11", "MMXU120"]


def test_an_interrogation_repeats_or_tells_what_was_lost() -> None:
    again = [(n, "XCBR1.Pos", 2, 0, "INTERROGATION") for n in range(10, 50, 10)]
    assert operations(*again) == []
    lost = operations(*again, (60, "XCBR1.Pos", 1, 0, "INTERROGATION"), (70, "XCBR1.Pos", 1, 0, "INTERROGATION"))
    assert seen(lost) == [("B", False, False, 60)]
    assert lost[0].evidence["cause"] == "INTERROGATION"


def test_an_open_switch_that_carries_current_is_not_believed_until_it_does_not() -> None:
    flowing = [(t, f"MMXU1.A.phs{phase}", 80.0) for t in (9, 12, 15) for phase in "ABC"]
    found = operations((10, "XCBR1.Pos", 1), *flowing)
    assert seen(found) == [("B", False, False, 10), ("B", False, True, 10)]
    assert "80.0 A" in found[1].evidence["contradicted_by"]
    stops = operations((10, "XCBR1.Pos", 1), *flowing, (20, "MMXU1.A.phsA", 0.1))
    assert seen(stops) == [("B", False, False, 10), ("B", False, True, 10), ("B", False, False, 20)]
    back = operations((10, "XCBR1.Pos", 1), *flowing, (20, "XCBR1.Pos", 2), (25, "MMXU1.A.phsA", 80.0))
    assert seen(back)[:2] == seen(found)
    assert len(back) == 2
    other = operations((10, "XCBR1.Pos", 1), *((t, "MMXU2.A.phsA", 80.0) for t in (12, 15)))
    assert seen(other) == [("B", False, False, 10)]


@pytest.mark.parametrize("cut", [9.9, 10.0, 10.2, 10.9, 11.0, 11.5, 13.0, 21.0])
def test_where_the_values_are_cut_makes_no_difference(cut: float) -> None:
    rows = [
        (10, "XCBR1.Pos", 0),
        (10.2, "XCBR1.Pos", 1),
        (10.9, "XCBR1.Pos", 2),
        (11.0, "XCBR1.Pos", 1),
        *((t, "MMXU1.A.phsB", 50.0) for t in (12.5, 13, 14)),
        (20, "MMXU1.A.phsB", 0.0),
        (21, "XSWI2.Pos", 2),
    ]
    whole, at = frame(*rows), round(cut * SECOND)
    positions = Positions(DEBOUNCE)
    found = positions.advance(whole.filter(pl.col("time") < at), at, ELEMENTS, NORMAL)
    found += positions.advance(whole.filter(pl.col("time") >= at), END, ELEMENTS, NORMAL)
    assert found == operations(*rows)
