"""Flat Avro records, numbers and strings only, in one compiled pass over the messages.

Telemetry is of this kind. ``avro_columns`` reads any record, field by field over all messages; this gives the same
arrays in a fraction of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.avro_columns import BytesReader, Cursor, NumberColumn, RecordReader, number_array
from connectors.avro_numbers import Block, Positions
from connectors.compiled import compiled

_BOOLEAN, _INT, _LONG, _FLOAT, _DOUBLE, _BYTES = range(6)
_KIND = {"boolean": _BOOLEAN, "int": _INT, "long": _LONG, "float": _FLOAT, "double": _DOUBLE}
_NOT_NULLABLE = -1

_NONE, _ONE, _EIGHT, _BYTE = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(0xFF)
_CONTINUE = np.uint64(0x8080808080808080)
_EVEN_BYTES = np.uint64(0x00FF00FF00FF00FF)
_EVEN_PAIRS = np.uint64(0x0000FFFF0000FFFF)
_FOUR_BYTES = np.uint64(0x00000000FFFFFFFF)


@dataclass(frozen=True, slots=True)
class FlatReader:
    """Reads records whose fields are numbers, nullable or not, and strings or bytes, not nullable.

    Attributes:
        names: of the fields.
        readers: of the fields, in order.
        kinds: of the fields.
        value_index: byte of the union index that announces a value, -1 where the field is no union.
    """

    names: tuple[str, ...]
    readers: tuple[NumberColumn | BytesReader, ...]
    kinds: npt.NDArray[np.int64]
    value_index: npt.NDArray[np.int64]

    @classmethod
    def of(cls, record: RecordReader) -> FlatReader | None:
        """The reader of a record, None if it is not flat."""
        kind_of = {reader: _KIND[name] for name, reader in Block.READ.items()}
        kinds, indices = [], []
        readers: list[NumberColumn | BytesReader] = []
        for reader in record.readers:
            if isinstance(reader, NumberColumn):
                kinds.append(kind_of[reader.numbers])
                indices.append(_NOT_NULLABLE if reader.value_index is None else reader.value_index)
            elif isinstance(reader, BytesReader):
                kinds.append(_BYTES)
                indices.append(_NOT_NULLABLE)
            else:
                return None
            readers.append(reader)
        return cls(record.names, tuple(readers), np.array(kinds, np.int64), np.array(indices, np.int64))

    def read_fields(self, block: Block, cursor: Cursor) -> list[pa.Array]:
        """One array per field; advances the cursor."""
        count, fields = len(cursor.pos), len(self.readers)
        values, valid = np.empty((fields, count), np.int64), np.empty((fields, count), np.bool_)
        lengths = np.empty((fields if _BYTES in self.kinds else 0, count), np.int64)
        _walk(block.u8, cursor.pos, cursor.end, self.kinds, self.value_index, values, lengths, valid, cursor.bad)
        return [
            self._array(block, cursor, reader, kind, (values[number], lengths[number : number + 1], valid[number]))
            for number, (reader, kind) in enumerate(zip(self.readers, self.kinds.tolist(), strict=True))
        ]

    @staticmethod
    def _array(
        block: Block,
        cursor: Cursor,
        reader: NumberColumn | BytesReader,
        kind: int,
        read: tuple[npt.NDArray[np.int64], Positions, npt.NDArray[np.bool_]],
    ) -> pa.Array:
        values, lengths, valid = read
        if isinstance(reader, BytesReader):
            return reader.array(block, cursor, values, lengths[0])
        numbers: npt.NDArray[Any] = values
        if kind == _DOUBLE:
            numbers = values.view(np.float64)
        elif kind == _FLOAT:
            numbers = values.astype(np.uint32).view(np.float32)
        elif kind == _INT:
            numbers = values.astype(np.int32)
        elif kind == _BOOLEAN:
            numbers = values != 0
        return number_array(reader, numbers, None if valid.all() else valid, cursor)


def flat_or_general(record: RecordReader) -> FlatReader | RecordReader:
    """The quickest reader of a record."""
    return FlatReader.of(record) or record


@compiled
def _walk(
    words: Any,
    pos: Positions,
    end: Positions,
    kinds: npt.NDArray[np.int64],
    value_index: npt.NDArray[np.int64],
    values: Any,
    lengths: Any,
    valid: Any,
    bad: Any,
) -> None:
    """Read each message; one that is not exactly what the schema says is marked bad and its values mean nothing.

    ``words[i]`` are the eight bytes from ``i`` on; behind the last message there is room enough for that.
    """
    for message in range(len(pos)):
        at, stop = pos[message], end[message]
        fine = True
        for field in range(len(kinds)):
            if value_index[field] >= 0:
                index = np.int64(words[at] & _BYTE)
                at += 1
                fine = index in (0, 2) and at <= stop
                if index != value_index[field]:
                    values[field, message] = 0
                    valid[field, message] = False
                    if fine:
                        continue
                    break
            value, size = _value(words[at], kinds[field])
            at += size
            fine = size > 0 and at <= stop
            if kinds[field] == _BYTES and fine:
                fine = 0 <= value <= stop - at
                lengths[field, message] = value
                value, at = at, at + value
            values[field, message] = value
            valid[field, message] = True
            if not fine:
                break
        if not fine or at != stop:
            bad[message] = True
            for field in range(len(kinds)):  # nothing is gathered for it
                values[field, message] = 0
                valid[field, message] = value_index[field] < 0
                if kinds[field] == _BYTES:
                    lengths[field, message] = 0
        pos[message] = stop


@compiled
def _value(word: Any, kind: int) -> tuple[Any, int]:
    """A number, or the length of bytes, that begins with a word, and its size; 0 if there is none.

    Integers of nine and ten bytes are left to others.
    """
    if kind == _DOUBLE:
        return np.int64(word), 8
    if kind == _FLOAT:
        return np.int64(word & _FOUR_BYTES), 4
    if kind == _BOOLEAN:
        return np.int64(word & _BYTE), 1 if (word & _BYTE) <= _ONE else 0
    last = ~word & _CONTINUE  # the highest bit of each byte that has no successor
    if last == _NONE:
        return np.int64(0), 0
    last &= _NONE - last
    size = 1
    while last > _BYTE:
        last >>= _EIGHT
        size += 1
    word &= ~_NONE >> np.uint64(64 - 8 * size)
    word &= ~_CONTINUE
    # The groups of seven bits pushed together: pairs, then fours, then all eight.
    word = (word & _EVEN_BYTES) | ((word & (_EVEN_BYTES << _EIGHT)) >> _ONE)
    word = (word & _EVEN_PAIRS) | ((word & (_EVEN_PAIRS << np.uint64(16))) >> np.uint64(2))
    word = (word & _FOUR_BYTES) | ((word >> np.uint64(32)) << np.uint64(28))
    number = np.int64(word >> _ONE) ^ -np.int64(word & _ONE)
    if kind == _INT and not -(2**31) <= number < 2**31:
        return np.int64(0), 0
    return number, size
