"""Anomalies of IEDs on the report's timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from flows.ied_supervision.rule import all_rules
from ops.report.figures_ieds import timeline
from ops.report.ieds import FAMILIES, family_of
from schemas import contract

_START = datetime(2026, 1, 5, tzinfo=UTC)


def test_every_rule_is_of_one_family() -> None:
    kinds = [kind for several in FAMILIES.values() for kind in several]
    assert sorted(kinds) == sorted(all_rules())
    assert family_of("IED_TIME_LOSS") == "time"


def test_kinds_are_told_apart_and_lie_above_what_was_injected() -> None:
    shown = {"SILENCE": "ALARM", "CLOCK_OFFSET": "WARNING", "RETRANSMISSION": "INFO"}
    blank = dict.fromkeys(contract("grid.ied-anomaly.v1").polars)
    anomalies = pl.DataFrame(
        [
            blank
            | {
                "ied_id": "S1-A",
                "kind": kind,
                "severity": severity,
                "start_time": _START,
                "detected_time": _START,
                "updated_time": _START + timedelta(minutes=1),
                "message": kind,
                "message_count": 1,
            }
            for kind, severity in shown.items()
        ],
        schema=contract("grid.ied-anomaly.v1").polars,
    )
    injected = pl.DataFrame({"element_id": ["S1-A"], "kind": ["IED_SILENCE"], "start": [_START], "end": [_START]})
    below, silence, publisher, time = timeline(anomalies, injected).data
    assert [trace.name for trace in (below, silence, publisher, time)] == ["silence", "silence", "publisher", "time"]
    assert len({trace.line.color for trace in (silence, publisher, time)}) == 3
    assert below.line.color == silence.line.color
    assert below.opacity < 1
    assert below.y[0] < silence.y[0]
    assert silence.marker.size[0] > time.marker.size[0] > publisher.marker.size[0]
    assert "ALARM: silence" in silence.text[0]
