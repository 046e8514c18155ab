"""``gridflow run`` and ``gridflow replay``: the flows on Kafka, and over files."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from prometheus_client import REGISTRY
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.errors import InputError, SourceError
from connectors.file_source import FileSource
from connectors.files import topic_paths
from connectors.kafka_offsets import commit_ended
from flows.ied_supervision import wiring as ied_supervision
from flows.ied_supervision.flow import IED_TOPIC
from flows.ied_supervision.flow import NAME as IED_SUPERVISION
from flows.line_loss import wiring as line_loss
from flows.line_loss.flow import METER_TOPIC
from flows.line_loss.flow import NAME as LINE_LOSS
from flows.topology import wiring as topology
from flows.topology.flow import NAME as TOPOLOGY
from flows.topology.switching import FTU_TOPIC
from flows.wiring import set_up_process
from ops.console import Config, err, errors_as_status, fail, out
from ops.logs import set_up_logging
from ops.settings import Settings, SettingsError, load_settings
from schemas import RegistryError, SchemaError
from sinks.errors import SinkError
from sinks.metrics import OUTCOMES
from sinks.parquet_folder import clear_dataset

DEAD_LETTERS = "dead_letter"


class Flow(StrEnum):
    """The flows that there are."""

    LINE_LOSS = LINE_LOSS
    IED_SUPERVISION = IED_SUPERVISION
    TOPOLOGY = TOPOLOGY
    ALL = "all"


Replay = Callable[[Settings, Path, Dataflow], tuple[Dataflow, FileSource]]


@dataclass(frozen=True)
class _Application:
    """A flow: its input, what its messages are called, its datasets, and how it is made."""

    topic: str
    messages: str
    datasets: tuple[str, ...]
    kafka: Callable[[Settings, Dataflow], Dataflow]
    replay: Replay


APPLICATIONS = {
    Flow.LINE_LOSS: _Application(
        METER_TOPIC, "Meter readings", ("line_loss", "meter_energy"), line_loss.kafka_flow, line_loss.replay_flow
    ),
    Flow.IED_SUPERVISION: _Application(
        IED_TOPIC, "IED messages", ("ied_anomaly",), ied_supervision.kafka_flow, ied_supervision.replay_flow
    ),
    Flow.TOPOLOGY: _Application(
        METER_TOPIC,
        "Meter readings, for the topology",
        ("topology_change",),
        topology.kafka_flow,
        topology.replay_flow,
    ),
}
Counts = dict[Flow, dict[str, int]]
"""Of each flow, how many messages had each outcome."""


def _chosen(flows: Iterable[Flow]) -> list[Flow]:
    named = set(flows)
    return [flow for flow in APPLICATIONS if flow in named or Flow.ALL in named]


def run(
    flow: Annotated[Flow, typer.Argument(help="Which flow.")],
    config: Config = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker threads.")] = None,
    recovery: Annotated[Path | None, typer.Option(help="Folder of the recovery store; made if missing.")] = None,
) -> None:
    """Run a flow on Kafka until it is stopped (SIGTERM, Ctrl-C).

    The same as `python -m bytewax.run flows.line_loss` (or another), with workers, recovery store and snapshot
    interval taken from the settings. `all` runs all of them in one process, over a recovery store of its own.

    Example: [bold]gridflow run ied-supervision --config gridflow.toml --recovery /var/lib/gridflow[/]
    """
    chosen = _chosen([flow])
    with errors_as_status():
        settings = load_settings(config)
        datasets = [dataset for one in chosen for dataset in APPLICATIONS[one].datasets]
        if any("parquet" in getattr(settings.output, dataset) for dataset in datasets):
            _make_folder(settings.parquet.output, "parquet.output")
    store = recovery or settings.runtime.recovery
    settings = settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"recovery": store})})
    with _end_of_run():
        set_up_process(settings)
        dataflow = Dataflow("all" if len(chosen) > 1 else chosen[0].replace("-", "_"))
        for one in chosen:
            if one == Flow.TOPOLOGY and Flow.LINE_LOSS in chosen:
                topology.kafka_flow(settings, dataflow, shared=True)
            else:
                APPLICATIONS[one].kafka(settings, dataflow)
        try:
            cli_main(
                dataflow,
                workers_per_process=workers or settings.runtime.workers,
                epoch_interval=timedelta(seconds=settings.runtime.snapshot_seconds),
                recovery_config=None if store is None else _recovery(store),
            )
        except BaseException:
            commit_ended(success=False)
            raise
        # Bytewax closes sources before sinks: only now is all written that the last offsets stand for.
        commit_ended()


def _recovery(store: Path) -> RecoveryConfig:
    if not any(store.glob("part-*.sqlite3")):
        store.mkdir(parents=True, exist_ok=True)
        init_db_dir(store, 1)
    return RecoveryConfig(str(store), timedelta(0))


def replay(
    flows: Annotated[list[Flow], typer.Argument(help="Which flows; they share one pass over the input.")],
    input_: Annotated[Path, typer.Option("--input", "-i", help="Folder with <topic>.parquet or .ndjson.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the datasets.")],
    config: Config = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker threads.")] = None,
) -> None:
    """Run flows over files, to the end.

    The output folder then holds the flows' datasets, line_loss/ and meter_energy/, ied_anomaly/, topology_change/,
    and dead_letter/ (undecodable, invalid and late messages); what an earlier replay left there is replaced. `all`
    runs those flows for which there is something to read. Of `line-loss topology` the changes that are accepted are
    in the network of the losses.

    Example: [bold]gridflow replay line-loss ied-supervision --input telemetry --output results[/]
    """
    with errors_as_status():
        if not input_.is_dir():
            raise InputError(f"{input_}: is not a folder")
        settings = load_settings(config, overrides={"parquet": {"output": output}})
        _make_folder(output, "--output")
    set_up_logging(settings.runtime)
    chosen = _chosen(flows)
    if Flow.ALL in flows:
        chosen = [one for one in chosen if topic_paths(input_, APPLICATIONS[one].topic)] or [Flow.LINE_LOSS]
    units = _outcomes(Flow.TOPOLOGY, FTU_TOPIC)
    for flow, counts in replay_folder(settings, input_, workers or settings.runtime.workers, chosen).items():
        out.print(accounting_table(counts, APPLICATIONS[flow].messages))
    of_units = {name: count - units[name] for name, count in _outcomes(Flow.TOPOLOGY, FTU_TOPIC).items()}
    if of_units["in"]:
        out.print(accounting_table(of_units, "Values of terminal units"))


def _make_folder(folder: Path, key: str) -> None:
    """Make sure that results can be written.

    Raises:
        InputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{key} {folder}: {error.strerror}") from None


