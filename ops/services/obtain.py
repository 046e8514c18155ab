"""Programs that are fetched or built once, checked against pins, and found again.

What was obtained lies outside the checkout, in the user's cache folder, under the hash of the files that pin
it: a changed pin is another program, and two checkouts with the same pins share one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ops.services.base import Say, ServiceError

_TAIL_LINES = 15
_PROGRESS_SECONDS = 20.0

_HOW_TO_INSTALL = {
    "java": "a Java runtime, version 17 or newer (Debian: apt-get install default-jre-headless)",
    "mvn": "Apache Maven (Debian: apt-get install maven)",
    "go": "Go, version 1.23 or newer (Debian 13: apt-get install golang-go; else the Go project's installer)",
    "cargo": "Rust with cargo, version 1.72 or newer (Debian 13: apt-get install cargo; else by rustup)",
    "cc": "a C compiler (Debian: apt-get install build-essential)",
    "pkg-config": "pkg-config (Debian: apt-get install pkg-config)",
}


def cache_folder() -> Path:
    """The user's cache folder of gridflow: ``$XDG_CACHE_HOME/gridflow``, by default ``~/.cache/gridflow``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "gridflow"


def need(service: str, *commands: str) -> None:
    """Check that the commands are there.

    Raises:
        ServiceError: it names all that are missing, and how to install each.
    """
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        ways = "; ".join(f"{command}: install {_HOW_TO_INSTALL[command]}" for command in missing)
        raise ServiceError(
            f"{service} needs {', '.join(missing)}, not found on PATH. {ways}. "
            "With a Docker engine and its compose plugin, none of this is needed"
        )


def need_version(service: str, command: Sequence[str], pattern: str, least: tuple[int, ...]) -> None:
    """Check a command's version.

    Args:
        service: what it is for.
        command: the command line that prints the version.
        pattern: a regular expression whose groups are the version's numbers.
        least: the version it must at least be.

    Raises:
        ServiceError: it is older, or does not tell.
    """
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    version = tuple(int(number) for number in found.groups()) if found else ()
    if version < least:
        shown = ".".join(map(str, version)) or "one that does not tell its version"
        raise ServiceError(f"{service} needs {_HOW_TO_INSTALL[command[0]]}; found {shown}")


def obtained(name: str, pins: Sequence[Path], build: Callable[[Path], None], say: Say) -> Path:
    """The folder with a program, from the cache, or built now.

    Args:
        name: what it is, with its version; begins the folder's name.
        pins: the files that fix what it is made of.
        build: fills the empty folder that it is given.
        say: told when another process is building the same.

    Raises:
        ServiceError: the cache cannot be written, or `build` raised it.
    """
    digest = hashlib.sha256(f"{platform.system()}-{platform.machine()}\n".encode())
    for pin in pins:
        content = pin.read_bytes()
        digest.update(f"{pin.name} {len(content)}\n".encode() + content)
    target = cache_folder() / f"{name}-{digest.hexdigest()[:16]}"
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(target.name + ".lock"), lambda: say(f"waiting: another process makes {name}")):
            if not target.is_dir():
                partial = target.with_name(target.name + ".partial")
                if partial.exists():  # left by a build that was killed: the lock says that it is nobody's
                    shutil.rmtree(partial)
                partial.mkdir()
                build(partial)
                partial.rename(target)  # whole or not at all
    except OSError as error:
        raise ServiceError(f"{name}: cannot write {error.filename or target}: {error.strerror}") from error
    return target


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it even if the holder is killed.

    Args:
        file: the lock file; it stays.
        waiting: called once if someone else holds it.
    """
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(
    what: str,
    command: Sequence[str],
    *,
    log: Path,
    say: Say,
    cwd: Path,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Run a command, its output in a log file, and say now and then that it still runs.

    Raises:
        ServiceError: it failed; the message has the log's last lines.
    """
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, **(extra or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while process.poll() is None:
                try:
                    process.wait(_PROGRESS_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"{what}: still at work after {time.monotonic() - began:.0f} s")
        finally:
            if process.poll() is None:  # interrupted
                process.terminate()
                process.wait()
    if process.returncode != 0:
        raise ServiceError(f"{what} failed (exit status {process.returncode}); it said:\n{tail(log)}")


def tail(log: Path) -> str:
    """The last lines of a log file, indented."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return "\n".join("  " + line for line in lines[-_TAIL_LINES:]) or "  (nothing)"


def maven(name: str, pins: Path, build: Callable[[Path], None], say: Say) -> Path:
    """The files that a pom's dependencies resolve to, checked, in a folder of the cache.

    Args:
        name: what it is, with its version.
        pins: a folder with ``pom.xml`` and ``SHA512SUMS``.
        build: what to do with them before they are put into the cache, given their folder.
        say: told what goes on.

    Raises:
        ServiceError: Maven is missing or failed, or a file is not the pinned one.
    """

    def fetch(folder: Path) -> None:
        need(name, "java", "mvn")
        say(f"{name}: fetching it with Maven")
        run(
            f"{name}: fetching",
            [
                *("mvn", "--batch-mode", "--no-transfer-progress", "--file", str(pins / "pom.xml")),
                *("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"),
            ],
            log=folder.with_suffix(".log"),
            say=say,
            cwd=folder,
        )
        check_sums(name, folder, pins / "SHA512SUMS")
        build(folder)
        folder.with_suffix(".log").unlink()

    return obtained(name, [pins / "pom.xml", pins / "SHA512SUMS"], fetch, say)


def check_sums(name: str, folder: Path, sums: Path) -> None:
    """Check that a folder holds exactly the files of a list as ``sha512sum`` writes it.

    Raises:
        ServiceError: it names the first file that is missing, not listed, or not the pinned one.
    """
    wanted = {file: digest for digest, file in (line.split() for line in sums.read_text().splitlines())}
    found = {path.name for path in folder.iterdir()}
    for file in sorted(wanted.keys() ^ found):
        raise ServiceError(f"{name}: {file} is {'missing' if file in wanted else f'not listed in {sums}'}")
    for file, digest in wanted.items():
        with (folder / file).open("rb") as handle:
            if hashlib.file_digest(handle, "sha512").hexdigest() != digest:
                raise ServiceError(f"{name}: {file} is not the pinned one: its SHA-512 differs from {sums}")
