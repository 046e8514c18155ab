"""The services in containers: Docker Compose with ``ops/compose.yaml``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ops.services.base import Say, Service, ServiceError
from ops.services.notes import Entry

COMPOSE_FILE = Path(__file__).parents[1] / "compose.yaml"
_ASK_SECONDS = 20.0


def engine_answers() -> bool:
    """Whether there are a Docker engine that answers, and its compose plugin."""
    if shutil.which("docker") is None:
        return False
    for question in (
        ["docker", "compose", "version"],
        ["docker", "version", "--format", "{{.Server.Version}}"],
    ):
        try:
            done = subprocess.run(question, capture_output=True, check=False, timeout=_ASK_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return False
        if done.returncode != 0:
            return False
    return True


class Compose:
    """One folder's services as a compose project of their own.

    Args:
        folder: the folder; the project's name is made from it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.project = "gridflow-" + hashlib.sha256(str(folder).encode()).hexdigest()[:10]

    def prepare(self, kind: Service, say: Say) -> None:
        """Fetch its image, if it is not there yet.

        Raises:
            ServiceError: compose failed.
        """
        say(f"{kind.title} {kind.version}: fetching its image, if need be")
        self._call(["pull", "--quiet", "--policy", "missing", kind.name])

    def start(self, kind: Service, entry: Entry, say: Say) -> None:  # noqa: ARG002 - as Plain does
        """Start its container, with its client port published on loopback.

        Raises:
            ServiceError: compose failed.
        """
        (self._folder / kind.name).mkdir(parents=True, exist_ok=True)
        self._call(["up", "--detach", kind.name], {f"{kind.name.upper()}_PORT": str(entry.ports["client"])})

    def lives(self, kind: Service, entry: Entry) -> bool:  # noqa: ARG002
        """Whether its container runs.

        Raises:
            ServiceError: compose failed.
        """
        return kind.name in self._call(["ps", "--services", "--status", "running"]).split()

    def stop(self, kind: Service, entry: Entry, *, kill: bool) -> None:  # noqa: ARG002
        """Stop its container; its data stay.

        Raises:
            ServiceError: compose failed.
        """
        self._call(["kill", kind.name] if kill else ["stop", "--timeout", "40", kind.name])

    def log(self, kind: Service) -> None:
        """Its log is with the engine, not in a file."""

    def last_words(self, kind: Service) -> str:
        """The end of its log, as far as the engine tells."""
        try:
            return self._call(["logs", "--no-color", "--tail", "15", kind.name])
        except ServiceError as error:
            return str(error)

    def purge(self) -> None:
        """Remove all containers of the project, and their data.

        Raises:
            ServiceError: compose failed.
        """
        self._call(["down", "--volumes", "--remove-orphans"])

    def _call(self, arguments: list[str], variables: Mapping[str, str] | None = None) -> str:
        command = [
            "docker",
            "compose",
            "--project-name",
            self.project,
            "--file",
            str(COMPOSE_FILE),
            *arguments,
        ]
        done = subprocess.run(
            command,
            env={**os.environ, **(variables or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceError(
                f"docker compose {' '.join(arguments)} failed:\n{done.stderr[-2000:].strip()}\n"
                "With --mode plain the services run without Docker"
            )
        return done.stdout
