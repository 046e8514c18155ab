"""Findings as rows of TopologyChange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from flows.topology.changes import MISMATCH, WITHDRAWN, Finding
from schemas import contract

Row = dict[str, Any]
"""Columns of TopologyChange, times in µs, evidence as key and value."""

_TIMES = ("effective_time", "detected_time")


def row_of(finding: Finding, interval: int, revision: int) -> Row:
    """The row of a finding about a usage point.

    Args:
        finding: what was found.
        interval: µs of a slot.
        revision: of the row.
    """
    aspect = "transformer" if finding.transformer in (finding.previous, finding.current) else "phase"
    evidence = {"log_odds": f"{finding.score:.1f}"}
    if finding.kind == MISMATCH:
        evidence["aspect"] = aspect
    else:
        evidence["effective_within_minutes"] = f"{finding.within * interval / 6e7:.0f}"
    if finding.phase >= 0:
        evidence["phase"] = "ABC"[finding.phase]
    if finding.together:
        evidence["moved_together"] = str(finding.together)
    return {
        "element_id": finding.point,
        "change_id": finding.change_id,
        "kind": finding.kind,
        "previous": finding.previous or None,
        "current": finding.current or None,
        "state": finding.state,
        "effective_time": finding.effective * interval,
        "detected_time": finding.detected * interval,
        "confidence": finding.confidence,
        "revision": revision,
        "evidence": [{"key": key, "value": value} for key, value in evidence.items()],
    }


def withdrawn(row: Row, revision: int) -> Row:
    """The row that takes back one that was said ahead."""
    evidence = [*row["evidence"], {"key": "withdrawn", "value": "readings that came later explain it"}]
    return {**row, "state": WITHDRAWN, "revision": revision, "evidence": evidence}


def is_taken_back(row: Row) -> bool:
    """Whether a row takes back one that was said ahead."""
    return any(one["key"] == "withdrawn" for one in row["evidence"])


def same(row: Row, old: Row) -> bool:
    """Whether two rows differ by nothing but their revisions."""
    return {**row, "revision": 0} == {**old, "revision": 0}


def above(row: Row, old: Row | None) -> Row:
    """A row with a revision higher than that of an earlier one, settled ones odd as before."""
    if old is None or row["revision"] > old["revision"]:
        return row
    revision = old["revision"] + 1
    return {**row, "revision": revision + (revision + row["revision"]) % 2}


def in_place_of(said: Mapping[str, Row], stands: Mapping[str, Row], revision: int = 0) -> list[Row]:
    """What is to be said where what was said ahead is not found any more.

    Args:
        said: the last row of each change that was said ahead.
        stands: what is settled of them; those that are not in it were none.
        revision: of the rows, at least.
    """
    rows = []
    for key, old in said.items():
        if key in stands:
            rows += [] if same(stands[key], old) else [above(stands[key], old)]
        elif not is_taken_back(old):
            rows.append(withdrawn(old, max(revision, old["revision"] + 1)))
    return rows


def change_frame(rows: list[Row]) -> pl.DataFrame:
    """Rows as a frame."""
    schema = contract("grid.topology-change.v1").polars
    plain = {name: pl.Int64 if name in _TIMES else kind for name, kind in schema.items()}
    return pl.DataFrame(rows, schema=plain, infer_schema_length=None).cast(schema)
