"""State as compressed bytes, for the recovery store."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from connectors.errors import InputError

_CODEC = pa.Codec("zstd", 1)
_THREADS = 2
_KINDS: tuple[Any, ...] = (np.int8, np.int16, np.int32, np.int64)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a kind of state consists of, so that a program does not take what another version of it has left.

    Attributes:
        state: name of the state, for the user.
        number: raised whenever anything that is packed changes its shape or its meaning.
    """

    state: str
    number: int

    def pack(self, state: Any) -> bytes:
        """Anything that can be pickled, as compressed bytes; its arrays, contiguous ones best, compressed in place."""
        buffers: list[pickle.PickleBuffer] = []
        parts = [pickle.dumps(state, protocol=5, buffer_callback=buffers.append)]
        parts += [memoryview(buffer.raw()) for buffer in buffers]  # type: ignore[misc]
        with ThreadPoolExecutor(_THREADS) as threads:
            packed = list(threads.map(_compressed, parts))
        sized = [(len(part), one) for part, one in zip(parts, packed, strict=True)]
        return pickle.dumps((self.state, self.number, sized), protocol=5)

    def unpack(self, data: bytes) -> Any:
        """What was packed.

        Raises:
            InputError: another version of gridflow has packed it, in another layout.
        """
        match pickle.loads(data):  # noqa: S301 - our own recovery store
            case (self.state, self.number, list() as sized):
                # An array over a bytearray can be written to, as the one that was packed could.
                parts = [bytearray(_CODEC.decompress(packed, size, asbytes=True)) for size, packed in sized]
                return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301
            case (str() as state, int() as number, list()):
                found = f"{state} in layout {number}"
            case _:
                found = f"{self.state} in a layout without number"
        raise InputError(
            f"the recovery store holds {found}, and this version of gridflow reads {self.state} in layout "
            f"{self.number}: start with an empty store (another folder for --recovery) and with kafka.start so far "
            "back that what it had learnt is learnt again; rows that come again have the identities they had"
        )


def narrowest(numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """A contiguous copy in as few bytes as hold every number."""
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    kinds = [kind for kind in _KINDS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return np.ascontiguousarray(numbers.astype(kinds[0]))


def _compressed(part: bytes) -> bytes:
    packed: bytes = _CODEC.compress(part, asbytes=True)
    return packed
