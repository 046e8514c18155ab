"""What the report rests on: results, reference network and truth, read from their Parquet files.

Whatever is missing is an empty frame with the columns of its contract, so that what follows need not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from connectors.errors import InputError
from connectors.simulation.events import EVENT_SCHEMA
from flows.streaming.network import USAGE_POINT
from schemas import Contract, contract
from sinks.rows import highest_revision

LINE_LOSS = contract("grid.line-loss.v1")
METER_ENERGY = contract("grid.meter-energy.v1")
IED_ANOMALY = contract("grid.ied-anomaly.v1")
TOPOLOGY_CHANGE = contract("grid.topology-change.v1")
DEAD_LETTER = contract("grid.dead-letter.v1")
NETWORK = contract("grid.network.v1")

LATE = "LateReading"
"""The error class of a reading that is beyond the allowed lateness."""

_TIME = pl.Datetime("us", "UTC")
_NOT_READ = ("region_id", "loss_percent", "unaccounted_kwh", "reporting_meters")
LOSSES = pl.Schema({name: kind for name, kind in LINE_LOSS.polars.items() if name not in _NOT_READ})
"""The columns of LineLoss that a report needs; what sums cannot be made of is worked out anew."""

_LETTER_COLUMNS = ("topic", "partition", "offset", "stage", "error_class", "error_message", "time")
_LETTERS = pl.Schema({name: DEAD_LETTER.polars[name] for name in _LETTER_COLUMNS})
_TRUTH_ENERGIES = ("technical_loss_kwh", "unregistered_kwh")
AREA_TRUTH = pl.Schema(
    {"element_id": pl.String(), "window_start": _TIME, **dict.fromkeys(_TRUTH_ENERGIES, pl.Float64())}
)
SWITCH_TRUTH = pl.Schema({"element_id": pl.String(), "time": _TIME, "closed": pl.Boolean()})
SUPPLY_TRUTH = pl.Schema({"element_id": pl.String(), "time": _TIME, "fed_by": pl.String()})
METER_TRUTH = pl.Schema({"meter_id": pl.String(), "transformer_id": pl.String()})


NO_POINTS = pl.DataFrame(schema={"element_id": pl.String(), "meter_id": pl.String()})
"""Usage points and their meters."""


@dataclass(frozen=True)
class Results:
    """What a flow has written.

    Attributes:
        losses: columns of ``LOSSES``, of each identity the row of the highest revision; with a simulated grid also
            ``simulated_technical_kwh`` and ``simulated_unregistered_kwh``, else null.
        restated: one row per identity of which several revisions are there: element_id, window_start, revisions,
            first_kwh, last_kwh.
        letters: refused and late messages, without their content.
        meters: how many meters there are energies of.
        profiles: energies of the meters that are suspected, or have moved: meter_id, window_start, import_kwh,
            export_kwh.
        anomalies: of IEDs, of each the row of the highest revision; None where there is no such dataset.
        changes: of the topology, the same.
    """

    losses: pl.DataFrame
    restated: pl.DataFrame
    letters: pl.DataFrame
    meters: int
    profiles: pl.DataFrame
    anomalies: pl.DataFrame | None = None
    changes: pl.DataFrame | None = None


@dataclass(frozen=True)
class Truth:
    """What a simulated grid says of itself; frames that it does not have are empty.

    Attributes:
        areas: per measured element and window, with the columns of ``AREA_TRUTH``.
        events: what was injected, ``EVENT_SCHEMA``.
        meters: ``METER_TRUTH``.
        switches: ``SWITCH_TRUTH``.
        supply: ``SUPPLY_TRUTH``.
    """

    areas: pl.DataFrame
    events: pl.DataFrame
    meters: pl.DataFrame
    switches: pl.DataFrame
    supply: pl.DataFrame


_TRUTH = {
    "areas": AREA_TRUTH,
    "events": EVENT_SCHEMA,
    "meters": METER_TRUTH,
    "switches": SWITCH_TRUTH,
    "supply": SUPPLY_TRUTH,
}
NO_TRUTH = Truth(**{name: schema.to_frame() for name, schema in _TRUTH.items()})


def read_results(folder: Path, truth: Truth = NO_TRUTH, points: pl.DataFrame = NO_POINTS) -> Results:
    """The datasets of an output folder.

    Args:
        folder: of ``gridflow replay``.
        truth: what is known of a simulated grid.
        points: the meters of usage points, ``NO_POINTS``: of those that moved the energies are read, too.

    Raises:
        InputError: there is no such folder, it has no line_loss, or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    if not (folder / LINE_LOSS.dataset).is_dir():
        raise InputError(f"{folder}: holds no {LINE_LOSS.dataset}, which `gridflow replay` writes")
    rows = _dataset(folder, LINE_LOSS, LOSSES)
    letters = _dataset(folder, DEAD_LETTER, _LETTERS).unique(DEAD_LETTER.identity, keep="last", maintain_order=True)
    latest = highest_revision(rows, LINE_LOSS.identity)
    # The usual case, one revision of each, needs no second look at millions of rows.
    restated = restatements(rows if latest.height < rows.height else rows.clear())
    anomalies = None
    if (folder / IED_ANOMALY.dataset).is_dir():
        anomalies = highest_revision(_dataset(folder, IED_ANOMALY, IED_ANOMALY.polars), IED_ANOMALY.identity)
    changes = None
    if (folder / TOPOLOGY_CHANGE.dataset).is_dir():
        rows = _dataset(folder, TOPOLOGY_CHANGE, TOPOLOGY_CHANGE.polars)
        changes = highest_revision(rows, TOPOLOGY_CHANGE.identity)
    known = with_truth(latest, truth.areas)
    profiles = _profiles(folder, latest, changes, points)
    return Results(known, restated, letters, _count_meters(folder), profiles, anomalies, changes)


