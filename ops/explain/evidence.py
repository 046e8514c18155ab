"""The evidence for one line loss: its revisions, the energies that it is made of, what was refused, what was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from connectors.errors import InputError
from connectors.files import topic_paths
from flows.line_loss.flow import METER_TOPIC
from flows.streaming.event_time import to_micros
from flows.streaming.network import USAGE_POINT, NetworkTable
from ops.report.data import DEAD_LETTER, LINE_LOSS, METER_ENERGY, NETWORK, dataset_files, read_network
from schemas import Contract, contract
from sinks.rows import highest_revision

HEAD, CUSTOMER = "head", "customer"
MEASURED, PARTLY, ESTIMATED, SILENT = "measured", "partly estimated", "estimated", "nothing known"
_AROUND = timedelta(hours=72)  # how far from the window readings still bear on it, by default
_READING = contract(METER_TOPIC)


@dataclass(frozen=True)
class Evidence:
    """What is known of one element in one window.

    Attributes:
        element: its id.
        row: its LineLoss of the highest revision, by column.
        revisions: all its LineLoss that were kept, ascending.
        meters: meter_id, role (head, customer), at (the element whose head it is, or the container it is in),
            import_kwh, export_kwh, measured_share, clock_offset_seconds, how (one of MEASURED, PARTLY, ESTIMATED,
            SILENT), revision.
        letters: refused messages of these meters around the window: time, meter_id, error_class, error_message.
        readings: of the meters that are not measured in full the readings next to the window: meter_id, time,
            received_time, import_kwh, export_kwh, place (before, within, after); None where the telemetry is not given.
    """

    element: str
    row: dict[str, object]
    revisions: pl.DataFrame
    meters: pl.DataFrame
    letters: pl.DataFrame
    readings: pl.DataFrame | None

    @property
    def put_right_kwh(self) -> tuple[float, float]:
        """Stated energies in and out less those of the meters, kWh.

        What has been learned of gain errors and of the shape of gaps; and meters that moved, came, went, or had no
        reading yet.
        """
        head, customer = pl.col("role") == HEAD, pl.col("role") == CUSTOMER
        within, out = self.meters.select(
            (pl.col("import_kwh").filter(head).sum() + pl.col("export_kwh").filter(customer).sum()).alias("in"),
            (pl.col("import_kwh").filter(customer).sum() + pl.col("export_kwh").filter(head).sum()).alias("out"),
        ).row(0)
        return float(str(self.row["energy_in_kwh"])) - within, float(str(self.row["energy_out_kwh"])) - out


def gather(output: Path, element: str, time: datetime, network: Path, telemetry: Path | None) -> Evidence:
    """Gather the evidence.

    Args:
        output: folder with the datasets.
        element: element id.
        time: an instant within the window.
        network: ``grid.network.v1`` as Parquet.
        telemetry: folder with the readings, if they are to be looked at.

    Raises:
        InputError: there is no such result; a folder or file is not what it should be.
    """
    revisions = _revisions(output, element, time)
    row = revisions.row(-1, named=True)
    start, end = row["window_start"], row["window_end"]
    placed = meters_of(read_network(network), element, start)
    meters = _energies(output, placed, start)
    names = meters["meter_id"].to_list()
    readings = None
    if telemetry is not None:
        doubtful = meters.filter(pl.col("how") != MEASURED)["meter_id"].to_list()
        readings = readings_around(_readings(telemetry, doubtful, start, end), start, end)
    return Evidence(element, row, revisions, meters, _letters(output, names, start, end), readings)


def meters_of(versions: pl.DataFrame, element: str, time: datetime) -> pl.DataFrame:
    """Who measures for an element's balance at a time: columns meter_id, role, at.

    Args:
        versions: of ``grid.network.v1``.
        element: element id.
        time: when.

    Raises:
        InputError: the network has no balance for it then.
    """
    table = NetworkTable()
    table.apply(versions)
    micros = int(to_micros(pl.Series([time]).cast(NETWORK.polars["valid_from"]))[0])
    hierarchy = table.hierarchy(micros)
    if element not in hierarchy.heads:
        raise InputError(f"element {element}: the network has no measuring device for it, nor below it, at {time}")
    rows = []
    areas = set(hierarchy.areas[element])
    for name in sorted(table.versions):
        version = table.as_of(name, micros)
        if version is None or not version.device:
            continue
        if version.kind == USAGE_POINT and version.container in areas:
            rows.append((version.device, CUSTOMER, version.container))
        elif name in hierarchy.heads[element]:
            rows.append((version.device, HEAD, name))
    columns = {"meter_id": pl.String(), "role": pl.String(), "at": pl.String()}
    return pl.DataFrame(rows, schema=columns, orient="row").sort("role", "meter_id", descending=[True, False])


def readings_around(readings: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Of each meter the last reading at or before a window, all within it, and the first at or after it."""
    rows = readings.unique(["meter_id", "time"], keep="first", maintain_order=True).sort("meter_id", "time")
    before = rows.filter(pl.col("time") <= start).group_by("meter_id", maintain_order=True).last()
    within = rows.filter((pl.col("time") > start) & (pl.col("time") < end))
    after = rows.filter(pl.col("time") >= end).group_by("meter_id", maintain_order=True).first()
    parts = [
        part.select(rows.columns).with_columns(pl.lit(place).alias("place"))
        for part, place in ((before, "before"), (within, "within"), (after, "after"))
    ]
    return pl.concat(parts).sort("meter_id", "time")


