"""Line losses: the wiring, from top to bottom.

    readings ──> shards of meters ──> balance of all elements ──> line losses
                     │    ▲               ▲
                     │    └─── network ───┘
                     └──> aligned energies, late readings, dead letters, counts

The calculations are in ``contributions`` (one shard of meters) and ``balance`` (all elements); neither knows Bytewax.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import Source
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import Sink

from connectors.batch import Batch
from flows.line_loss.balance import BalanceRules, BalanceState
from flows.line_loss.contributions import READING, MeterShard, Outcome
from flows.line_loss.rules import LossRules
from flows.streaming.event_time import MINIMUM
from flows.streaming.shards import ShardRouter, shard_key
from flows.streaming.steps import Frames, batch_counts, frames, output

log = logging.getLogger(__name__)

NAME = "line-loss"
METER_TOPIC = "grid.meter.v1"
METER_ID = "meter_id"
NETWORK_TOPIC = "grid.network.v1"
_BALANCE = "balance"

LOSSES, ENERGIES = "losses", "energies"

Result = tuple[str, pl.DataFrame]


class Through(Protocol):
    """A part of the dataflow that sees readings and the network first, and may add versions to it.

    Attributes:
        columns: of a reading that it uses, beside the meter's id.
    """

    columns: tuple[str, ...]

    def __call__(self, readings: Stream[Batch], versions: Stream[Batch]) -> tuple[Stream[Batch], Stream[Batch]]:
        """What is to be used in their place."""


@dataclass(frozen=True)
class Sinks:
    """Where results go; any number of sinks each."""

    line_loss: dict[str, Frames] = field(default_factory=dict)
    meter_energy: dict[str, Frames] = field(default_factory=dict)
    dead: dict[str, Frames] = field(default_factory=dict)
    late: dict[str, Frames] = field(default_factory=dict)
    counts: Sink[Any] | None = None


@dataclass(frozen=True)
class FlowRules:
    """All rules of the flow.

    Attributes:
        loss: of the shards.
        balance: of the balance.
        flush_at_end: when the input ends, work out what the watermark has not reached yet: in a replay, never on a
            stream that only pauses.
        keep_state: whether snapshots are of any use: not where no recovery store is.
        pace: losses are stated at most this often, so that a burst of readings restates a window once; zero: always.
    """

    loss: LossRules
    balance: BalanceRules
    flush_at_end: bool = False
    keep_state: bool = True
    pace: timedelta = timedelta(0)


def line_loss_flow(
    meters: Source[Batch],
    network: Source[Batch] | None,
    sinks: Sinks,
    rules: FlowRules,
    flow: Dataflow | None = None,
    through: Through | None = None,
) -> Dataflow:
    """The dataflow.

    Args:
        meters: readings of ``grid.meter.v1``.
        network: versions of ``grid.network.v1``; None when there is no network at all.
        sinks: where results go.
        rules: how results are made.
        flow: a dataflow that this one is to be part of; None: one of its own.
        through: what readings and versions of the network pass before they are used.
    """
    flow = flow or Dataflow("line_loss")
    shards = rules.balance.shards
    readings = op.input("meters", flow, meters)
    to_balance = None
    letters = [op.flat_map("refused", readings, frames("dead"))]
    late = [op.flat_map("too_late", readings, frames("late"))]
    counts = [op.map("count_batches", readings, batch_counts(NAME))]
    used = readings
    if network is not None:
        versions = op.input("network", flow, network)
        letters.append(op.flat_map("network_refused", versions, frames("dead")))
        if through is not None:
            used, versions = through(readings, versions)
    to_shards = op.flat_map("to_shards", used, ShardRouter(METER_ID, READING, shards).pieces)
    if network is not None:
        copies = op.flat_map("network_to_shards", versions, _copies(shards))
        to_shards = op.merge("with_network", to_shards, copies)
        to_balance = op.map("network_to_balance", versions, lambda batch: (_BALANCE, batch))

    outcomes = op.stateful_batch("align", to_shards, lambda state: _ShardLogic(rules, network is None, state))
    letters.append(op.flat_map("refused_in_shard", outcomes, frames("dead")))
    late.append(op.flat_map("too_late_in_shard", outcomes, frames("late")))
    counts.append(op.map("count_outcomes", outcomes, _count_outcome))
    energies = op.flat_map("energies", outcomes, _energies)
    sums = op.map("sums", outcomes, lambda item: (_BALANCE, replace(item[1], shard=item[0], energies=[])))
    parts: KeyedStream[Any] = sums if to_balance is None else op.merge("sums_and_network", sums, to_balance)
    results = op.stateful_batch(_BALANCE, parts, lambda state: _BalanceLogic(rules, state))
    losses = op.filter_map_value("losses", results, lambda result: result[1] if result[0] == LOSSES else None)
    corrected = op.filter_map_value("clocks", results, lambda result: result[1] if result[0] == ENERGIES else None)

    output("line_loss", losses, sinks.line_loss)
    output("meter_energy", op.merge("all_energies", energies, corrected), sinks.meter_energy)
    output("dead_letters", op.merge("all_refused", *letters), sinks.dead)
    output("late_readings", op.merge("all_late", *late), sinks.late)
    if sinks.counts is not None:
        op.output("counts", op.merge("all_counts", *counts), sinks.counts)
    return flow


def _copies(shards: int) -> Callable[[Batch], list[tuple[str, Batch]]]:
    return lambda batch: [(shard_key(number), batch) for number in range(shards)]


def _energies(item: tuple[str, Outcome]) -> Iterable[tuple[str, pl.DataFrame]]:
    key, outcome = item
    return [(key, frame) for frame in outcome.energies]


def _count_outcome(item: tuple[str, Outcome]) -> tuple[str, dict[str, Any]]:
    key, outcome = item
    counted = {name: outcome.counts[name] for name in ("used", "duplicate", "late", "dead_letter")}
    watermark = None if outcome.watermark == MINIMUM else outcome.watermark
    return key, {"flow": NAME, "topic": METER_TOPIC, "outcomes": counted, "watermark": watermark}


class _ShardLogic(StatefulBatchLogic[Batch, Outcome, Any]):
    """One shard of meters. Readings wait until the network has been read to what was its end at the start."""

    def __init__(self, rules: FlowRules, without_network: bool, state: Any) -> None:
        self._rules = rules
        self._shard: MeterShard | None = None
        self._ready = without_network
        self._read: set[int] = set()
        self._waiting: list[Batch] = []
        if state is not None:
            key, self._ready, self._read, self._waiting, data = state
            self._shard = MeterShard.load(key, rules.loss, data)

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[Outcome], bool]:
        network = [batch for batch in values if batch.topic == NETWORK_TOPIC]
        meters = [batch for batch in values if batch.topic != NETWORK_TOPIC]
        shard = self._shard or MeterShard("", self._rules.loss)
        self._shard = shard
        for batch in network:
            if batch.caught_up or batch.finished:
                self._read.add(batch.partition)
                self._ready |= len(self._read) >= batch.partitions
        if not self._ready:
            self._waiting += meters
            return ([shard.take([], network)] if network else []), StatefulBatchLogic.RETAIN
        meters, self._waiting = self._waiting + meters, []
        return [shard.take(meters, network)], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[Outcome], bool]:
        if not self._rules.flush_at_end or self._shard is None:
            return [], StatefulBatchLogic.RETAIN
        waited = [self._shard.take(self._waiting, [])] if self._waiting else []
        self._waiting = []
        return [*waited, self._shard.flush()], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        if not self._rules.keep_state:
            return None
        assert self._shard is not None
        return self._shard.key, self._ready, set(self._read), list(self._waiting), self._shard.dump()


class _BalanceLogic(StatefulBatchLogic[Any, Result, Any]):
    """All balances. The clock decides when rows are stated, never what they say."""

    def __init__(self, rules: FlowRules, state: Any) -> None:
        self._flush = rules.flush_at_end
        self._keep = rules.keep_state
        self._pace = rules.pace
        self._due = datetime.min.replace(tzinfo=UTC)
        self._waiting = state is not None
        self._stated = False
        self._state = BalanceState(rules.balance) if state is None else BalanceState.load(rules.balance, state)

    def on_batch(self, values: list[Outcome | Batch]) -> tuple[Iterable[Result], bool]:
        outcomes = [value for value in values if isinstance(value, Outcome)]
        network = [value for value in values if isinstance(value, Batch)]
        self._state.take(outcomes, network)
        self._waiting = True
        if self._pace and datetime.now(UTC) < self._due:
            return [], StatefulBatchLogic.RETAIN
        return self.on_notify()

    def on_notify(self) -> tuple[Iterable[Result], bool]:
        self._waiting = False
        if self._pace:
            self._due = datetime.now(UTC) + self._pace
        return self._rows(self._state.rows()), StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return self._due if self._waiting else None

    def on_eof(self) -> tuple[Iterable[Result], bool]:
        rows = self._rows(self._state.flush() if self._flush else self._state.rows())
        if self._flush and not self._stated:
            self._say_why_nothing()
        return rows, StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return self._state.dump() if self._keep else None

    def _rows(self, frame: pl.DataFrame) -> list[Result]:
        self._stated |= frame.height > 0
        corrected = [(ENERGIES, energies) for energies in self._state.energies()]
        return [(LOSSES, frame), *corrected] if frame.height else corrected

    def _say_why_nothing(self) -> None:
        network = self._state.network
        heads = sorted(network.heads())
        if heads:
            log.warning("no line losses: no window has energies of the elements' measuring devices %s", _some(heads))
        elif len(network):
            log.warning("no line losses: measuring_device_id is set for no element but usage points: none is measured")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
