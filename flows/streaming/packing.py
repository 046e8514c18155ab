"""State as compressed bytes, for the recovery store."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa

_CODEC = pa.Codec("zstd", 1)


def pack(state: Any) -> bytes:
    """Anything that can be pickled, as compressed bytes; its arrays, contiguous ones best, are compressed in place."""
    buffers: list[pickle.PickleBuffer] = []
    parts = [pickle.dumps(state, protocol=5, buffer_callback=buffers.append)]
    parts += [memoryview(buffer.raw()) for buffer in buffers]  # type: ignore[misc]
    return pickle.dumps([(len(part), _CODEC.compress(part, asbytes=True)) for part in parts], protocol=5)


def unpack(data: bytes) -> Any:
    """What was packed."""
    parts = [
        # An array over a bytearray can be written to, as the one that was packed could.
        bytearray(_CODEC.decompress(packed, size, asbytes=True))
        for size, packed in pickle.loads(data)  # noqa: S301 - our own recovery store
    ]
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301
