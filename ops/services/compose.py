"""The services in containers: Docker Compose with ``ops/compose.yaml``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ops.services.base import ServiceError

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
        self.project = "gridflow-" + hashlib.sha256(str(folder).encode()).hexdigest()[:10]

    def start(self, name: str, ports: Mapping[str, int]) -> None:
        """Start a service, with its client port published on loopback.

        Raises:
            ServiceError: compose failed.
        """
        self._call(["up", "--detach", name], {f"{name.upper()}_PORT": str(ports["client"])})

    def running(self) -> frozenset[str]:
        """The names of the services whose containers run.

        Raises:
            ServiceError: compose failed.
        """
        return frozenset(self._call(["ps", "--services", "--status", "running"]).split())

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Stop a service's container; its data stay.

        Raises:
            ServiceError: compose failed.
        """
        self._call(["kill", name] if kill else ["stop", "--timeout", "40", name])

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
