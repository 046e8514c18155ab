"""The services as plain processes."""

from __future__ import annotations

import os
from pathlib import Path

from ops.services.base import Say, Service
from ops.services.notes import Entry
from ops.services.obtain import tail
from ops.services.processes import Spawned, spawn

# The services get no settings or secrets of ours, and no settings of theirs that happen to lie about.
_NOT_FOR_SERVICES = ("GRIDFLOW_", "INFLUX_", "INFLUXD_", "QUARKUS_", "REGISTRY_")


class Plain:
    """One folder's services as processes that outlive whoever started them.

    Args:
        folder: the folder; each service has one of its name in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, kind: Service, say: Say) -> None:
        """Obtain what is needed to start it.

        Raises:
            ServiceError: it cannot be had.
        """
        kind.obtain(say)

    def start(self, kind: Service, entry: Entry, say: Say) -> None:
        """Start a service, and note its process.

        Raises:
            ServiceError: it cannot be obtained or started.
        """
        folder = self._folder / kind.name
        (folder / "data").mkdir(parents=True, exist_ok=True)
        command = kind.command(kind.obtain(say), folder, entry.ports)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_FOR_SERVICES)}
        spawned = spawn(command, mark=str(folder), log=self.log(kind), environment=environment)
        entry.pid, entry.created = spawned.pid, spawned.created

    def lives(self, kind: Service, entry: Entry) -> bool:
        """Whether its process is there."""
        spawned = self._spawned(kind, entry)
        return spawned is not None and spawned.process() is not None

    def stop(self, kind: Service, entry: Entry, *, kill: bool) -> None:
        """Stop it, and wait until it is gone; a process that is not certainly it is left alone.

        Raises:
            ServiceError: it cannot be stopped.
        """
        spawned = self._spawned(kind, entry)
        if spawned is not None:
            spawned.stop(kill=kill)

    def log(self, kind: Service) -> Path:
        """Where it logs to."""
        return self._folder / kind.name / f"{kind.name}.log"

    def last_words(self, kind: Service) -> str:
        """The end of its log."""
        return tail(self.log(kind))

    def purge(self) -> None:
        """Nothing is left to remove but the folders."""

    def _spawned(self, kind: Service, entry: Entry) -> Spawned | None:
        if entry.pid is None:
            return None
        return Spawned(entry.pid, entry.created, str(self._folder / kind.name))
