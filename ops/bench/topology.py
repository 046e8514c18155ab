"""The topology: a day of a large grid, and how right the findings in simulated cities are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl
from rich.progress import track
from rich.table import Table

from connectors.batch import LETTER_SCHEMA, Batch
from connectors.simulation.options import Options, preset
from connectors.simulation.simulation import Simulation
from connectors.simulation.write import write_simulation
from flows.streaming.event_time import to_micros
from flows.streaming.network import TRANSFORMER
from flows.topology.shard import TopologyRules, TopologyShard
from ops.console import err, out
from ops.report.changes import METERS_SHOWN_BY
from sinks.rows import highest_revision

METERS = 2_000
COPIES = 60
DAYS = 7
_METER, _NETWORK = "grid.meter.v1", "grid.network.v1"
_RATES = {
    "moved_rate": 0.01,
    "rephased_rate": 0.01,
    "wrong_transformer_rate": 0.005,
    "wrong_phase_rate": 0.01,
}
_NEEDS_VOLTAGES = ("METER_PHASE_CHANGED", "WRONG_PHASE")
_RULES = TopologyRules(900_000_000, 120_000_000, 86_400_000_000, 0.95)
_APART_DEG = 0.3  # from one copy of a city to the next
_CONFIDENCES = (0.5, 0.8, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class City:
    """What was done to a simulated city, and what is said of it.

    Attributes:
        events: what was injected, as the simulator's truth has it.
        rows: all rows of TopologyChange that were settled, in their order.
    """

    events: pl.DataFrame
    rows: pl.DataFrame

    def matched(self) -> pl.DataFrame:
        """Each event with ``hours`` until its change was accepted, null where none was, and ``off``, of its time."""
        accepted = self._accepted().select(
            "element_id", "current", "effective_time", "detected_time", "change_id", shown="kind"
        )
        mine = self.events.filter(pl.col("kind").is_in(list(METERS_SHOWN_BY))).with_row_index("event")
        mine = mine.with_columns(shown=pl.col("kind").replace_strict(METERS_SHOWN_BY))
        pairs = mine.join(accepted, on=["element_id", "shown"], suffix="_said")
        mismatch = pl.col("shown") == "RECORD_MISMATCH"
        right = mismatch | (
            (pl.col("current") == pl.col("current_said")) & (pl.col("detected_time") >= pl.col("start"))
        )
        hours = (pl.col("detected_time") - pl.col("start")).dt.total_seconds() / 3600
        off = (pl.col("effective_time") - pl.col("start")).dt.total_seconds().abs() / 3600
        first = pairs.filter(right).select("event", "change_id", hours=hours, off=off).sort("off", "hours")
        return mine.join(first.unique("event", keep="first", maintain_order=True), on="event", how="left")

    def false(self) -> int:
        """How many accepted changes there are to which nothing was done."""
        return self._accepted().join(self.matched(), on="change_id", how="anti").height

    def proposals(self) -> pl.DataFrame:
        """The confidence with which each change of a meter was first proposed, and whether it was ``right``."""
        of_meters = self.rows.filter(pl.col("kind").str.starts_with("METER_"), pl.col("state") == "PROPOSED")
        first = of_meters.unique("change_id", keep="first", maintain_order=True)
        truth = self.events.select("element_id", "kind", "current", "start")
        found = first.join(truth, on=["element_id", "kind", "current"], how="left")
        return found.select("confidence", right=(pl.col("start") <= pl.col("detected_time")).fill_null(value=False))

    def _accepted(self) -> pl.DataFrame:
        return highest_revision(self.rows, ["change_id"]).filter(pl.col("state") == "ACCEPTED")


def bench_topology(
    folder: Path, rounds: int, cities: int, replay: Callable[[str, Path, Path], dict[str, float]]
) -> None:
    """Print seconds and memory of a day of a large grid, and how right the findings in some cities are.

    Args:
        folder: for the files.
        rounds: how often the day is replayed.
        cities: how many.
        replay: times the replay of (flow, input, output).
    """
    large = _large(folder)
    stations = pl.read_parquet(large / f"{_NETWORK}.parquet").filter(kind=TRANSFORMER)["element_id"].n_unique()
    size = f"{METERS * COPIES:,} meters behind {stations:,} transformers"
    table = Table(title=f"topology: replay of a day of {size}, one worker")
    for name in ("round", "seconds", "CPU seconds", "MiB"):
        table.add_column(name, justify="right")
    for number in range(rounds):
        used = replay("topology", large, folder / f"topology-{number}")
        table.add_row(str(number + 1), *(f"{used[name]:,.0f}" for name in ("wall", "cpu", "MiB")))
    out.print(table)
    simulated = [
        simulate_city(folder / f"city-{seed}", seed) for seed in track(range(1, cities + 1), "cities", console=err)
    ]
    for title, voltages in (("", True), (", without their voltages", False)):
        found = [follow(city, voltages=voltages) for city in track(simulated, "following", console=err)]
        _print_findings(f"{cities} cities of {METERS:,} meters, {DAYS} days{title}", found, voltages=voltages)


def simulate_city(folder: Path, seed: int, meters: int = METERS, days: float = DAYS) -> Path:
    """A city with everyday delivery and accuracy in which meters move, are re-phased, and are recorded wrongly."""
    write_simulation(Simulation(Options(meters=meters, days=days, seed=seed, faults=preset("field", **_RATES))), folder)
    return folder


def follow(folder: Path, *, voltages: bool = True) -> City:
    """What the topology says of a simulated city.

    Args:
        folder: of the simulation.
        voltages: whether customers' meters measure them.
    """
    readings = pl.read_parquet(folder / f"{_METER}.parquet")
    network = pl.read_parquet(folder / f"{_NETWORK}.parquet")
    if not voltages:
        customers = network.filter(pl.col("kind") == "UsagePoint")["measuring_device_id"]
        theirs = pl.col("meter_id").is_in(customers.implode())
        readings = readings.with_columns(
            pl.when(~theirs).then(pl.col(name)).alias(name) for name in readings.columns if name.startswith("voltage_")
        )
    shard = TopologyShard(_RULES)
    shard.take([], [_batch(network, _NETWORK, None)])
    said = [shard.take([_batch(readings, _METER, int(to_micros(readings["time"]).max()))]), shard.flush()]
    events = pl.read_parquet(folder / "truth" / "events.parquet")
    return City(events, pl.concat([one.changes for one in said]))


def _batch(frame: pl.DataFrame, topic: str, frontier: int | None) -> Batch:
    rows = frame.with_columns(_offset=pl.int_range(pl.len(), dtype=pl.Int64))
    none = pl.DataFrame(schema=LETTER_SCHEMA)
    return Batch(topic, 0, 1, 0, frame.height, rows, none, none, frame.height, frontier)


def _large(folder: Path) -> Path:
    """A day of one city, many times beside itself, each farther east than a cable reaches."""
    city, large = simulate_city(folder / "city", 71, days=1), folder / "topology"
    large.mkdir()
    for topic, names, order in (
        (_NETWORK, ("element_id", "container_id", "terminal_1", "terminal_2", "measuring_device_id"), "valid_from"),
        (_METER, ("meter_id",), "received_time"),
    ):
        one = pl.read_parquet(city / f"{topic}.parquet")
        copies = [
            one.with_columns(
                *(pl.format("{}-{}", pl.lit(n), name).alias(name) for name in names),
                *(pl.col(name) + _APART_DEG * n for name in one.columns if name == "longitude_deg"),
            )
            for n in range(COPIES)
        ]
        pl.concat(copies).sort(order, maintain_order=True).write_parquet(large / f"{topic}.parquet")
    return large


def _print_findings(title: str, cities: list[City], *, voltages: bool) -> None:
    matched = pl.concat([city.matched() for city in cities])
    table = Table(title=title)
    table.add_column("what was done")
    for name in ("injected", "found", "hours, median", "most", "time off, hours, median", "most"):
        table.add_column(name, justify="right")
    for kind in METERS_SHOWN_BY:
        if not voltages and kind in _NEEDS_VOLTAGES:
            continue
        mine = matched.filter(pl.col("kind") == kind)
        found = mine.filter(pl.col("hours").is_not_null())
        columns = ("hours",) if kind.startswith("WRONG") else ("hours", "off")
        figures = [found.select(of(name)).item() for name in columns for of in (pl.median, pl.max)]
        written = ("" if figure is None else f"{figure:.1f}" for figure in figures)
        table.add_row(kind, str(mine.height), str(found.height), *written)
    out.print(table)
    out.print(f"accepted, but nothing was done: {sum(city.false() for city in cities)}")
    proposals = pl.concat([city.proposals() for city in cities])
    for low, high in pairwise(_CONFIDENCES):
        some = proposals.filter(pl.col("confidence").is_between(low, high, closed="left"))
        if some.height:
            stated, right = some.select(pl.mean("confidence", "right")).row(0)
            out.print(
                f"first proposed with a confidence of {low:.2f} to {high:.2f}: {some.height}, "
                f"{stated:.2f} on the mean; right {right:.2f}"
            )
