"""What the commands share: settings, output, and errors that are one line and an exit status.

Exit status: 0 done, 2 the user's input is wrong, 1 anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import KafkaException
from rich.console import Console

from connectors.errors import InputError, PublishError, SourceError
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
    err.print(f"error: {' '.join(message.split())}", markup=False)
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


def settings_of(config: Path | None) -> Settings:
    """The settings, or the end of the program.

    Raises:
        typer.Exit: they are wrong.
    """
    with errors_as_status():
        return load_settings(config)