def read_network(path: Path) -> pl.DataFrame:
    """All versions of the reference network.

    Raises:
        InputError: there is no such file, or it is not such a network.
    """
    if not path.is_file():
        raise InputError(f"{path}: is not a file")
    return _read([path], NETWORK.polars, frozenset({"element_id", "kind", "valid_from"}))


def usage_points(network: pl.DataFrame) -> pl.DataFrame:
    """The last meter of each usage point, ``NO_POINTS``, of all versions of a network."""
    rows = network.filter((pl.col("kind") == USAGE_POINT) & pl.col("measuring_device_id").is_not_null())
    last = rows.sort("valid_from", maintain_order=True).unique("element_id", keep="last", maintain_order=True)
    return last.select("element_id", meter_id="measuring_device_id")


def read_truth(folder: Path) -> Truth:
    """What the folder of a simulated grid says of it.

    Raises:
        InputError: there is no such folder, it has nothing of the kind, or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    files = {name: [path] for name in _TRUTH if (path := folder / f"{name}.parquet").is_file()}
    if not files:
        raise InputError(f"{folder}: holds none of {', '.join(f'{name}.parquet' for name in _TRUTH)}")
    return Truth(**{name: _read(files.get(name, []), schema) for name, schema in _TRUTH.items()})


def as_of(network: pl.DataFrame, time: datetime) -> pl.DataFrame:
    """Of each element the version that holds at a time; where a later one begins, the earlier no longer does."""
    return (
        network.filter(pl.col("valid_from") <= time)
        .sort("valid_from", maintain_order=True)
        .unique("element_id", keep="last", maintain_order=True)
        .filter(pl.col("valid_to").is_null() | (pl.col("valid_to") > time))
    )


def with_truth(losses: pl.DataFrame, areas: pl.DataFrame) -> pl.DataFrame:
    """Losses with what the simulation knows of the same element and window."""
    known = areas.unique(["element_id", "window_start"], keep="last").select(
        "element_id",
        "window_start",
        pl.col("technical_loss_kwh").alias("simulated_technical_kwh"),
        pl.col("unregistered_kwh").alias("simulated_unregistered_kwh"),
    )
    return losses.join(known, on=["element_id", "window_start"], how="left", maintain_order="left")


def restatements(rows: pl.DataFrame) -> pl.DataFrame:
    """The results that are there in several revisions, with their first and their last loss."""
    return (
        rows.sort("revision")
        .group_by(LINE_LOSS.identity)
        .agg(
            pl.col("revision").n_unique().alias("revisions"),
            pl.col("loss_kwh").first().alias("first_kwh"),
            pl.col("loss_kwh").last().alias("last_kwh"),
        )
        .filter(pl.col("revisions") > 1)
        .sort(LINE_LOSS.identity)
    )


def _dataset(folder: Path, of: Contract, schema: pl.Schema) -> pl.DataFrame:
    required = frozenset(of.identity) | (frozenset({"revision"}) & frozenset(schema))
    return _read(dataset_files(folder, of), schema, required)


def dataset_files(folder: Path, of: Contract) -> list[Path]:
    """The files of a dataset in an output folder, by name; none where it has no rows."""
    return sorted((folder / of.dataset).glob("**/*.parquet"))


def _profiles(folder: Path, losses: pl.DataFrame, changes: pl.DataFrame | None, points: pl.DataFrame) -> pl.DataFrame:
    """Energies of the meters that any loss suspects, and of those of which anything has changed."""
    suspects = losses.select(pl.col("suspects").explode()).drop_nulls().unnest("suspects")
    asked = [suspects["meter_id"]] if suspects.height else []
    if changes is not None:
        asked.append(points.join(changes, on="element_id", how="semi")["meter_id"])
    meters = pl.concat(asked).unique().sort().implode() if asked and sum(map(len, asked)) else None
    columns = [*METER_ENERGY.identity, "import_kwh", "export_kwh", "revision"]
    files = dataset_files(folder, METER_ENERGY)
    if meters is None or not files:
        return pl.DataFrame(schema={name: METER_ENERGY.polars[name] for name in columns}).drop("revision")
    try:
        scan = pl.scan_parquet(files, hive_partitioning=False).filter(pl.col("meter_id").is_in(meters))
        rows = scan.select(columns).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{folder / METER_ENERGY.dataset}: cannot be read: {error}") from None
    return highest_revision(rows, METER_ENERGY.identity).drop("revision")


def _count_meters(folder: Path) -> int:
    # Millions of rows of which one column is asked for: never all in memory.
    scans = [
        pl.scan_parquet(path, hive_partitioning=False).select("meter_id").unique()
        for path in dataset_files(folder, METER_ENERGY)
    ]
    if not scans:
        return 0
    try:
        return int(pl.concat(scans).select(pl.col("meter_id").n_unique()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{folder / METER_ENERGY.dataset}: cannot be read: {error}") from None


def _read(paths: Sequence[Path], schema: pl.Schema, required: frozenset[str] | None = None) -> pl.DataFrame:
    """Files as one frame of a schema's columns; missing ones are null, ``required`` (else all) must be there."""
    frames = [schema.to_frame()]
    for path in paths:
        try:
            there = pl.read_parquet_schema(path)
            lacking = [name for name in schema if name not in there and (required is None or name in required)]
            if lacking:
                raise InputError(f"{path}: lacks the column {lacking[0]}")
            frame = pl.read_parquet(path, columns=[name for name in schema if name in there], hive_partitioning=False)
            frames.append(_conformed(frame, schema))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None
    return pl.concat(frames)


def _conformed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    columns = []
    for name, kind in schema.items():
        column = pl.col(name) if name in frame.columns else pl.lit(None).alias(name)
        stored = frame.schema.get(name)
        if isinstance(stored, pl.Datetime) and stored.time_zone is None:
            column = column.dt.replace_time_zone("UTC")  # as everywhere: without a zone it is UTC
        columns.append(column.cast(kind))
    return frame.select(columns)
