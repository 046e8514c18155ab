"""The topology flow on Kafka, or over files, as the settings say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import Source

from connectors.batch import Batch, Gate
from connectors.errors import InputError
from connectors.file_source import FileSource
from connectors.files import topic_paths
from flows.streaming.event_time import SECOND
from flows.streaming.shards import narrowed
from flows.streaming.steps import frames, output
from flows.topology.flow import FlowRules, Sinks, follow, topology_flow
from flows.topology.shard import DEVICE, METER_TOPIC, NETWORK_TOPIC, TIME, TopologyRules
from flows.topology.slots import READING
from flows.topology.switching import FTU_TOPIC, UNIT, VALUE, SwitchingRules
from flows.wiring import (
    file_source,
    frame_sinks,
    gate_factory,
    kafka_source,
    open_gate,
    parquet_sink,
    producer_config,
    set_up_collector,
    set_up_process,
)
from ops.settings import Settings, load_settings
from schemas import contract
from sinks.letters import DEAD_SUFFIX, LATE_SUFFIX, LetterSink
from sinks.metrics import MetricsSink

TOPOLOGY_CHANGE = "grid.topology-change.v1"
DEAD_LETTER = "grid.dead-letter.v1"
JOURNALS = "journals"
"""Folder, in the recovery store's, of what was said since the last snapshot."""


def rules_of(settings: Settings, *, replay: bool = False) -> FlowRules:
    """The flow's rules."""
    own, time = settings.topology, settings.event_time
    topology = TopologyRules(
        interval=settings.alignment.reading_interval_seconds * SECOND,
        delay=time.watermark_delay_seconds * SECOND,
        lateness=time.allowed_lateness_seconds * SECOND,
        accept=own.accept_confidence,
    )
    switching = SwitchingRules(
        delay=time.watermark_delay_seconds * SECOND,
        lateness=own.unit_lateness_seconds * SECOND,
        debounce=round(own.debounce_seconds * SECOND),
        switches={point: str(element) for point, element in own.switches.items()},
    )
    pace = None if replay else timedelta(seconds=own.look_ahead_seconds)
    store = None if replay else settings.runtime.recovery
    return FlowRules(topology, switching, replay, not replay, pace, None if store is None else store / JOURNALS)


def kafka_flow(settings: Settings | None = None, flow: Dataflow | None = None, *, shared: bool = False) -> Dataflow:
    """The flow on the Kafka cluster of the settings, by default those of the process's environment.

    Args:
        settings: the settings.
        flow: a dataflow that this one is to be part of.
        shared: the line losses are part of it, too, and tell what of the readings is refused.
    """
    settings = settings or load_settings()
    if flow is None:
        set_up_process(settings)
    rules = rules_of(settings)
    gate = gate_factory(DEVICE, TIME, rules.topology.delay, rules.topology.lateness)
    meters = kafka_source(settings, contract(METER_TOPIC), gate, narrow=narrowed(DEVICE, READING))
    units = kafka_source(settings, contract(FTU_TOPIC), _unit_gate(rules), narrow=narrowed(UNIT, VALUE))
    network: Source[Batch]
    if settings.network_file is not None:
        path = settings.network_file
        network = file_source(settings, path.parent, contract(NETWORK_TOPIC), open_gate, paths=[path])
    else:
        network = kafka_source(settings, contract(NETWORK_TOPIC), open_gate)
    config, prefix = producer_config(settings), settings.kafka.topic_prefix
    sinks = Sinks(
        topology_change=frame_sinks(settings, contract(TOPOLOGY_CHANGE), settings.output.topology_change),
        network=frame_sinks(settings, contract(NETWORK_TOPIC), ("kafka",)) if settings.topology.feedback else {},
        dead={"kafka": LetterSink(config, DEAD_SUFFIX, topic_prefix=prefix)},
        late={"kafka": LetterSink(config, LATE_SUFFIX, topic_prefix=prefix)},
        counts=MetricsSink(),
    )
    return topology_flow(meters, units, network, sinks, rules, flow, shared=shared)


def replay_flow(settings: Settings, folder: Path, flow: Dataflow | None = None) -> tuple[Dataflow, FileSource]:
    """The same flow over the files of a folder, into Parquet; and its source of readings.

    Raises:
        InputError: the folder does not hold what the flow reads.
    """
    set_up_collector()
    rules = rules_of(settings, replay=True)
    gate = gate_factory(DEVICE, TIME, rules.topology.delay, rules.topology.lateness)
    units = _units_of(settings, folder, rules)
    meters = None
    if units is None or topic_paths(folder, METER_TOPIC):
        meters = file_source(settings, folder, contract(METER_TOPIC), gate, narrow=narrowed(DEVICE, READING))
    if settings.network_file is not None:
        path = settings.network_file
        network = file_source(settings, path.parent, contract(NETWORK_TOPIC), open_gate, paths=[path])
    elif topic_paths(folder, NETWORK_TOPIC):
        network = file_source(settings, folder, contract(NETWORK_TOPIC), open_gate)
    else:
        raise InputError(
            f"{folder}: no {NETWORK_TOPIC}.parquet, .ndjson or folder of that name, nor is network_file set: "
            "without a record there is nothing to compare with"
        )
    sinks = Sinks(
        topology_change={"parquet": parquet_sink(settings, contract(TOPOLOGY_CHANGE))},
        dead={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="topology")},
        late={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="topology_late")},
        counts=MetricsSink(),
    )
    source = meters or units
    assert source is not None
    return topology_flow(meters, units, network, sinks, rules, flow), source


def _unit_gate(rules: FlowRules) -> Callable[[str, int], Gate]:
    return gate_factory(UNIT, TIME, rules.switching.delay, rules.switching.lateness)


def _units_of(settings: Settings, folder: Path, rules: FlowRules) -> FileSource | None:
    """The source of a folder's feeder terminal units, if it has any."""
    if not topic_paths(folder, FTU_TOPIC):
        return None
    return file_source(settings, folder, contract(FTU_TOPIC), _unit_gate(rules), narrow=narrowed(UNIT, VALUE))


class Follower:
    """The topology in the dataflow of the line losses, in a replay: what is accepted changes their network.

    Args:
        settings: the settings.
        folder: of the files.

    Attributes:
        columns: of a reading that it uses, beside the meter's id.
    """

    columns: tuple[str, ...] = READING

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._rules = rules_of(settings, replay=True)
        self._units = _units_of(settings, folder, self._rules)
        self._feedback = settings.topology.feedback
        self._sinks = Sinks(
            topology_change={"parquet": parquet_sink(settings, contract(TOPOLOGY_CHANGE))},
            late={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="topology_late")},
            dead={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="topology")},
            counts=MetricsSink(),
        )

    def __call__(self, readings: Stream[Batch], versions: Stream[Batch]) -> tuple[Stream[Batch], Stream[Batch]]:
        """The readings and the versions of the network, with those of the accepted changes among them."""
        units = None if self._units is None else op.input("topology_units", readings.flow(), self._units)
        if units is not None:
            dead, late = (op.flat_map(f"topology_{name}_here", units, frames(name)) for name in ("dead", "late"))
            output("topology_dead_letters", dead, self._sinks.dead)
            output("topology_late", late, self._sinks.late)
        passed = follow(readings, units, versions, self._sinks, self._rules, passing=self._feedback, shared=True)
        return passed or (readings, versions)
