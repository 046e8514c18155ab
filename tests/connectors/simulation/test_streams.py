"""What the devices send agrees with the truth beside it, and with the contracts."""

from __future__ import annotations

import errno
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from connectors.decode import Decoder
from connectors.errors import InputError
from connectors.files import open_readings, topic_paths
from connectors.simulation.meters.metering import REGISTER_END_KWH
from connectors.simulation.options import Faults, Options, preset
from connectors.simulation.simulation import Simulation
from connectors.simulation.write import write_simulation
from schemas import all_contracts, contract
from schemas.encode import Encoder
from tests.connectors.simulation.grids import Whole, options

METER, FTU, NETWORK = "grid.meter.v1", "grid.ftu.v1", "grid.network.v1"
WINDOW = timedelta(minutes=15)


@pytest.fixture(scope="module")
def clean() -> Whole:
    return Whole(options(meters=300, days=0.5))


@pytest.fixture(scope="module")
def troubled() -> Whole:
    rates = dict.fromkeys(("moved_rate", "rephased_rate", "wrong_transformer_rate", "wrong_phase_rate"), 0.02)
    clocks = dict.fromkeys(("clock_offset_rate", "clock_drift_rate", "exchange_rate", "rollover_rate"), 0.02)
    thefts = dict.fromkeys(("theft_partial_rate", "theft_night_rate", "theft_bypass_rate"), 0.02)
    exact = dict.fromkeys(("class_error_percent", "head_class_error_percent", "voltage_error_percent"), 0.0)
    more = {"voltage_noise_v": 0.0, "faults_per_day": 3.0, "switching_per_day": 2.0}
    every: dict[str, Any] = {**rates, **clocks, **thefts, **exact, **more}
    return Whole(options("trouble", meters=400, days=1.5, **every))


def registers(whole: Whole) -> pl.DataFrame:
    """Energy between a meter's readings, next to each other in time, copies dropped."""
    frame = whole.streams[METER].unique(["meter_id", "time"]).sort("meter_id", "time")
    return frame.with_columns(
        pl.col("time").shift(1).over("meter_id").alias("before"),
        pl.col("import_kwh").diff().over("meter_id").alias("import_diff"),
        pl.col("export_kwh").diff().over("meter_id").alias("export_diff"),
    ).filter(pl.col("before").is_not_null())


def test_clean_registers_are_the_true_energies(clean: Whole) -> None:
    energy = clean.truth["meter_energy"]
    joined = registers(clean).join(energy, left_on=["meter_id", "before"], right_on=["meter_id", "window_start"])
    assert joined.height == 300 * 48 == energy.height
    assert (joined["import_diff"] - joined["import_kwh_right"]).abs().max() < 0.001 + 1e-6  # type: ignore[operator]
    both = joined.filter(pl.col("export_diff").is_not_null())
    assert both.height
    assert (both["export_diff"] - both["export_kwh_right"]).abs().max() < 0.001 + 1e-6  # type: ignore[operator]
    without = joined.filter(pl.col("export_diff").is_null())
    assert without["export_kwh_right"].sum() == 0


def test_clean_readings_are_all_there_once_and_soon(clean: Whole) -> None:
    frame = clean.streams[METER]
    stations, feeders = (clean.streams[NETWORK].filter(pl.col("element_id").str.contains(p)) for p in ("^T", "-F..$"))
    devices = 300 + len(stations.filter(pl.col("kind") == "PowerTransformer")) + len(feeders) + 2
    assert frame.height == devices * 49
    assert frame.n_unique(["meter_id", "time"]) == frame.height
    delay = (frame["received_time"] - frame["time"]).dt.total_seconds()
    assert delay.min() >= 2  # type: ignore[operator]
    assert delay.max() < 300  # type: ignore[operator]
    assert not clean.truth["deliveries"].height
    assert not clean.truth["events"].height
    assert frame["received_time"].is_sorted()


