"""Apicurio Registry, with the API of Confluent's schema registry; it keeps its data in memory."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import httpx

from ops.services.base import Say, Service
from ops.services.obtain import maven, need, need_version

_PINS = Path(__file__).parent / "registry"


class Registry(Service):
    """The schema registry."""

    name: ClassVar[str] = "registry"
    title: ClassVar[str] = "Apicurio Registry"
    version: ClassVar[str] = "2.6.13.Final"

    def obtain(self, say: Say) -> Path:
        """The folder with the registry's runner and libraries."""
        need(self.title, "java")
        need_version(self.title, ("java", "-version"), r'version "(\d+)', (17,))
        return maven(f"registry-{self.version}", _PINS, self._unpack, say)

    def _unpack(self, folder: Path) -> None:
        archive = folder / f"apicurio-registry-app-{self.version}-all.tar.gz"
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()

    def command(self, program: Path, folder: Path, ports: Mapping[str, int]) -> list[str]:
        """The runner's command line."""
        return [
            *("java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", f"-Dgridflow.folder={folder}"),
            *("-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={ports['client']}"),
            "-Dquarkus.log.level=WARN",
            *("-jar", str(program / f"apicurio-registry-app-{self.version}-runner.jar")),
        ]

    def url(self, port: int) -> str:
        """The base of its Confluent API."""
        return f"http://127.0.0.1:{port}/apis/ccompat/v7"

    def answers(self, port: int) -> bool:
        """Whether it lists its subjects."""
        try:
            # A proxy of the environment has no business on loopback.
            answer = httpx.get(f"{self.url(port)}/subjects", timeout=3, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def environment(self, folder: Path, port: int) -> dict[str, str]:  # noqa: ARG002
        """The registry's address."""
        return {"GRIDFLOW_REGISTRY__URL": self.url(port)}
