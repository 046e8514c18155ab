"""``make bench``: the flows beside a bare loop, the replay of files, and how right what is found is.

Ratios of two measurements of one run mean something on any machine; the absolute figures only on a quiet one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import polars as pl
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from rich.progress import track
from rich.table import Table

from ops.bench.ied import bench_ied
from ops.bench.topology import bench_topology
from ops.console import err, out
from ops.services import Services
from schemas import contract
from schemas.encode import Encoder
from schemas.registry import LocalRegistry

# Prints its own peak of memory: what wait4 tells of a child is at least what its parent held when it started it.
_REPLAY = """
from pathlib import Path
from ops.cli import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text())
"""
PARTITIONS = 4
AREAS = 100
START = 1_475_452_800_000_000
STEP = 900_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--meters", type=int, default=20_000)
    parser.add_argument("--readings", type=int, default=12_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cities", type=int, default=3, help="whose topology is followed")
    parser.add_argument("--only", choices=("line-loss", "ied-supervision", "topology"), help="one flow only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.only in (None, "line-loss"):
            _bench_line_loss(folder, options.meters, max(2, options.readings // options.meters), options.rounds)
        if options.only in (None, "ied-supervision"):
            bench_ied(folder, options.rounds, _timed_replay)
        if options.only in (None, "topology"):
            bench_topology(folder, options.rounds, options.cities, _timed_replay)


def _bench_line_loss(folder: Path, meters: int, steps: int, rounds: int) -> None:
    services = Services(folder / "services", mode="plain")
    try:
        services.up(["kafka"])
        prefix = f"bench-{uuid.uuid4().hex[:6]}."
        total = _fill(services.kafka_bootstrap, prefix, meters, steps, folder / "input")
        _compare(services.kafka_bootstrap, prefix, total, rounds, folder)
    finally:
        services.down(purge=True)
    _replay(folder / "input", total, folder, rounds)


def _network(meters: int) -> pl.DataFrame:
    areas = [f"T{n:03d}" for n in range(AREAS)]
    rows = [{"element_id": "R", "kind": "SubGeographicalRegion", "container_id": None, "measuring_device_id": None}]
    rows += [
        {"element_id": a, "kind": "PowerTransformer", "container_id": "R", "measuring_device_id": f"M{n:06d}"}
        for n, a in enumerate(areas)
    ]
    rows += [
        {
            "element_id": f"UP{n:06d}",
            "kind": "UsagePoint",
            "container_id": areas[n % AREAS],
            "measuring_device_id": f"M{n:06d}",
        }
        for n in range(AREAS, meters)
    ]
    frame = pl.DataFrame(rows).with_columns(pl.lit(0).cast(pl.Datetime("us", "UTC")).alias("valid_from"))
    schema = contract("grid.network.v1").polars
    return frame.select(
        pl.col(name) if name in frame.columns else pl.lit(None, kind).alias(name) for name, kind in schema.items()
    )


def _readings(meters: int, step: int, chance: np.random.Generator, registers: np.ndarray) -> pl.DataFrame:
    taken = chance.gamma(2.0, 0.05, meters).round(3)
    # The first ones are the areas' heads: what they deliver is taken, but for some per cent that lines lose.
    total = np.bincount(np.arange(AREAS, meters) % AREAS, taken[AREAS:], AREAS)
    taken[:AREAS] = (total + 0.02 * total**2 / (0.1 * meters / AREAS)).round(3)
    registers += taken
    time = pl.Series(np.full(meters, START + step * STEP)).cast(pl.Datetime("us", "UTC"))
    received = pl.Series(START + step * STEP + chance.integers(1_000_000, 60_000_000, meters))
    frame = pl.DataFrame(
        {
            "meter_id": [f"M{n:06d}" for n in range(meters)],
            "time": time,
            "import_kwh": registers.round(3),
            "export_kwh": pl.Series([None] * meters, dtype=pl.Float64),
            "voltage_l1_v": chance.normal(230, 2, meters).round(1),
            "voltage_l2_v": chance.normal(230, 2, meters).round(1),
            "voltage_l3_v": chance.normal(230, 2, meters).round(1),
            "active_power_kw": chance.gamma(2.0, 0.2, meters).round(3),
            "reactive_power_kvar": chance.normal(0, 0.1, meters).round(3),
            "quality": pl.Series(np.zeros(meters), dtype=pl.Int32),
            "received_time": received.cast(pl.Datetime("us", "UTC")),
        }
    )
    return frame.select(contract("grid.meter.v1").polars.names())


def _fill(bootstrap: str, prefix: str, meters: int, steps: int, folder: Path) -> int:
    """Fill the topics, 1 % of the readings twice and 2 % some windows late; the same into a file."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = ["grid.meter.v1", "grid.network.v1", "grid.line-loss.v1", "grid.meter.v1.dlq", "grid.meter.v1.late"]
    for future in admin.create_topics([NewTopic(prefix + n, PARTITIONS, 1) for n in names]).values():
        future.result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": 50,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    local = LocalRegistry()

    def send(topic: str, frame: pl.DataFrame, key: str) -> None:
        values = Encoder(contract(topic), local.id_of(contract(topic))).encode(frame)
        for one, value in zip(frame[key], values, strict=True):
            producer.produce(prefix + topic, key=one, value=value)
        producer.poll(0)

    network = _network(meters)
    send("grid.network.v1", network, "element_id")
    chance, registers = np.random.default_rng(1), np.full(meters, 1000.0)
    kept: list[pl.DataFrame] = []
    waiting: list[tuple[int, pl.DataFrame]] = []
    for step in track(range(steps), "filling the topic", console=err, transient=True):
        frame = _readings(meters, step, chance, registers)
        draw = chance.random(meters)
        waiting.append((step + int(chance.integers(2, 30)), frame.filter(pl.Series(draw < 0.02))))
        due = [late for at, late in waiting if at <= step or step == steps - 1]
        waiting = [(at, late) for at, late in waiting if at > step and step < steps - 1]
        frame = pl.concat([frame.filter(pl.Series(draw >= 0.02)), *due, frame.filter(pl.Series(draw > 0.99))])
        send("grid.meter.v1", frame, "meter_id")
        kept.append(frame)
        producer.flush(60)
    folder.mkdir()
    whole = pl.concat(kept)
    whole.write_parquet(folder / "grid.meter.v1.parquet")
    network.write_parquet(folder / "grid.network.v1.parquet")
    return whole.height


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> dict[str, object]:
    with log.open("ab") as errors:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=errors,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{arguments[0]} failed:\n{log.read_text()[-3000:]}")
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def _compare(bootstrap: str, prefix: str, total: int, rounds: int, folder: Path) -> None:
    environment = {
        "GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "GRIDFLOW_KAFKA__TOPIC_PREFIX": prefix,
        "GRIDFLOW_OUTPUT__LINE_LOSS": "kafka,parquet",
        "GRIDFLOW_RUNTIME__LOG_LEVEL": "warning",
    }
    table = Table(title=f"{total:,} readings, {PARTITIONS} partitions, one worker; recovery store on")
    for name in ("round", "bare loop / s", "flow / s", "ratio, wall clock", "ratio, CPU"):
        table.add_column(name, justify="right")
    ratios: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        profiled = number == rounds
        bare = _run(
            ["ops.bench.bare", bootstrap, prefix + "grid.meter.v1", str(PARTITIONS), str(total)], {}, folder / "log"
        )
        here = environment | {
            "GRIDFLOW_PARQUET__OUTPUT": str(folder / f"results-{number}"),
            "GRIDFLOW_KAFKA__GROUP_ID": f"bench-{number}",
        }
        flow = _run(
            ["ops.bench.whole", str(total), str(folder / f"recovery-{number}"), *(["profile"] if profiled else [])],
            here,
            folder / "log",
        )
        if profiled:
            break
        wall = float(str(bare["wall"])) / float(str(flow["wall"]))
        cpu = float(str(bare["cpu"])) / float(str(flow["cpu"]))
        ratios.append((wall, cpu))
        table.add_row(
            str(number + 1),
            f"{total / float(str(bare['wall'])):,.0f}",
            f"{total / float(str(flow['wall'])):,.0f}",
            f"{wall:.2f}",
            f"{cpu:.2f}",
        )
    table.add_row(
        "median",
        "",
        "",
        f"{statistics.median(w for w, _ in ratios):.2f}",
        f"{statistics.median(c for _, c in ratios):.2f}",
    )
    out.print(table)
    stages = flow["stages"]
    assert isinstance(stages, dict)
    out.print("shares of the flow's time (profiled run): " + ", ".join(f"{k} {v:.0%}" for k, v in stages.items()))


