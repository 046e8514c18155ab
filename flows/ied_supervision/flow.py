"""Supervision of IEDs: the wiring, from top to bottom.

    messages ──> shards of substations ──> anomalies
                     └──> late messages, dead letters, counts

The calculations are in ``shard``; it does not know Bytewax.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import Sink

from connectors.batch import Batch
from flows.ied_supervision.shard import DEVICE, MESSAGE, Outcome, SupervisionRules, SupervisionShard
from flows.streaming.event_time import MINIMUM
from flows.streaming.shards import ShardRouter
from flows.streaming.steps import Frames, batch_counts, frames, output
from sinks.journal import Journal

NAME = "ied-supervision"
IED_TOPIC = "grid.ied.v1"

_LOOK_AHEAD_SHARE = 5  # looking ahead takes at most so great a part of the time


@dataclass(frozen=True)
class Sinks:
    """Where results go; any number of sinks each."""

    ied_anomaly: dict[str, Frames] = field(default_factory=dict)
    dead: dict[str, Frames] = field(default_factory=dict)
    late: dict[str, Frames] = field(default_factory=dict)
    counts: Sink[Any] | None = None


@dataclass(frozen=True)
class FlowRules:
    """All rules of the flow.

    Attributes:
        supervision: of the shards.
        shards: units of state.
        flush_at_end: when the input ends, look at what is not settled yet: in a replay, never on a stream that only
            pauses.
        keep_state: whether snapshots are of any use: not where no recovery store is.
        pace: how often what is not settled yet is looked at; None: never.
        journals: folder where what is said ahead is kept, so that it can be taken back after a kill; None: nowhere.
    """

    supervision: SupervisionRules
    shards: int
    flush_at_end: bool = False
    keep_state: bool = True
    pace: timedelta | None = None
    journals: Path | None = None


def ied_supervision_flow(
    messages: Source[Batch], sinks: Sinks, rules: FlowRules, flow: Dataflow | None = None
) -> Dataflow:
    """The dataflow.

    Args:
        messages: of ``grid.ied.v1``.
        sinks: where results go.
        rules: how results are made.
        flow: a dataflow that this one is to be part of; None: one of its own.
    """
    flow = flow or Dataflow("ied_supervision")
    batches = op.input("ieds", flow, messages)
    router = ShardRouter(DEVICE, MESSAGE, rules.shards, rules.supervision.station_of())
    pieces = op.flat_map("ied_to_shards", batches, router.pieces)
    to_shards = op.map("ied_keyed", pieces, _with_key)
    outcomes = op.stateful_batch("supervise", to_shards, lambda state: _ShardLogic(rules, state))
    anomalies = op.flat_map("ied_anomalies", outcomes, frames("anomalies"))
    refused = op.flat_map("ied_refused", batches, frames("dead"))
    late = op.merge(
        "ied_all_late",
        op.flat_map("ied_too_late", batches, frames("late")),
        op.flat_map("ied_too_late_in_shard", outcomes, frames("late")),
    )
    output("ied_anomaly", anomalies, sinks.ied_anomaly)
    output("ied_dead_letters", refused, sinks.dead)
    output("late_messages", late, sinks.late)
    if sinks.counts is not None:
        counts = op.merge(
            "ied_all_counts",
            op.map("ied_count_batches", batches, batch_counts(NAME)),
            op.map("ied_count_outcomes", outcomes, _count_outcome),
        )
        op.output("ied_counts", counts, sinks.counts)
    return flow


def _with_key(item: tuple[str, Batch]) -> tuple[str, tuple[str, Batch]]:
    return item[0], item  # Bytewax does not tell the logic of a key which one it is


def _count_outcome(item: tuple[str, Outcome]) -> tuple[str, dict[str, Any]]:
    key, outcome = item
    watermark = None if outcome.watermark == MINIMUM else outcome.watermark
    return key, {"flow": NAME, "topic": IED_TOPIC, "outcomes": outcome.counts, "watermark": watermark}


class _ShardLogic(StatefulBatchLogic[tuple[str, Batch], Outcome, Any]):
    """One shard. The clock decides when it is looked ahead, never what is said in the end."""

    def __init__(self, rules: FlowRules, state: Any) -> None:
        self._rules = rules
        self._journal: Journal | None = None
        self._again: list[Outcome] = []  # what was said before a kill, and may have reached one sink and not another
        self._due = datetime.min.replace(tzinfo=UTC)
        self._waiting = state is not None
        if state is None:
            self._shard = SupervisionShard(rules.supervision)
        else:
            key, page, data = state
            self._shard = SupervisionShard.load(rules.supervision, data)
            self._open_journal(key, page)
        self._key: str | None = None if state is None else key

    def on_batch(self, values: list[tuple[str, Batch]]) -> tuple[Iterable[Outcome], bool]:
        if self._key is None:
            self._key = values[0][0]
            self._open_journal(self._key, 0)
        again, self._again = self._again, []
        outcome = self._shard.take(batch for _, batch in values)
        self._waiting = True
        if self._rules.pace is None or datetime.now(UTC) < self._due:
            return [*again, outcome], StatefulBatchLogic.RETAIN
        ahead, _ = self.on_notify()
        return [*again, outcome, *ahead], StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[Outcome], bool]:
        assert self._rules.pace is not None
        self._waiting = False
        again, self._again = self._again, []
        began = time.monotonic()
        outcome = self._shard.look_ahead()
        if self._journal is not None:
            self._journal.write(outcome.ahead)
        took = timedelta(seconds=time.monotonic() - began)
        self._due = datetime.now(UTC) + max(self._rules.pace, _LOOK_AHEAD_SHARE * took)
        return [*again, outcome], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return self._due if self._waiting and self._rules.pace is not None else None

    def on_eof(self) -> tuple[Iterable[Outcome], bool]:
        if not self._rules.flush_at_end:
            return [], StatefulBatchLogic.RETAIN
        return [self._shard.flush()], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        if not self._rules.keep_state:
            return None
        return self._key, 0 if self._journal is None else self._journal.turn(), self._shard.dump()

    def _open_journal(self, key: str, page: int) -> None:
        if self._rules.journals is not None:
            self._journal = Journal(self._rules.journals, f"{NAME}-{key}", page)
            self._again.append(self._shard.remember(self._journal.rows))