def _revisions(output: Path, element: str, time: datetime) -> pl.DataFrame:
    found = _scan(output, LINE_LOSS)
    own = found.filter(pl.col("element_id") == element).collect() if found is not None else LINE_LOSS.empty()
    if own.is_empty():
        known: list[str] = []
        if found is not None:
            known = sorted(found.select(pl.col("element_id").unique()).collect()["element_id"].to_list())
        some = ", ".join(known[:5]) + (", …" if len(known) > 5 else "")
        raise InputError(
            f"element {element}: {output / LINE_LOSS.dataset} has no results of it, but of {some or 'nothing'}"
        )
    inside = own.filter((pl.col("window_start") <= time) & (time < pl.col("window_end"))).sort("revision")
    if inside.is_empty():
        first, last = own.select(pl.col("window_start").min(), pl.col("window_end").max()).row(0)
        raise InputError(f"window {time.isoformat()}: results of {element} are from {first} to {last}")
    return inside.unique("revision", keep="last", maintain_order=True)


def _energies(output: Path, placed: pl.DataFrame, start: datetime) -> pl.DataFrame:
    found = _scan(output, METER_ENERGY)
    rows = METER_ENERGY.empty()
    if found is not None:
        names = placed["meter_id"].implode()
        rows = found.filter((pl.col("window_start") == start) & pl.col("meter_id").is_in(names)).collect()
    energies = highest_revision(rows, METER_ENERGY.identity)
    columns = ("meter_id", "import_kwh", "export_kwh", "measured_share", "clock_offset_seconds", "revision")
    share = pl.col("measured_share")
    how = (
        pl.when(share.is_null())
        .then(pl.lit(SILENT))
        .when(share >= 1.0)
        .then(pl.lit(MEASURED))
        .when(share > 0.0)
        .then(pl.lit(PARTLY))
        .otherwise(pl.lit(ESTIMATED))
    )
    joined = placed.join(energies.select(columns), on="meter_id", how="left", maintain_order="left")
    return joined.with_columns(how.alias("how"))


def _letters(output: Path, meters: list[str], start: datetime, end: datetime) -> pl.DataFrame:
    columns = {
        "time": DEAD_LETTER.polars["time"],
        **dict.fromkeys(("meter_id", "error_class", "error_message"), pl.String()),
    }
    found = _scan(output, DEAD_LETTER)
    if found is None:
        return pl.DataFrame(schema=columns)
    around = pl.col("time").is_between(start - _AROUND, end + _AROUND)
    rows = found.filter(around).select("time", "key", "error_class", "error_message").collect()
    ids = [None if key is None else key.decode(errors="replace") for key in rows["key"]]
    named = rows.with_columns(pl.Series("meter_id", ids, pl.String)).filter(pl.col("meter_id").is_in(meters))
    return named.select(list(columns)).sort("time")


def _readings(telemetry: Path, meters: list[str], start: datetime, end: datetime) -> pl.DataFrame:
    columns = ["meter_id", "time", "received_time", "import_kwh", "export_kwh"]
    paths = [path for path in topic_paths(telemetry, METER_TOPIC) if path.suffix == ".parquet"]
    if not paths:
        raise InputError(f"{telemetry}: there is no {METER_TOPIC}.parquet")
    try:
        near = pl.col("time").is_between(start - _AROUND, end + _AROUND) & pl.col("meter_id").is_in(meters)
        frames = [pl.scan_parquet(path).filter(near).select(pl.col(columns)).collect() for path in paths]
        return pl.concat(frames).cast({name: _READING.polars[name] for name in columns})
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{telemetry}: {METER_TOPIC} cannot be read: {error}") from None


def _scan(output: Path, of: Contract) -> pl.LazyFrame | None:
    if not (output / of.dataset).is_dir():
        raise InputError(f"{output}: holds no {of.dataset}, which `gridflow replay` writes")
    files = dataset_files(output, of)
    return pl.scan_parquet(files, hive_partitioning=False) if files else None
