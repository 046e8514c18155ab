"""Meters that hang elsewhere than recorded, and what both areas would have lost by the record as it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from flows.topology.changes import MISMATCH, MOVED
from ops.report.material import Material
from ops.report.style import floats
from ops.report.totals import Span, every_step, step_of

MOST_PAIRS = 12
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Pair:
    """Two areas between which meters went, or the record had mistaken them.

    Attributes:
        previous: the area where they were, or by the record should have been.
        current: the area where they are.
        moves: element_id, meter_id, effective_time, kind; by time.
        steps: of both areas rows of ``totals.per_step``, one for each step of time, with ``unmoved_kwh``: the loss if
            these meters were still counted where they were before.
    """

    previous: str
    current: str
    moves: pl.DataFrame
    steps: dict[str, pl.DataFrame]


def moves_of(changes: pl.DataFrame) -> pl.DataFrame:
    """The accepted changes by which a usage point is at another transformer."""
    aspect = pl.col("evidence").list.eval(pl.element().struct.field("value").filter(_is_aspect())).list.first()
    elsewhere = (pl.col("kind") == MOVED) | ((pl.col("kind") == MISMATCH) & (aspect == "transformer"))
    return changes.filter((pl.col("state") == "ACCEPTED") & elsewhere)


def _is_aspect() -> pl.Expr:
    return pl.element().struct.field("key") == "aspect"


def pairs(of: Material, span: Span) -> list[Pair]:
    """The pairs of areas with the most energy of such meters first."""
    if of.results.changes is None:
        return []
    moves = moves_of(of.results.changes).join(of.points, on="element_id").sort("element_id", "effective_time")
    window = f"{span.window // _MICROSECOND}us"
    # Until it went on from there.
    moves = moves.with_columns(until=pl.col("effective_time").shift(-1).over("element_id"))
    energies = (
        of.results.profiles.join(
            moves.select("meter_id", "previous", "current", "effective_time", "until"), on="meter_id"
        )
        .filter(pl.col("window_start") >= pl.col("effective_time").dt.truncate(window))
        .filter(pl.col("until").is_null() | (pl.col("window_start") < pl.col("until").dt.truncate(window)))
        .group_by("previous", "current", step_of("window_start", span))
        .agg(kwh=(pl.col("import_kwh") - pl.col("export_kwh").fill_null(0.0)).sum())
    )
    size = energies.group_by("previous", "current").agg(whole=pl.col("kwh").abs().sum())
    ranked = size.sort("whole", "previous", "current", descending=[True, False, False]).head(MOST_PAIRS)
    found = []
    for previous, current in ranked.select("previous", "current").iter_rows():
        between = (pl.col("previous") == previous) & (pl.col("current") == current)
        mine = energies.filter(between).select("step", "kwh")
        steps = {area: _unmoved(of, span, area, mine, sign) for area, sign in ((previous, -1), (current, 1))}
        if any(rows.height for rows in steps.values()):
            columns = ("element_id", "meter_id", "effective_time", "kind")
            found.append(Pair(previous, current, moves.filter(between).select(columns).sort("effective_time"), steps))
    return found


def _unmoved(of: Material, span: Span, area: str, energies: pl.DataFrame, sign: int) -> pl.DataFrame:
    """Steps of an area, with its loss if the energies were, or were not, among its customers'."""
    rows = of.steps.filter(pl.col("element_id") == area)
    if rows.is_empty():
        return rows.with_columns(unmoved_kwh=pl.lit(None, pl.Float64))
    joined = every_step(rows, span).join(energies, on="step", how="left", maintain_order="left")
    return joined.with_columns(unmoved_kwh=pl.col("loss_kwh") + sign * pl.col("kwh")).drop("kwh")


def means(pair: Pair) -> dict[str, tuple[float, float]]:
    """Of each area the mean loss of a step since the first move: as it is, and without the move; kWh."""
    found = {}
    for area, rows in pair.steps.items():
        both = np.array([floats(rows["loss_kwh"]), floats(rows["unmoved_kwh"])])
        known = np.isfinite(both).all(axis=0)
        if known.any():
            now, then = both[:, known].mean(axis=1).tolist()
            found[area] = now, then
    return found