def test_the_truth_of_elements_balances(troubled: Whole) -> None:
    areas = troubled.truth["areas"]
    off = pl.col("energy_in_kwh") - pl.col("energy_out_kwh") - pl.col("technical_loss_kwh")
    stations = areas.filter(pl.col("element_id").str.starts_with("T"))
    assert stations.select(off.abs().max()).item() < 1e-6
    others = areas.filter(~pl.col("switched") & ~pl.col("element_id").str.starts_with("T"))
    assert others.height
    assert others.select(off.abs().max()).item() < 1e-6
    kinds = set(areas["element_kind"])
    assert kinds == {"PowerTransformer", "Feeder", "Substation", "SubGeographicalRegion"}
    # Customers' true energies add up to what the areas took.
    taken = troubled.truth["meter_energy"].group_by("window_start").agg(pl.col("import_kwh", "export_kwh").sum())
    heads = troubled.streams[METER].filter(pl.col("meter_id").str.starts_with("H-T"))
    assert heads.height
    sums = stations.group_by("window_start").agg(
        (pl.col("energy_in_kwh") - pl.col("energy_out_kwh") - pl.col("technical_loss_kwh")).sum().alias("off"),
    )
    assert sums.join(taken, on="window_start").height == 144


def test_deliveries_agree_with_the_stream(troubled: Whole) -> None:
    stream, truth = troubled.streams[METER], troubled.truth["deliveries"]
    assert set(truth["what"]) == {"LATE", "DUPLICATE", "MISSING", "OUT_OF_ORDER"}
    missing = truth.filter(pl.col("what") == "MISSING")
    assert stream.join(missing, on=["meter_id", "time"], how="semi").height == 0
    arrived = truth.filter(pl.col("what") != "MISSING")
    assert arrived.join(stream, on=["meter_id", "time", "received_time"], how="anti").height == 0
    copies = stream.height - stream.n_unique(["meter_id", "time"])
    assert copies == truth.filter(pl.col("what") == "DUPLICATE").height
    late = truth.filter(pl.col("what") == "LATE")
    delay = (late["received_time"] - late["time"]).dt.total_seconds()
    clocks = 600 + 60
    assert delay.min() >= 16 * 60 - clocks  # type: ignore[operator]
    assert delay.max() <= 12 * 3600 + clocks  # type: ignore[operator]
    # Overtaken: the meter's next reading is there before.
    following = arrived.filter(pl.col("what") == "OUT_OF_ORDER").with_columns(pl.col("time") + WINDOW)
    pairs = following.join(stream, on=["meter_id", "time"], suffix="_next")
    assert (pairs["received_time_next"] < pairs["received_time"]).mean() > 0.9  # type: ignore[operator]


def test_thieves_register_less_by_what_is_missing(troubled: Whole) -> None:
    thefts = troubled.events("THEFT")
    assert set(thefts["kind"]) == {"THEFT_PARTIAL", "THEFT_NIGHT", "THEFT_BYPASS"}
    stream = troubled.streams[METER].sort("time")
    for meter, amount in thefts.select("element_id", "amount").iter_rows():
        own = stream.filter(pl.col("meter_id") == meter)
        first, last = own["time"].min(), own["time"].max()
        true = troubled.truth["meter_energy"].filter(
            (pl.col("meter_id") == meter) & pl.col("window_start").is_between(first, last, closed="left")
        )
        registered = own["import_kwh"][-1] - own["import_kwh"][0]
        assert true["import_kwh"].sum() - registered == pytest.approx(amount, abs=0.3)
    unregistered = troubled.truth["areas"].filter(pl.col("element_kind") == "SubGeographicalRegion")
    assert unregistered["unregistered_kwh"].sum() == pytest.approx(thefts["amount"].sum(), rel=1e-9)
    bypass = thefts.filter(pl.col("kind") == "THEFT_BYPASS").row(0, named=True)
    after = stream.filter((pl.col("meter_id") == bypass["element_id"]) & (pl.col("time") >= bypass["start"]))
    assert after["import_kwh"].n_unique() == 1


