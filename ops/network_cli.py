"""``gridflow network``: the network as it is, or was, by the record and what was found since; and what changed."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.table import Table

from connectors.errors import InputError
from flows.streaming.event_time import to_micros
from flows.streaming.network import TRANSFORMER, USAGE_POINT, NetworkTable, Version
from flows.topology.neighbourhood import place_of
from flows.topology.supply import Supply
from ops.console import errors_as_status, out
from ops.report.data import TOPOLOGY_CHANGE, dataset_files, read_network
from ops.report.topology import LINE
from schemas import contract
from sinks.rows import highest_revision

app = typer.Typer(
    name="network", help="The network: as it is, was, and what changed.", no_args_is_help=True, rich_markup_mode="rich"
)

_NETWORK = "grid.network.v1"
Input = Annotated[
    Path, typer.Option("--input", "-i", help=f"The record: {_NETWORK}.parquet, or the folder that holds it.")
]
Changes = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder of results, whose topology_change is applied to the record."),
]


def _moment(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{option}: {text!r} is no ISO 8601 time, as 2026-03-17T14:00:00Z") from None
    if moment.tzinfo is None:
        raise InputError(f"{option}: {text!r} has no UTC offset; put a Z behind it for UTC")
    return moment


def _table(path: Path) -> NetworkTable:
    file = path / f"{_NETWORK}.parquet" if path.is_dir() else path
    frame, schema = read_network(file), contract(_NETWORK).polars
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    table = NetworkTable()
    table.apply(frame.with_columns(missing).select(list(schema)))
    return table


def _accepted(results: Path | None) -> pl.DataFrame:
    if results is None:
        return TOPOLOGY_CHANGE.empty()
    if not (results / TOPOLOGY_CHANGE.dataset).is_dir():
        raise InputError(f"{results}: holds no {TOPOLOGY_CHANGE.dataset}, which `gridflow replay topology` writes")
    files = dataset_files(results, TOPOLOGY_CHANGE)
    if not files:
        return TOPOLOGY_CHANGE.empty()
    rows = highest_revision(pl.read_parquet(files, hive_partitioning=False), TOPOLOGY_CHANGE.identity)
    return rows.filter(pl.col("state") == "ACCEPTED").sort("effective_time", "detected_time", "change_id")


class _State:
    """The network at a time: the versions that hold, with the accepted changes, and the positions of switches."""

    def __init__(self, table: NetworkTable, changes: pl.DataFrame, at: datetime | None) -> None:
        time = None if at is None else int(to_micros(pl.Series([at]))[0])
        times = [one for one in table.change_times() if time is None or one <= time]
        moment = time if time is not None else max(times, default=0)
        self.valid: dict[str, Version] = {
            element: version for element in table.versions if (version := table.as_of(element, moment)) is not None
        }
        self.closed: dict[str, bool] = {}
        for row in changes.iter_rows(named=True):
            if at is None or row["effective_time"] <= at:
                self._apply(row)
        self.fed_by = Supply(self.valid, self.closed).by_transformer()

    def _apply(self, row: dict[str, Any]) -> None:
        element, current = row["element_id"], row["current"]
        version = self.valid.get(element)
        if version is not None and version.valid_from > int(to_micros(pl.Series([row["effective_time"]]))[0]):
            version = None  # the record has been written anew since
        if row["kind"] == "SWITCH_OPERATED":
            self.closed[element] = current == "closed"
        elif version is not None and version.kind == USAGE_POINT and current is not None:
            phase = {one["key"]: one["value"] for one in row["evidence"]}.get("phase")
            if current in self.valid:
                version = version._replace(container=current)
            phase = phase or (current if current in ("A", "B", "C") else None)
            if phase is not None:
                version = version._replace(phases=phase + ("N" if "N" in (version.phases or "") else ""))
            self.valid[element] = version

    def transformers(self) -> list[dict[str, Any]]:
        """One row per transformer with customers."""
        customers = Counter(v.container for v in self.valid.values() if v.kind == USAGE_POINT)
        single: Counter[tuple[str, str]] = Counter()
        for version in self.valid.values():
            phases = (version.phases or "").replace("N", "")
            if version.kind == USAGE_POINT and len(phases) == 1:
                single[str(version.container), phases] += 1
        return [
            {
                "transformer": element,
                "container": version.container,
                "fed_by": "+".join(self.fed_by.get(element, ())) or None,
                "customers": customers[element],
                **{f"single_phase_{phase.lower()}": single[element, phase] for phase in "ABC"},
            }
            for element, version in sorted(self.valid.items())
            if version.kind == TRANSFORMER and customers[element]
        ]

    def elements(self) -> list[dict[str, Any]]:
        """Every element, named as in CIM."""
        return [
            {
                "mRID": element,
                "class": version.kind,
                "EquipmentContainer": version.container,
                "ConnectivityNodes": [node for node in (version.terminal_1, version.terminal_2) if node],
                "phases": version.phases,
                **(
                    {"open": not self.closed.get(element, not version.normal_open), "normalOpen": version.normal_open}
                    if version.normal_open is not None
                    else {}
                ),
            }
            for element, version in sorted(self.valid.items())
        ]

    def features(self) -> dict[str, Any]:
        """Every element as a feature of GeoJSON (RFC 7946); the geometry of those whose place is not recorded is null.

        A line whose ends both are where other equipment is placed runs between them; else it is a point.
        """
        at: dict[str, list[float]] = {}
        for version in self.valid.values():
            if version.kind != LINE and (point := _point(version)):
                for node in (version.terminal_1, version.terminal_2):
                    if node:
                        at.setdefault(node, point)
        customers = Counter(v.container for v in self.valid.values() if v.kind == USAGE_POINT)
        return {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "id": row["mRID"],
                    "geometry": _geometry(self.valid[row["mRID"]], at),
                    "properties": row | self._supplied(row["mRID"], customers[row["mRID"]]),
                }
                for row in self.elements()
            ],
        }

    def _supplied(self, element: str, customers: int) -> dict[str, Any]:
        """Of a transformer with customers who feeds it, and how many they are."""
        if self.valid[element].kind != TRANSFORMER or not customers:
            return {}
        fed = self.fed_by.get(element)
        return {"customers": customers, "fed_by": list(fed or ()), "energised": bool(fed)}


def _point(version: Version) -> list[float] | None:
    place = place_of(version)
    return None if place is None else list(place)


def _geometry(version: Version, at: dict[str, list[float]]) -> dict[str, Any] | None:
    ends = [at[node] for node in (version.terminal_1, version.terminal_2) if node in at]
    if version.kind == LINE and len(ends) == 2:
        return {"type": "LineString", "coordinates": ends}
    point = _point(version)
    return None if point is None else {"type": "Point", "coordinates": point}


@app.command()
def show(
    input_: Input,
    results: Changes = None,
    at: Annotated[str | None, typer.Option(help="When, ISO 8601; without it, the latest state.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="All elements as JSON, named as in CIM.")] = False,
    geojson: Annotated[bool, typer.Option("--geojson", help="All elements as GeoJSON, for a map.")] = False,
) -> None:
    """Show the network at a time: of each transformer who feeds it, and its customers.

    Examples:
        gridflow network show --input telemetry --output results --at 2026-03-17T14:00:00Z

        gridflow network show --input telemetry --output results --geojson > network.geojson
    """
    with errors_as_status():
        if json_ and geojson:
            raise InputError("--json, --geojson: only one of them can be shown")
        state = _State(_table(input_), _accepted(results), _moment(at, "--at"))
    if json_:
        typer.echo(json.dumps(state.elements(), indent=1))
        return
    if geojson:
        typer.echo(json.dumps(state.features()))
        return
    table = Table(title=f"Network {'as it is' if at is None else at}")
    for name in ("transformer", "container", "fed by", "customers", "A", "B", "C"):
        table.add_column(name, justify="left" if name in ("transformer", "container", "fed by") else "right")
    for row in state.transformers():
        fed = row["fed_by"] or "de-energised, or not known"
        phases = (f"{row[f'single_phase_{phase}']:,}" for phase in "abc")
        table.add_row(row["transformer"], row["container"] or "", fed, f"{row['customers']:,}", *phases)
    out.print(table)


@app.command()
def diff(
    input_: Input,
    results: Changes = None,
    since: Annotated[str | None, typer.Option(help="From when, ISO 8601; without it, from the record's begin.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when; without it, until the end.")] = None,
) -> None:
    """Show what differs between two times: who hangs elsewhere, which switch was operated, whose supply is another.

    Example: [bold]gridflow network diff --input telemetry --output results --since 2026-03-17T00:00:00Z[/]
    """
    with errors_as_status():
        record, changes = _table(input_), _accepted(results)
        begin = _moment(since, "--since")
        times = record.change_times()
        if begin is None and times:
            before = _State(record, changes.clear(), datetime.fromtimestamp(min(times) / 1e6, UTC))
        else:
            before = _State(record, changes, begin)
        after = _State(record, changes, _moment(until, "--until"))
    table = Table(title="What differs")
    for name in ("element", "what", "before", "after"):
        table.add_column(name, overflow="fold")
    for row in _differences(before, after):
        table.add_row(*row)
    out.print(table if table.row_count else "nothing differs")


def _differences(before: _State, after: _State) -> list[tuple[str, str, str, str]]:
    found = []
    for element in sorted(before.valid.keys() | after.valid.keys()):
        old, new = before.valid.get(element), after.valid.get(element)
        if old is None or new is None:
            kind = (old or new or Version(0, 0, "", None, None, None)).kind
            found.append((element, kind, "" if old is None else "there", "" if new is None else "there"))
            continue
        for what, one, two in (
            ("container", old.container, new.container),
            ("phases", old.phases, new.phases),
            ("measuring device", old.device, new.device),
        ):
            if one != two:
                found.append((element, what, one or "", two or ""))
    for element in sorted(before.closed.keys() | after.closed.keys()):
        usual = not after.valid[element].normal_open if element in after.valid else True
        was, is_now = ("closed" if state.closed.get(element, usual) else "open" for state in (before, after))
        if was != is_now:
            found.append((element, "position", was, is_now))
    for element in sorted(before.fed_by.keys() & after.fed_by.keys()):
        was, is_now = ("+".join(state.fed_by[element]) or "nobody" for state in (before, after))
        if was != is_now:
            found.append((element, "fed by", was, is_now))
    return found
