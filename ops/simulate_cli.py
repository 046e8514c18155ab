"""``gridflow simulate``: a city's telemetry whose truth is known, into files or into Kafka."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.errors import InputError
from connectors.publish import Published, Topic, publish
from connectors.simulation.lanes import Lanes
from connectors.simulation.options import Faults, Options, Preset, preset
from connectors.simulation.simulation import NETWORK, STREAMS, Simulation
from connectors.simulation.write import TRUTH, TruthWriter, prepare, write_simulation
from flows.wiring import schema_source
from ops.console import Config, err, errors_as_status, out, settings_of, share_progress, wrong_option
from ops.settings import Settings
from schemas import contract
from schemas.encode import Encoder

Target = Literal["files", "kafka"]
TOPICS = (NETWORK, *STREAMS)
_PANEL = "What goes wrong (each overrides the preset)"
_METAVARS = {"rate": "SHARE", "percent": "PERCENT", "v": "VOLTS", "seconds": "SECONDS"}


def simulate(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for the files and the truth; with --to kafka for the truth only."),
    ] = None,
    to: Annotated[Target, typer.Option(help="Where the telemetry goes.")] = "files",
    speed: Annotated[float, typer.Option(min=1e-3, help="With --to kafka: multiple of real time.")] = 60.0,
    faults: Annotated[
        Preset,
        typer.Option("--preset", help="clean: nothing; field: everyday delivery and accuracy; trouble: everything."),
    ] = "clean",
    config: Config = None,
    **given: Any,
) -> None:
    """Simulate a city's grid: meter readings, terminal units, IEDs and the network's record.

    Substations with open MV rings, LV feeders, customers with heat pumps, vehicles and PV;
    an unbalanced three-phase power flow of every interval, so that energies balance exactly.
    The same options and seed give the same bytes. The folder is what replay and produce take;
    its truth/ has what was injected, and the true energies and losses of every element.

    [bold]Examples[/bold]

        gridflow simulate --output city
        gridflow simulate --output city --meters 20000 --days 7 --preset field --theft-night-rate 0.002
        gridflow simulate --to kafka --speed 120 --preset trouble --config gridflow.toml
    """
    with errors_as_status():
        if to == "files" and output is None:
            raise InputError("--output is missing: where the files go")
        options = _options(faults, given)
    if to == "kafka":
        settings = settings_of(config)
        with errors_as_status():
            _into_kafka(options, settings, speed, output)
        return
    with errors_as_status(), share_progress("simulating") as progress:
        assert output is not None
        prepare(output)  # before seconds are spent on the city
        summary = write_simulation(Simulation(options), output, progress)
    out.print(summary_table(summary))
    out.print(f"{output} holds the telemetry, {output / TRUTH} the truth", markup=False)


def _options(faults: Preset, given: dict[str, Any]) -> Options:
    rates = {name: given[name] for name in Faults.model_fields}
    known = {name: given[name] for name in Options.model_fields if given.get(name) is not None}
    try:
        return Options(**known, faults=preset(faults, **rates))
    except ValidationError as error:
        raise wrong_option(error) from None


def _into_kafka(options: Options, settings: Settings, speed: float, output: Path | None) -> None:
    if output is not None:
        prepare(output)
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,} messages"), TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:
        bars = {topic: progress.add_task(topic, total=None) for topic in map(settings.kafka.topic, TOPICS)}
        published = publish_simulation(
            Simulation(options),
            settings,
            speed,
            None if output is None else output / TRUTH,
            lambda name, rows: progress.advance(bars[name], rows),
        )
    for topic, count in sorted(published.delivered.items()):
        out.print(f"{topic}: {count:,} messages delivered", markup=False)


def publish_simulation(
    simulation: Simulation,
    settings: Settings,
    speed: float | None,
    truth_folder: Path | None,
    progress: Callable[[str, int], None],
) -> Published:
    """Publish a simulation to the topics of the settings, the network first.

    Args:
        simulation: not gone through yet.
        settings: with the Kafka cluster and the registry.
        speed: multiple of real time; None is as fast as it goes.
        truth_folder: where the truth is written, if at all; complete when all is published.
        progress: told of a topic's rows as they are handed over.

    Returns:
        What was delivered.

    Raises:
        PublishError: as ``publish`` does.
    """
    schemas, kafka = schema_source(settings.registry), settings.kafka
    truth = None if truth_folder is None else TruthWriter(simulation, truth_folder)
    lanes = Lanes(simulation, lambda piece: None if truth is None else truth.add(piece))
    topics = [
        Topic(known, kafka.topic(known.topic), [lanes.file(known.topic)], Encoder(known, schemas.id_of(known)))
        for known in map(contract, TOPICS)
    ]
    client = {**kafka.client_config(), **kafka.producer_config}
    # Readings that come hours after the end are not waited for: nothing else would happen meanwhile.
    end = simulation.options.end_us + simulation.options.interval_us
    with nullcontext() if truth is None else truth:
        published = publish(topics, client, speed=speed, paced_until=end, progress=progress)
    if truth is None:
        return published
    truth.finish()
    return published


def summary_table(summary: dict[str, Any]) -> Table:
    """What was simulated, and how often what went wrong."""
    table = Table(title="Simulated")
    table.add_column("what")
    table.add_column("number", justify="right")
    for part in ("rows", "deliveries", "events"):
        for name, count in summary[part].items():
            table.add_row(name if part == "rows" else name.lower().replace("_", " "), f"{count:,}")
        table.add_section()
    return table


def _parameter(name: str, field: FieldInfo, panel: str | None) -> inspect.Parameter:
    """An option for a field; the model checks its value."""
    kind: Any = field.annotation
    more: dict[str, Any] = {"metavar": _METAVARS.get(name.rsplit("_", 1)[-1], "NUMBER")}
    if kind is datetime:
        more = {"metavar": "TIME", "formats": ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%z"]}
        more["show_default"] = field.default.date().isoformat()
    option = typer.Option(help=field.description, rich_help_panel=panel, **{"show_default": panel is None, **more})
    # Without a value of its own a rate is what the preset says.
    annotation = float | None if panel else kind
    default = None if panel else field.default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option]
    )


def _with_options() -> None:
    """Give the command the options of the models: they are listed there, and nowhere else."""
    own = [
        parameter.replace(annotation=inspect.get_annotations(simulate, eval_str=True)[name])
        for name, parameter in inspect.signature(simulate).parameters.items()
        if name != "given"
    ]
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    more = [_parameter(name, field, None) for name, field in Options.model_fields.items() if name != "faults"]
    more += [_parameter(name, field, _PANEL) for name, field in Faults.model_fields.items()]
    ordered = [own[0], *more[:4], *own[1:], *more[4:]]
    simulate.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    simulate.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}


_with_options()
