"""The evidence as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ops.explain.causes import causes, percent
from ops.explain.evidence import CUSTOMER, HEAD, MEASURED, Evidence

_MOST_METERS = 40
_EXACT_KWH = 5e-6


def explained(evidence: Evidence) -> Iterator[RenderableType]:
    """What there is to be said, part by part."""
    yield _headline(evidence)
    yield _balance(evidence)
    yield from _suspects(evidence)
    yield from _meters(evidence)
    yield _revisions(evidence)
    if evidence.readings is not None and evidence.readings.height:
        yield _readings(evidence.readings)
    if evidence.letters.height:
        yield _letters(evidence.letters)


def _headline(evidence: Evidence) -> Text:
    row = evidence.row
    start, end = row["window_start"], row["window_end"]
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    share = f"{row['loss_percent']:.2f} % of " if row["loss_percent"] is not None else ""
    missing = int(str(row["expected_meters"])) - int(str(row["reporting_meters"]))
    why = "" if not missing else f": {missing} of {row['expected_meters']} meters are not measured in full"
    return Text(
        f"{evidence.element} ({row['element_kind']}), {start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC\n"
        f"loss {row['loss_kwh']:.3f} ± {row['uncertainty_kwh']:.3f} kWh, {share}{row['energy_in_kwh']:.3f} kWh in; "
        f"{row['status']}{why}; alarm {row['alarm']}"
    )


def _balance(evidence: Evidence) -> Table:
    table = Table(title="The balance", box=box.SIMPLE, padding=(0, 1))
    table.add_column("what")
    table.add_column("kWh", justify="right")

    def total(role: str, column: str) -> float:
        return float(evidence.meters.filter(pl.col("role") == role)[column].sum() or 0.0)

    heads = evidence.meters.filter(pl.col("role") == HEAD)["meter_id"].to_list()
    named = heads[0] if len(heads) == 1 else f"{len(heads)} head meters"
    table.add_row(f"delivered by {named}", f"{total(HEAD, 'import_kwh'):.3f}")
    table.add_row("fed in by customers", f"{total(CUSTOMER, 'export_kwh'):.3f}")
    table.add_row("taken by customers", f"{0.0 - total(CUSTOMER, 'import_kwh'):.3f}")
    table.add_row(f"returned through {named}", f"{0.0 - total(HEAD, 'export_kwh'):.3f}")
    learned = evidence.row["technical_loss_kwh"] is not None
    for kwh, where in zip(evidence.put_right_kwh, ("of energy in", "of energy out"), strict=True):
        if abs(kwh) > _EXACT_KWH:
            why = "put right: meters' gain errors, shape of gaps" if learned else "meters that moved, came or went"
            table.add_row(f"{why}, {where}", f"{kwh if where.endswith('in') else 0.0 - kwh:+.3f}")
    table.add_section()
    table.add_row("loss", f"{evidence.row['loss_kwh']:.3f}")
    if learned:
        table.add_row("  expected in lines and transformers", f"{evidence.row['technical_loss_kwh']:.3f}")
        table.add_row("  unaccounted for", f"{evidence.row['unaccounted_kwh']:.3f}")
    return table


def _suspects(evidence: Evidence) -> Iterator[RenderableType]:
    """Who may explain what is not accounted for."""
    suspects = evidence.row["suspects"]
    if not isinstance(suspects, list) or not suspects:
        return
    table = Table(title="Who may explain it", box=box.SIMPLE, padding=(0, 1))
    for name in ("meter", "score", "missing kWh", "±"):
        table.add_column(name, justify="left" if name == "meter" else "right", overflow="fold")
    for one in suspects:
        unsure = one.get("missing_uncertainty_kwh")  # results of earlier versions do not have it
        spread = "" if unsure is None else f"{unsure:.3f}"
        table.add_row(one["meter_id"], f"{one['score']:.2f}", f"{one['missing_kwh']:.3f}", spread)
    yield table


def _meters(evidence: Evidence) -> Iterator[RenderableType]:
    counts = evidence.meters.group_by("how", maintain_order=True).len().sort("len", descending=True)
    said = ", ".join(f"{count} {how}" for how, count in counts.iter_rows())
    yield Text(f"Of {evidence.meters.height} meters: {said}.")
    clocks = evidence.meters.filter(pl.col("clock_offset_seconds").is_not_null())
    for meter, offset in clocks.select("meter_id", "clock_offset_seconds").iter_rows():
        way = "fast" if offset > 0 else "slow"
        yield Text(f"The clock of {meter} is {abs(offset):.0f} s {way}; its energies have been shifted accordingly.")
    doubtful = evidence.meters.filter(pl.col("how") != MEASURED)
    if doubtful.is_empty():
        return
    table = Table(title="Meters that are not measured in full", box=box.SIMPLE, padding=(0, 1))
    for name in ("meter", "role", "at", "import kWh", "export kWh", "measured %", "how"):
        table.add_column(name, justify="right" if name.endswith(("kWh", "%")) else "left", overflow="fold")
    for row in doubtful.head(_MOST_METERS).iter_rows(named=True):
        energies = ["" if row[name] is None else f"{row[name]:.3f}" for name in ("import_kwh", "export_kwh")]
        share = "" if row["measured_share"] is None else f"{100 * row['measured_share']:.1f}"
        table.add_row(row["meter_id"], row["role"], row["at"], *energies, share, row["how"])
    if doubtful.height > _MOST_METERS:
        table.caption = f"the first {_MOST_METERS} of {doubtful.height}"
    yield table


def _revisions(evidence: Evidence) -> Table:
    table = Table(title="Revisions", box=box.SIMPLE, padding=(0, 1))
    for name in ("revision", "status", "loss kWh", "measured %", "what it brought"):
        table.add_column(name, justify="left" if name in {"status", "what it brought"} else "right", overflow="fold")
    rows = evidence.revisions.iter_rows(named=True)
    for row, cause in zip(rows, causes(evidence.revisions), strict=True):
        table.add_row(
            str(row["revision"]), row["status"], f"{row['loss_kwh']:.3f}", percent(row["completeness"]), cause
        )
    if evidence.revisions.height == 1:
        table.caption = "earlier revisions are kept with parquet.keep_revisions = line_loss"
    return table


def _readings(readings: pl.DataFrame) -> Table:
    table = Table(title="Their readings next to the window", box=box.SIMPLE, padding=(0, 1))
    for name in ("meter", "where", "time", "received", "import kWh", "export kWh"):
        table.add_column(name, justify="right" if name.endswith("kWh") else "left", overflow="fold")
    for row in readings.head(3 * _MOST_METERS).iter_rows(named=True):
        received = "" if row["received_time"] is None else f"{row['received_time']:%m-%d %H:%M:%S}"
        export = "" if row["export_kwh"] is None else f"{row['export_kwh']:.3f}"
        moment = f"{row['time']:%m-%d %H:%M:%S}"
        table.add_row(row["meter_id"], row["place"], moment, received, f"{row['import_kwh']:.3f}", export)
    return table


def _letters(letters: pl.DataFrame) -> Table:
    table = Table(title="Refused messages of these meters", box=box.SIMPLE, padding=(0, 1))
    for name in ("time", "meter", "error", "why"):
        table.add_column(name, overflow="fold")
    for time, meter, error, message in letters.head(_MOST_METERS).iter_rows():
        table.add_row(f"{time:%m-%d %H:%M:%S}", meter, error, message)
    return table
