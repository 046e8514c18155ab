"""Numbers gathered from joined bytes are those that were written."""

from __future__ import annotations

import io

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.avro_numbers import PADDING, Block, read_lengths, read_long
from tests.schemas.strategies import PATIENT

_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
_SOME = st.one_of(_INT64, st.integers(-70, 70), st.integers(1_700_000_000_000_000, 1_800_000_000_000_000))


def _written(number: int) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, "long", number)
    return stream.getvalue()


@PATIENT
@given(numbers=st.lists(_SOME, min_size=1, max_size=20), shift=st.integers(0, 1))
def test_longs(numbers: list[int], shift: int) -> None:
    parts = [_written(number) for number in numbers]
    lengths = np.array([len(part) for part in parts], np.int64)
    start = np.cumsum(lengths) - lengths
    block = Block(bytes(shift) + b"".join(parts) + bytes(PADDING))
    for read in (read_long, read_lengths):
        found, size, bad = read(block, start, shift)
        assert found.tolist() == numbers
        assert np.broadcast_to(size, lengths.shape).tolist() == lengths.tolist()
        assert bad is None or not bad.any()


def test_a_tenth_byte_of_more_than_one_bit_is_in_doubt() -> None:
    block = Block(b"\xff" * 9 + b"\x02" + b"\xff" * 9 + b"\x01" + bytes(PADDING))
    found, _, bad = read_long(block, np.array([0, 10], np.int64))
    assert bad is not None
    assert bad.tolist() == [True, False]
    assert found[1] == -(1 << 63)


def test_an_int_of_more_than_32_bits_is_in_doubt() -> None:
    numbers = [(1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1]
    parts = [_written(number) for number in numbers]
    start = np.cumsum([0, *map(len, parts[:-1])]).astype(np.int64)
    _, _, bad = Block.READ["int"](Block(b"".join(parts) + bytes(PADDING)), start, 0)
    assert bad is not None
    assert bad.tolist() == [False, True, False, True]


@pytest.mark.parametrize("lengths", [[3, 3, 3], [0, 2, 5], [0, 0, 0], []])
def test_gather_joins_stretches(lengths: list[int]) -> None:
    data = bytes(range(100))
    start = np.array([10, 40, 7][: len(lengths)], np.int64)
    found = Block(data + bytes(PADDING)).gather(start, np.array(lengths, np.int64))
    assert found.tobytes() == b"".join(data[s : s + n] for s, n in zip(start.tolist(), lengths, strict=True))
