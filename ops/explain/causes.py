"""What changed from one revision of a line loss to the next, in words."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import polars as pl

_NOTHING_KWH = 5e-7  # less than a µWh is no change


def causes(revisions: pl.DataFrame) -> list[str]:
    """One text per revision, ascending: what it brought.

    Args:
        revisions: rows of LineLoss of one identity, by revision.
    """
    rows = revisions.to_dicts()
    return ["first stated", *(_cause(before, after) for before, after in pairwise(rows))]


def percent(share: float) -> str:
    """A share in per cent; what is not whole does not look like it."""
    return f"{math.floor(round(share * 1e4, 6)) / 100:.2f}"


def _cause(before: dict[str, Any], after: dict[str, Any]) -> str:
    said = []
    more = after["reporting_meters"] - before["reporting_meters"]
    if more:
        said.append(f"{abs(more)} {'more' if more > 0 else 'fewer'} meter{'s' * (abs(more) != 1)} measured in full")
    if after["expected_meters"] != before["expected_meters"]:
        said.append(f"the network has {after['expected_meters']} meters for it, not {before['expected_meters']}")
    moved = [
        f"{name} {after[column] - before[column]:+.3f} kWh"
        for name, column in (("energy in", "energy_in_kwh"), ("energy out", "energy_out_kwh"))
        if abs(after[column] - before[column]) > _NOTHING_KWH
    ]
    if moved:
        said.append(", ".join(moved))
    if after["completeness"] != before["completeness"] and not more:
        said.append(f"measured {percent(before['completeness'])} → {percent(after['completeness'])} %")
    said += _learned(before, after)
    if after["status"] != before["status"]:
        closed = after["status"] == "INCOMPLETE"
        said.append("closed: the allowed lateness is over" if closed else f"now {after['status']}")
    return "; ".join(said) or "confirmed by readings that change nothing"


def _learned(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What studies of the area have changed."""
    said = []
    if after["technical_loss_kwh"] is not None:
        if before["technical_loss_kwh"] is None:
            said.append(f"studied: {after['technical_loss_kwh']:.3f} kWh are expected to be lost")
        elif abs(after["technical_loss_kwh"] - before["technical_loss_kwh"]) > _NOTHING_KWH:
            said.append(f"expected loss {before['technical_loss_kwh']:.3f} → {after['technical_loss_kwh']:.3f} kWh")
    elif before["technical_loss_kwh"] is not None:
        said.append("no longer studied: the record cannot be right")
    if abs(after["uncertainty_kwh"] - before["uncertainty_kwh"]) > _NOTHING_KWH:
        said.append(f"± {before['uncertainty_kwh']:.3f} → {after['uncertainty_kwh']:.3f} kWh")
    if after["alarm"] != before["alarm"]:
        said.append(f"alarm {before['alarm']} → {after['alarm']}")
    was, now = ({one["meter_id"] for one in row["suspects"]} for row in (before, after))
    if was != now:
        said.append("suspects: " + (", ".join(sorted(now)) or "none any more"))
    return said