def test_wrong_clocks_show_the_register_of_another_time(troubled: Whole) -> None:
    wrong = troubled.events("CLOCK_OFFSET")
    energy = troubled.truth["meter_energy"].sort("window_start")
    thieves = set(troubled.events("THEFT")["element_id"])
    for meter, seconds in wrong.select("element_id", "amount").iter_rows():
        if meter in thieves:
            continue
        own = troubled.streams[METER].filter(pl.col("meter_id") == meter).unique("time").sort("time")
        true = energy.filter(pl.col("meter_id") == meter)
        edges = np.append(true["window_start"].to_physical().to_numpy(), 0)
        edges[-1] = edges[-2] + 900_000_000
        total = np.concatenate([[0], np.cumsum(true["import_kwh"].to_numpy())])
        times = own["time"].to_physical().to_numpy() - seconds * 1e6
        inside = (times >= edges[0]) & (times <= edges[-1])
        expected = np.interp(times[inside], edges, total)
        register = own["import_kwh"].to_numpy()[inside]
        turned = np.where(np.diff(register, prepend=register[0]) < -1, REGISTER_END_KWH, 0).cumsum()
        gone = register + turned - register[0]
        # Where the area was dark within a window, power did not stand still in it.
        assert np.median(np.abs(gone - (expected - expected[0]))) < 0.02


def test_registers_roll_over_and_meters_are_exchanged(troubled: Whole) -> None:
    frame = troubled.streams[METER].unique(["meter_id", "time"]).sort("meter_id", "time")
    for meter, time in troubled.events("REGISTER_ROLLOVER").select("element_id", "start").iter_rows():
        own = frame.filter(pl.col("meter_id") == meter)
        assert own.filter(pl.col("time") < time)["import_kwh"][-1] > REGISTER_END_KWH - 100
        assert own.filter(pl.col("time") > time + WINDOW)["import_kwh"][0] < 100
    network = troubled.streams[NETWORK]
    for point, old, new, time in (
        troubled.events("METER_EXCHANGE").select("element_id", "previous", "current", "start").iter_rows()
    ):
        versions = network.filter(pl.col("element_id") == point).sort("valid_from")
        assert versions["measuring_device_id"].to_list() == [old, new]
        assert versions["valid_from"][1] == time
        assert frame.filter(pl.col("meter_id") == old)["time"].max() == time
        assert frame.filter(pl.col("meter_id") == new)["time"].min() == time


def test_the_record_is_wrong_where_the_truth_says_so_and_nowhere_else(troubled: Whole) -> None:
    points = troubled.streams[NETWORK].filter(pl.col("kind") == "UsagePoint").unique("element_id")
    true = troubled.truth["meters"]
    joined = points.join(true, left_on="element_id", right_on="usage_point_id")
    assert joined.height == 400
    area = joined.filter(pl.col("container_id") != pl.col("transformer_id"))
    wrong = troubled.events("WRONG_TRANSFORMER")
    assert set(area["element_id"]) == set(wrong["element_id"])
    said = dict(zip(area["element_id"], area["container_id"], strict=True))
    assert all(said[point] == previous for point, previous in wrong.select("element_id", "previous").iter_rows())
    single = joined.filter(pl.col("phases").str.len_chars() == 1)
    assert set(single.filter(pl.col("phases") != pl.col("phases_right"))["element_id"]) == set(
        troubled.events("WRONG_PHASE")["element_id"]
    )


