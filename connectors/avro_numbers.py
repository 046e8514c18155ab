"""Avro's numbers out of joined message bodies, gathered for all messages at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Numbers = tuple[npt.NDArray[Any], Any, Bools | None]
"""Values[n]; how many bytes each took (int64[n] or one int); which are in doubt (None: none)."""
NumberReader = Callable[["Block", Positions, int], Numbers]
"""Reads the numbers that begin at ``pos + shift``."""

# Zero bytes behind the last message: room for reads beyond the end by bodies that are then found to be bad.
PADDING = 1 << 16

_CONTINUE = np.uint64(0x8080808080808080)
_GROUPS = np.uint64(0x7F7F7F7F7F7F7F7F)
_PAIRS = np.uint64(0x7F007F007F007F00)
_FOURS = np.uint64(0x3FFF00003FFF0000)
_EIGHTS = np.uint64(0x0FFFFFFF00000000)
_ONE = np.uint64(1)


class Block:
    """The joined bodies, seen as bytes, and as words that begin at every byte.

    Args:
        data: the joined bodies with ``PADDING`` zero bytes behind them; a buffer.
    """

    READ: ClassVar[Mapping[str, NumberReader]]

    def __init__(self, data: Any) -> None:
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(data, np.uint8)
        words = len(self.bytes) - 8
        self.u8: npt.NDArray[np.uint64] = np.ndarray((words,), "<u8", data, strides=(1,))
        self.f8: npt.NDArray[np.float64] = np.ndarray((words,), "<f8", data, strides=(1,))
        self.f4: npt.NDArray[np.float32] = np.ndarray((words,), "<f4", data, strides=(1,))
        self.big_u4: npt.NDArray[np.uint32] = np.ndarray((words,), ">u4", data, strides=(1,))

    def gather(self, start: Positions, length: Positions) -> npt.NDArray[np.uint8]:
        """The stretches of bytes from ``start``, ``length`` long, one behind the other."""
        if not len(start):
            return np.zeros(0, np.uint8)
        first = int(length[0])
        if (length == first).all():
            # Identifiers mostly have one length: then a stretch is a row of a window.
            if first == 0:
                return np.zeros(0, np.uint8)
            windows = np.lib.stride_tricks.sliding_window_view(self.bytes, first)
            return windows[start].reshape(-1)
        before = np.cumsum(length) - length
        return self.bytes[np.repeat(start - before, length) + np.arange(int(length.sum()))]


def read_long(block: Block, pos: Positions, shift: int = 0) -> Numbers:
    """Zigzag variable-length integers, as int64."""
    word = block.u8[shift:][pos]
    more = word & _CONTINUE
    first = more[:1]
    size: Any
    if (more == first).all():
        # All of one length, as the times of one poll are.
        mask = _mask(first)
        size = int(np.bitwise_count(mask).sum()) >> 3
    else:
        mask = _mask(more)
        size = np.bitwise_count(mask).astype(np.int64)
        size >>= 3
    word &= mask & _GROUPS
    # The groups of seven bits pushed together: pairs, then fours, then all eight.
    high = word & _PAIRS
    high >>= _ONE
    word -= high
    for part, bits in ((_FOURS, 2), (_EIGHTS, 4)):
        np.bitwise_and(word, part, out=high)
        word ^= high
        high >>= np.uint64(bits)
        word |= high
    bad = None
    if (more == _CONTINUE).any():
        size, bad = _read_tail(block, pos + shift, word, more, size)
    np.bitwise_and(word, _ONE, out=high)
    word >>= _ONE
    word ^= np.negative(high, out=high)
    return word.view(np.int64), size, bad


def _mask(more: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Ones up to and with the first byte that has no successor; all ones if none of the eight is it."""
    stop = more ^ _CONTINUE
    mask = stop - _ONE
    mask ^= stop
    return mask


def _read_tail(
    block: Block, pos: Positions, word: npt.NDArray[np.uint64], more: npt.NDArray[np.uint64], size: Any
) -> tuple[Positions, Bools]:
    """The ninth and tenth byte of the longest integers."""
    rows = np.flatnonzero(more == _CONTINUE)
    ninth, tenth = block.bytes[pos[rows] + 8], block.bytes[pos[rows] + 9]
    ten = ninth >= 0x80
    word[rows] |= (ninth & np.uint8(0x7F)).astype(np.uint64) << np.uint64(56)
    word[rows] |= np.where(ten, tenth & np.uint8(1), 0).astype(np.uint64) << np.uint64(63)
    sizes = np.broadcast_to(np.asarray(size, np.int64), pos.shape).copy()
    sizes[rows] = 9 + ten
    bad = np.zeros(len(pos), np.bool_)
    bad[rows] = ten & (tenth > 1)
    return sizes, bad


def read_lengths(block: Block, pos: Positions, shift: int = 0) -> Numbers:
    """The same as ``read_long``, quick for what is nearly always one byte."""
    byte = block.bytes[shift:][pos]
    if int(byte.max(initial=0)) >= 0x80:
        return read_long(block, pos, shift)
    value = byte.astype(np.int64)
    return (value >> 1) ^ -(value & 1), 1, None


def _read_int(block: Block, pos: Positions, shift: int = 0) -> Numbers:
    value, size, bad = read_lengths(block, pos, shift)
    narrow = value.astype(np.int32)
    wrong = narrow != value
    if wrong.any():
        bad = wrong if bad is None else bad | wrong
    return narrow, size, bad


def _read_double(block: Block, pos: Positions, shift: int = 0) -> Numbers:
    return block.f8[shift:][pos], 8, None


def _read_float(block: Block, pos: Positions, shift: int = 0) -> Numbers:
    return block.f4[shift:][pos], 4, None


def _read_boolean(block: Block, pos: Positions, shift: int = 0) -> Numbers:
    byte = block.bytes[shift:][pos]
    wrong = byte > 1
    return byte == 1, 1, wrong if wrong.any() else None


Block.READ = {
    "boolean": _read_boolean,
    "int": _read_int,
    "long": read_long,
    "float": _read_float,
    "double": _read_double,
}
