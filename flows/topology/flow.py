"""Topology: the wiring, from top to bottom.

    readings, network ──> low voltage ─────> changes, versions of the network
    units, network ─────> medium voltage ──> changes
                            └──> late messages, dead letters, counts

The calculations are in ``shard`` (who hangs where) and ``switching`` (which switch is where); neither knows Bytewax.
Where line losses are worked out of the same files, their readings pass through here, so that what is accepted is in the
network before the readings that come after it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
import polars as pl
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import Source
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import Sink

from connectors.batch import LETTER_SCHEMA, Batch
from flows.streaming.event_time import MINIMUM, SECOND, to_micros
from flows.streaming.steps import Frames, batch_counts, frames, output
from flows.topology import switching
from flows.topology.shard import METER_TOPIC, NETWORK_TOPIC, Outcome, TopologyRules, TopologyShard
from flows.topology.switching import FTU_TOPIC, SwitchingRules, SwitchingShard
from sinks.journal import Journal

NAME = "topology"
_LOOK_AHEAD_SHARE = 5  # looking ahead takes at most so great a part of the time
_CHUNK = 6 * 3600 * SECOND  # of event time that passes through at once
_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)


@dataclass(frozen=True)
class Sinks:
    """Where results go; any number of sinks each."""

    topology_change: dict[str, Frames] = field(default_factory=dict)
    network: dict[str, Frames] = field(default_factory=dict)
    dead: dict[str, Frames] = field(default_factory=dict)
    late: dict[str, Frames] = field(default_factory=dict)
    counts: Sink[Any] | None = None


@dataclass(frozen=True)
class FlowRules:
    """All rules of the flow.

    Attributes:
        topology: of who hangs where.
        switching: of which switch is where.
        flush_at_end: when the input ends, make the steps that are not settled yet: in a replay, never on a stream that
            only pauses.
        keep_state: whether snapshots are of any use: not where no recovery store is.
        pace: how often what is not settled yet is looked at; None: never.
        journals: folder where what is said ahead is kept, so that it can be taken back after a kill; None: nowhere.
    """

    topology: TopologyRules
    switching: SwitchingRules
    flush_at_end: bool = False
    keep_state: bool = True
    pace: timedelta | None = None
    journals: Path | None = None


@dataclass(frozen=True, slots=True)
class Own:
    """One of the two calculations.

    Attributes:
        key: of its state.
        topic: that it reads beside the network.
        shard: its class.
        rules: its rules.
    """

    key: str
    topic: str
    shard: type[Any]
    rules: Any


Said = Outcome | switching.Outcome | Batch


def topology_flow(
    meters: Source[Batch] | None,
    units: Source[Batch] | None,
    network: Source[Batch],
    sinks: Sinks,
    rules: FlowRules,
    flow: Dataflow | None = None,
    *,
    shared: bool = False,
) -> Dataflow:
    """The dataflow.

    Args:
        meters: readings of ``grid.meter.v1``; None: there are none.
        units: values of ``grid.ftu.v1``; None: there are none.
        network: versions of ``grid.network.v1``.
        sinks: where results go.
        rules: how results are made.
        flow: a dataflow that this one is to be part of; None: one of its own.
        shared: another flow of the process reads the meters and the network, too, and tells what of it is refused.
    """
    flow = flow or Dataflow(NAME)
    versions = op.input("topology_network", flow, network)
    readings = None if meters is None else op.input("topology_meters", flow, meters)
    values = None if units is None else op.input("topology_units", flow, units)
    follow(readings, values, versions, sinks, rules, shared=shared)
    told = [one for one in (None if shared else readings, values) if one is not None]
    if told:
        read = op.merge("topology_read", *told)
        dead = read if shared else op.merge("topology_all_read", read, versions)
        output("topology_dead_letters", op.flat_map("topology_refused", dead, frames("dead")), sinks.dead)
        output("topology_late", op.flat_map("topology_too_late", read, frames("late")), sinks.late)
    return flow


def follow(
    readings: Stream[Batch] | None,
    units: Stream[Batch] | None,
    versions: Stream[Batch],
    sinks: Sinks,
    rules: FlowRules,
    *,
    passing: bool = False,
    shared: bool = False,
) -> tuple[Stream[Batch], Stream[Batch]] | None:
    """Follow the topology in a dataflow.

    Args:
        readings: batches of ``grid.meter.v1``.
        units: batches of ``grid.ftu.v1``.
        versions: batches of ``grid.network.v1``.
        sinks: where results go.
        rules: how results are made.
        passing: let readings and versions pass through, each after what was accepted before it.
        shared: as of ``topology_flow``.

    Returns:
        Where they pass, the readings, and the versions together with those of accepted changes.
    """
    said: list[KeyedStream[Said]] = []
    counts = []
    if readings is not None:
        own = Own("meters", METER_TOPIC, TopologyShard, rules.topology)
        said.append(_followed(readings, versions, own, rules, passing=passing))
        counts.append(op.map("topology_count_meters", readings, batch_counts(NAME)))
    if units is not None:
        own = Own("switches", FTU_TOPIC, SwitchingShard, rules.switching)
        said.append(_followed(units, versions, own, rules))
        counts.append(op.map("topology_count_units", units, batch_counts(NAME)))
    every = op.merge("topology_said", *said)
    outcomes = op.filter("topology_outcomes", every, lambda item: not isinstance(item[1], Batch))
    output("topology_change", op.flat_map("topology_changes", outcomes, frames("changes")), sinks.topology_change)
    accepted = op.filter("topology_of_meters", outcomes, lambda item: isinstance(item[1], Outcome))
    output("topology_versions", op.flat_map("topology_accepted", accepted, frames("versions")), sinks.network)
    late = op.filter("topology_late_to_tell", outcomes, lambda item: not (shared and isinstance(item[1], Outcome)))
    output("topology_late_here", op.flat_map("topology_too_late_here", late, frames("late")), sinks.late)
    if sinks.counts is not None:
        every_count = op.merge("topology_all_counts", *counts, op.map("topology_count", outcomes, _count_outcome))
        op.output("topology_counts", every_count, sinks.counts)
    if not passing:
        return None
    passed = op.filter_map("topology_passed", every, lambda item: item[1] if isinstance(item[1], Batch) else None)
    return (
        op.filter("topology_readings", passed, lambda batch: batch.topic == METER_TOPIC),
        op.filter("topology_network_versions", passed, lambda batch: batch.topic == NETWORK_TOPIC),
    )


def _followed(
    messages: Stream[Batch], versions: Stream[Batch], own: Own, rules: FlowRules, *, passing: bool = False
) -> KeyedStream[Said]:
    both = op.merge(f"topology_{own.key}_input", messages, versions)
    keyed = op.map(f"topology_{own.key}_keyed", both, lambda batch: (own.key, batch))
    return op.stateful_batch(
        f"topology_{own.key}_state", keyed, lambda state: _Logic(rules, own, state, passing=passing)
    )


def _count_outcome(item: tuple[str, Said]) -> tuple[str, dict[str, Any]]:
    key, outcome = item
    assert not isinstance(outcome, Batch)
    watermark = None if outcome.watermark == MINIMUM else outcome.watermark
    topic = METER_TOPIC if isinstance(outcome, Outcome) else FTU_TOPIC
    return key, {"flow": NAME, "topic": topic, "outcomes": outcome.counts, "watermark": watermark}


class _Logic(StatefulBatchLogic[Batch, "Said", Any]):
    """The topology of meters, or of switches. The clock decides when it is looked ahead, never what is said in the end.

    Args:
        rules: of the flow.
        own: class and rules of the shard, and the topic that it reads beside the network.
        state: what was kept.
        passing: let readings and versions pass through.
    """

    def __init__(self, rules: FlowRules, own: Own, state: Any, *, passing: bool = False) -> None:
        self._rules, self._topic = rules, own.topic
        self._passing = passing
        self._read: set[int] = set()
        self._ready = False
        self._held: list[Batch] = []  # readings that came before the network was read
        page = 0
        if state is None:
            self._shard = own.shard(own.rules)
        else:
            page, self._ready, self._read, self._held, data = state
            self._shard = own.shard.load(own.rules, data)
        self._due = datetime.min.replace(tzinfo=UTC)
        self._waiting = state is not None
        self._journal = None if rules.journals is None else Journal(rules.journals, f"{NAME}-{own.key}", page)
        if self._journal is not None:
            self._shard.remember(self._journal.rows)

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[Said], bool]:
        network = [batch for batch in values if batch.topic == NETWORK_TOPIC]
        for batch in network:
            if batch.caught_up or batch.finished:
                self._read.add(batch.partition)
                self._ready |= len(self._read) >= batch.partitions
        self._held += [batch for batch in values if batch.topic == self._topic]
        said: list[Said] = [*network] if self._passing else []
        if network:
            said.append(self._shard.take([], network))
        if self._ready:
            said += self._taken()
        self._waiting = True
        if self._rules.pace is None or datetime.now(UTC) < self._due:
            return said, StatefulBatchLogic.RETAIN
        ahead, _ = self.on_notify()
        return [*said, *ahead], StatefulBatchLogic.RETAIN

    def _taken(self) -> Iterator[Said]:
        held, self._held = self._held, []
        if not self._passing:
            if held:
                yield self._shard.take(held)
            return
        for batch in held:
            for chunk in in_chunks(batch):
                outcome = self._shard.take([chunk])
                yield outcome
                yield from _as_batch(outcome)
                yield chunk

    def on_notify(self) -> tuple[Iterable[Said], bool]:
        assert self._rules.pace is not None
        self._waiting = False
        began = time.monotonic()
        outcome = self._shard.look_ahead()
        if self._journal is not None:
            self._journal.write(outcome.ahead)
        took = timedelta(seconds=time.monotonic() - began)
        self._due = datetime.now(UTC) + max(self._rules.pace, _LOOK_AHEAD_SHARE * took)
        return [outcome], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return self._due if self._waiting and self._rules.pace is not None else None

    def on_eof(self) -> tuple[Iterable[Said], bool]:
        if not self._rules.flush_at_end:
            return [], StatefulBatchLogic.RETAIN
        taken = list(self._taken())
        outcome = self._shard.flush()
        accepted = _as_batch(outcome) if self._passing else ()
        return [*taken, outcome, *accepted], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        if not self._rules.keep_state:
            return None
        page = 0 if self._journal is None else self._journal.turn()
        return page, self._ready, set(self._read), list(self._held), self._shard.dump()


def _as_batch(outcome: Outcome | switching.Outcome) -> Iterator[Batch]:
    """Versions that were accepted, as if they had been read."""
    frame = outcome.versions if isinstance(outcome, Outcome) else _NO_LETTERS
    if frame.height:
        rows = frame.with_columns(_offset=pl.lit(-1, pl.Int64))
        yield Batch(NETWORK_TOPIC, 0, 1, -1, -1, rows, _NO_LETTERS, _NO_LETTERS, 0, None)


def in_chunks(batch: Batch) -> list[Batch]:
    """A batch in pieces, each of which event time goes on by a few hours at most.

    A file holds weeks; a change must be known before the readings of long after it.
    """
    frame = batch.frame
    if not frame.height or batch.frontier is None:
        return [batch]
    reached = np.maximum.accumulate(to_micros(frame.get_column("time")))
    cut = np.flatnonzero(np.diff(reached // _CHUNK)) + 1
    bounds = [0, *cut.tolist(), frame.height]
    if len(bounds) == 2:
        return [batch]
    bare = replace(batch, dead=_NO_LETTERS, late=_NO_LETTERS, idle=False, finished=False, caught_up=False)
    pieces = [
        replace(bare, frame=frame.slice(low, high - low), frontier=int(reached[high - 1]), taken=high - low)
        for low, high in pairwise(bounds)
    ]
    pieces[-1] = replace(
        pieces[-1],
        frontier=batch.frontier,
        dead=batch.dead,
        late=batch.late,
        idle=batch.idle,
        finished=batch.finished,
        caught_up=batch.caught_up,
    )
    return pieces
