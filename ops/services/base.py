"""What every service is: something that is obtained, started, and asked whether it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

Say = Callable[[str], None]
"""Takes one line about what goes on, for a person."""

State = Literal["running", "starting", "stopped", "failed"]


class ServiceError(RuntimeError):
    """A service cannot be obtained, started or stopped; the message says why and what helps."""


@dataclass(frozen=True)
class Status:
    """How a service is.

    Attributes:
        name: ``kafka``, ``registry`` or ``influxdb``.
        version: its pinned version.
        state: running (it answers), starting (its process lives, but does not answer), stopped, or failed (it
            was started and its process is gone).
        url: where clients find it, once it has a port.
        pid: its process, if it is a plain one.
        log: its log file, if it is a plain process.
    """

    name: str
    version: str
    state: State
    url: str | None
    pid: int | None
    log: Path | None


class Service(ABC):
    """One kind of service; instances keep no state of their own."""

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str]
    ports: ClassVar[tuple[str, ...]] = ("client",)
    start_seconds: ClassVar[float] = 90.0

    @abstractmethod
    def obtain(self, say: Say) -> Path:
        """Where the program is; it is fetched or built first if need be.

        Raises:
            ServiceError: a command is missing, or fetching, checking or building failed.
        """

    @abstractmethod
    def command(self, program: Path, folder: Path, ports: Mapping[str, int]) -> list[str]:
        """The command line, after whatever preparation its data in `folder` needs.

        Raises:
            ServiceError: the preparation failed.
        """

    @abstractmethod
    def url(self, port: int) -> str:
        """Where clients find it."""

    @abstractmethod
    def answers(self, port: int) -> bool:
        """Whether it answers as this service does."""

    def set_up(self, folder: Path, port: int) -> None:  # noqa: B027 - most need nothing
        """Whatever it needs once it answers; done again at each start, so it must do no harm twice.

        Raises:
            ServiceError: the service refused it.
        """

    @abstractmethod
    def environment(self, folder: Path, port: int) -> dict[str, str]:
        """The settings, as environment variables, that lead gridflow to it."""
