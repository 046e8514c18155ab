"""A small grid with medium-voltage feeders, and results and truth of it, as files that a report is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from connectors.simulation.events import EVENT_SCHEMA
from schemas import contract

START = datetime(2026, 3, 16, tzinfo=UTC)
WINDOW = timedelta(minutes=15)
NETWORK = contract("grid.network.v1").polars
LINE_LOSS = contract("grid.line-loss.v1").polars
METER_ENERGY = contract("grid.meter-energy.v1").polars
DEAD_LETTER = contract("grid.dead-letter.v1").polars


class Network:
    """Rows of ``grid.network.v1``, added one by one."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.lines = 0

    def add(
        self, element: str, kind: str, container: str | None = None, *nodes: str, valid_to: datetime | None = None,
        **more: Any,
    ) -> None:  # fmt: skip
        ends = dict(zip(("terminal_1", "terminal_2"), nodes, strict=False))
        valid = {"valid_from": START - timedelta(days=400), "valid_to": valid_to}
        self.rows.append({"element_id": element, "kind": kind, "container_id": container, **ends, **valid, **more})

    def line(self, container: str, one: str, two: str) -> None:
        self.lines += 1
        self.add(f"L-{self.lines:06d}", "ACLineSegment", container, one, two, r_ohm=0.1, x_ohm=0.1)

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self.rows, schema=NETWORK)


def city(substations: int = 1, feeders: int = 3, stations: int = 4, customers: int = 5) -> pl.DataFrame:
    """Substations whose feeders run from a busbar over stations, in pairs that meet at an open switch."""
    network = Network()
    network.add("R1", "SubGeographicalRegion")
    number = 0
    for s in range(1, substations + 1):
        place = f"S{s:02d}"
        network.add(place, "Substation", "R1")
        for b in (1, 2):
            main = f"{place}-TR{b}"
            network.add(main, "PowerTransformer", place, f"{place}-HV", f"{place}-MV{b}", rated_kva=25_000.0)
            network.add(f"{place}-BB{b}", "BusbarSection", main, f"{place}-MV{b}")
        network.add(f"{place}-XCBR1", "Breaker", place, f"{place}-MV1", f"{place}-MV2", normal_open=True)
        last: tuple[str, str] | None = None
        for f in range(1, feeders + 1):
            feeder = f"{place}-F{f:02d}"
            bus = 1 if f <= (feeders + 1) // 2 else 2
            network.add(feeder, "Feeder", f"{place}-BB{bus}")
            network.add(f"{feeder}-CB", "Breaker", feeder, f"{place}-MV{bus}", f"{feeder}-N", normal_open=False)
            node = f"{feeder}-N"
            for k in range(stations):
                number += 1
                name = f"T{number:04d}"
                ends = k == stations - 1
                network.line(feeder, node, f"{name}-A")
                node_mv = f"{name}-MV"
                network.add(f"{name}-XSWI1", "LoadBreakSwitch", feeder, f"{name}-A", node_mv, normal_open=False)
                network.add(
                    f"{name}-XSWI2", "LoadBreakSwitch", feeder, node_mv, f"{name}-B", normal_open=ends and f % 2 == 1
                )
                rated = (250.0, 400.0, 630.0)[number % 3]
                network.add(name, "PowerTransformer", feeder, node_mv, f"{name}-LV", rated_kva=rated)
                network.line(name, f"{name}-LV", f"{name}-LV1")
                for c in range(customers):
                    network.add(f"UP-{name}-{c}", "UsagePoint", name, measuring_device_id=f"M-{name}-{c}")
                node = f"{name}-B"
            if last is not None and f % 2 == 0:
                network.line(feeder, last[1], node)
            last = (feeder, node)
    return network.frame()


