"""What the commands share: settings, output, and errors that are one line and an exit status.

Exit status: 0 done, 2 the user's input is wrong, 1 anything else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from confluent_kafka import KafkaException
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.core import TyperGroup

from connectors.errors import InputError, PublishError, SourceError
from ops.logs import set_up_logging, stderr_is_json
from ops.settings import Settings, SettingsError, load_settings
from schemas import RegistryError, SchemaError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file (TOML); without it, that named by GRIDFLOW_CONFIG."),
]


def fail(message: str, status: int) -> typer.Exit:
    """Print an error, and give what is to be raised to end with a status."""
    line = " ".join(message.split())
    if stderr_is_json():
        logging.getLogger("gridflow").error(line)
    else:
        err.print(f"error: {line}", markup=False)
    return typer.Exit(status)


@contextmanager
def errors_as_status() -> Iterator[None]:
    """Turn the errors that a user can do something about into one line on stderr and an exit status."""
    try:
        yield
    except (InputError, SettingsError, SchemaError) as error:
        raise fail(str(error), 2) from None
    except (SourceError, PublishError, RegistryError) as error:
        raise fail(str(error), 1) from None
    except KafkaException as error:
        reason = error.args[0]
        raise fail(reason.str() if hasattr(reason, "str") else str(reason), 1) from None


class OneLineErrors(TyperGroup):
    """The commands; of a wrong command line they say in one line what is wrong with it."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """As typer does, with its errors in one line."""
        with _wrong_command_line():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        """As typer does, with its errors in one line."""
        with _wrong_command_line():
            return super().invoke(ctx)


def wrong_option(error: ValidationError) -> InputError:
    """What a model says of the first value that it does not take, with the option's name and the value."""
    first = error.errors(include_url=False)[0]
    option = "".join(f"--{str(part).replace('_', '-')}: " for part in first["loc"][-1:])
    shown = f" (got {first['input']!r})" if isinstance(first["input"], int | float | str) else ""
    return InputError(f"{option}{first['msg'].removeprefix('Value error, ')}{shown}")


@contextmanager
def share_progress(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal, nothing elsewhere; gives what is to be told of the share that is done."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def _wrong_command_line() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        message = error.format_message()
        if not message:  # no command at all: the help, which has been printed, is the answer
            raise
        cause, context = error.__cause__, getattr(error, "ctx", None)
        if isinstance(cause, ValidationError) and (value := repr(cause.errors()[0]["input"])) not in message:
            message = f"{message} (got {value})"
        hint = "" if context is None else f"; {context.command_path} --help says more"
        raise fail(f"{message.rstrip('.')}{hint}", error.exit_code) from None


def settings_of(config: Path | None) -> Settings:
    """The settings, or the end of the program; what is logged from here on is logged as they say.

    Raises:
        typer.Exit: they are wrong.
    """
    with errors_as_status():
        settings = load_settings(config)
    set_up_logging(settings.runtime)
    return settings
