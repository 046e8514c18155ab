"""The supervision of IEDs on Kafka, or over files, as the settings say."""

from __future__ import annotations

from datetime import timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import polars as pl
from bytewax.dataflow import Dataflow

from connectors.batch import LETTER_SCHEMA, Batch
from connectors.file_source import FileSource
from flows.ied_supervision.flow import IED_TOPIC, FlowRules, Sinks, ied_supervision_flow
from flows.ied_supervision.policy import Expected, Override
from flows.ied_supervision.rule import UNTIL_GONE, all_rules
from flows.ied_supervision.rules.common_cause import RULE as COMMON_CAUSE
from flows.ied_supervision.shard import DEVICE, MESSAGE, TIME, SupervisionRules, SupervisionShard
from flows.ied_supervision.values import EntryMeaning
from flows.streaming.event_time import SECOND
from flows.streaming.shards import narrowed
from flows.wiring import (
    file_source,
    frame_sinks,
    gate_factory,
    kafka_source,
    parquet_sink,
    producer_config,
    set_up_collector,
    set_up_process,
)
from ops.settings import Settings, load_settings
from schemas import contract
from sinks.letters import DEAD_SUFFIX, LATE_SUFFIX, LetterSink
from sinks.metrics import MetricsSink

IED_ANOMALY = "grid.ied-anomaly.v1"
DEAD_LETTER = "grid.dead-letter.v1"
JOURNALS = "journals"
"""Folder, in the recovery store's, of what was said since the last snapshot."""


def rules_of(settings: Settings, *, replay: bool = False) -> FlowRules:
    """The flow's rules.

    Raises:
        SettingsError: a rule is tuned that there is not.
    """
    own = settings.ied_supervision
    for number, one in enumerate(own.rules):
        tuned = [rule for kind, rule in all_rules().items() if fnmatchcase(kind, one.kind)]
        key = f"ied_supervision.rules.{number}"
        if not tuned:
            near = get_close_matches(one.kind.upper(), all_rules(), 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise settings.error(f"{key}.kind", f"no rule {one.kind!r}{meant}; there are {', '.join(all_rules())}")
        if one.control_block != "*" and all(rule is COMMON_CAUSE for rule in tuned):
            raise settings.error(
                f"{key}.control_block",
                f"{COMMON_CAUSE.kind} is a substation's, tune it by ied (got {one.control_block!r})",
            )
        if one.limit is not None and not any(rule.unit for rule in tuned):
            raise settings.error(f"{key}.limit", f"{one.kind} has no limit (got {one.limit:g})")
        if one.limit is not None and one.limit <= 1 and any(rule.unit == "times" for rule in tuned):
            raise settings.error(f"{key}.limit", f"must be more than 1 time what is usual (got {one.limit:g})")
        if one.hold_seconds is not None and not any(rule.hold != UNTIL_GONE for rule in tuned):
            raise settings.error(f"{key}.hold_seconds", f"{one.kind} ends by itself (got {one.hold_seconds:g})")
    overrides = tuple(Override(**one.model_dump()) for one in own.rules)
    supervision = SupervisionRules(
        round(own.watermark_delay_seconds * SECOND),
        own.allowed_lateness_seconds * SECOND,
        own.station_pattern,
        overrides,
        tuple(EntryMeaning(**one.model_dump()) for one in own.entries),
        tuple(Expected(**one.model_dump()) for one in own.expected),
    )
    pace = None if replay else timedelta(seconds=own.look_ahead_seconds)
    store = None if replay else settings.runtime.recovery
    journals = None if store is None else store / JOURNALS
    return FlowRules(supervision, settings.runtime.shards, replay, not replay, pace, journals)


def kafka_flow(settings: Settings | None = None, flow: Dataflow | None = None) -> Dataflow:
    """The flow on the Kafka cluster of the settings, by default those of the process's environment.

    Args:
        settings: the settings.
        flow: a dataflow that this one is to be part of.
    """
    settings = settings or load_settings()
    if flow is None:
        set_up_process(settings)
    rules = rules_of(settings)
    warm_up(rules.supervision)
    future = settings.event_time.future_limit_seconds * SECOND
    messages = kafka_source(
        settings,
        contract(IED_TOPIC),
        gate_factory(DEVICE, TIME, rules.supervision.delay, rules.supervision.lateness, future),
        narrow=narrowed(DEVICE, MESSAGE),
        idle_after=settings.ied_supervision.idle_after_seconds,
    )
    config, prefix = producer_config(settings), settings.kafka.topic_prefix
    sinks = Sinks(
        ied_anomaly=frame_sinks(settings, contract(IED_ANOMALY), settings.output.ied_anomaly),
        dead={"kafka": LetterSink(config, DEAD_SUFFIX, topic_prefix=prefix)},
        late={"kafka": LetterSink(config, LATE_SUFFIX, topic_prefix=prefix)},
        counts=MetricsSink(),
    )
    return ied_supervision_flow(messages, sinks, rules, flow)


def replay_flow(settings: Settings, folder: Path, flow: Dataflow | None = None) -> tuple[Dataflow, FileSource]:
    """The same flow over the files of a folder, into Parquet; and its source of messages.

    Raises:
        InputError: the folder does not hold what the flow reads.
    """
    set_up_collector()
    rules = rules_of(settings, replay=True)
    future = settings.event_time.future_limit_seconds * SECOND
    messages = file_source(
        settings,
        folder,
        contract(IED_TOPIC),
        gate_factory(DEVICE, TIME, rules.supervision.delay, rules.supervision.lateness, future),
        narrow=narrowed(DEVICE, MESSAGE),
    )
    sinks = Sinks(
        ied_anomaly={"parquet": parquet_sink(settings, contract(IED_ANOMALY))},
        dead={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="ied")},
        # In files a message that came too late is told from a dead letter by its stage, `event-time`.
        late={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="ied_late")},
        counts=MetricsSink(),
    )
    warm_up(rules.supervision)
    return ied_supervision_flow(messages, sinks, rules, flow), messages


def warm_up(rules: SupervisionRules) -> None:
    """Take a made-up message through all that is compiled, before the first one comes."""
    one = contract(IED_TOPIC).empty()
    row = {
        "ied_id": "D",
        "kind": "GOOSE",
        "control_block": "B",
        "time": 0,
        "received_time": 0,
        "st_num": 1,
        "sq_num": 0,
    }
    frame = pl.concat(
        [one, pl.DataFrame({name: [row.get(name)] for name in one.columns}, schema=_plain(one)).cast(one.schema)]
    )
    letters = LETTER_SCHEMA.to_frame()
    shard = SupervisionShard(rules)
    shard.take([Batch(IED_TOPIC, 0, 1, 0, 0, frame.with_row_index("_offset"), letters, letters, 1, 0)])
    shard.flush()


def _plain(frame: pl.DataFrame) -> dict[str, pl.DataType | type[pl.DataType]]:
    times = {"time", "received_time"}
    return {name: pl.Int64 if name in times else kind for name, kind in frame.schema.items()}
