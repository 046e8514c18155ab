"""Sharding: which unit of state a device belongs to, and how a batch reaches all of them.

State keys are few: devices are spread over a fixed number of shards by a checksum of their id, which is the same in
every process, on every machine and in every version. Every shard gets a piece of every batch, an empty one if it has
no readings in it, because the watermark must reach all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from connectors.batch import LETTER_SCHEMA, RAW_COLUMNS, Batch
from flows.streaming.identifiers import DEVICE, CodeMap

_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)
_LETTER_COLUMNS = ("_offset", *RAW_COLUMNS)


def shard_key(number: int) -> str:
    """The key of a shard, as Bytewax sees it."""
    return f"shard-{number:04d}"


def shard_of(device: str, shards: int) -> int:
    """The shard of a device: CRC-32 of its id.

    Example:
        >>> shard_of("M-0001", 4)
        2
    """
    return zlib.crc32(device.encode()) % shards


def narrowed(device: str, columns: Sequence[str]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Gives, of a source's frames, what ``ShardRouter`` passes on: the device as a category, the columns, ``_row``."""

    def narrow(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(pl.col(device).cast(DEVICE), *columns, "_row")

    return narrow


class ShardRouter:
    """Cuts batches into one piece per shard.

    Args:
        device: column that names the device; in the pieces it is a ``DEVICE`` category.
        columns: the other columns that the shards use. What a letter needs goes with them.
        shards: how many shards there are.
        place: what of a device says where it belongs: those of one place are in one shard. None: each by itself.
    """

    def __init__(
        self, device: str, columns: Sequence[str], shards: int, place: Callable[[str], str] | None = None
    ) -> None:
        self._place = place or str
        self._device = device
        self._columns = (*columns, *_LETTER_COLUMNS)
        self._shards = shards
        self._shard = CodeMap()

    def pieces(self, batch: Batch) -> list[tuple[str, Batch]]:
        """(shard key, piece) for every shard; letters stay behind."""
        frame = batch.frame
        kept = [name for name in self._columns if name in frame.columns]
        if frame.get_column(self._device).dtype != DEVICE:  # unless the source has narrowed it
            frame = frame.with_columns(pl.col(self._device).cast(DEVICE))
        frame = frame.select(self._device, *kept)
        bare = replace(batch, frame=frame.clear(), dead=_NO_LETTERS, late=_NO_LETTERS)
        if not frame.height or self._shards == 1:
            return [(shard_key(n), replace(bare, frame=frame)) for n in range(self._shards)]
        shard = self._shards_of(frame.get_column(self._device))
        # Sorted by shard, the pieces are slices: one pass over the columns instead of one per shard.
        ordered = frame[np.argsort(shard, kind="stable")]
        ends = np.cumsum(np.bincount(shard, minlength=self._shards)).tolist()
        starts = [0, *ends[:-1]]
        return [
            (shard_key(number), replace(bare, frame=ordered.slice(start, end - start)))
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def _shards_of(self, devices: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
        codes = devices.to_physical().to_numpy()
        shard = self._shard.get(codes)
        fresh = np.flatnonzero(shard < 0)
        if len(fresh):
            new = devices.gather(fresh).unique()
            numbers = [shard_of(self._place(device), self._shards) for device in new.cast(pl.String).to_list()]
            self._shard.put(new.to_physical().to_numpy(), np.array(numbers, np.int64))
            shard = self._shard.get(codes)
        return shard.astype(np.uint16)  # of 16 bits numpy sorts by radix
