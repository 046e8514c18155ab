"""What is read, and how it is summed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.errors import InputError
from ops.report.data import AREA_TRUTH, LINE_LOSS, as_of, read_network, read_results, read_truth, with_truth
from ops.report.quality import letter_classes, letters_per_step, restated_per_step, suspects
from ops.report.totals import areas_of, per_element, per_step, span_of, summed, together, topmost
from tests.ops.report.grids import NETWORK, START, WINDOW, city, letters, losses, write_results, write_truth


def rows(*changes: dict[str, Any]) -> pl.DataFrame:
    """LineLoss rows of one area, window after window."""
    usual: dict[str, Any] = {
        "element_id": "T1",
        "element_kind": "PowerTransformer",
        "revision": 1,
        "energy_in_kwh": 100.0,
        "energy_out_kwh": 97.0,
        "loss_kwh": 3.0,
        "uncertainty_kwh": 5.0,
        "systematic_uncertainty_kwh": 3.0,
        "expected_meters": 10,
        "reporting_meters": 10,
        "completeness": 1.0,
        "status": "COMPLETE",
        "alarm": "NONE",
        "suspects": [],
    }
    listed = [
        {**usual, "window_start": START + n * WINDOW, "window_end": START + (n + 1) * WINDOW, **change}
        for n, change in enumerate(changes)
    ]
    return with_truth(pl.DataFrame(listed, schema=LINE_LOSS.polars), AREA_TRUTH.to_frame())


def test_over_windows_the_systematic_part_adds_up_and_the_rest_in_squares() -> None:
    # Two windows of 5 = sqrt(3² + 4²): the systematic 3 + 3 = 6, the rest sqrt(4² + 4²), together sqrt(36 + 32).
    (row,) = per_element(rows({}, {})).iter_rows(named=True)
    assert row["uncertainty_kwh"] == pytest.approx(68**0.5)
    assert (row["loss_kwh"], row["energy_in_kwh"], row["loss_percent"], row["windows"]) == (6.0, 200.0, 3.0, 2)
    # Rounding may leave a systematic part above the whole: no root of less than nothing.
    odd = {"uncertainty_kwh": 3.0, "systematic_uncertainty_kwh": 3.0000001}
    assert per_element(rows(odd))["uncertainty_kwh"].to_list() == pytest.approx([3.0])


def test_over_elements_all_uncertainty_adds_in_squares() -> None:
    two = per_element(
        rows({}, {"element_id": "T2", "uncertainty_kwh": 12.0, "expected_meters": 30, "completeness": 0.8})
    )
    (row,) = together(two, []).iter_rows(named=True)
    assert row["uncertainty_kwh"] == pytest.approx(13.0)
    assert row["completeness"] == pytest.approx((10 * 1.0 + 30 * 0.8) / 40)
    assert row["expected_meters"] == 40


def test_no_energy_gives_no_percentage() -> None:
    assert per_element(rows({"energy_in_kwh": 0.0, "loss_kwh": -1.0}))["loss_percent"].to_list() == [None]


def test_what_is_expected_comes_from_the_results_or_else_from_the_simulation() -> None:
    two = rows({}, {})
    assert per_element(two).select("expected_kwh", "unaccounted_kwh", "true_kwh").row(0) == (None, None, None)
    truth = pl.DataFrame(
        {
            "element_id": ["T1", "T1", "T9"],
            "window_start": [START, START + WINDOW, START],
            "technical_loss_kwh": [1.0, 1.5, 7.0],
            "unregistered_kwh": [0.5, 0.0, 0.0],
        },
        schema=AREA_TRUTH,
    )
    columns = ("expected_kwh", "unaccounted_kwh", "true_kwh", "simulated")
    known = with_truth(two.select(LINE_LOSS.polars.names()), truth)
    assert per_element(known).select(columns).row(0) == (2.5, 3.5, 3.0, True)
    # Of one window only: what is true of all is then not known, and the other's loss is in neither part.
    half = with_truth(two.select(LINE_LOSS.polars.names()), truth.head(1))
    assert per_element(half).select(columns).row(0) == (1.0, 2.0, None, True)
    own = known.with_columns(pl.lit(2.0).alias("technical_loss_kwh"))
    assert per_element(own).select(columns).row(0) == (4.0, 2.0, 3.0, False)


def test_steps_are_as_coarse_as_the_time_is_long() -> None:
    def step(days: float, window: timedelta = WINDOW) -> tuple[str, timedelta]:
        end = START + timedelta(days=days)
        frame = rows({"window_end": START + window}, {"window_start": end - window, "window_end": end})
        span = span_of(frame)
        assert span is not None
        assert per_step(frame, span).height == 2
        return span.step_name, span.step

    assert step(2) == ("hour", timedelta(hours=1))
    assert step(31) == ("hour", timedelta(hours=1))
    assert step(60) == ("day", timedelta(days=1))
    assert step(1000) == ("week", timedelta(days=7))
    assert step(4, timedelta(hours=6)) == ("window", timedelta(hours=6))
    assert span_of(rows().clear()) is None


def test_sums_of_a_step() -> None:
    frame = rows({}, {}, {}, {}, {"loss_kwh": 9.0})
    span = span_of(frame)
    assert span is not None
    steps = per_step(frame, span)
    assert steps.select("step", "loss_kwh").rows() == [(START, 12.0), (START + timedelta(hours=1), 9.0)]
    assert steps["uncertainty_kwh"][0] == pytest.approx((12**2 + 4 * 16) ** 0.5)
    assert summed(frame, ["status"])["windows"].to_list() == [5]


def test_levels_of_elements() -> None:
    frame = pl.DataFrame(
        {
            "element_id": ["S1", "F1", "TR1", "T1", "T2"],
            "element_kind": ["Substation", "Feeder", *["PowerTransformer"] * 3],
        }
    )
    assert topmost(frame)["element_id"].to_list() == ["S1"]
    assert topmost(frame.tail(3))["element_id"].to_list() == ["TR1", "T1", "T2"]
    assert areas_of(frame, frozenset({"T1", "T2", "T3"}))["element_id"].to_list() == ["T1", "T2"]
    assert areas_of(frame, frozenset({"X"}))["element_id"].to_list() == ["TR1", "T1", "T2"]


def test_the_highest_revision_wins_wherever_it_lies(tmp_path: Path) -> None:
    final = losses(city(stations=2), hours=2)
    first = final.filter(pl.col("element_id") == "T0001").head(3)
    first = first.with_columns(pl.lit(2, pl.Int64).alias("revision"), pl.col("loss_kwh") + 1.0)
    read = read_results(write_results(tmp_path, pl.concat([first.tail(1), final, first.head(2)]), letters()))
    columns = ["element_id", "window_start", "loss_kwh"]
    assert read.losses.select(columns).sort(columns).equals(final.select(columns).sort(columns))
    assert read.restated["element_id"].to_list() == ["T0001"] * 3
    assert (read.restated["first_kwh"] - read.restated["last_kwh"]).to_list() == pytest.approx([1.0] * 3)
    span = span_of(read.losses)
    assert span is not None
    (step,) = restated_per_step(read.restated, span).iter_rows(named=True)
    assert (step["results"], step["moved_kwh"], step["largest_kwh"]) == (3, pytest.approx(3.0), pytest.approx(1.0))
    assert read.meters == 60


def test_letters_are_counted_by_class_and_step(tmp_path: Path) -> None:
    final = losses(city(), hours=6)
    read = read_results(write_results(tmp_path, final, pl.concat([letters(), letters().head(5)])))
    assert read.letters.height == 40
    span = span_of(final)
    assert span is not None
    steps = letters_per_step(read.letters, span)
    assert steps["messages"].sum() == 40
    assert steps.filter(pl.col("step").is_null())["messages"].to_list() == [1]
    classes = letter_classes(read.letters)
    assert classes.select("error_class", "messages").rows() == [
        ("LateReading", 14),
        ("UndecodableJson", 13),
        ("OutOfRange", 13),
    ]


def test_a_suspect_is_named_by_the_smallest_element_that_names_it() -> None:
    def named(element: str, kind: str, *meters: tuple[str, float, float]) -> dict[str, Any]:
        keys = ("meter_id", "score", "missing_kwh")
        return {
            "element_id": element,
            "element_kind": kind,
            "suspects": [dict(zip(keys, meter, strict=True)) for meter in meters],
        }

    found = suspects(
        rows(
            named("F1", "Feeder", ("M1", 0.9, 5.0), ("M2", 0.95, 2.0)),
            named("T1", "PowerTransformer", ("M1", 0.4, 1.0)),
            named("T1", "PowerTransformer", ("M1", 0.6, 2.5)),
            named("T1", "PowerTransformer"),
        )
    )
    assert found.rows() == [("M2", "F1", 0.95, 2.0, 1), ("M1", "T1", 0.6, 3.5, 2)]
    assert suspects(rows({})).is_empty()


def test_a_network_is_read_as_it_was_at_a_time(tmp_path: Path) -> None:
    day = timedelta(days=1)
    versions = [
        ("A", "S1", START, None),
        ("A", "S2", START + day, None),
        ("B", "S1", START, START + day),
        ("C", "S1", START + 2 * day, None),
    ]
    pl.DataFrame(
        {
            "element_id": [v[0] for v in versions],
            "kind": "Feeder",
            "container_id": [v[1] for v in versions],
            "valid_from": [v[2].replace(tzinfo=None) for v in versions],
            "valid_to": [v[3] for v in versions],
        }
    ).write_parquet(tmp_path / "network.parquet")
    network = read_network(tmp_path / "network.parquet")
    assert network.schema == NETWORK
    columns = ("element_id", "container_id")
    assert as_of(network, START + day / 2).select(columns).rows() == [("A", "S1"), ("B", "S1")]
    assert as_of(network, START + day).select(columns).rows() == [("A", "S2")]


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        read_results(tmp_path / "none")
    with pytest.raises(InputError, match="no line_loss"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        read_truth(tmp_path / "none")
    with pytest.raises(InputError, match=r"none of areas\.parquet"):
        read_truth(tmp_path)
    with pytest.raises(InputError, match="not a file"):
        read_network(tmp_path / "none")
    file = tmp_path / "line_loss" / "date=2026-01-01" / "a.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read"):
        read_results(tmp_path)
    pl.DataFrame({"element_id": ["A"]}).write_parquet(file)
    with pytest.raises(InputError, match=r"a\.parquet: lacks the column window_start"):
        read_results(tmp_path)


def test_truth_is_read_as_far_as_it_is_there(tmp_path: Path) -> None:
    write_truth(tmp_path, losses(city(stations=1), hours=1))
    (tmp_path / "meters.parquet").unlink()
    truth = read_truth(tmp_path)
    assert truth.areas.height
    assert truth.events["kind"].to_list() == ["THEFT_PARTIAL", "CLOCK_OFFSET", "SWITCHING"]
    assert truth.meters.is_empty()
