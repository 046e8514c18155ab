"""Whether what was written by one schema can be read by another, as the Avro specification resolves them.

Stricter than the specification in one point: a logical type may not change, since readers would take
milliseconds for microseconds without a word.

Example:
    >>> reader = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}
    >>> writer = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}
    >>> incompatibilities(reader, writer)
    ['a: string cannot be read as long']
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PROMOTIONS = {
    "int": frozenset({"long", "float", "double"}),
    "long": frozenset({"float", "double"}),
    "float": frozenset({"double"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}


def incompatibilities(reader: Any, writer: Any) -> list[str]:
    """Why data written by ``writer`` cannot all be read by ``reader``; empty if it can.

    Args:
        reader: the newer Avro schema, as JSON.
        writer: the older one.

    Returns:
        One line for each reason, beginning with the field's path.
    """
    return _Comparison(_names(reader), _names(writer)).compare(reader, writer, "")


class _Comparison:
    def __init__(self, reader_names: Mapping[str, Any], writer_names: Mapping[str, Any]) -> None:
        self._reader_names = reader_names
        self._writer_names = writer_names
        self._open: set[tuple[int, int]] = set()

    def compare(self, reader: Any, writer: Any, path: str) -> list[str]:
        reader = _resolve(reader, self._reader_names)
        writer = _resolve(writer, self._writer_names)
        if isinstance(writer, list):
            return [reason for branch in writer for reason in self.compare(reader, branch, path)]
        if isinstance(reader, list):
            return self._union(reader, writer, path)
        reader_kind, writer_kind = _kind(reader), _kind(writer)
        promoted = reader_kind in _PROMOTIONS.get(writer_kind, ())
        if _logical(reader) != _logical(writer) or (reader_kind != writer_kind and not promoted):
            return [f"{_at(path)}{_shown(writer)} cannot be read as {_shown(reader)}"]
        return [] if promoted else self._same_kind(reader_kind, reader, writer, path)

    def _union(self, reader: list[Any], writer: Any, path: str) -> list[str]:
        if any(not self.compare(branch, writer, path) for branch in reader):
            return []
        branches = [branch for branch in reader if _kind(branch) != "null"]
        if len(branches) == 1 and _kind(writer) != "null":
            return self.compare(branches[0], writer, path)
        return [f"{_at(path)}{_shown(writer)} is not among {', '.join(map(_shown, reader))}"]

    def _same_kind(self, kind: str, reader: Any, writer: Any, path: str) -> list[str]:
        reasons: list[str] = []
        if kind == "record":
            reasons = self._records(reader, writer, path)
        elif kind == "enum":
            reasons = _enums(reader, writer, path)
        elif kind == "array":
            reasons = self.compare(reader["items"], writer["items"], f"{path}[]")
        elif kind == "map":
            reasons = self.compare(reader["values"], writer["values"], f"{path}{{}}")
        elif kind == "fixed" and reader["size"] != writer["size"]:
            reasons = [f"{_at(path)}fixed of {writer['size']} bytes cannot be read as one of {reader['size']}"]
        return reasons

    def _records(self, reader: Mapping[str, Any], writer: Mapping[str, Any], path: str) -> list[str]:
        pair = (id(reader), id(writer))
        if pair in self._open:  # a recursive type: judged further out
            return []
        self._open.add(pair)
        reasons = self._fields(reader, writer, path)
        self._open.discard(pair)
        return reasons

    def _fields(self, reader: Mapping[str, Any], writer: Mapping[str, Any], path: str) -> list[str]:
        reasons = []
        if _names_differ(reader, writer):
            reasons.append(f"{_at(path)}record {writer['name']} cannot be read as {reader['name']}")
        theirs = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            here = f"{path}.{field['name']}" if path else field["name"]
            found = next((theirs[name] for name in (field["name"], *field.get("aliases", ())) if name in theirs), None)
            if found is not None:
                reasons += self.compare(field["type"], found["type"], here)
            elif "default" not in field:
                reasons.append(f"{_at(here)}missing in the writer's schema and has no default")
        return reasons


def _enums(reader: Mapping[str, Any], writer: Mapping[str, Any], path: str) -> list[str]:
    reasons = []
    if _names_differ(reader, writer):
        reasons.append(f"{_at(path)}enum {writer['name']} cannot be read as {reader['name']}")
    unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if unknown and "default" not in reader:
        reasons.append(f"{_at(path)}symbol {', '.join(unknown)} is not known to the reader")
    return reasons


def _names_differ(reader: Mapping[str, Any], writer: Mapping[str, Any]) -> bool:
    known = {_short(name) for name in (reader["name"], *reader.get("aliases", ()))}
    return _short(writer["name"]) not in known


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _kind(avro: Any) -> str:
    if isinstance(avro, list):
        return "union"
    return str(avro["type"]) if isinstance(avro, Mapping) else str(avro)


def _logical(avro: Any) -> Any:
    return avro.get("logicalType") if isinstance(avro, Mapping) else None


def _shown(avro: Any) -> str:
    return str(_logical(avro) or _kind(avro))


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _resolve(avro: Any, names: Mapping[str, Any]) -> Any:
    while isinstance(avro, Mapping) and isinstance(avro["type"], Mapping | list):
        avro = avro["type"]
    return names.get(_short(avro), avro) if isinstance(avro, str) else avro


def _names(avro: Any) -> dict[str, Any]:
    """The named types of a schema, by their unqualified names."""
    found: dict[str, Any] = {}
    if isinstance(avro, list):
        for branch in avro:
            found |= _names(branch)
    elif isinstance(avro, Mapping):
        if avro["type"] in ("record", "enum", "fixed"):
            found[_short(avro["name"])] = avro
        for field in avro.get("fields", ()):
            found |= _names(field["type"])
        for inner in ("type", "items", "values"):
            if isinstance(avro.get(inner), Mapping | list):
                found |= _names(avro[inner])
    return found
