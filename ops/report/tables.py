"""Tables of the page, as HTML; whatever comes from data is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

import polars as pl

from ops.report.data import LATE
from ops.report.moved import Pair
from ops.report.style import DASH, count, energy, moment, number

MOST_ROWS = 50
_MOST_NAMED = 6

# What ``amount`` means; of other kinds it means nothing that could be added up.
_AMOUNTS = {
    "CLOCK_OFFSET": ("s", "largest"),
    "CLOCK_DRIFT": ("ppm", "largest"),
    "REGISTER_ROLLOVER": ("kWh", "largest"),
    "THEFT_PARTIAL": ("kWh", "sum"),
    "THEFT_NIGHT": ("kWh", "sum"),
    "THEFT_BYPASS": ("kWh", "sum"),
    "SWITCHING": ("kW", "sum"),
    "FEEDER_FAULT": ("A", "largest"),
    "DE_ENERGISED": ("customers", "sum"),
    "IED_SILENCE": ("messages", "sum"),
    "IED_TIME_LOSS": ("ppm", "largest"),
    "IED_FALSE_PUBLISHER": ("messages", "sum"),
}


class Cell(str):
    """HTML that is put into a table as it is; any other value is text."""

    __slots__ = ()


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, numeric: Iterable[int] = ()) -> str:
    """A table.

    Args:
        heads: names of the columns.
        rows: the cells.
        numeric: columns that are set flush right.
    """
    right = frozenset(numeric)

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in right else ''}>"
            f"{value if isinstance(value, Cell) else escape(DASH if value is None else str(value))}</{tag}>"
            for place, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{cells("th", heads)}</tr></thead><tbody>{body}</tbody></table></div>'


def of_findings(findings: pl.DataFrame) -> str:
    """What was injected beside what was found."""
    names = [name for name in ("what", "injected", "found", "note") if name in findings.columns]
    rows = [[_plain(value) for value in row] for row in findings.select(names).iter_rows()]
    numeric = [place for place, name in enumerate(names) if findings.schema[name].is_numeric()]
    return table([name.capitalize() for name in names], rows, numeric=numeric)


def of_suspects(named: pl.DataFrame, areas: dict[str, str], events: pl.DataFrame) -> str:
    """The meters suspected.

    Args:
        named: of ``quality.suspects``.
        areas: the area of each meter, where it is known.
        events: what was injected; then a column says what of it has hit the meter.
    """
    injected = dict(events.group_by("element_id").agg(pl.col("kind").unique().sort().str.join(", ")).iter_rows())
    rows = []
    for row in named.head(MOST_ROWS).iter_rows(named=True):
        meter, score = row["meter_id"], row["score"]
        area = row["element_id"] if areas.get(meter) is None else areas[meter]
        told: list[object] = [meter, _meter_bar(score), energy(row["missing_kwh"]), area, count(row["windows"])]
        rows.append([*told, injected.get(meter)] if injected else told)
    heads = ["Meter", "Score", "Not registered", "Area", "Windows", *(["Injected"] if injected else [])]
    return table(heads, rows, numeric=[2, 4])


def of_changes(changes: pl.DataFrame) -> str:
    """What was found of the topology, the latest first.

    Args:
        changes: columns of TopologyChange, one row each.
    """
    rows = []
    for row in changes.sort("effective_time", "change_id", descending=[True, False]).head(MOST_ROWS).to_dicts():
        evidence = {one["key"]: one["value"] for one in row["evidence"]}
        behind = sum(int(value) for key, value in evidence.items() if key.startswith("customers"))
        within = evidence.get("effective_within_minutes")
        rows.append(
            [
                row["kind"],
                row["element_id"],
                row["previous"],
                row["current"],
                moment(row["effective_time"]) + (f" ± {within} min" if within not in {None, "0"} else ""),
                moment(row["detected_time"]),
                f"{row['confidence']:.4f}",
                row["state"],
                count(behind) if behind else "",
            ]
        )
    heads = ["Kind", "Element", "From", "To", "Since / UTC", "Known / UTC", "Confidence", "State", "Customers"]
    return table(heads, rows, numeric=[6, 8])


def of_moved(between: Sequence[tuple[Pair, dict[str, tuple[float, float]]]], step: str) -> str:
    """What moved meters do to the losses of both areas.

    Args:
        between: pairs of areas, and of each area its mean loss and that without the move, kWh.
        step: of which length of time the mean is.
    """
    rows = []
    for pair, losses in between:
        names = pair.moves["element_id"].to_list()
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        energies: list[str | None] = []
        for area in (pair.previous, pair.current):
            energies += [energy(value) for value in losses[area]] if area in losses else [None, None]
        rows.append([f"{pair.previous} to {pair.current}", ", ".join(names[:_MOST_NAMED]) + more, *energies])
    old = "without the move"
    heads = ["Areas", "Usage points", f"First loses per {step}", old, f"Second loses per {step}", old]
    return table(heads, rows, numeric=[2, 3, 4, 5])


def of_letters(classes: pl.DataFrame) -> str:
    """What was refused, by class."""
    rows = [
        [
            "late" if row["error_class"] == LATE else "refused",
            row["error_class"],
            row["stage"],
            row["topic"],
            count(row["messages"]),
            row["example"],
        ]
        for row in classes.head(MOST_ROWS).iter_rows(named=True)
    ]
    return table(["", "Class", "Stage", "Topic", "Messages", "For example"], rows, numeric=[4])


def of_events(events: pl.DataFrame) -> str:
    """What was injected, by kind."""
    kinds = (
        events.group_by("kind")
        .agg(
            pl.len().alias("events"),
            pl.col("element_id").n_unique().alias("elements"),
            pl.col("element_id").sort_by("start", "element_id").unique(maintain_order=True).head(3).alias("some"),
            pl.col("start").min().alias("first"),
            pl.col("start").max().alias("last"),
            pl.col("amount").sum().alias("sum"),
            pl.col("amount").abs().max().alias("largest"),
            pl.col("amount").count().alias("amounts"),
        )
        .sort("kind")
    )
    rows = [
        [
            row["kind"],
            count(row["events"]),
            ", ".join(row["some"]) + (" …" if row["elements"] > len(row["some"]) else ""),
            moment(row["first"]),
            moment(row["last"]),
            _amount(row),
        ]
        for row in kinds.iter_rows(named=True)
    ]
    return table(["Kind", "Events", "Elements", "First / UTC", "Last / UTC", "Amount"], rows, numeric=[1])


def _amount(row: dict[str, float | int | str]) -> str | None:
    unit, how = _AMOUNTS.get(str(row["kind"]), ("", ""))
    if not row["amounts"] or not unit:
        return None
    amount = float(row[how])
    value = count(round(amount)) if amount.is_integer() else number(amount)
    return f"{value} {unit} in all" if how == "sum" else f"up to {value} {unit}"


def _meter_bar(score: float) -> Cell:
    width = round(100 * min(max(score, 0.0), 1.0))
    return Cell(f'<span class="score"><i style="width:{width}%"></i></span> {score:.2f}')


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return moment(value)
    if value == "":
        return None
    if isinstance(value, float):
        return number(value)
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else value
