"""InfluxDB 2, built from its Go module (API only, no web pages), set up with bucket and token."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import httpx

from ops.services.base import Say, Service, ServiceError
from ops.services.obtain import need, need_version, obtained, run

_PINS = Path(__file__).parent / "influxd"
_SERVER = "github.com/influxdata/influxdb/v2/cmd/influxd"
_PKG_CONFIG = "github.com/influxdata/pkg-config"

# The query language's core denies the warnings of the compiler of its time; newer ones have more.
_RUSTC_WRAPPER = '#!/bin/sh\nexec "$@" --cap-lints warn\n'

ORG = "gridflow"
BUCKET = "gridflow"
USER = "gridflow"


class InfluxDB(Service):
    """The time-series database."""

    name: ClassVar[str] = "influxdb"
    title: ClassVar[str] = "InfluxDB"
    version: ClassVar[str] = "2.7.12"

    def obtain(self, say: Say) -> Path:
        """The server program; building it takes some minutes, once."""
        pins = [_PINS / "go.mod", _PINS / "go.sum", _PINS / "tools.go"]
        return obtained(f"influxd-{self.version}", pins, lambda folder: self._build(folder, say), say) / "influxd"

    def _build(self, folder: Path, say: Say) -> None:
        need(self.title, "go", "cargo", "cc", "pkg-config")
        need_version(self.title, ("go", "version"), r"go(\d+)\.(\d+)", (1, 23))
        say(f"{self.title} {self.version}: building it from its Go module, once; it takes two to six minutes")
        log = folder.with_suffix(".log")
        wrapper = folder / "rustc-wrapper"
        wrapper.write_text(_RUSTC_WRAPPER)
        wrapper.chmod(0o755)
        pkg_config = folder / "bin" / "pkg-config"
        # No version-control stamp: git may refuse to speak of the checkout. No paths of this machine either.
        build = ["go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath"]
        run(
            f"{self.title}: building pkg-config",
            [*build, "-o", str(pkg_config), _PKG_CONFIG],
            log=log,
            say=say,
            cwd=_PINS,
        )
        run(
            f"{self.title}: building",
            [
                *build,
                "-ldflags=-s -w",
                "-tags=sqlite_foreign_keys,sqlite_json",
                "-o",
                str(folder / "influxd"),
                _SERVER,
            ],
            log=log,
            say=say,
            cwd=_PINS,
            extra={
                "CGO_ENABLED": "1",
                "PKG_CONFIG": str(pkg_config),
                "RUSTC_WRAPPER": str(wrapper),
                # The module pins a compiler of its time, which cannot be had everywhere.
                "RUSTUP_TOOLCHAIN": "stable",
            },
        )
        wrapper.unlink()
        pkg_config.unlink()
        pkg_config.parent.rmdir()
        log.unlink()

    def command(self, program: Path, folder: Path, ports: Mapping[str, int]) -> list[str]:
        """The server's command line."""
        return [
            *(str(program), f"--http-bind-address=127.0.0.1:{ports['client']}"),
            *(f"--bolt-path={folder}/data/influxd.bolt", f"--sqlite-path={folder}/data/influxd.sqlite"),
            *(f"--engine-path={folder}/data/engine", "--reporting-disabled", "--log-level=warn"),
        ]

    def url(self, port: int) -> str:
        """Its address."""
        return f"http://127.0.0.1:{port}"

    def answers(self, port: int) -> bool:
        """Whether its health is a pass."""
        try:
            answer = httpx.get(f"{self.url(port)}/health", timeout=3, trust_env=False)
            return answer.status_code == httpx.codes.OK and answer.json().get("status") == "pass"
        except (httpx.HTTPError, ValueError):
            return False

    def set_up(self, folder: Path, port: int) -> None:
        """Create organisation, bucket and token at the first start."""
        setup = f"{self.url(port)}/api/v2/setup"
        # The token is written down first: set up without it, the database would be of no use to anyone.
        token = _secret(token_file(folder))
        try:
            if httpx.get(setup, timeout=10, trust_env=False).json().get("allowed"):
                body = {
                    "username": USER,
                    "password": _secret(folder / "password"),
                    "org": ORG,
                    "bucket": BUCKET,
                    "token": token,
                    "retentionPeriodSeconds": 0,
                }
                answer = httpx.post(setup, json=body, timeout=30, trust_env=False)
                if answer.status_code != httpx.codes.CREATED:
                    raise ServiceError(f"{self.title}: setting it up failed with status {answer.status_code}")
            answer = httpx.get(
                f"{self.url(port)}/api/v2/buckets",
                params={"name": BUCKET},
                headers={"Authorization": f"Token {token}"},
                timeout=10,
                trust_env=False,
            )
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceError(f"{self.title}: setting it up failed: {type(error).__name__}") from error
        if answer.status_code != httpx.codes.OK:
            raise ServiceError(
                f"{self.title} does not accept the token of {token_file(folder)} "
                f"(status {answer.status_code}): its data are of another set-up; "
                "`gridflow services down --purge` removes them"
            )

    def environment(self, folder: Path, port: int) -> dict[str, str]:
        """Address, organisation, bucket, and the file that holds the token."""
        return {
            "GRIDFLOW_INFLUXDB__URL": self.url(port),
            "GRIDFLOW_INFLUXDB__ORG": ORG,
            "GRIDFLOW_INFLUXDB__BUCKET": BUCKET,
            "GRIDFLOW_INFLUXDB__TOKEN_FILE": str(token_file(folder)),
        }


def token_file(folder: Path) -> Path:
    """The file in InfluxDB's folder that holds the token of its operator; only the user may read it."""
    return folder / "token"


def _secret(file: Path) -> str:
    if not file.exists():
        partial = file.with_name(file.name + ".partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(secrets.token_urlsafe(32) + "\n")
        partial.rename(file)  # whole or not at all: it becomes the key to data
    return file.read_text(encoding="utf-8").strip()
