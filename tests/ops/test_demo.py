"""``gridflow demo``: what is injected, what is found, the report; and the same through the real services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ops.cli import app
from ops.demo.board import Board
from ops.demo.offline import demo_options, run_offline
from ops.report.data import LINE_LOSS
from ops.report.totals import per_element
from tests.ops.conftest import Opened
from tests.sinks.frames import loss

START = datetime(2026, 3, 16, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def test_it_shows_what_was_injected_beside_what_was_found(folder: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--output", str(folder), "--meters", "300", "--days", "1"])
    assert result.exit_code == 0, result.output
    for words in ("Line losses", "Injected and found", "not accounted for"):
        assert (words in result.stdout) is (words != "not accounted for")
    assert (folder / "report.html").stat().st_size > 1_000_000
    for dataset in ("line_loss", "meter_energy", "topology_change", "dead_letter"):
        assert (folder / "results" / dataset).is_dir()
    # Every kind of event has its line.
    events = pl.read_parquet(folder / "input" / "truth" / "events.parquet")
    assert events["kind"].n_unique() >= 15
    for words in ("thieves", "clocks", "re-phased", "wrong phases", "faults", "IED", "roll-overs", "exchanged"):
        assert words in " ".join(result.stdout.split())


def test_its_report_is_drawn_without_an_error(folder: Path, opened: Opened) -> None:
    page = opened.open(folder / "report.html")
    plots = page.query_selector_all(".js-plotly-plot")
    assert len(plots) >= 8
    for plot in plots:
        picture = plot.query_selector(".main-svg")
        assert picture is not None
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 900
        assert box["height"] > 80
        assert plot.evaluate("plot => plot.data.length") > 0
    assert page.locator("#findings tbody tr").count() >= 12
    assert page.locator("#network .main-svg").first.is_visible()


def test_found_is_what_the_results_say(tmp_path: Path) -> None:
    ran = run_offline(tmp_path, demo_options(200, 0.5, 4))
    findings = {row["what"]: row for row in ran.findings.iter_rows(named=True)}
    region = per_element(ran.results.losses.filter(pl.col("element_kind") == "SubGeographicalRegion")).row(
        0, named=True
    )
    whole = findings["loss of the grid"]
    assert whole["injected"] == f"{region['true_kwh']:,.1f} kWh"
    assert whole["found"] == f"{region['loss_kwh']:,.1f} ± {region['uncertainty_kwh']:,.1f} kWh"
    rows = pl.read_parquet(tmp_path / "results" / "line_loss")
    assert rows.height > rows.n_unique(LINE_LOSS.identity)  # every revision is there
    assert findings["readings twice"]["found"] == f"{findings['readings twice']['injected']} dropped"


def test_wrong_options_are_one_line(tmp_path: Path) -> None:
    for arguments, named in (
        (["--meters", "0"], "--meters"),
        (["--days", "0.3"], "days 0.3"),
        (["--seed", "-1"], "--seed"),
    ):
        result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "demo"), *arguments])
        assert result.exit_code == 2
        assert named in result.stderr
        assert len(result.stderr.splitlines()) == 1


def shown(board: Board, width: int = 130, height: int = 45) -> str:
    console = Console(width=width, height=height, record=True, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    with console.file:
        console.print(board.render(width))
    return console.export_text()


def test_the_dashboard_shows_the_highest_revision_and_new_alarms() -> None:
    board = Board("title")
    assert "starting" in shown(board)
    window = {"window_start": START, "window_end": START + timedelta(minutes=15)}
    area = {"element_id": "T0007", "element_kind": "PowerTransformer", **window, "energy_in_kwh": 10.0}
    board.take_losses(loss(**area, loss_kwh=1.0, revision=5))
    board.take_losses(loss(**area, loss_kwh=2.5, revision=7, alarm="HIGH_LOSS"))
    board.take_losses(loss(**area, loss_kwh=9.0, revision=6))
    board.readings = {"in": 1234, "used": 1200, "duplicate": 34}
    text = shown(board)
    for words in ("T0007", "25.00", "HIGH_LOSS", "found: high loss of 25.0 % at T0007", "1,234", "restated"):
        assert words in text
    assert board.results == 1
    assert "90.00" not in text
    small = shown(board, 80, 24)
    for words in ("T0007", "25.00", "1,234", "restated", "found: high loss"):
        assert words in small
    assert "…" not in small.replace("meter.v1", "")


LIVE = ("demo", "--live", "--meters", "60", "--days", "0.25", "--speed", "3600")


def start_live(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from ops.cli import main; main()", *LIVE, "-o", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_live_finds_the_same_as_offline(tmp_path: Path, services: object) -> None:
    del services  # what they are made of is there
    run_offline(tmp_path / "live", demo_options(100, 0.5, 4))  # an earlier demo's results do not mix with these
    began = time.monotonic()
    with start_live(tmp_path / "live") as process:
        output, errors = process.communicate(timeout=300)
    assert time.monotonic() - began < 120  # six hours in six seconds; nobody waits for what comes hours later
    assert process.returncode == 0, errors
    assert "Injected and found" in output
    assert (tmp_path / "live" / "report.html").is_file()
    ran = run_offline(tmp_path / "offline", demo_options(60, 0.25, 1))
    rows = pl.read_parquet(tmp_path / "live" / "results" / "line_loss")
    live = rows.sort("revision").unique(LINE_LOSS.identity, keep="last")
    pairs = live.join(ran.results.losses, on=LINE_LOSS.identity, suffix="_offline")
    # The last windows stay provisional while the stream only pauses.
    assert pairs.height == live.height >= 20 * live["element_id"].n_unique()
    # The end of the input closes a window and makes what is learned of it final: 1, and 100.
    same = pairs.filter(pl.col("revision") + 101 >= pl.col("revision_offline"))
    assert same.height > 0.8 * pairs.height
    assert (same["loss_kwh"] - same["loss_kwh_offline"]).abs().max() < 1e-6  # type: ignore[operator]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_nothing_is_left_running(tmp_path: Path, services: object, number: signal.Signals) -> None:
    del services
    with start_live(tmp_path) as process:
        until = time.monotonic() + 120
        while not (tmp_path / "flow.log").exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
        time.sleep(3)
        children = psutil.Process(process.pid).children(recursive=True)
        for _ in range(3):  # as somebody does who is in a hurry
            process.send_signal(number)
            time.sleep(0.2)
        _, errors = process.communicate(timeout=120)
    assert process.returncode in {0, 130}, errors
    assert children
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    mine = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert not mine
    assert "Traceback" not in errors, errors
