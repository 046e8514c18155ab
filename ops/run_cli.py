"""``gridflow run`` and ``gridflow replay``: the flows on Kafka, and over files."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from prometheus_client import REGISTRY
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.errors import InputError, SourceError
from connectors.kafka_offsets import commit_ended
from flows.line_loss.flow import NAME as LINE_LOSS
from flows.line_loss.wiring import kafka_flow, replay_flow
from ops.console import Config, err, errors_as_status, fail, out
from ops.logs import set_up_logging
from ops.settings import Settings, SettingsError, load_settings
from schemas import RegistryError, SchemaError
from sinks.errors import SinkError
from sinks.metrics import OUTCOMES
from sinks.parquet_folder import clear_dataset

DATASETS = ("line_loss", "meter_energy", "dead_letter")


class Flow(StrEnum):
    """The flows that there are."""

    LINE_LOSS = LINE_LOSS
    ALL = "all"


def run(
    flow: Annotated[Flow, typer.Argument(help="Which flow.")],
    config: Config = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker threads.")] = None,
    recovery: Annotated[Path | None, typer.Option(help="Folder of the recovery store; made if missing.")] = None,
) -> None:
    """Run a flow on Kafka until it is stopped (SIGTERM, Ctrl-C).

    The same as `python -m bytewax.run flows.line_loss`, with workers, recovery store and snapshot interval taken
    from the settings.

    Example: [bold]gridflow run line-loss --config gridflow.toml --recovery /var/lib/gridflow[/]
    """
    del flow  # there is one
    with errors_as_status():
        settings = load_settings(config)
        if "parquet" in {*settings.output.line_loss, *settings.output.meter_energy}:
            _make_folder(settings.parquet.output, "parquet.output")
    store = recovery or settings.runtime.recovery
    with _end_of_run():
        dataflow = kafka_flow(settings)
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

    The output folder then holds the datasets line_loss/, meter_energy/ and dead_letter/ (undecodable, invalid and
    late readings); what an earlier replay left there is replaced.

    Example: [bold]gridflow replay line-loss --input telemetry --output results[/]
    """
    del flows
    with errors_as_status():
        if not input_.is_dir():
            raise InputError(f"{input_}: is not a folder")
        settings = load_settings(config, overrides={"parquet": {"output": output}})
        _make_folder(output, "--output")
    set_up_logging(settings.runtime)
    counts = replay_folder(settings, input_, workers or settings.runtime.workers)
    out.print(accounting_table(counts))


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


def replay_folder(settings: Settings, folder: Path, workers: int) -> dict[str, int]:
    """Replay a folder into the settings' Parquet output; what became of the meter readings, by outcome."""
    before = _outcomes()
    if workers == 1:  # shards are there to be spread over workers, and to be kept; here they are neither
        settings = settings.model_copy(update={"runtime": settings.runtime.model_copy(update={"shards": 1})})
    with _end_of_run():
        dataflow, source = replay_flow(settings, folder)
        for dataset in DATASETS:
            clear_dataset(settings.parquet.output, dataset)
            (settings.parquet.output / dataset).mkdir(parents=True, exist_ok=True)
        with _progress(source.rows, before["in"]):
            cli_main(dataflow, workers_per_process=workers, epoch_interval=timedelta(days=1))
    after = _outcomes()
    return {name: after[name] - before[name] for name in after}


def accounting_table(counts: dict[str, int]) -> Table:
    """The account: what came in is what was used, duplicate, late or dead."""
    table = Table(title="Meter readings")
    for name in OUTCOMES:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{counts[name]:,}" for name in OUTCOMES))
    missing = counts["in"] - sum(counts[name] for name in OUTCOMES if name != "in")
    if missing:
        table.caption = f"{missing:,} readings are not accounted for: please report this"
    return table


def _outcomes() -> dict[str, int]:
    labels = {"flow": LINE_LOSS, "topic": "grid.meter.v1"}
    return {
        name: int(REGISTRY.get_sample_value("gridflow_readings_total", {**labels, "outcome": name}) or 0)
        for name in OUTCOMES
    }


@contextmanager
def _progress(total: int | None, start: int) -> Iterator[None]:
    """A progress bar of readings on a terminal, nothing elsewhere."""
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
                bar.update(task, completed=_outcomes()["in"] - start)
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
