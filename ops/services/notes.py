"""What is written down of a folder's services, so that any later process finds them again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from ops.services.base import ServiceError


@dataclass
class Entry:
    """One service: its ports stay when it stops, its process does not.

    Attributes:
        ports: its ports by name; ``client`` is that of its clients.
        wanted: whether it should run.
        pid: its process, if it is a plain one.
        created: when that process began, in seconds since 1970.
    """

    ports: dict[str, int]
    wanted: bool = False
    pid: int | None = None
    created: float = 0.0


@dataclass
class Record:
    """All services of a folder, by name, and whether they are containers or plain processes."""

    mode: Literal["compose", "plain"]
    entries: dict[str, Entry] = field(default_factory=dict)


class Notes:
    """The record's file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> Record | None:
        """The record, or None where there is none yet.

        Raises:
            ServiceError: the file is there, but cannot be understood.
        """
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            entries = {name: Entry(**entry) for name, entry in content["entries"].items()}
            return Record(content["mode"], entries)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceError(f"{self.file} cannot be read: {type(error).__name__}: {error}") from error

    def write(self, record: Record) -> None:
        """Write the record; a reader sees the old one or the new one."""
        write_whole(self.file, json.dumps(asdict(record), indent=2) + "\n")


def write_whole(file: Path, content: str) -> None:
    """Write a file that a reader never sees half."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(file)
