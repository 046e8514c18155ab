"""One folder's services: started, found again, stopped, from the command line and from tests."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from ops.services.base import Say, Service, ServiceError, State, Status
from ops.services.compose import Compose, engine_answers
from ops.services.influxdb import BUCKET, ORG, InfluxDB, token_file
from ops.services.kafka import Kafka
from ops.services.notes import Entry, Notes, Record, write_whole
from ops.services.obtain import locked
from ops.services.plain import Plain
from ops.services.processes import come_free, free_ports
from ops.services.registry import Registry

KINDS: dict[str, Service] = {service.name: service for service in (Kafka(), Registry(), InfluxDB())}
NAMES = tuple(KINDS)
Mode = Literal["auto", "compose", "plain"]


class Services:
    """The services of a folder.

    A service keeps its port and its data when it is stopped and started again, by whichever process. As a
    context manager it starts all three and stops them at the end.

    Args:
        folder: for data, logs, and the notes on what runs; made if it is not there.
        mode: ``compose``, ``plain``, or ``auto``: compose if a Docker engine answers, unless the folder's
            services were started otherwise before.
        say: told what goes on; by default nobody is.

    Example:
        >>> services = Services(Path("/tmp/services"))
        >>> services.up(["kafka"])  # doctest: +SKIP
        >>> services.stop("kafka"), services.start("kafka")  # doctest: +SKIP
        >>> services.down(purge=True)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, *, mode: Mode = "auto", say: Say | None = None) -> None:
        self.folder = folder.absolute()
        self._mode = mode
        self._say: Say = say if say is not None else lambda _: None
        self._notes = Notes(self.folder / "services.json")

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def fetch(self, only: Iterable[str] = NAMES) -> None:
        """Obtain what the services are made of, and start nothing.

        Args:
            only: the names of the services that are wanted.

        Raises:
            ServiceError: one is unknown or cannot be obtained.
        """
        kinds = [_kind(name) for name in only]
        record = self._notes.read() or Record(self._pick_mode())
        for kind in kinds:
            self._runner(record).prepare(kind, self._say)

    def up(self, only: Iterable[str] = NAMES) -> None:
        """Start what does not run yet, and wait until all answer.

        Args:
            only: the names of the services that are wanted.

        Raises:
            ServiceError: one is unknown, cannot be obtained, or does not come up; what came up stays up.
        """
        kinds = [_kind(name) for name in only]
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            record = self._notes.read() or Record(self._pick_mode())
            if self._mode not in ("auto", record.mode):
                raise ServiceError(
                    f"the services of {self.folder} are kept in mode {record.mode}; "
                    f"`gridflow services down --purge` first, or another folder"
                )
            # All is built before anything is started: a failure leaves nothing half done.
            for kind in kinds:
                self._runner(record).prepare(kind, self._say)
            started = {kind.name: self._start(kind, record, move=True) for kind in kinds}
            for kind in kinds:
                self._await(kind, record, started=started[kind.name])
            self._write_environment(record)

    def start(self, name: str) -> None:
        """Start one service again, on the port that it had, with its data, and wait until it answers.

        Raises:
            ServiceError: it never ran, its port was taken meanwhile, or it does not come up.
        """
        kind = _kind(name)
        with self._locked():
            record = self._need_record()
            if name not in record.entries:
                raise ServiceError(f"{kind.title} never ran in {self.folder}")
            self._await(kind, record, started=self._start(kind, record, move=False))
            self._write_environment(record)

    def stop(self, name: str, *, kill: bool = False) -> None:
        """Stop one service, and wait until it is gone; data and port stay, to `start` it again.

        Args:
            name: its name.
            kill: by SIGKILL, as a crash would.

        Raises:
            ServiceError: it is unknown or cannot be stopped.
        """
        kind = _kind(name)
        with self._locked():
            record = self._need_record()
            self._stop(kind, record, kill=kill)
            self._write_environment(record)

    def down(self, only: Iterable[str] = NAMES, *, purge: bool = False) -> None:
        """Stop what runs.

        Args:
            only: the names of the services that are to go.
            purge: remove their data, logs, ports and tokens; of all services, the notes too.

        Raises:
            ServiceError: one is unknown or cannot be stopped.
        """
        kinds = [_kind(name) for name in only]
        if not self.folder.is_dir():
            return
        with self._locked():
            record = self._notes.read()
            if record is None:
                return
            if purge and record.mode == "compose" and {kind.name for kind in kinds} != set(NAMES):
                raise ServiceError("containers can be purged only all together")
            for kind in kinds:
                self._stop(kind, record, kill=False)
                if purge:
                    record.entries.pop(kind.name, None)
                    if (self.folder / kind.name).exists():
                        shutil.rmtree(self.folder / kind.name)
            self._write_environment(record)
            self._notes.write(record)
            if purge and not record.entries:
                self._runner(record).purge()
                for file in (self._notes.file, self.environment_file):
                    file.unlink(missing_ok=True)

    def status(self) -> list[Status]:
        """How each service is, asked now.

        Raises:
            ServiceError: the folder's notes cannot be read.
        """
        record = self._notes.read()
        found = []
        for kind in KINDS.values():
            entry = record.entries.get(kind.name) if record is not None else None
            if record is None or entry is None:
                found.append(Status(kind.name, kind.version, "stopped", None, None, None))
                continue
            port, runner = entry.ports["client"], self._runner(record)
            lives = runner.lives(kind, entry)
            state: State
            if lives:
                state = "running" if kind.answers(port) else "starting"
            else:
                state = "failed" if entry.wanted else "stopped"
            log = runner.log(kind)
            found.append(Status(kind.name, kind.version, state, kind.url(port), entry.pid if lives else None, log))
        return found

    def environment(self) -> dict[str, str]:
        """The settings of gridflow, as environment variables, for the services that should run now.

        Raises:
            ServiceError: the folder's notes cannot be read.
        """
        return self._environment(self._notes.read())

    @property
    def environment_file(self) -> Path:
        """A file with the lines of `environment`, as a shell or a container's ``env_file`` takes it."""
        return self.folder / "env"

    @property
    def kafka_bootstrap(self) -> str:
        """``host:port`` of Kafka."""
        return self._url("kafka")

    @property
    def registry_url(self) -> str:
        """The base of the registry's Confluent API."""
        return self._url("registry")

    @property
    def influx_url(self) -> str:
        """The address of InfluxDB."""
        return self._url("influxdb")

    @property
    def influx_org(self) -> str:
        """The organisation in InfluxDB."""
        return ORG

    @property
    def influx_bucket(self) -> str:
        """The bucket in InfluxDB."""
        return BUCKET

    @property
    def influx_token_file(self) -> Path:
        """The file that holds the token."""
        return token_file(self.folder / InfluxDB.name)

    @property
    def influx_token(self) -> str:
        """The token that may do everything in InfluxDB: not for logs.

        Raises:
            ServiceError: InfluxDB was never set up here.
        """
        try:
            return self.influx_token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ServiceError(f"token file {self.influx_token_file}: {error.strerror}") from None

    def _start(self, kind: Service, record: Record, *, move: bool) -> bool:
        """Start it if it does not live, and tell whether that was done."""
        runner = self._runner(record)
        entry = record.entries.get(kind.name)
        if entry is None:
            entry = record.entries[kind.name] = Entry(self._new_ports(kind, record))
        elif runner.lives(kind, entry):
            return False
        elif not come_free(entry.ports.values()):
            taken = ", ".join(map(str, entry.ports.values()))
            if not move:
                raise ServiceError(f"{kind.title}: its port ({taken}) was taken by another program meanwhile")
            entry.ports = self._new_ports(kind, record)
            self._say(f"{kind.title}: its port ({taken}) is taken, it moves to {entry.ports['client']}")
        self._say(f"{kind.title} {kind.version}: starting")
        runner.start(kind, entry, self._say)
        entry.wanted = True
        self._notes.write(record)
        return True

    def _await(self, kind: Service, record: Record, *, started: bool) -> None:
        runner, entry = self._runner(record), record.entries[kind.name]
        port = entry.ports["client"]
        began = time.monotonic()
        while not kind.answers(port):
            late = time.monotonic() - began > kind.start_seconds
            if late or not runner.lives(kind, entry):
                fault = f"does not answer on port {port}" if late else "ended as it started"
                raise ServiceError(f"{kind.title} {fault}; its log says:\n{runner.last_words(kind)}")
            time.sleep(0.1)
        # Whoever answers is another program if ours found the port taken, and ended.
        if not runner.lives(kind, entry):
            raise ServiceError(f"{kind.title}: another program answers on its port {port}")
        kind.set_up(self.folder / kind.name, port)
        self._say(f"{kind.title}: {'up at' if started else 'runs already at'} {kind.url(port)}")

    def _stop(self, kind: Service, record: Record, *, kill: bool) -> None:
        runner, entry = self._runner(record), record.entries.get(kind.name)
        if entry is None:
            return
        if runner.lives(kind, entry):
            self._say(f"{kind.title}: {'killing' if kill else 'stopping'}")
            runner.stop(kind, entry, kill=kill)
        entry.wanted, entry.pid, entry.created = False, None, 0.0
        self._notes.write(record)

    def _runner(self, record: Record) -> Plain | Compose:
        return Compose(self.folder) if record.mode == "compose" else Plain(self.folder)

    @staticmethod
    def _new_ports(kind: Service, record: Record) -> dict[str, int]:
        taken = {port for entry in record.entries.values() for port in entry.ports.values()}
        return dict(zip(kind.ports, free_ports(len(kind.ports), taken), strict=True))

    def _pick_mode(self) -> Literal["compose", "plain"]:
        if self._mode != "auto":
            return self._mode
        return "compose" if engine_answers() else "plain"

    def _url(self, name: str) -> str:
        entry = self._need_record().entries.get(name)
        if entry is None:
            raise ServiceError(f"{KINDS[name].title} was not started in {self.folder}: `gridflow services up`")
        return KINDS[name].url(entry.ports["client"])

    def _environment(self, record: Record | None) -> dict[str, str]:
        variables: dict[str, str] = {}
        for name, entry in record.entries.items() if record is not None else ():
            if entry.wanted:
                variables |= KINDS[name].environment(self.folder / name, entry.ports["client"])
        return variables

    def _write_environment(self, record: Record) -> None:
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in self._environment(record).items()]
        write_whole(self.environment_file, "".join(lines))

    def _locked(self) -> AbstractContextManager[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        return locked(self.folder / ".lock", lambda: self._say(f"waiting: another process is at work on {self.folder}"))

    def _need_record(self) -> Record:
        record = self._notes.read()
        if record is None:
            raise ServiceError(f"no services were started in {self.folder}: `gridflow services up`")
        return record


def _kind(name: str) -> Service:
    if name not in KINDS:
        raise ServiceError(f"there is no service {name!r}; there are {', '.join(NAMES)}")
    return KINDS[name]