def _replay(source: Path, total: int, folder: Path, rounds: int) -> None:
    """Replay all readings, and a quarter of them: the difference is free of what the start takes."""
    part = folder / "part"
    part.mkdir()
    (part / "grid.network.v1.parquet").hardlink_to(source / "grid.network.v1.parquet")
    few = total // 4
    pl.scan_parquet(source / "grid.meter.v1.parquet").head(few).sink_parquet(part / "grid.meter.v1.parquet")
    table = Table(title=f"replay of {total:,} readings from Parquet to Parquet, one worker")
    for name in ("round", "readings / s", "per CPU second", "without the start / s", "per CPU second", "MiB"):
        table.add_column(name, justify="right")
    for number in range(rounds):
        small, large = (_timed_replay("line-loss", one, folder / f"replay-{number}") for one in (part, source))
        table.add_row(
            str(number + 1),
            *(f"{total / large[name]:,.0f}" for name in ("wall", "cpu")),
            *(f"{(total - few) / (large[name] - small[name]):,.0f}" for name in ("wall", "cpu")),
            f"{large['MiB']:,.0f}",
        )
    out.print(table)


def _timed_replay(flow: str, source: Path, output: Path) -> dict[str, float]:
    arguments = ["replay", flow, "--input", str(source), "--output", str(output)]
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-c", _REPLAY, *arguments], stdout=said, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        said.seek(0)
        peak = re.search(rb"VmHWM:\s+(\d+) kB", said.read())
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"the replay of {source} failed: exit status {child.returncode}")
    return {
        "wall": time.perf_counter() - begin,
        "cpu": used.ru_utime + used.ru_stime,
        "MiB": int(peak[1]) / 1024 if peak else math.nan,
    }


if __name__ == "__main__":
    main()