def test_a_moved_customer_shows_the_voltage_of_where_he_is(troubled: Whole) -> None:
    stream = troubled.streams[METER].unique(["meter_id", "time"]).sort("time")
    volts = [f"voltage_l{terminal}_v" for terminal in (1, 2, 3)]

    def spread(own: pl.DataFrame, station: str) -> float:
        """How unsteady the drop from a station's busbar is, on the phase on which it is the steadiest."""
        head = stream.filter(pl.col("meter_id") == f"H-{station}").select("time", *volts)
        pairs = own.select("time", "voltage_l1_v").join(head, on="time", suffix="_head")
        drops = pairs.select(pl.col("voltage_l1_v_head", *volts[1:]) - pl.col("voltage_l1_v"))
        return float(min(drops.std().row(0)))

    right = []
    for row in troubled.events("METER_TRANSFORMER_CHANGED").iter_rows(named=True):
        meter = json.loads(row["details"])["meter_id"]
        after = stream.filter((pl.col("meter_id") == meter) & (pl.col("time") > row["start"] + WINDOW))
        right.append(spread(after, row["current"]) < spread(after, row["previous"]))
    assert len(right) >= 5
    assert np.mean(right) > 0.8


def test_switches_and_supply_agree_with_the_terminal_units(troubled: Whole) -> None:
    network, switches = troubled.streams[NETWORK], troubled.truth["switches"]
    units = network.filter(
        pl.col("kind").is_in(["Breaker", "LoadBreakSwitch"]) & pl.col("measuring_device_id").is_not_null()
    )
    units = units.with_columns((pl.col("element_id").str.extract(r"-(X\w+)$") + ".Pos").alias("point"))
    told = troubled.streams[FTU].filter((pl.col("cause") == "SPONTANEOUS") & (pl.col("value") > 0))
    told = told.join(units, left_on=["ftu_id", "point"], right_on=["measuring_device_id", "point"])
    done = switches.filter((pl.col("cause") != "normal") & pl.col("element_id").is_in(units["element_id"].implode()))
    pairs = done.join(told, on=["element_id", "time"])
    assert pairs.height == done.height == told.height
    assert (pairs["closed"] == (pairs["value"] == 2)).all()
    supply = troubled.truth["supply"]
    assert supply["fed_by"].null_count() == troubled.events("DE_ENERGISED").height
    indicated = troubled.streams[FTU].filter((pl.col("point") == "SFPI1.FltInd") & (pl.col("value") == 1))
    assert indicated.height >= troubled.events("FEEDER_FAULT").height


def test_what_terminal_units_measure_is_what_the_head_meters_register(clean: Whole) -> None:
    power = clean.streams[FTU].filter(pl.col("point") == "MMXU1.TotW", pl.col("ftu_id").str.contains("-F..$"))
    heads = clean.streams[METER].with_columns(
        pl.col("meter_id").str.replace("^H-", "FTU-").alias("ftu_id"), (pl.col("time") - WINDOW).alias("time")
    )
    pairs = power.join(heads, on=["ftu_id", "time"])
    assert pairs.height == power["ftu_id"].n_unique() * 48
    assert (pairs["value"] / 1000 - pairs["active_power_kw"]).abs().max() < 0.01  # type: ignore[operator]


def test_every_message_fits_its_contract(troubled: Whole) -> None:
    for topic, frame in troubled.streams.items():
        known = contract(topic)
        assert dict(frame.schema) == dict(known.polars)
        parsed = fastavro.parse_schema(json.loads(known.wire_json))
        few = frame.sample(min(frame.height, 2000), seed=1)
        for row, body in zip(few.iter_rows(named=True), Encoder(known, 7).encode(few), strict=True):
            decoded = fastavro.schemaless_reader(io.BytesIO(body[5:]), parsed, None)
            assert decoded == row


