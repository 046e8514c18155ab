"""How a message says what it is: Confluent's framings and bare JSON, told apart for all messages at once.

========================= ====================================================
value begins with         meaning
========================= ====================================================
0x00, 4 bytes             Avro by the schema of this id (big-endian)
0x01, 16 bytes            Avro by the schema of this GUID
``{``, maybe after spaces JSON
anything                  Avro by the schema in header ``__value_schema_id``: one of the two above
========================= ====================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.avro_numbers import PADDING, Block, Bools, Positions
from connectors.dead_row import DeadRow, shown

SCHEMA_ID_HEADER = "__value_schema_id"
STAGE = "framing"

Headers = Sequence[Sequence[tuple[str, bytes | None]] | None]
SchemaRef = int | UUID
"""What a message calls its schema by: a registry id or a GUID."""

_ID_SIZE = 5
_GUID_SIZE = 17
_SPACES = b" \t\r\n"


@dataclass(slots=True)
class Framed:
    """Messages of one poll, told apart.

    Attributes:
        block: all values, joined.
        start: int64[n], where each body begins in the block, behind its prefix.
        end: int64[n], where it ends.
        avro: rows (ascending) of each schema.
        json: rows that are JSON.
        tombstones: rows without a value.
        dead: rows that are none of these.
    """

    block: Block
    start: Positions
    end: Positions
    avro: dict[SchemaRef, npt.NDArray[np.int64]] = field(default_factory=dict)
    json: list[int] = field(default_factory=list)
    tombstones: list[int] = field(default_factory=list)
    dead: list[DeadRow] = field(default_factory=list)

    def body(self, row: int) -> bytes:
        """The bytes of one body."""
        return self.block.bytes[self.start[row] : self.end[row]].tobytes()


def parse_reference(data: bytes) -> SchemaRef | None:
    """The schema reference that some bytes begin with, None if they do not begin with one."""
    if data[:1] == b"\x00" and len(data) >= _ID_SIZE:
        return int.from_bytes(data[1:_ID_SIZE], "big")
    if data[:1] == b"\x01" and len(data) >= _GUID_SIZE:
        return UUID(bytes=data[1:_GUID_SIZE])
    return None


def split(values: Sequence[bytes | None], headers: Headers | None = None) -> Framed:
    """Tell messages apart.

    Args:
        values: the messages' values.
        headers: the messages' headers, None where a message has none.
    """
    count = len(values)
    # One pass over the objects gives both the joined bytes and where each begins.
    joined = pa.array([*values, bytes(PADDING)], pa.large_binary())
    tombstones = np.flatnonzero(joined.is_null()).tolist() if joined.null_count else []
    offsets = np.frombuffer(joined.buffers()[1], np.int64, count + 1)
    start, end = offsets[:-1], offsets[1:]
    length = end - start
    framed = Framed(Block(joined.buffers()[2]), start, end, tombstones=tombstones)
    if not count:
        return framed
    if headers is None and not tombstones and int(length.min()) >= _ID_SIZE:
        # The usual case: one magic byte and id for all.
        ids = framed.block.big_u4[start + 1]
        if not framed.block.bytes[start].any() and (ids == ids[0]).all():
            framed.avro[int(ids[0])] = np.arange(count)
            framed.start = start + _ID_SIZE
            return framed
    _split_mixed(framed, values, length, headers)
    return framed


def _split_mixed(framed: Framed, values: Sequence[bytes | None], length: Positions, headers: Headers | None) -> None:
    open_rows = np.ones(len(values), np.bool_)
    open_rows[framed.tombstones] = False
    found: dict[SchemaRef, list[npt.NDArray[np.int64]]] = {}
    if headers is not None:
        for row, pairs in enumerate(headers):
            carried = dict(pairs).get(SCHEMA_ID_HEADER) if pairs else None
            if carried and open_rows[row]:
                open_rows[row] = False
                reference = parse_reference(carried)
                if reference is None:
                    message = f"header {SCHEMA_ID_HEADER} is {shown(carried)}, neither an id nor a GUID"
                    framed.dead.append(DeadRow(row, STAGE, "UnknownFraming", message, None))
                else:
                    found.setdefault(reference, []).append(np.array([row], np.int64))
    magic = framed.block.bytes[framed.start]
    by_id = open_rows & (magic == 0) & (length >= _ID_SIZE)
    by_guid = open_rows & (magic == 1) & (length >= _GUID_SIZE)
    ids = framed.block.big_u4[framed.start + 1]
    for schema_id in np.unique(ids[by_id]):
        found.setdefault(int(schema_id), []).append(np.flatnonzero(by_id & (ids == schema_id)))
    for row in np.flatnonzero(by_guid).tolist():
        at = int(framed.start[row])
        guid = UUID(bytes=framed.block.bytes[at + 1 : at + _GUID_SIZE].tobytes())
        found.setdefault(guid, []).append(np.array([row], np.int64))
    _split_rest(framed, values, open_rows & ~by_id & ~by_guid)
    framed.avro = {reference: np.sort(np.concatenate(rows)) for reference, rows in found.items()}
    framed.start = framed.start + np.where(by_id, _ID_SIZE, 0) + np.where(by_guid, _GUID_SIZE, 0)


def _split_rest(framed: Framed, values: Sequence[bytes | None], rest: Bools) -> None:
    for row in np.flatnonzero(rest).tolist():
        value = values[row] or b""
        if value.lstrip(_SPACES)[:1] == b"{":
            framed.json.append(row)
            continue
        message = f"value begins with {shown(value[:16])}: neither Avro in Confluent's framing nor JSON"
        framed.dead.append(
            DeadRow(
                row,
                STAGE,
                "UnknownFraming" if value else "EmptyValue",
                message if value else "empty value",
                None,
            )
        )