def replay_folder(settings: Settings, folder: Path, workers: int, flows: Sequence[Flow] = (Flow.LINE_LOSS,)) -> Counts:
    """Replay a folder into the settings' Parquet output; what became of the messages of each flow."""
    before = {flow: _outcomes(flow) for flow in flows}
    if workers == 1:  # shards are there to be spread over workers, and to be kept; here they are neither
        settings = settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"shards": 1})})
    with _end_of_run():
        dataflow, total = Dataflow("replay"), 0
        for make in _replays(settings, folder, flows).values():
            _, source = make(settings, folder, dataflow)
            total += source.rows or 0
        for dataset in (*(name for flow in flows for name in APPLICATIONS[flow].datasets), DEAD_LETTERS):
            clear_dataset(settings.parquet.output, dataset)
            (settings.parquet.output / dataset).mkdir(parents=True, exist_ok=True)
        with _progress(total or None, before):
            cli_main(dataflow, workers_per_process=workers, epoch_interval=timedelta(days=1))
    return {flow: {name: count - before[flow][name] for name, count in _outcomes(flow).items()} for flow in flows}


def _replays(settings: Settings, folder: Path, flows: Sequence[Flow]) -> dict[Flow, Replay]:
    """How the flows are made; the topology of line losses is followed in their own pass, and feeds them."""
    makers = {flow: APPLICATIONS[flow].replay for flow in flows}
    if Flow.LINE_LOSS in makers and Flow.TOPOLOGY in makers:
        del makers[Flow.TOPOLOGY]
        makers[Flow.LINE_LOSS] = partial(line_loss.replay_flow, through=topology.Follower(settings, folder))
    return makers


def accounting_table(counts: Mapping[str, int], messages: str = "Meter readings") -> Table:
    """The account: what came in is what was used, duplicate, late or dead."""
    table = Table(title=messages)
    for name in OUTCOMES:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{counts[name]:,}" for name in OUTCOMES))
    missing = counts["in"] - sum(counts[name] for name in OUTCOMES if name != "in")
    if missing:
        table.caption = f"{missing:,} of them are not accounted for: please report this"
    return table


def _outcomes(flow: Flow, topic: str | None = None) -> dict[str, int]:
    labels = {"flow": str(flow), "topic": topic or APPLICATIONS[flow].topic}
    return {
        name: int(REGISTRY.get_sample_value("gridflow_readings_total", {**labels, "outcome": name}) or 0)
        for name in OUTCOMES
    }


@contextmanager
def _progress(total: int | None, before: Counts) -> Iterator[None]:
    """A progress bar of messages on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield
        return
    done = threading.Event()
    with Progress(
        TextColumn("replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task("replay", total=total)

        def watch() -> None:
            while not done.is_set():
                bar.update(task, completed=sum(_outcomes(flow)["in"] - old["in"] for flow, old in before.items()))
                time.sleep(0.1)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def _end_of_run() -> Iterator[None]:
    """Bytewax wraps what a step raises: find what a user can do something about."""
    with errors_as_status():
        try:
            yield
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None:
                if isinstance(cause, InputError | SettingsError | SourceError | SchemaError | RegistryError):
                    raise cause from None
                if isinstance(cause, SinkError):
                    raise fail(str(cause), 1) from None
                cause = cause.__cause__ or cause.__context__
            raise
