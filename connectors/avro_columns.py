"""Avro bodies to columns, all messages at once.

fastavro reads one message in 3 to 10 µs. Here a whole batch is walked field by field: ``pos[i]`` is where
message i stands in the joined bytes, and each field is one gather over all messages. Every structural byte
(union index, length, count) is checked, and a message must end exactly where its last field does: so no read
across its end goes unnoticed, and a bad body cannot shift the others. A message that does not pass is not
decoded wrongly but reported as doubtful, for the caller to give to fastavro.

Unsupported, and left to fastavro as a whole: fixed, decimal, recursive types and unions other than with null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.avro_numbers import Block, Bools, NumberReader, Positions, read_lengths
from schemas.avro_types import arrow_type

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "string", "bytes"})
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


# By how much to advance, by size of a value and whether there is one.
_STEPS = {size: np.array([0, size], np.int64) for size in range(11)}


def read_union(block: Block, cursor: Cursor, value_index: int) -> Bools:
    """Which messages have a value, by the index of a union with null; does not advance."""
    index = block.bytes[cursor.pos]
    odd = index & np.uint8(0xFD)  # neither 0 nor 2
    if odd.any():
        cursor.bad |= odd != 0
    valid: Bools = index == value_index
    return valid


class Reader(Protocol):
    """Reads one field of every message."""

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """The values of all messages, in order; advances the cursor."""


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A boolean, number, time or enum, nullable or not.

    Attributes:
        type: what it becomes.
        numbers: reads its values.
        value_index: byte of the union index that announces a value; None: not nullable.
        symbols: of an enum.
    """

    type: pa.DataType
    numbers: NumberReader
    value_index: int | None = None
    symbols: pa.Array | None = None

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        valid = None
        shift = 0
        if self.value_index is not None:
            valid = read_union(block, cursor, self.value_index)
            shift = 1
            present = int(np.count_nonzero(valid))
            if present == 0:
                cursor.pos += 1
                return pa.nulls(len(valid), self.type)
            if present == len(valid):
                valid = None
        values, size, bad = self.numbers(block, cursor.pos, shift)
        cursor.pos += shift
        if valid is None:
            cursor.pos += size
        elif isinstance(size, int):
            cursor.pos += _STEPS[size][valid.view(np.uint8)]
        else:
            cursor.pos += size * valid
        if bad is not None:
            cursor.bad |= bad if valid is None else bad & valid
        return number_array(self, values, valid, cursor)

    def symbols_of(self, values: npt.NDArray[Any], valid: Bools | None, cursor: Cursor) -> pa.Array:
        """The symbols of an enum; marks unknown ones bad."""
        assert self.symbols is not None
        wrong = (values < 0) | (values >= len(self.symbols))
        if wrong.any():
            cursor.bad |= wrong if valid is None else wrong & valid
            values = np.where(wrong, 0, values)
        return self.symbols.take(pa.array(values, mask=None if valid is None else ~valid))


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
        return self.array(block, cursor, start, length)

    def array(self, block: Block, cursor: Cursor, start: Positions, length: Positions) -> pa.Array:
        """The values that lie at ``start``, ``length`` bytes each; marks those bad that are not UTF-8."""
        data = block.gather(start, length)
        offsets = np.zeros(len(length) + 1, np.int64)
        np.cumsum(length, out=offsets[1:])
        if self.type == pa.string() and data.size and int(data.max()) >= 0x80:
            data = self._check_text(cursor, offsets, data)
        return pa.Array.from_buffers(reader_type(self), len(length), [None, pa.py_buffer(offsets), pa.py_buffer(data)])

    @staticmethod
    def _check_text(cursor: Cursor, offsets: Positions, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Find those that are not UTF-8, and blank them out."""
        foreign = np.flatnonzero(data >= 0x80)
        for number in np.unique(np.searchsorted(offsets, foreign, side="right") - 1).tolist():
            start, end = int(offsets[number]), int(offsets[number + 1])
            try:
                data[start:end].tobytes().decode()
            except UnicodeDecodeError:
                cursor.bad[number] = True
                data[start:end] = ord("?")
        return data


@dataclass(frozen=True, slots=True)
class NullableReader:
    """A nullable string, bytes, array, map or record."""

    inner: Reader
    type: pa.DataType
    value_index: int

    def read(self, block: Block, cursor: Cursor) -> pa.Array:
        """See ``Reader``."""
        valid = read_union(block, cursor, self.value_index)
        cursor.pos += 1
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
        cursor.pos += size
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
        cursor.pos += more
        owner = np.concatenate(owners) if owners else np.zeros(0, np.intp)
        order = np.argsort(owner, kind="stable")
        offsets = np.zeros(len(count) + 1, np.int64)
        np.cumsum(np.bincount(owner, minlength=len(count)), out=offsets[1:])
        items = pa.concat_arrays(pieces).take(pa.array(order)) if pieces else pa.nulls(0, self.type.value_type)
        return pa.LargeListArray.from_arrays(pa.array(offsets), items)


def number_array(column: NumberColumn, values: npt.NDArray[Any], valid: Bools | None, cursor: Cursor) -> pa.Array:
    """Numbers that were read, as what they mean; ``valid`` None: all of them."""
    if column.symbols is not None:
        return column.symbols_of(values, valid, cursor)
    return _array(column.type, values, valid)


def _array(kind: pa.DataType, values: npt.NDArray[Any], valid: Bools | None) -> pa.Array:
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    data = np.packbits(values, bitorder="little") if kind == pa.bool_() else np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(data)])


def _named(
    avro: Any, names: dict[str, Any], namespace: str, inside: tuple[str, ...]
) -> tuple[Any, str, tuple[str, ...]]:
    """Resolve a reference to a named type, and note those that are named here."""
    if isinstance(avro, str) and avro not in PRIMITIVES:
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
        if isinstance(inner, NumberColumn):
            return NumberColumn(inner.type, inner.numbers, value_index, inner.symbols)
        return NullableReader(inner, reader_type(inner), value_index)
    avro, namespace, inside = _named(avro, names, namespace, inside)
    if isinstance(avro, str):
        avro = {"type": avro}
    kind = avro["type"]
    if not isinstance(kind, str):  # {"type": {"type": ...}}
        return compile_reader(kind, names, namespace, inside)

    def inner_reader(inner_type: Any) -> Reader:
        return compile_reader(inner_type, names, namespace, inside)

    reader: Reader
    if kind == "record":
        reader = RecordReader(
            tuple(entry["name"] for entry in avro["fields"]),
            tuple(inner_reader(entry["type"]) for entry in avro["fields"]),
        )
    elif kind == "array":
        item = inner_reader(avro["items"])
        reader = ListReader(item, pa.large_list(reader_type(item)))
    elif kind == "map":
        pair = RecordReader(("key", "value"), (BytesReader(pa.string()), inner_reader(avro["values"])))
        reader = ListReader(pair, pa.large_list(reader_type(pair)))
    elif kind == "enum":
        symbols = pa.array(avro["symbols"], pa.large_string())
        reader = NumberColumn(pa.large_string(), Block.READ["int"], None, symbols)
    elif kind in ("string", "bytes"):
        reader = BytesReader(arrow_type(kind))
    elif kind in Block.READ and avro.get("logicalType") != "decimal":
        known = avro.get("logicalType") in ("timestamp-micros", "timestamp-millis", "date")
        reader = NumberColumn(arrow_type(avro if known else kind), Block.READ[kind])
    else:
        raise UnsupportedSchemaError(f"type {kind!r}")
    return reader


def reader_type(reader: Reader) -> pa.DataType:
    """The Arrow type that a reader yields."""
    if isinstance(reader, BytesReader):
        return pa.large_string() if reader.type == pa.string() else pa.large_binary()
    if isinstance(reader, RecordReader):
        return pa.struct(
            [pa.field(name, reader_type(inner)) for name, inner in zip(reader.names, reader.readers, strict=True)]
        )
    assert isinstance(reader, NumberColumn | NullableReader | ListReader)
    return reader.type
