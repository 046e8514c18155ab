"""Avro bodies to columns, all messages at once.

fastavro reads one message at 3 to 10 µs. Here a whole batch is walked field by field: ``pos[i]`` is where message i
stands in the joined bytes, and each field is one gather over all messages. Every structural byte (union index, length,
count) is checked, no read crosses the message's end unnoticed, and a message must end exactly where its last field
does; so one bad body cannot shift the others. A message that does not pass is not decoded wrongly but reported as
doubtful, for the caller to give to fastavro.

Unsupported, and left to fastavro as a whole: fixed, decimal, recursive types and unions other than with null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.avro_numbers import Block, Bools, Ints, Positions, read_lengths
from schemas.avro_types import arrow_type

# More items than this in one message's array are left to fastavro: each item is a step over the batch.
MAX_ITEMS = 64


class UnsupportedSchemaError(ValueError):
    """The schema has a type that cannot be read in columns."""


@dataclass(slots=True)
class Cursor:
    """Where each of n messages stands.

    Attributes:
        pos: int64[n], next byte to read.
        end: int64[n], one past the message's last byte.
        bad: bool[n], messages in doubt; their positions mean nothing, but stay inside the block.
    """

    pos: Positions
    end: Positions
    bad: Bools = field(init=False)

    def __post_init__(self) -> None:
        self.bad = np.zeros(len(self.pos), np.bool_)

    def subset(self, rows: npt.NDArray[np.intp]) -> Cursor:
        """A cursor over some of the messages; give it back by ``absorb``."""
        return Cursor(self.pos[rows], self.end[rows])

    def absorb(self, rows: npt.NDArray[np.intp], part: Cursor) -> None:
        """Take over where a subset has come to."""
        self.pos[rows] = part.pos
        self.bad[rows] |= part.bad


class Reader(Protocol):
    """Reads one field of every message."""

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """The values of all messages, in order; advances the cursor."""


@dataclass(frozen=True, slots=True)
class NumberReader:
    """A boolean, number, time or enum, nullable or not."""

    type: pa.DataType
    read_numbers: Any
    value_index: int | None = None  # byte of the union index that announces a value; None: not nullable
    symbols: pa.Array | None = None

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        valid = None
        if self.value_index is None:
            values, size, bad = self.read_numbers(block, cursor.pos)
            cursor.pos = cursor.pos + size
        else:
            index = block.bytes[cursor.pos]
            valid = index == self.value_index
            if valid.all():
                valid = None
                values, size, bad = self.read_numbers(block, cursor.pos + 1)
                cursor.pos = cursor.pos + (1 + size)
            else:
                cursor.bad |= ~valid & (index != 2 - self.value_index)
                if not valid.any():
                    cursor.pos = cursor.pos + 1
                    return pa.nulls(len(valid), self.type)
                values, size, bad = self.read_numbers(block, cursor.pos + 1)
                cursor.pos = cursor.pos + (1 + valid * size)
                if bad is not None:
                    bad = bad & valid
        if bad is not None:
            cursor.bad |= bad
        if self.symbols is not None:
            wrong = (values < 0) | (values >= len(self.symbols))
            cursor.bad |= wrong if valid is None else wrong & valid
            values = np.where(wrong, 0, values)
            indices = pa.array(values, mask=None if valid is None else ~valid)
            return self.symbols.take(indices)
        return _array(self.type, values, valid)


@dataclass(frozen=True, slots=True)
class BytesReader:
    """A string or bytes."""

    type: pa.DataType

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        length, size, bad = read_lengths(block, cursor.pos)
        start = cursor.pos + size
        over = (length < 0) | (length > cursor.end - start)
        if bad is not None:
            over |= bad
        if over.any():
            cursor.bad |= over
            length = np.where(over, 0, length)
            start = np.where(over, 0, start)
        cursor.pos = start + length
        data = block.gather(start, length)
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        if self.type == pa.string() and data.size and int(data.max()) >= 0x80:
            return self._strings(cursor, offsets, data)
        kind = pa.large_string() if self.type == pa.string() else pa.large_binary()
        return pa.Array.from_buffers(kind, len(length), [None, pa.py_buffer(offsets), pa.py_buffer(data)])

    @staticmethod
    def _strings(cursor: Cursor, offsets: Positions, data: npt.NDArray[np.uint8]) -> pa.Array:
        # Not ASCII: Python's decoder judges each message, so that only an invalid one is in doubt.
        raw = data.tobytes()
        texts = []
        for number, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            try:
                texts.append(raw[start:end].decode())
            except UnicodeDecodeError:
                cursor.bad[number] = True
                texts.append("")
        return pa.array(texts, pa.large_string())


@dataclass(frozen=True, slots=True)
class NullableReader:
    """A nullable string, bytes, array, map or record."""

    inner: Reader
    type: pa.DataType
    value_index: int

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        index = block.bytes[cursor.pos]
        valid = index == self.value_index
        cursor.bad |= ~valid & (index != 2 - self.value_index)
        cursor.pos = cursor.pos + 1
        if valid.all():
            return self.inner.read(block, cursor)
        rows = np.flatnonzero(valid)
        if not len(rows):
            return pa.nulls(len(valid), self.type)
        part = cursor.subset(rows)
        values = self.inner.read(block, part)
        cursor.absorb(rows, part)
        places = np.zeros(len(valid), np.int64)
        places[rows] = np.arange(len(rows))
        return values.take(pa.array(places, mask=~valid))


@dataclass(frozen=True, slots=True)
class RecordReader:
    """A record: its fields in order."""

    names: tuple[str, ...]
    readers: tuple[Reader, ...]

    def read_fields(self, block: Block, cursor: Cursor) -> list[pa.Array]:
        """One array per field."""
        return [reader.read(block, cursor) for reader in self.readers]

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        return pa.StructArray.from_arrays(self.read_fields(block, cursor), list(self.names))


@dataclass(frozen=True, slots=True)
class ListReader:
    """An array, or a map as a list of its pairs: one block of items, then the empty block that ends it."""

    item: Reader
    type: pa.DataType

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        count, size, bad = read_lengths(block, cursor.pos)
        cursor.pos = cursor.pos + size
        # A negative count announces the block's size in bytes: legal, rare, left to fastavro.
        wrong = (count < 0) | (count > MAX_ITEMS)
        if bad is not None:
            wrong |= bad
        cursor.bad |= wrong
        count = np.where(wrong, 0, count)
        pieces, owners = [], []
        for step in range(int(count.max(initial=0))):
            rows = np.flatnonzero((count > step) & ~cursor.bad)
            part = cursor.subset(rows)
            values = self.item.read(block, part)
            # Checked at each step, so that a body of nonsense cannot run on through its neighbours.
            part.bad |= part.pos > part.end
            part.pos = np.minimum(part.pos, part.end)
            cursor.absorb(rows, part)
            pieces.append(values)
            owners.append(rows)
        more = (count > 0) & ~cursor.bad
        cursor.bad |= more & (block.bytes[cursor.pos] != 0)
        cursor.pos = cursor.pos + more
        owner = np.concatenate(owners) if owners else np.zeros(0, np.intp)
        order = np.argsort(owner, kind="stable")
        offsets = np.zeros(len(count) + 1, np.int64)
        np.cumsum(np.bincount(owner, minlength=len(count)), out=offsets[1:])
        items = pa.concat_arrays(pieces).take(pa.array(order)) if pieces else pa.nulls(0, self.type.value_type)
        return pa.LargeListArray.from_arrays(pa.array(offsets), items)


def _array(kind: pa.DataType, values: npt.NDArray[Any], valid: Bools | None) -> pa.Array:
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    data = np.packbits(values, bitorder="little") if kind == pa.bool_() else np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(data)])


def _named(avro: Any, names: dict[str, Any], namespace: str, inside: tuple[str, ...]) -> tuple[Any, str, tuple[str, ...]]:
    """Resolve a reference to a named type, and note those that are named here."""
    if isinstance(avro, str) and avro not in Block.READ:
        full = avro if "." in avro or not namespace else f"{namespace}.{avro}"
        found = full if full in names else avro
        if found in inside or found not in names:
            raise UnsupportedSchemaError(f"type {avro!r}")
        return names[found][0], names[found][1], (*inside, found)
    if isinstance(avro, Mapping) and avro.get("type") in ("record", "enum", "fixed"):
        name = str(avro["name"])
        space = name.rpartition(".")[0] or str(avro.get("namespace", namespace))
        full = name if "." in name or not space else f"{space}.{name}"
        names[full] = (avro, space)
        return avro, space, (*inside, full)
    return avro, namespace, inside


def compile_reader(
    avro: Any, names: dict[str, Any] | None = None, namespace: str = "", inside: tuple[str, ...] = ()
) -> Reader:
    """Make the reader of an Avro type, as the writer wrote it.

    Raises:
        UnsupportedSchemaError: the type cannot be read in columns.
    """
    names = {} if names is None else names
    if isinstance(avro, list):
        if len(avro) != 2 or avro.count("null") != 1:
            raise UnsupportedSchemaError(f"union {avro}")
        at = 1 - avro.index("null")
        inner = compile_reader(avro[at], names, namespace, inside)
        value_index = 2 * at  # zigzag
        if isinstance(inner, NumberReader):
            return NumberReader(inner.type, inner.read_numbers, value_index, inner.symbols)
        return NullableReader(inner, reader_type(inner), value_index)
    avro, namespace, inside = _named(avro, names, namespace, inside)
    if isinstance(avro, str):
        avro = {"type": avro}
    kind = avro["type"]
    if not isinstance(kind, str):  # {"type": {"type": ...}}
        return compile_reader(kind, names, namespace, inside)
    if kind == "record":
        fields = avro["fields"]
        return RecordReader(
            tuple(entry["name"] for entry in fields),
            tuple(compile_reader(entry["type"], names, namespace, inside) for entry in fields),
        )
    if kind == "array":
        item = compile_reader(avro["items"], names, namespace, inside)
        return ListReader(item, pa.large_list(reader_type(item)))
    if kind == "map":
        pair = RecordReader(
            ("key", "value"), (BytesReader(pa.string()), compile_reader(avro["values"], names, namespace, inside))
        )
        return ListReader(pair, pa.large_list(reader_type(pair)))
    if kind == "enum":
        return NumberReader(pa.large_string(), Block.READ["int"], None, pa.array(avro["symbols"], pa.large_string()))
    if kind in ("string", "bytes"):
        return BytesReader(arrow_type(kind))
    if kind not in Block.READ or avro.get("logicalType") == "decimal":
        raise UnsupportedSchemaError(f"type {kind!r}")
    logical = avro.get("logicalType")
    known = logical in ("timestamp-micros", "timestamp-millis", "date")
    return NumberReader(arrow_type(avro if known else kind), Block.READ[kind])


def reader_type(reader: Reader) -> pa.DataType:
    """The Arrow type that a reader yields."""
    if isinstance(reader, BytesReader):
        return pa.large_string() if reader.type == pa.string() else pa.large_binary()
    if isinstance(reader, RecordReader):
        return pa.struct(
            [pa.field(name, reader_type(inner)) for name, inner in zip(reader.names, reader.readers, strict=True)]
        )
    assert isinstance(reader, NumberReader | NullableReader | ListReader)
    return reader.type
