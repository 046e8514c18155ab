"""What the page says of meters that moved, and of switching as it was found."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from ops.demo.offline import moved_table
from ops.report import write_report
from ops.report.data import NO_TRUTH, read_results
from ops.report.material import Material
from ops.report.moved import means, pairs
from ops.report.switching import switching_found
from ops.report.topology import SWITCHES, grid_of
from ops.report.totals import span_of
from schemas import contract
from tests.ops.conftest import Opened
from tests.ops.report.grids import METER_ENERGY, START, WINDOW, city, losses, write_results

CHANGES = contract("grid.topology-change.v1").polars
MOVED = START + 12 * WINDOW


def change(element: str, kind: str, previous: str | None, current: str | None, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "element_id": element,
        "change_id": f"{element}/{kind}/{more.pop('ordinal', 1)}",
        "kind": kind,
        "previous": previous,
        "current": current,
        "state": "ACCEPTED",
        "effective_time": MOVED,
        "detected_time": MOVED + timedelta(hours=1),
        "confidence": 0.999,
        "revision": 1,
        "evidence": [],
    }
    return row | more


def found() -> pl.DataFrame:
    """One usage point moved, one was recorded wrongly, one proposal; a feeder lost its supply for an hour."""
    later = {"effective_time": MOVED + timedelta(hours=1), "detected_time": MOVED + timedelta(hours=1)}
    rows = [
        change("UP-T0002-1", "METER_TRANSFORMER_CHANGED", "T0002", "T0003"),
        change(
            "UP-T0004-0",
            "RECORD_MISMATCH",
            "T0004",
            "T0001",
            effective_time=START,
            evidence=[{"key": "aspect", "value": "transformer"}],
        ),
        change("UP-T0001-0", "RECORD_MISMATCH", "A", "B", evidence=[{"key": "aspect", "value": "phase"}]),
        change("UP-T0001-2", "METER_TRANSFORMER_CHANGED", "T0001", "T0002", state="PROPOSED"),
        change("S01-F01-CB", "SWITCH_OPERATED", "closed", "open"),
        change("T0001", "DE_ENERGISED", "S01-F01", None, evidence=[{"key": "customers", "value": "5"}]),
        change("T0002", "DE_ENERGISED", "S01-F01", None, evidence=[{"key": "customers", "value": "5"}]),
        change("S01-F01-CB", "SWITCH_OPERATED", "open", "closed", ordinal=2, **later),
        change("T0001", "RE_ENERGISED", None, "S01-F01", **later),
    ]
    return pl.DataFrame(rows, schema=CHANGES)


def energies() -> pl.DataFrame:
    """What the two registered: 0.5 and 2 kWh a window."""
    frames = [
        pl.DataFrame(
            {
                "meter_id": meter,
                "window_start": [START + k * WINDOW for k in range(24)],
                "window_end": [START + (k + 1) * WINDOW for k in range(24)],
                "import_kwh": kwh,
                "export_kwh": 0.25,
                "measured_share": 1.0,
                "clock_offset_seconds": None,
                "revision": 1,
            },
            schema=METER_ENERGY,
        )
        for meter, kwh in (("M-T0002-1", 0.75), ("M-T0004-0", 2.25))
    ]
    return pl.concat(frames)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = write_results(tmp_path / "results", losses(city()))
    for name, frame in (("topology_change", found()), ("meter_energy", energies())):
        target = results / name / "date=2026-03-16"
        target.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(target / "found.parquet")
    return results


def _material(folder: Path) -> Material:
    points = city().filter(pl.col("kind") == "UsagePoint")
    points = points.select("element_id", meter_id="measuring_device_id")
    results = read_results(folder, points=points)
    return Material(results, span_of(results.losses), grid_of(city()), NO_TRUTH, None, points)


def test_by_the_old_record_the_energy_would_be_missing_in_one_area_and_lost_in_the_other(folder: Path) -> None:
    of = _material(folder)
    assert of.span is not None
    wrong, moved = pairs(of, of.span)
    assert (wrong.previous, wrong.current) == ("T0004", "T0001")
    assert (moved.previous, moved.current) == ("T0002", "T0003")
    assert moved.moves["element_id"].to_list() == ["UP-T0002-1"]
    for pair, kwh, hours in ((wrong, 4 * 2.0, 6), (moved, 4 * 0.5, 3)):
        for area, sign in ((pair.previous, -1), (pair.current, 1)):
            rows = pair.steps[area]
            stated = of.results.losses.filter(pl.col("element_id") == area)["loss_kwh"].sum()
            assert rows["loss_kwh"].sum() == pytest.approx(stated)
            differs = (rows["unmoved_kwh"] - rows["loss_kwh"]).drop_nulls()
            assert differs.to_list() == pytest.approx([sign * kwh] * hours)
            now, then = means(pair)[area]
            assert then - now == pytest.approx(sign * kwh)


def test_the_demo_tells_the_losses_of_both_areas(folder: Path) -> None:
    of = _material(folder)
    assert of.span is not None
    some = pairs(of, of.span)
    shown = Console(width=120, record=True, file=io.StringIO())
    shown.print(moved_table(some, of.span.step_name))
    text = shown.export_text()
    now, then = means(some[0])["T0001"]
    assert f"{now:.2f} ({then:.2f})" in text
    assert "UP-T0002-1" in text
    assert "kWh per hour" in text


def test_switching_is_that_which_was_found() -> None:
    grid = grid_of(city())
    switches = {name: one.normal_open for name, one in grid.elements.items() if one.kind in SWITCHES}
    switching = switching_found(found(), switches, START)
    assert switching is not None
    states = switching.moments([*switches, "T0001", "T0002"])
    assert [state.time for state in states] == [START, MOVED, MOVED + timedelta(hours=1)]
    assert [state.closed["S01-F01-CB"] for state in states] == [True, False, True]
    assert [state.dark for state in states] == [frozenset(), {"T0001", "T0002"}, {"T0002"}]
    normal = [name for name, is_open in switches.items() if name != "S01-F01-CB" and states[1].closed[name] is is_open]
    assert not normal
    assert switching_found(found().filter(pl.col("kind") == "DE_ENERGISED"), switches, START) is None


def test_the_page_shows_them(folder: Path, opened: Opened, tmp_path: Path) -> None:
    city().write_parquet(tmp_path / "network.parquet")
    write_report(folder, tmp_path / "r.html", network=tmp_path / "network.parquet")
    page = opened.open(tmp_path / "r.html")
    text = page.locator("#changes").inner_text()
    assert "9 changes" in text
    assert "T0002 to T0003" in text
    assert "UP-T0001-2" in text
    assert page.locator("#panel-moved .choice button").all_inner_texts() == ["T0004 to T0001", "T0002 to T0003"]
    page.locator("#changes").scroll_into_view_if_needed()
    page.wait_for_selector("#panel-moved .js-plotly-plot")
    names = page.evaluate("document.querySelector('#panel-moved .plot').data.map(one => one.name)")
    assert names == 2 * ["95 % interval", "loss", "without the move"]
    page.locator("#network").scroll_into_view_if_needed()
    page.wait_for_selector("#panel-network .js-plotly-plot")
    sliders = page.evaluate("document.querySelector('#panel-network .plot').layout.sliders[0].steps.length")
    assert sliders == 3


def test_a_flow_that_found_nothing_says_so(folder: Path, opened: Opened, tmp_path: Path) -> None:
    (folder / "topology_change" / "date=2026-03-16" / "found.parquet").unlink()
    write_report(folder, tmp_path / "r.html")
    assert "Nothing has changed" in opened.open(tmp_path / "r.html").locator("#changes").inner_text()
