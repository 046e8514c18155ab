"""State as compressed bytes, for the recovery store."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa

_CODEC = pa.Codec("zstd", 1)


def pack(state: Any) -> bytes:
    """Anything that can be pickled, as compressed bytes."""
    raw = pickle.dumps(state, protocol=5)
    return pickle.dumps((len(raw), _CODEC.compress(raw, asbytes=True)))


def unpack(data: bytes) -> Any:
    """What was packed."""
    size, packed = pickle.loads(data)  # noqa: S301 - our own recovery store
    return pickle.loads(_CODEC.decompress(packed, size, asbytes=True))  # noqa: S301
