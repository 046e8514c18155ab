"""What was injected into a simulated grid beside what the flows found of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from connectors.simulation.write import SUMMARY
from flows.streaming.network import REGION
from ops.report.changes import matched_changes, unexplained_changes
from ops.report.data import METER_ENERGY, Results, Truth, dataset_files
from ops.report.ieds import matched, unexplained
from ops.report.totals import per_element
from sinks.rows import highest_revision

_NO_FLOW = "no flow yet"
_ROUNDING_KWH = 0.01
_CLOCK_SECONDS = 60
_AT_ONCE_HOURS = 0.1
_EXCHANGE_KWH = 1.0  # over the whole time, gains and gaps at its end included
# What only flows find that are not there yet, and of what kind it is.
_UNWATCHED = {"FEEDER_FAULT": "cable faults"}
_TOPOLOGY = {
    "METER_TRANSFORMER_CHANGED": "meters moved",
    "METER_PHASE_CHANGED": "meters re-phased",
    "WRONG_TRANSFORMER": "wrong transformers",
    "WRONG_PHASE": "wrong phases",
    "SWITCHING": "re-supplies",
    "DE_ENERGISED": "stations dark",
}


class Finding(NamedTuple):
    """One line of the comparison.

    Attributes:
        what: what went wrong.
        injected: how much of it.
        found: how much of it was found, or how it was dealt with.
        note: what that means.
    """

    what: str
    injected: str
    found: str
    note: str = ""


def findings_of(
    results: Results, truth: Truth, folder: Path, truth_folder: Path, counts: Mapping[str, int]
) -> pl.DataFrame:
    """The comparison, as a frame with the columns of ``Finding``.

    Args:
        results: of the flows.
        truth: of the simulation.
        folder: the results' folder, for the aligned energies.
        truth_folder: the truth's folder.
        counts: what became of the meter readings, by outcome.
    """
    summary = json.loads((truth_folder / SUMMARY).read_text(encoding="utf-8"))
    energies = _energies(folder)
    rows = [
        _loss(results),
        *_thefts(results, truth),
        *_deliveries(results, summary["deliveries"], energies, counts),
        *_registers(truth, energies, truth_folder),
        *_clocks(truth, energies),
        *_ieds(results, truth),
        *_topology(results, truth),
        *_unwatched(truth),
    ]
    return pl.DataFrame(rows, schema=list(Finding._fields), orient="row")


def _loss(results: Results) -> Finding:
    """The whole grid's loss."""
    region = per_element(results.losses.filter(pl.col("element_kind") == REGION))
    if region.is_empty() or region["true_kwh"][0] is None:
        return Finding("loss of the grid", "", "nothing", "no result")
    true, found, half = (float(region[name][0]) for name in ("true_kwh", "loss_kwh", "uncertainty_kwh"))
    note = "within ±" if abs(found - true) <= half else "outside ±"
    return Finding("loss of the grid", f"{true:,.1f} kWh", f"{found:,.1f} ± {half:,.1f} kWh", note)


def _thefts(results: Results, truth: Truth) -> Iterator[Finding]:
    thefts = truth.events.filter(pl.col("kind").str.starts_with("THEFT"))
    if thefts.is_empty():
        return
    named = results.losses.select("suspects").explode("suspects").unnest("suspects").drop_nulls("meter_id")
    suspects = set(named.filter(pl.col("score") >= 0.5)["meter_id"]) if named.height else set()
    thieves = set(thefts["element_id"])
    areas = truth.meters.filter(pl.col("meter_id").is_in(list(thieves)))["transformer_id"].n_unique()
    found = f"{len(thieves & suspects)} named as suspects" if suspects else "in the areas' losses"
    note = f"{len(suspects - thieves)} innocent named" if suspects else _NO_FLOW
    energy = f"{len(thieves)} thieves, {areas} areas, {thefts['amount'].sum():,.1f} kWh"
    yield Finding("theft", energy, found, note)


def _deliveries(
    results: Results, injected: Mapping[str, int], energies: pl.DataFrame, counts: Mapping[str, int]
) -> Iterator[Finding]:
    late = injected.get("LATE", 0) + injected.get("OUT_OF_ORDER", 0)
    if late:
        refused = results.letters.filter(pl.col("stage") == "event-time").height
        found = f"{late - refused:,} used, {refused:,} too late"
        yield Finding("readings late", f"{late:,}", found, f"{results.restated.height:,} restated")
    if twice := injected.get("DUPLICATE", 0):
        yield Finding("readings twice", f"{twice:,}", f"{counts['duplicate']:,} dropped", "")
    if missing := injected.get("MISSING", 0):
        gaps = energies.filter(pl.col("measured_share") < 1).height
        found = f"{gaps:,} windows bridged"
        yield Finding("readings missing", f"{missing:,}", found, "outages included")


