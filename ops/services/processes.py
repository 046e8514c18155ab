"""Plain processes that outlive the command that started them, and free ports for them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.services.base import ServiceError

_LOOPBACK = "127.0.0.1"
_LOWEST_PORT = 15_000
_CLOCK_SLACK_SECONDS = 5.0
_STOP_SECONDS = 40.0


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that lingers in TIME_WAIT does not keep a port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def come_free(ports: Collection[int], seconds: float = 10.0) -> bool:
    """Wait until all ports are free, for so many seconds at most, and tell whether they are."""
    deadline = time.monotonic() + seconds
    while not all(port_is_free(port) for port in ports):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Free ports of the loopback address, below those that the system gives to outgoing connections.

    A port that is kept for a stopped service must not be one of those: a client that tries to reach the
    service meanwhile could be given the very port, and be connected to itself.

    Args:
        count: how many.
        taken: ports that are spoken for, though nobody may listen there now.

    Raises:
        ServiceError: there are not so many.
    """
    try:
        top = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        top = 32_768
    candidates = range(_LOWEST_PORT, top) if top > _LOWEST_PORT + 1000 else range(2000, 32_768)
    free: list[int] = []
    for port in random.sample(candidates, k=200):
        if len(free) == count:
            break
        if port not in taken and port_is_free(port):
            free.append(port)
    if len(free) < count:
        raise ServiceError(f"no free ports on {_LOOPBACK} found between {candidates[0]} and {candidates[-1]}")
    return free


@dataclass(frozen=True)
class Spawned:
    """A process that was started, told from any later one with the same number.

    Attributes:
        pid: its number.
        created: when it began, in seconds since 1970.
        mark: an argument of its command line that no other program's has.
    """

    pid: int
    created: float
    mark: str

    def process(self) -> psutil.Process | None:
        """The process, if it is alive and really this one."""
        with suppress(ChildProcessError):  # reap it if it is our own child and has ended
            os.waitpid(self.pid, os.WNOHANG)
        try:
            process = psutil.Process(self.pid)
            # The creation time is reckoned from the boot time, which moves a little as the clock is set.
            if abs(process.create_time() - self.created) > _CLOCK_SLACK_SECONDS:
                return None
            with suppress(psutil.ZombieProcess):
                arguments = process.cmdline()
                if arguments:
                    return process if any(self.mark in each for each in arguments) else None
            # It is ending: the command line goes first, the sockets with the last of its threads.
            ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
            return None if ended else process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None

    def stop(self, *, kill: bool = False) -> None:
        """End it, by SIGTERM first unless it is to be killed, and wait until it is gone.

        Raises:
            ServiceError: it is still there.
        """
        for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 10.0)):
            if kill and number == signal.SIGTERM:
                continue
            process = self.process()
            if process is None:
                return
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if self.process() is None:
                    return
                time.sleep(0.05)
        raise ServiceError(f"process {self.pid} does not end, not even by SIGKILL")


def spawn(command: Sequence[str], *, mark: str, log: Path, environment: Mapping[str, str]) -> Spawned:
    """Start a process in a session of its own, its output appended to a log file.

    Args:
        command: program and arguments.
        mark: part of an argument by which the process is known again.
        log: where its output goes.
        environment: its environment.

    Raises:
        ServiceError: the program cannot be started.
    """
    program = shutil.which(command[0])
    if program is None:
        raise ServiceError(f"{command[0]} is not found on PATH")
    # Not subprocess: its objects warn when they are dropped before the process ends. This one outlives us.
    pid = os.posix_spawn(
        program,
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,  # a Ctrl-C in the terminal is not for it
        setsigmask=(),  # the caller may have blocked SIGTERM to wait for it
        setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE),
    )
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = time.time()
    return Spawned(pid, created, mark)
