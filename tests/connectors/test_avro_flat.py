"""The compiled reader of flat records beside the one that reads any record, field by field."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.avro_columns import Cursor, RecordReader, compile_reader
from connectors.avro_flat import FlatReader
from connectors.avro_numbers import PADDING, Block

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**54), 2**54 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=9),
    "bytes": st.binary(max_size=9),
}


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes], list[bool]]:
    """A schema, messages, and which of them were spoilt."""
    fields, values = [], []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(sorted(VALUES)))
        union = [] if kind in ("string", "bytes") else draw(st.sampled_from([[], ["null", kind], [kind, "null"]]))
        fields.append({"name": f"f{number}", "type": union or kind})
        values.append(st.one_of(st.none(), VALUES[kind]) if union else VALUES[kind])
    schema = {"type": "record", "name": "Flat", "fields": fields}
    messages, spoilt = [], []
    for _ in range(draw(st.integers(1, 12))):
        stream = io.BytesIO()
        record = {field["name"]: draw(value) for field, value in zip(fields, values, strict=True)}
        fastavro.schemaless_writer(stream, schema, record)
        body = bytearray(stream.getvalue())
        bad = draw(st.integers(0, 3)) == 0
        if bad:
            what = draw(st.sampled_from(["cut", "more", "flip"]))
            if what == "cut":
                del body[draw(st.integers(0, len(body))) :]
            elif what == "more":
                body += draw(st.binary(min_size=1, max_size=4))
            elif body:
                body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
        messages.append(bytes(body))
        spoilt.append(bad)
    return schema, messages, spoilt


def read(reader: FlatReader | RecordReader, messages: list[bytes]) -> tuple[list[pa.Array], np.ndarray[Any, Any]]:
    ends = np.cumsum([len(message) for message in messages])
    cursor = Cursor(ends - [len(message) for message in messages], ends.copy())
    arrays = reader.read_fields(Block(b"".join(messages) + bytes(PADDING)), cursor)
    return arrays, cursor.bad | (cursor.pos != cursor.end)


@settings(max_examples=300, deadline=None)
@given(batches())
def test_what_is_not_doubtful_is_the_same(batch: tuple[dict[str, Any], list[bytes], list[bool]]) -> None:
    schema, messages, spoilt = batch
    general = compile_reader(schema)
    assert isinstance(general, RecordReader)
    flat = FlatReader.of(general)
    assert flat is not None
    arrays, bad = read(flat, messages)
    expected, doubtful = read(general, messages)
    assert not bad[~np.array(spoilt)].any()
    fine = np.flatnonzero(~bad)
    assert not doubtful[fine].any()
    for mine, theirs in zip(arrays, expected, strict=True):
        mine.validate(full=True)
        assert mine.type == theirs.type
        # As text: not a number is not equal to itself.
        assert repr(mine.take(pa.array(fine)).to_pylist()) == repr(theirs.take(pa.array(fine)).to_pylist())