def _registers(truth: Truth, energies: pl.DataFrame, truth_folder: Path) -> Iterator[Finding]:
    """Registers that roll over, and meters that are exchanged: is the energy still right?"""
    known = pl.scan_parquet(truth_folder / "meter_energy.parquet")
    turns = truth.events.filter(pl.col("kind") == "REGISTER_ROLLOVER")
    if turns.height:
        hits = turns.lazy().select(pl.col("element_id").alias("meter_id"), pl.col("start").alias("at"))
        true = hits.join(known, on="meter_id").filter(
            (pl.col("window_start") <= pl.col("at")) & (pl.col("at") < pl.col("window_start") + pl.duration(minutes=15))
        )
        there = true.join(energies.lazy(), on=["meter_id", "window_start"], suffix="_found").collect()
        right = there.filter((pl.col("import_kwh") - pl.col("import_kwh_found")).abs() < _ROUNDING_KWH).height
        yield Finding("roll-overs", f"{turns.height}", f"{right} bridged to 0.01 kWh", "")
    exchanges = truth.events.filter(pl.col("kind") == "METER_EXCHANGE")
    if exchanges.height:
        pairs = exchanges.lazy().select("previous", "current")
        whole = known.join(pairs, left_on="meter_id", right_on="previous")
        both = whole.group_by("meter_id", "current").agg(pl.col("import_kwh").sum()).collect()
        sums = energies.group_by("meter_id").agg(pl.col("import_kwh").sum())
        registered: dict[str, float] = dict(sums.iter_rows())
        right = sum(
            abs(registered.get(old, 0.0) + registered.get(new, 0.0) - kwh) < _EXCHANGE_KWH
            for old, new, kwh in both.select("meter_id", "current", "import_kwh").iter_rows()
        )
        yield Finding("meters exchanged", f"{exchanges.height}", f"{right} bridged to {_EXCHANGE_KWH:g} kWh", "")


def _clocks(truth: Truth, energies: pl.DataFrame) -> Iterator[Finding]:
    """Clocks that are off, or drift: by how much at the end?"""
    wrong = truth.events.filter(pl.col("kind").str.starts_with("CLOCK"))
    if wrong.is_empty():
        return
    off = energies.drop_nulls("clock_offset_seconds").sort("window_start").group_by("meter_id")
    last = off.agg(pl.col("clock_offset_seconds", "window_start").last())
    lasted = (pl.col("window_start") - pl.col("start")).dt.total_seconds()
    drifted = pl.when(pl.col("kind") == "CLOCK_DRIFT").then(pl.col("amount") * 1e-6 * lasted)
    there = wrong.join(last, left_on="element_id", right_on="meter_id")
    error = (pl.col("clock_offset_seconds") - drifted.otherwise(pl.col("amount"))).abs()
    right = there.filter(error <= _CLOCK_SECONDS).height
    innocent = last.filter(~pl.col("meter_id").is_in(wrong["element_id"].implode())).height
    note = f"{innocent} right ones taken for wrong"
    yield Finding("wrong clocks", f"{wrong.height}", f"{right} found to {_CLOCK_SECONDS} s", note)


def _ieds(results: Results, truth: Truth) -> Iterator[Finding]:
    """What was injected into the devices, and how soon it was raised."""
    if results.anomalies is None:
        return
    events = matched(truth.events, results.anomalies)
    for (kind,), rows in sorted(events.group_by("kind"), key=lambda one: str(one[0])):
        raised = rows.drop_nulls("raised")
        after = (raised["raised"] - raised["start"]).dt.total_milliseconds().max()
        note = "" if after is None else f"at most {float(str(after)) / 1000:.1f} s after it began"
        what = f"IED {str(kind).removeprefix('IED_').lower().replace('_', ' ')}"
        yield Finding(what, f"{rows.height}", f"{raised.height} raised", note)
    others = unexplained(truth.events, results.anomalies).height
    if events.height:
        yield Finding("IED anomalies", "", f"{results.anomalies.height}", f"{others} of nothing injected")


def _topology(results: Results, truth: Truth) -> Iterator[Finding]:
    """What was changed in the grid, and how soon that was known."""
    if results.changes is None:
        return
    events = matched_changes(truth.events, results.changes)
    for kind, what in _TOPOLOGY.items():
        rows = events.filter(pl.col("kind") == kind)
        if not rows.height:
            continue
        found = rows.drop_nulls("found")
        note = ""
        if found.height and not kind.startswith("WRONG"):
            hours = ((found["found"] - found["start"]).dt.total_milliseconds() / 3.6e6).to_numpy()
            off = ((found["at"] - found["start"]).dt.total_milliseconds() / 6e4).to_numpy()
            at_once = hours.max() < _AT_ONCE_HOURS
            note = "at once" if at_once else f"after {np.median(hours):.1f} h, dated to {np.abs(off).max():.0f} min"
        yield Finding(what, f"{rows.height}", f"{found.height} found", note)
    others = unexplained_changes(truth.events, results.changes)
    if others.height:
        yield Finding("changes of meters", "", f"{others.height}", "of nothing injected")


def _unwatched(truth: Truth) -> Iterator[Finding]:
    for prefix, what in _UNWATCHED.items():
        count = truth.events.filter(pl.col("kind").str.starts_with(prefix)).height
        if count:
            yield Finding(what, f"{count}", "", _NO_FLOW)


def _energies(folder: Path) -> pl.DataFrame:
    """The aligned energies, of each identity the row of the highest revision."""
    files = dataset_files(folder, METER_ENERGY)
    rows = pl.read_parquet(files, hive_partitioning=False) if files else METER_ENERGY.empty()
    return highest_revision(rows, METER_ENERGY.identity)
