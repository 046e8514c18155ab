"""The network as a table: by the record, and by what was found since."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.topology.rows import change_frame
from ops.cli import app
from tests.flows.topology.grid import START
from tests.flows.topology.test_switching import switching_network, switching_rows

HOUR = 3_600_000_000


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    given, results = tmp_path / "given", tmp_path / "results"
    given.mkdir()
    (results / "topology_change" / "date=2026-09-21").mkdir(parents=True)
    switching_network().write_parquet(given / "grid.network.v1.parquet")
    moved = {
        "element_id": "SU1",
        "change_id": "SU1/METER_PHASE_CHANGED/1",
        "kind": "METER_PHASE_CHANGED",
        "previous": "A",
        "current": "B",
        "state": "ACCEPTED",
        "effective_time": START + 5 * HOUR,
        "detected_time": START + 9 * HOUR,
        "confidence": 0.99,
        "revision": 3,
        "evidence": [{"key": "phase", "value": "B"}],
    }
    rows = [
        {**row, **{name: int(row[name].timestamp() * 1_000_000) for name in ("effective_time", "detected_time")}}
        for row in switching_rows()
    ]
    frame = change_frame([*rows, moved])
    frame.write_parquet(results / "topology_change" / "date=2026-09-21" / "part.parquet")
    return given, results


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["network", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def _at(hours: float) -> str:
    moment = pl.Series([START + int(hours * HOUR)]).cast(pl.Datetime("us", "UTC"))[0]
    return str(moment.isoformat())


@pytest.mark.parametrize(("hours", "fed"), [(1, "F1"), (2.01, "de-energised"), (3, "F2"), (8, "F1")])
def test_who_feeds_a_station_at_a_time(folders: tuple[Path, Path], hours: float, fed: str) -> None:
    given, results = folders
    shown = _run("show", "--input", str(given), "--output", str(results), "--at", _at(hours))
    row = next(line for line in shown.splitlines() if "ST1" in line)
    assert fed in row


def test_what_differs_between_two_times(folders: tuple[Path, Path]) -> None:
    given, results = folders
    common = ("--input", str(given), "--output", str(results))
    shown = _run("diff", *common, "--since", _at(1), "--until", _at(3))
    assert "ST1-XSWI1" in shown
    assert "position" in shown
    assert "fed by" in shown
    assert "phases" not in shown
    assert "phases" in _run("diff", *common)
    assert "nothing differs" in _run("diff", *common, "--since", _at(7), "--until", _at(8))


def test_all_elements_as_json(folders: tuple[Path, Path]) -> None:
    given, results = folders
    found = {one["mRID"]: one for one in json.loads(_run("show", "--input", str(given), "--json"))}
    assert found["ST1-XSWI2"]["open"] is True
    assert found["ST1"]["class"] == "PowerTransformer"
    later = json.loads(_run("show", "--input", str(given), "--output", str(results), "--json", "--at", _at(3)))
    assert next(one for one in later if one["mRID"] == "ST1-XSWI2")["open"] is False


def test_the_network_as_geojson(folders: tuple[Path, Path]) -> None:
    given, results = folders
    path = given / "grid.network.v1.parquet"
    stations = pl.col("element_id").is_in(["ST1", "ST2"])
    placed = pl.read_parquet(path).with_columns(
        longitude_deg=pl.when(stations).then(pl.lit(7.1)), latitude_deg=pl.when(stations).then(pl.lit(50.7))
    )
    placed.write_parquet(path)
    shown = json.loads(_run("show", "--input", str(given), "--output", str(results), "--geojson", "--at", _at(2.01)))
    assert shown["type"] == "FeatureCollection"
    features = {feature["id"]: feature for feature in shown["features"]}
    assert len(features) == placed["element_id"].n_unique()
    dark = features["ST1"]
    assert dark["geometry"] == {"type": "Point", "coordinates": [7.1, 50.7]}
    assert dark["properties"]["class"] == "PowerTransformer"
    assert (dark["properties"]["energised"], dark["properties"]["fed_by"]) == (False, [])
    lines = [one for one in features.values() if one["properties"]["class"] == "ACLineSegment"]
    assert {one["geometry"] and one["geometry"]["type"] for one in lines} <= {None, "LineString"}
    assert features["SU1"]["geometry"] is None


def test_json_and_geojson_at_once_are_refused(folders: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(app, ["network", "show", "--input", str(folders[0]), "--json", "--geojson"])
    assert result.exit_code == 2


def test_a_change_that_a_newer_record_has_overtaken_is_not_shown(folders: tuple[Path, Path]) -> None:
    given, results = folders
    path = given / "grid.network.v1.parquet"
    network = pl.read_parquet(path)
    newer = network.filter(pl.col("element_id") == "SU1").with_columns(
        phases=pl.lit("CN"), valid_from=pl.lit(START + 7 * HOUR).cast(pl.Datetime("us", "UTC"))
    )
    pl.concat([network, newer]).write_parquet(path)

    def phases(hours: float) -> str:
        shown = _run("show", "--input", str(given), "--output", str(results), "--json", "--at", _at(hours))
        return str(next(one["phases"] for one in json.loads(shown) if one["mRID"] == "SU1"))

    assert (phases(6)[0], phases(8)) == ("B", "CN")
    assert "CN" in _run("diff", "--input", str(given))


def test_a_wrong_time_is_one_line(folders: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(app, ["network", "show", "--input", str(folders[0]), "--at", "yesterday"])
    assert result.exit_code == 2
    assert "--at: 'yesterday'" in result.output