def losses(network: pl.DataFrame, hours: int = 6, seed: int = 1) -> pl.DataFrame:
    """A LineLoss row per window of every station, and sums of them for what is above; T0003 loses most."""
    chance = np.random.default_rng(seed)
    above = dict(network.select("element_id", "container_id").iter_rows())
    kinds = dict(network.select("element_id", "kind").iter_rows())
    stations = [e for e, kind in kinds.items() if kind == "PowerTransformer" and kinds[above[e]] == "Feeder"]
    windows = hours * 4
    sums: dict[str, dict[str, Any]] = {}
    for place, station in enumerate(stations):
        hour = np.arange(windows) / 4
        energy = (
            (20 + 12 * np.sin((hour - 9) / 24 * 2 * np.pi)) * chance.gamma(20, 0.05, windows) * chance.gamma(6, 1 / 6)
        )
        share = 0.02 + 0.015 * chance.random() + (0.12 if station == "T0003" else 0.0) - (0.05 if place == 7 else 0.0)
        parts: dict[str, Any] = {
            "energy": energy,
            "loss": share * energy,
            "square": (0.01 * energy) ** 2,
            "systematic": 0.004 * energy,
        }
        parts["complete"] = 1 - 0.1 * (chance.random(windows) < 0.1)
        name: str | None = station
        while name is not None:
            total = sums.setdefault(name, dict.fromkeys(parts, 0.0) | {"areas": 0})
            for key, value in parts.items():
                total[key] = total[key] + value
            total["areas"] += 1
            name = above[name]
    starts = pl.datetime_range(START, START + (windows - 1) * WINDOW, WINDOW, eager=True)
    suspect = [{"meter_id": "M-T0003-1", "score": 0.93, "missing_kwh": 1.25}]
    frames = [
        pl.DataFrame(
            {
                "element_id": name,
                "element_kind": kinds[name],
                "region_id": "R1",
                "window_start": starts,
                "window_end": starts + WINDOW,
                "revision": 10,
                "energy_in_kwh": total["energy"],
                "energy_out_kwh": total["energy"] - total["loss"],
                "loss_kwh": total["loss"],
                "uncertainty_kwh": np.sqrt(total["square"]),
                "systematic_uncertainty_kwh": total["systematic"] / max(total["areas"], 1),
                "expected_meters": 6 * total["areas"],
                "reporting_meters": 6 * total["areas"],
                "completeness": total["complete"] / total["areas"],
                "status": ["INCOMPLETE" if c < 1 else "COMPLETE" for c in total["complete"] / total["areas"]],
                "alarm": "HIGH_LOSS" if name == "T0003" else "NONE",
                "suspects": [suspect if name == "T0003" and w % 5 == 0 else [] for w in range(windows)],
            },
            schema_overrides={"suspects": LINE_LOSS["suspects"]},
        )
        for name, total in sums.items()
    ]
    frame = pl.concat(frames)
    missing = [pl.lit(None).alias(name) for name in LINE_LOSS if name not in frame.columns]
    return frame.with_columns(missing).select(LINE_LOSS.names()).cast(LINE_LOSS)


def letters(hours: int = 6) -> pl.DataFrame:
    """Late and refused readings, one of which has no time."""
    classes = [("event-time", "LateReading"), ("validate", "OutOfRange"), ("decode", "UndecodableJson")]
    return pl.DataFrame(
        [
            {
                "topic": "grid.meter.v1",
                "partition": 0,
                "offset": n,
                "stage": classes[n % 3][0],
                "error_class": classes[n % 3][1],
                "error_message": "field import_kwh: -1.0 is less than 0",
                "time": None if n == 0 else START + timedelta(minutes=17 * n % (60 * hours)),
            }
            for n in range(40)
        ],
        schema=DEAD_LETTER,
    )


def write_results(folder: Path, rows: pl.DataFrame, refused: pl.DataFrame | None = None, meters: int = 60) -> Path:
    """An output folder, as ``gridflow replay`` leaves it."""
    for name in ("line_loss", "meter_energy", "dead_letter"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for (day,), part in rows.group_by(pl.col("window_start").dt.date()):
        _write(part, folder / "line_loss" / f"date={day}" / "gridflow-0-000000-0000.parquet")
    if refused is not None:
        for (day,), part in refused.group_by(pl.col("time").dt.date()):
            to = "__HIVE_DEFAULT_PARTITION__" if day is None else day
            _write(part, folder / "dead_letter" / f"date={to}" / "late-0-000000-0000.parquet")
    energy = pl.DataFrame({"meter_id": [f"M-{n}" for n in range(meters)]})
    missing = [pl.lit(None).alias(name) for name in METER_ENERGY if name != "meter_id"]
    energy = energy.with_columns(missing).select(METER_ENERGY.names()).cast(METER_ENERGY)
    _write(energy, folder / "meter_energy" / f"date={START.date()}" / "gridflow-0-000000-0000.parquet")
    return folder


def write_truth(folder: Path, rows: pl.DataFrame) -> Path:
    """What a simulated grid says of itself, with losses of two percent and a theft."""
    folder.mkdir(parents=True, exist_ok=True)
    energy = pl.col("energy_in_kwh")
    stolen = pl.when(pl.col("element_id") == "T0003").then(0.1 * energy).otherwise(0.0)
    rows.select(
        "element_id",
        "element_kind",
        "window_start",
        "window_end",
        "energy_in_kwh",
        "energy_out_kwh",
        (0.015 * energy).alias("line_loss_kwh"),
        (0.005 * energy).alias("transformer_loss_kwh"),
        (0.02 * energy).alias("technical_loss_kwh"),
        stolen.alias("unregistered_kwh"),
    ).write_parquet(folder / "areas.parquet")
    injected = [
        ("THEFT_PARTIAL", "M-T0003-1", START + timedelta(hours=1), None, 17.5),
        ("CLOCK_OFFSET", "M-T0001-0", START, None, 312.0),
        ("SWITCHING", "T0004-XSWI2", START + timedelta(hours=2), START + timedelta(hours=4), 250.0),
    ]
    pl.DataFrame(
        [
            {"kind": kind, "element_id": element, "start": start, "end": end, "amount": amount, "details": "{}"}
            for kind, element, start, end, amount in injected
        ],
        schema=EVENT_SCHEMA,
    ).write_parquet(folder / "events.parquet")
    pl.DataFrame(
        {"meter_id": ["M-T0003-1"], "usage_point_id": ["UP-T0003-1"], "transformer_id": ["T0003"]}
    ).write_parquet(folder / "meters.parquet")
    return folder


def _write(frame: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
