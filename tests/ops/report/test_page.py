"""The page, as a browser shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Page, expect
from typer.testing import CliRunner

from connectors.simulation.events import EVENT_SCHEMA
from ops.cli import app
from ops.report import write_report
from tests.ops.conftest import Opened
from tests.ops.report.grids import LINE_LOSS, START, city, letters, losses, write_results, write_truth

# Of every drawn figure: its panel, how large its picture is, how many traces and how many shapes it has.
_DRAWN = """
() => [...document.querySelectorAll(".js-plotly-plot")].map((plot) => {
  const box = plot.querySelector(".main-svg").getBoundingClientRect();
  const marks = plot.querySelectorAll(".plot path, .plot image, .treemaplayer path").length;
  return [plot.closest(".panel").id, box.width, box.height, plot.data.length, marks];
})
"""


@dataclass(frozen=True)
class Files:
    results: Path
    network: Path
    truth: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("city")
    network = city(substations=2, feeders=4, stations=5)
    network.write_parquet(folder / "network.parquet")
    rows = losses(network)
    earlier = rows.head(40).with_columns(pl.lit(1, pl.Int64).alias("revision"), pl.col("loss_kwh") + 0.25)
    results = write_results(folder / "results", pl.concat([earlier, rows]), letters())
    return Files(results, folder / "network.parquet", write_truth(folder / "truth", rows))


def drawn(page: Page) -> dict[str, list[Any]]:
    return {panel: found for panel, *found in page.evaluate(_DRAWN)}


def sections(page: Page) -> list[str]:
    return [str(section.get_attribute("id")) for section in page.query_selector_all("main section")]


def test_every_figure_is_drawn_and_nothing_is_asked_of_a_network(files: Files, opened: Opened, tmp_path: Path) -> None:
    findings = pl.DataFrame({"what": ["theft"], "injected": [1], "found": [1], "note": ["<b>M-T0003-1</b>"]})
    write_report(
        files.results, tmp_path / "r.html", network=files.network, truth=files.truth, title="Köln", findings=findings
    )
    page = opened.open(tmp_path / "r.html")
    assert sections(page) == [
        "findings",
        "losses",
        "worst",
        "area",
        "time",
        "network",
        "suspects",
        "completeness",
        "restated",
        "injected",
    ]
    figures = drawn(page)
    names = ("losses", "worst", "area", "time", "network", "completeness", "status", "letters", "restated", "injected")
    assert list(figures) == [f"panel-{name}" for name in names]
    for panel, (width, height, traces, marks) in figures.items():
        assert width > 900, panel
        assert height > 100, panel
        assert traces > 0, panel
        assert marks > 0, panel
    # So nothing was undrawable, nor has any script of the page been refused by its own policy.
    opened.check()
    assert page.title() == "Köln"
    expect(page.locator("#findings td").last).to_have_text("<b>M-T0003-1</b>")
    expect(page.locator("#suspects tbody tr")).to_have_count(1)
    expect(page.locator("#suspects tbody tr")).to_contain_text("THEFT_PARTIAL")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("[data-attr=sendChartToCloud], .modebar-btn[data-title*=Share i]").count() == 0


def test_the_navigation_leads_to_every_section(files: Files, opened: Opened, tmp_path: Path) -> None:
    write_report(files.results, tmp_path / "r.html", network=files.network)
    page = opened.open(tmp_path / "r.html")
    page.add_style_tag(content="html { scroll-behavior: auto !important; }")
    links = page.locator("nav a")
    assert [link.get_attribute("href") for link in links.all()] == ["#top", *(f"#{name}" for name in sections(page))]
    for name in sections(page):
        page.locator(f"nav a[href='#{name}']").click()
        expect(page.locator(f"#{name} h2")).to_be_in_viewport()
    page.locator("nav a[href='#network']").click()
    expect(page.locator("nav a.here")).to_have_attribute("href", "#network")


def test_views_are_chosen(files: Files, opened: Opened, tmp_path: Path) -> None:
    write_report(files.results, tmp_path / "r.html", network=files.network, truth=files.truth)
    page = opened.open(tmp_path / "r.html")

    def title(panel: str) -> str:
        text = f"document.querySelector('#panel-{panel} .plot').data[0].colorbar.title.text"
        return str(page.evaluate(text))

    assert title("losses") == "loss / %"
    page.locator("#panel-losses button", has_text="Energy").click()
    assert title("losses") == "loss / kWh per hour"
    expect(page.locator("#panel-losses button[aria-pressed=true]")).to_have_text("Energy")
    expect(page.locator("#panel-network .plot")).to_contain_text("S01-F01")
    page.locator("#panel-network button", has_text="S02").click()
    expect(page.locator("#panel-network .plot")).to_contain_text("S02-F04")
    expect(page.locator("#panel-network .plot")).not_to_contain_text("S01-F01")
    page.locator("#panel-network button", has_text="nested").click()
    expect(page.locator("#panel-network .treemaplayer")).to_contain_text("S01-F01")
    page.locator("#panel-time select").select_option(label="S01-F02 (Feeder)")
    assert page.evaluate("document.querySelector('#panel-time .plot').data.length") == 5


def test_what_comes_from_outside_is_text(opened: Opened, tmp_path: Path) -> None:
    evil = {
        "T0003": "</script><script>window.hacked=1</script>",
        "S01": "<img src=http://evil.example/x onerror=window.hacked=1>",
        "S01-F01": "%{y}<a href='javascript:window.hacked=1'>x</a>",
        "R1": "${plotly}$$&amp;\u2028'\"",
        "M-T0003-1": "<svg onload=window.hacked=1>",
    }
    network = city()
    for name in ("element_id", "container_id", "measuring_device_id"):
        network = network.with_columns(pl.col(name).replace(evil))
    rows = losses(city()).with_columns(
        pl.col("element_id").replace(evil),
        pl.col("suspects").list.eval(pl.element().struct.with_fields(pl.field("meter_id").replace(evil))),
    )
    network.write_parquet(tmp_path / "network.parquet")
    refused = letters().with_columns(
        error_class=pl.lit("<i>%{x}"), error_message=pl.lit("<script>window.hacked=1</script>")
    )
    truth = write_truth(tmp_path / "truth", rows)
    pl.DataFrame({"kind": ["<b>x"], "element_id": [evil["S01"]], "start": [START]}).with_columns(
        pl.lit(None).cast(kind).alias(name)
        for name, kind in EVENT_SCHEMA.items()
        if name not in ("kind", "element_id", "start")
    ).write_parquet(truth / "events.parquet")
    write_report(
        write_results(tmp_path / "results", rows, refused),
        tmp_path / "r.html",
        network=tmp_path / "network.parquet",
        truth=truth,
        title="<script>window.hacked=1</script>",
    )
    page = opened.open(tmp_path / "r.html")
    page.locator("#panel-network button").last.click()
    for view in page.locator("#panel-time option").all():
        page.locator("#panel-time select").select_option(str(view.get_attribute("value")))
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, main a, iframe, svg[onload]").count() == 0
    assert page.title() == "<script>window.hacked=1</script>"
    expect(page.locator("#suspects td").first).to_have_text(evil["M-T0003-1"])
    expect(page.locator("#panel-losses .plot")).to_contain_text("</script><scrip")
    opened.check()


def test_empty_datasets_are_said_to_be_empty(opened: Opened, tmp_path: Path) -> None:
    write_report(write_results(tmp_path / "results", LINE_LOSS.to_frame()), tmp_path / "r.html")
    page = opened.open(tmp_path / "r.html")
    assert sections(page) == ["losses", "suspects", "completeness", "restated"]
    expect(page.locator("#losses .empty")).to_contain_text("no losses")
    assert drawn(page) == {}


def test_only_results_and_only_transformers(opened: Opened, tmp_path: Path) -> None:
    # As of measured areas: no region, no feeder, no truth, and windows with no energy at all.
    rows = losses(city(stations=2)).filter(pl.col("element_id").is_in(["T0001", "T0002"]))
    rows = rows.with_columns(
        pl.when(pl.col("window_start") < datetime(2026, 3, 16, 2, tzinfo=START.tzinfo))
        .then(pl.lit(0.0))
        .otherwise(pl.col("energy_in_kwh"))
        .alias("energy_in_kwh"),
        pl.lit([], LINE_LOSS["suspects"]).alias("suspects"),
    )
    network = pl.DataFrame(
        {
            "element_id": ["R", "T0001", "T0002", "UP"],
            "kind": ["SubGeographicalRegion", "PowerTransformer", "PowerTransformer", "UsagePoint"],
            "container_id": [None, "R", "R", "T0001"],
            "valid_from": [START] * 4,
        }
    )
    network.write_parquet(tmp_path / "network.parquet")
    write_report(write_results(tmp_path / "results", rows), tmp_path / "r.html", network=tmp_path / "network.parquet")
    page = opened.open(tmp_path / "r.html")
    assert list(drawn(page)) == [
        f"panel-{name}" for name in ("losses", "worst", "area", "time", "network", "completeness", "status")
    ]
    expect(page.locator("#suspects")).to_contain_text("No suspects named.")
    expect(page.locator("#worst")).to_contain_text("no technical loss")
    expect(page.locator("#panel-network .treemaplayer")).to_contain_text("T0002")


def test_on_paper_no_figure_is_wider_or_higher_than_a_page(files: Files, opened: Opened, tmp_path: Path) -> None:
    write_report(files.results, tmp_path / "r.html", network=files.network)
    page = opened.open(tmp_path / "r.html")
    before = drawn(page)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for width, height, *_ in drawn(page).values():
        assert width <= 1010
        assert height <= 580
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert drawn(page) == before


def test_the_command(files: Files, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> Any:
        return CliRunner().invoke(app, ["report", *map(str, arguments)])

    output = tmp_path / "new" / "r.html"
    done = run("--results", files.results, "--network", files.network, "--truth", files.truth, "--output", output)
    assert done.exit_code == 0, done.output
    assert str(output) in done.output.replace("\n", "")
    assert output.stat().st_size > 4_000_000
    wrongs: list[tuple[list[str | Path], str]] = [
        (["--results", tmp_path / "none"], "none"),
        (["--results", tmp_path], "line_loss"),
        (["--results", files.results, "--truth", tmp_path / "none"], "none"),
        (["--results", files.results, "--network", tmp_path / "none"], "none"),
    ]
    for wrong, named in wrongs:
        failed = run(*wrong, "--output", output)
        assert failed.exit_code == 2
        (line,) = failed.stderr.splitlines()
        assert line.startswith("error: ")
        assert named in line
    (tmp_path / "file").write_text("")
    assert run("--results", files.results, "--output", tmp_path / "file" / "r.html").exit_code == 2


def test_the_slider_goes_through_what_was_switched(files: Files, opened: Opened, tmp_path: Path) -> None:
    times = [START, START + timedelta(hours=2), START + timedelta(hours=3)]
    positions = [("T0002-XSWI2", True), ("T0002-XSWI2", False), ("T0002-XSWI2", True)]
    rows = [
        {"element_id": name, "time": time, "closed": closed}
        for time, (name, closed) in zip(times, positions, strict=True)
    ]
    pl.DataFrame(rows).write_parquet(files.truth / "switches.parquet")
    fed = [("T0003", times[0], "S01-F01"), ("T0003", times[1], None), ("T0003", times[2], "S01-F01")]
    pl.DataFrame(fed, schema=["element_id", "time", "fed_by"], orient="row").write_parquet(
        files.truth / "supply.parquet"
    )
    write_report(files.results, tmp_path / "r.html", network=files.network, truth=files.truth)
    page = opened.open(tmp_path / "r.html")
    plot = page.locator("#network .js-plotly-plot").first
    moves = "(p) => p.layout.sliders ? p.layout.sliders[0].steps.length : 0"
    assert plot.evaluate(moves) == 3

    def overlaid() -> list[int]:
        return [int(n) for n in plot.evaluate("(p) => p.data.slice(-3).map((trace) => trace.x.length)")]

    assert overlaid() == [0, 0, 0]
    # As a user does: the middle of the slider is its second of three steps.
    plot.locator(".slider-rail-touch-rect").click()
    expect(plot.locator(".annotation-text", has_text="operated")).to_contain_text("T0002-XSWI2")
    assert overlaid() == [1, 0, 1]
