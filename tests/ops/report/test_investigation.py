"""Which areas are looked into, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ops.report.data import NO_TRUTH, read_results
from ops.report.figures_investigation import investigated
from ops.report.investigation import cases
from ops.report.material import Material
from ops.report.totals import span_of
from tests.ops.report.grids import METER_ENERGY, START, WINDOW, city, losses, write_results


@pytest.fixture
def material(tmp_path: Path) -> Material:
    """T0003 has a suspect and alarms; its suspect registered 0.5 kWh a window, then nothing."""
    rows = losses(city()).with_columns(
        technical_loss_kwh=0.02 * pl.col("energy_in_kwh"),
        unaccounted_kwh=pl.col("loss_kwh") - 0.02 * pl.col("energy_in_kwh"),
    )
    folder = write_results(tmp_path / "results", rows)
    starts = [START + k * WINDOW for k in range(24)]
    energies = pl.DataFrame(
        {
            "meter_id": "M-T0003-1",
            "window_start": starts,
            "window_end": [start + WINDOW for start in starts],
            "import_kwh": [0.5 if k < 12 else 0.0 for k in range(24)],
            "export_kwh": 0.0,
            "measured_share": 1.0,
            "clock_offset_seconds": None,
            "revision": 1,
        },
        schema=METER_ENERGY,
    )
    target = folder / "meter_energy" / "date=2026-03-16"
    target.mkdir(parents=True, exist_ok=True)
    energies.write_parquet(target / "suspect.parquet")
    results = read_results(folder)
    return Material(results, span_of(results.losses), None, NO_TRUTH, None)


def test_the_area_with_most_that_is_missing_comes_first(material: Material) -> None:
    assert material.span is not None
    found = cases(material, material.span)
    assert found[0].element == "T0003"
    assert [meter for meter, _ in found[0].suspects] == ["M-T0003-1"]
    assert found[0].alarms["alarm"].unique().to_list() == ["HIGH_LOSS"]


def test_what_is_shown_adds_up_to_what_was_stated(material: Material) -> None:
    assert material.span is not None
    case = cases(material, material.span)[0]
    own = material.results.losses.filter(pl.col("element_id") == "T0003")
    assert case.steps["loss_kwh"].sum() == pytest.approx(own["loss_kwh"].sum())
    stated = own["suspects"].explode().struct.field("missing_kwh").sum()
    assert case.missing["missing_kwh"].sum() == pytest.approx(stated)
    assert case.profiles.sort("step")["kwh"].to_list() == [2.0, 2.0, 2.0, 0.0, 0.0, 0.0]


def test_the_figure_has_every_part(material: Material) -> None:
    assert material.span is not None
    drawn = investigated(cases(material, material.span)[0], material.span)
    names = [trace.name for trace in drawn.data]
    assert names == [
        "95 % interval",
        "loss",
        "expected (technical loss)",
        "alarm HIGH_LOSS",
        "missing at M-T0003-1 (score 0.93)",
        "not accounted for",
        "registered by M-T0003-1",
    ]
    assert [trace.yaxis or "y" for trace in drawn.data] == ["y"] * 4 + ["y2"] * 2 + ["y3"]
