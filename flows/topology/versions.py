"""Accepted changes as versions of the network: what the record should say."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from flows.streaming.network import NetworkTable, Version
from flows.topology.changes import ACCEPTED, MISMATCH, WITHDRAWN, Finding
from flows.topology.identification import PHASES
from schemas import contract

ORIGIN = "gridflow.topology"
"""By which versions are known that come from here."""

_NETWORK = "grid.network.v1"


def versions_of(network: NetworkTable, findings: Iterable[Finding], interval: int) -> list[pl.DataFrame]:
    """The versions of usage points that settled findings make, each a frame of one row, in their order.

    Args:
        network: the record.
        findings: of a step.
        interval: µs of a slot.
    """
    frames = []
    for finding in findings:
        taken_back = finding.state == WITHDRAWN and finding.accepted
        if finding.state != ACCEPTED and not taken_back:
            continue
        begin = finding.effective * interval
        recorded = network.as_of(finding.point, begin) or network.as_of(finding.point, finding.detected * interval)
        if recorded is None:
            continue
        if finding.kind == MISMATCH:
            begin = max(begin, recorded.valid_from)
        place = finding.believed if taken_back else (finding.transformer, finding.phase)
        frames.append(_frame(finding.point, begin, _at(recorded, *place)))
    return frames


def _at(recorded: Version, transformer: str, phase: int) -> Version:
    phases = recorded.phases
    if phase >= 0:
        phases = PHASES[phase] + ("N" if phases and "N" in phases else "")
    return recorded._replace(container=transformer, phases=phases)


def _frame(point: str, begin: int, version: Version) -> pl.DataFrame:
    known = {
        "element_id": point,
        "kind": version.kind,
        "container_id": version.container,
        "terminal_1": version.terminal_1,
        "terminal_2": version.terminal_2,
        "phases": version.phases,
        "rated_kva": version.rated_kva,
        "measuring_device_id": version.device,
        "measuring_terminal": version.measuring_terminal,
        "longitude_deg": version.longitude_deg,
        "latitude_deg": version.latitude_deg,
        "origin": ORIGIN,
        "valid_from": begin,
    }
    schema = contract(_NETWORK).polars
    plain = {name: pl.Int64 if name.startswith("valid_") else kind for name, kind in schema.items()}
    return pl.DataFrame([{name: known.get(name) for name in schema}], schema=plain).cast(schema)
