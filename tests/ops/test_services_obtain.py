"""What services are made of: pinned, checked, obtained once; and the same settings in containers."""

from __future__ import annotations

import hashlib
import re
import stat
import threading
import time
from pathlib import Path

import pytest

from ops.services import ServiceError, obtain
from ops.services.compose import COMPOSE_FILE, Compose, engine_answers
from ops.services.kafka import _PROPERTIES
from ops.services.manager import KINDS
from ops.services.notes import Entry

SERVICES = COMPOSE_FILE.parent / "services"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gridflow"


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    (tmp_path / "pin").write_text("1.0")
    return tmp_path / "pin"


def test_what_was_obtained_is_found_until_its_pins_change(cache: Path, pin: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "program").write_text(pin.read_text())

    first = obtain.obtained("tool", [pin], build, print)
    assert first.parent == cache
    assert obtain.obtained("tool", [pin], build, print) == first
    assert len(built) == 1
    pin.write_text("2.0")
    second = obtain.obtained("tool", [pin], build, print)
    assert second != first
    assert [(folder / "program").read_text() for folder in (first, second)] == ["1.0", "2.0"]


def test_a_failed_build_leaves_nothing_that_is_taken_for_whole(cache: Path, pin: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ServiceError("no")

    with pytest.raises(ServiceError, match=r"^no$"):
        obtain.obtained("tool", [pin], fail, print)
    found = obtain.obtained("tool", [pin], lambda folder: (folder / "whole").touch(), print)
    assert [path.name for path in found.iterdir()] == ["whole"]
    assert not list(cache.glob("*.partial"))


def test_two_at_once_build_once(cache: Path, pin: Path) -> None:
    built: list[Path] = []
    said: list[str] = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.5)

    threads = [threading.Thread(target=obtain.obtained, args=("tool", [pin], build, said.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert said == ["waiting: another process makes tool"]
    assert cache.is_dir()


def test_only_the_pinned_files_are_accepted(tmp_path: Path) -> None:
    folder, sums = tmp_path / "files", tmp_path / "SHA512SUMS"
    folder.mkdir()
    (folder / "a.jar").write_bytes(b"a")
    sums.write_text(f"{hashlib.sha512(b'a').hexdigest()}  a.jar\n")
    obtain.check_sums("tool", folder, sums)
    (folder / "a.jar").write_bytes(b"b")
    with pytest.raises(ServiceError, match=r"a\.jar is not the pinned one"):
        obtain.check_sums("tool", folder, sums)
    (folder / "b.jar").touch()
    with pytest.raises(ServiceError, match=r"b\.jar is not listed in"):
        obtain.check_sums("tool", folder, sums)
    (folder / "b.jar").unlink()
    (folder / "a.jar").unlink()
    with pytest.raises(ServiceError, match=r"a\.jar is missing"):
        obtain.check_sums("tool", folder, sums)


def test_missing_commands_are_named_with_the_way_to_get_them(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not cache.exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"needs java, not found on PATH.*default-jre-headless"):
        KINDS["kafka"].obtain(print)
    with pytest.raises(ServiceError, match=r"needs go, cargo, cc, pkg-config, .*golang.*rustup"):
        KINDS["influxdb"].obtain(print)


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "java", "echo 'openjdk version \"11.0.20\" 2023-07-18' >&2")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ServiceError, match=r"version 17 or newer.*found 11"):
        KINDS["kafka"].obtain(print)


def test_a_failing_command_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"making failed \(exit status 3\); it said:\n  why"):
        obtain.run("making", ["sh", "-c", "echo why >&2; exit 3"], log=tmp_path / "log", say=print, cwd=tmp_path)


def test_containers_have_the_versions_and_settings_of_the_processes() -> None:
    compose = COMPOSE_FILE.read_text()
    for kind in KINDS.values():
        assert re.search(rf"image: \S*:{re.escape(kind.version)}\n", compose)
    in_container = {
        key.lower().replace("_", "."): value.strip('"')
        for key, value in re.findall(r"^ +KAFKA_(\w+): (.+)$", compose, re.MULTILINE)
    }
    in_process = dict(line.split("=", 1) for line in _PROPERTIES.splitlines())
    assert in_container.keys() == in_process.keys() | {"heap.opts"}
    own = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    for key in in_process.keys() - own:
        assert in_container[key] == in_process[key], key
    assert set(re.findall(r'^ +- "(.*?):', compose, re.MULTILINE)) == {"127.0.0.1"}


def test_the_pins_name_the_versions() -> None:
    assert f"<version>{KINDS['kafka'].version}</version>" in (SERVICES / "kafka" / "pom.xml").read_text()
    assert f"<version>{KINDS['registry'].version}</version>" in (SERVICES / "registry" / "pom.xml").read_text()
    assert f"influxdb/v2 v{KINDS['influxdb'].version}\n" in (SERVICES / "influxd" / "go.mod").read_text()


def fake(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_containers_are_driven_by_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    fake(
        tmp_path / "docker",
        f'echo "$@ INFLUXDB_PORT=$INFLUXDB_PORT" >> {calls}; case "$*" in *ps*) echo influxdb;; esac',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert engine_answers()
    calls.unlink()
    compose, kind = Compose(tmp_path / "services"), KINDS["influxdb"]
    entry = Entry({"client": 15_123})
    compose.start(kind, entry, print)
    assert compose.lives(kind, entry)
    assert not compose.lives(KINDS["kafka"], entry)
    compose.stop(kind, entry, kill=True)
    compose.purge()
    head = f"compose --project-name {compose.project} --file {COMPOSE_FILE} "
    assert calls.read_text().replace(head, "").splitlines() == [
        "up --detach influxdb INFLUXDB_PORT=15123",
        "ps --services --status running INFLUXDB_PORT=",
        "ps --services --status running INFLUXDB_PORT=",
        "kill influxdb INFLUXDB_PORT=",
        "down --volumes --remove-orphans INFLUXDB_PORT=",
    ]
    fake(tmp_path / "docker", "echo 'cannot connect' >&2; exit 1")
    assert not engine_answers()
    with pytest.raises(ServiceError, match=r"cannot connect\n.*--mode plain"):
        compose.start(kind, entry, print)
