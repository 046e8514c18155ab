"""State as compressed bytes, for the recovery store."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_CODEC = pa.Codec("zstd", 1)
_THREADS = 2
_KINDS: tuple[Any, ...] = (np.int8, np.int16, np.int32, np.int64)


def pack(state: Any) -> bytes:
    """Anything that can be pickled, as compressed bytes; its arrays, contiguous ones best, are compressed in place."""
    buffers: list[pickle.PickleBuffer] = []
    parts = [pickle.dumps(state, protocol=5, buffer_callback=buffers.append)]
    parts += [memoryview(buffer.raw()) for buffer in buffers]  # type: ignore[misc]
    with ThreadPoolExecutor(_THREADS) as threads:
        packed = list(threads.map(_compressed, parts))
    return pickle.dumps([(len(part), one) for part, one in zip(parts, packed, strict=True)], protocol=5)


def unpack(data: bytes) -> Any:
    """What was packed."""
    parts = [
        # An array over a bytearray can be written to, as the one that was packed could.
        bytearray(_CODEC.decompress(packed, size, asbytes=True))
        for size, packed in pickle.loads(data)  # noqa: S301 - our own recovery store
    ]
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301


def narrowest(numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """A contiguous copy in as few bytes as hold every number."""
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    kinds = [kind for kind in _KINDS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return np.ascontiguousarray(numbers.astype(kinds[0]))


def _compressed(part: bytes) -> bytes:
    packed: bytes = _CODEC.compress(part, asbytes=True)
    return packed
