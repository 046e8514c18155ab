"""The line-loss flow on Kafka, or over files, as the settings say."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from bytewax.dataflow import Dataflow
from bytewax.inputs import Source

from connectors.batch import Batch
from connectors.file_source import FileSource
from connectors.files import topic_paths
from flows.line_loss.areas.search import StudyRules
from flows.line_loss.balance import BalanceRules
from flows.line_loss.contributions import READING
from flows.line_loss.flow import METER_ID, METER_TOPIC, NETWORK_TOPIC, FlowRules, Sinks, Through, line_loss_flow
from flows.line_loss.investigation import InvestigationRules
from flows.line_loss.rules import LossRules
from flows.line_loss.warm_up import warm_up
from flows.streaming.alignment import AlignmentRules
from flows.streaming.event_time import SECOND
from flows.streaming.shards import narrowed
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

log = logging.getLogger(__name__)

_DAY_SECONDS = 86_400
_MOST_SUSPECTS = 12  # in one area

LINE_LOSS = "grid.line-loss.v1"
METER_ENERGY = "grid.meter-energy.v1"
DEAD_LETTER = "grid.dead-letter.v1"


def investigation_of(settings: Settings, *, replay: bool) -> InvestigationRules:
    """The rules of studies; in a replay only those are made that are final."""
    line_loss, reading = settings.line_loss, settings.alignment.reading_interval_seconds
    return InvestigationRules(
        window=settings.event_time.window_seconds * SECOND,
        days=line_loss.study_days,
        settle=line_loss.settle_days,
        every=0 if replay else line_loss.study_seconds * SECOND,
        again=2 * _DAY_SECONDS // settings.event_time.window_seconds,
        volts=line_loss.nominal_volts,
        study=StudyRules(
            class_percent=settings.alignment.meter_class_percent,
            head_class_percent=line_loss.head_class_percent,
            line_percent=line_loss.line_data_percent,
            prior_theft=line_loss.theft_probability,
            # Energies of windows that no reading tells apart are no profiles by which to accuse anybody.
            most=_MOST_SUSPECTS if reading <= settings.event_time.window_seconds else 0,
        ),
    )


def rules_of(settings: Settings, *, replay: bool = False) -> FlowRules:
    """The flow's rules."""
    time, alignment = settings.event_time, settings.alignment
    window = time.window_seconds * SECOND
    loss = LossRules(
        window=window,
        delay=time.watermark_delay_seconds * SECOND,
        lateness=time.allowed_lateness_seconds * SECOND,
        reach_back=time.network_reach_back_seconds * SECOND,
        alignment=AlignmentRules.of(
            reading_interval_seconds=alignment.reading_interval_seconds,
            max_gap_seconds=alignment.max_gap_seconds,
            estimate_from_seconds=alignment.estimate_from_seconds,
            backcast_seconds=alignment.backcast_seconds,
            forecast_seconds=alignment.forecast_seconds,
            max_power_kw=alignment.max_power_kw,
            register_digits=alignment.register_digits,
            allowed_lateness_seconds=time.allowed_lateness_seconds,
        ),
        power_per_kva=alignment.max_power_per_rated_kva,
        assumed_kva=alignment.assumed_rated_kva,
        class_percent=alignment.meter_class_percent,
        head_class_percent=settings.line_loss.head_class_percent,
        refuse_unknown=settings.line_loss.unknown_meters == "dead-letter",
    )
    balance = BalanceRules(
        window=window,
        lateness=time.allowed_lateness_seconds * SECOND,
        keep=loss.kept,
        shards=settings.runtime.shards,
        alarm_completeness=settings.line_loss.alarm_completeness,
        high_loss_percent=settings.line_loss.high_loss_percent,
        investigation=investigation_of(settings, replay=replay),
    )
    pace = timedelta(seconds=0 if replay else settings.line_loss.restate_seconds)
    return FlowRules(loss, balance, flush_at_end=replay, keep_state=not replay, pace=pace)


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
    warm_up(contract(METER_TOPIC), rules.loss)
    refuse = settings.line_loss.unknown_meters == "dead-letter"
    gate = gate_factory(METER_ID, "time", rules.loss.delay, rules.loss.lateness)
    meters = kafka_source(settings, contract(METER_TOPIC), gate, keep_raw=refuse, narrow=narrowed(METER_ID, READING))
    network: Source[Batch]
    if settings.network_file is not None:
        path = settings.network_file
        network = file_source(settings, path.parent, contract(NETWORK_TOPIC), open_gate, paths=[path])
    else:
        network = kafka_source(settings, contract(NETWORK_TOPIC), open_gate)
    config = producer_config(settings)
    prefix = settings.kafka.topic_prefix
    sinks = Sinks(
        line_loss=frame_sinks(settings, contract(LINE_LOSS), settings.output.line_loss),
        meter_energy=frame_sinks(settings, contract(METER_ENERGY), settings.output.meter_energy),
        dead={"kafka": LetterSink(config, DEAD_SUFFIX, topic_prefix=prefix)},
        late={"kafka": LetterSink(config, LATE_SUFFIX, topic_prefix=prefix)},
        counts=MetricsSink(),
    )
    return line_loss_flow(meters, network, sinks, rules, flow)


def replay_flow(
    settings: Settings, folder: Path, flow: Dataflow | None = None, through: Through | None = None
) -> tuple[Dataflow, FileSource]:
    """The same flow over the files of a folder, into Parquet; and its source of readings.

    Args:
        settings: the settings.
        folder: of the files.
        flow: a dataflow that this one is to be part of.
        through: what readings and versions of the network pass before they are used.

    Raises:
        InputError: the folder does not hold what the flow reads.
    """
    set_up_collector()
    rules = rules_of(settings, replay=True)
    gate = gate_factory(METER_ID, "time", rules.loss.delay, rules.loss.lateness)
    columns = READING if through is None else tuple(dict.fromkeys((*READING, *through.columns)))
    meters = file_source(settings, folder, contract(METER_TOPIC), gate, narrow=narrowed(METER_ID, columns))
    network = None
    if settings.network_file is not None:
        path = settings.network_file
        network = file_source(settings, path.parent, contract(NETWORK_TOPIC), open_gate, paths=[path])
    elif topic_paths(folder, NETWORK_TOPIC):
        network = file_source(settings, folder, contract(NETWORK_TOPIC), open_gate)
    else:
        log.warning(
            "no line losses, only energies of meters: there is no network, neither %s.parquet, .ndjson or a folder of "
            "that name in %s, nor is network_file set",
            NETWORK_TOPIC,
            folder,
        )
    letters = {"parquet": parquet_sink(settings, contract(DEAD_LETTER))}
    sinks = Sinks(
        line_loss={"parquet": parquet_sink(settings, contract(LINE_LOSS))},
        meter_energy={"parquet": parquet_sink(settings, contract(METER_ENERGY))},
        dead=dict(letters),
        # In files a reading that came too late is told from a dead letter by its stage, `event-time`.
        late={"parquet": parquet_sink(settings, contract(DEAD_LETTER), writer="late")},
        counts=MetricsSink(),
    )
    warm_up(contract(METER_TOPIC), rules.loss)
    return line_loss_flow(meters, network, sinks, rules, flow, through), meters