def test_files_are_read_without_a_refusal(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("simulated")
    summary = write_simulation(Simulation(options("trouble", meters=150, days=0.5)), folder)
    for topic, known in all_contracts().items():
        for path in topic_paths(folder, topic):
            file = open_readings(path, known, Decoder(known, lambda _id: None, lambda _guid: None))
            chunks = list(file.chunks(0, 50_000))
            assert not any(chunk.dead for chunk in chunks)
            assert sum(chunk.rows for chunk in chunks) == summary["rows"][topic]
    assert not list(folder.rglob("*.partial"))


def test_the_same_seed_gives_the_same_bytes(tmp_path_factory: pytest.TempPathFactory) -> None:
    folders = [tmp_path_factory.mktemp(f"run{run}") for run in range(3)]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        write_simulation(Simulation(options("trouble", meters=150, days=0.5, seed=seed)), folder)
    names = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("[!.]*") if path.is_file())
    assert len(names) >= 12
    for name in names:
        first, second, other = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
        assert first != other, name


def test_an_interrupted_simulation_leaves_nothing_that_looks_complete(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("interrupted")

    def stop(done: float) -> None:
        if done > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_simulation(Simulation(options(meters=60)), folder, stop)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [".simulated"]


@pytest.mark.parametrize("seed", range(6))
def test_elements_that_are_not_marked_as_switched_balance_whatever_is_operated(seed: int) -> None:
    faults = preset("clean", switching_per_day=20.0, faults_per_day=seed % 2 * 2.0, moved_rate=0.02)
    whole = Whole(Options(meters=1200, days=1, seed=seed, faults=faults))
    areas = whole.truth["areas"].with_columns(
        off=pl.col("energy_in_kwh") - pl.col("energy_out_kwh") - pl.col("technical_loss_kwh")
    )
    assert areas["switched"].any()
    plain = areas.filter(~pl.col("switched"))
    assert plain.filter(pl.col("off").abs() > 1e-6).is_empty()
    # The substation as a whole always balances.
    whole_grid = areas.filter(pl.col("element_kind") == "Substation")
    assert whole_grid.filter(pl.col("off").abs() > 1e-6).is_empty()
    assert (whole.truth["switches"]["cause"] == "planned").sum() >= 8


@pytest.mark.parametrize(
    "changes",
    [
        {"meters": 1, "days": 0.25},
        {"meters": 2, "days": 1 / 96},
        {"meters": 120, "days": 0.0104},
        {"meters": 40, "days": 0.5, "start": datetime(2026, 3, 28, 20, tzinfo=UTC), "interval_minutes": 60},
        {"meters": 40, "days": 0.5, "start": datetime(2026, 10, 24, 20, tzinfo=UTC), "interval_minutes": 30},
    ],
    ids=str,
)
def test_small_and_odd_simulations_run_with_all_that_goes_wrong(changes: dict[str, Any]) -> None:
    every = {name: 1.0 for name in Faults.model_fields if name.endswith("_rate") and name != "missing_rate"}
    for faults in (preset("trouble"), preset("trouble", **every)):
        simulation = Simulation(Options(**changes, faults=faults))
        readings = pl.concat([piece.frames[METER] for piece in simulation.pieces()])
        assert readings.height
        assert readings["received_time"].is_sorted()
        assert simulation.tables()["meters"].height == changes["meters"]


def test_a_full_disk_is_one_line_and_leaves_room(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("full")
    real, calls = pq.ParquetWriter.write_table, []

    def full(self: Any, table: Any, *more: Any, **named: Any) -> None:
        calls.append(table)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "no room")
        real(self, table, *more, **named)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(InputError, match="No space left on device") as raised:
        write_simulation(Simulation(options(meters=60)), folder)
    assert str(folder) in str(raised.value)
    assert not list(folder.rglob("*.parquet*"))


def test_what_is_not_from_a_simulation_is_not_replaced(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "truth").mkdir()
    (folder / "truth" / "events.parquet").write_bytes(b"mine")
    with pytest.raises(InputError, match="truth/ is there"):
        write_simulation(Simulation(options(meters=20)), folder)
    assert (folder / "truth" / "events.parquet").read_bytes() == b"mine"
