"""Sharding: which unit of state a device belongs to, and how a batch reaches all of them.

State keys are few: devices are spread over a fixed number of shards by a checksum of their id, which is the same in
every process, on every machine and in every version. Every shard gets a piece of every batch, an empty one if it has
no readings in it, because the watermark must reach all.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch

_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)


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


class ShardRouter:
    """Cuts batches into one piece per shard.

    Args:
        device: column that names the device.
        shards: how many shards there are.
    """

    def __init__(self, device: str, shards: int) -> None:
        self._device = device
        self._shards = shards
        self._known = pl.DataFrame(schema={device: pl.String, "_shard": pl.Int32})

    def pieces(self, batch: Batch) -> list[tuple[str, Batch]]:
        """(shard key, piece) for every shard; letters stay behind."""
        bare = replace(batch, frame=batch.frame.clear(), dead=_NO_LETTERS, late=_NO_LETTERS)
        if not batch.frame.height or self._shards == 1:
            frame = batch.frame
            return [(shard_key(n), replace(bare, frame=frame)) for n in range(self._shards)]
        shard = self._shard(batch.frame.get_column(self._device))
        return [
            (shard_key(number), replace(bare, frame=batch.frame.filter(shard == number)))
            for number in range(self._shards)
        ]

    def _shard(self, devices: pl.Series) -> pl.Series:
        frame = pl.DataFrame({self._device: devices})
        found = frame.join(self._known, on=self._device, how="left", maintain_order="left").get_column("_shard")
        if found.null_count():
            fresh = devices.filter(found.is_null()).unique()
            numbers = [shard_of(device, self._shards) for device in fresh.to_list()]
            more = pl.DataFrame({self._device: fresh, "_shard": pl.Series(numbers, dtype=pl.Int32)})
            self._known = pl.concat([self._known, more])
            return self._shard(devices)
        return found
