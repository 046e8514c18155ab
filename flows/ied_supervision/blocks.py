"""Control blocks, their devices and substations, by index."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flows.ied_supervision.messages import KINDS
from flows.ied_supervision.numbers import UNKNOWN, Ints, number_of, spelt
from flows.streaming.identifiers import CodeMap

_BLOCK = pl.Categorical(pl.Categories("control block", namespace="gridflow"))
_ADDRESS = pl.Categorical(pl.Categories("source address", namespace="gridflow"))
# Polars forgets the codes when no column has them any more.
_KEPT = pl.Series(dtype=_BLOCK), pl.Series(dtype=_ADDRESS)
_BETWEEN = "\x1f"


def station_by(pattern: str) -> Callable[[str], str]:
    """Gives a device's substation: the first group of a regular expression, or all of its id where that finds nothing.

    Example:
        >>> station_by("^([^-_]+)")("S01-F03-P1")
        'S01'
    """
    fits = re.compile(pattern)

    def station(ied: str) -> str:
        found = fits.search(ied)
        return ied if found is None or not fits.groups else found[1] or ied

    return station


@dataclass(slots=True)
class Blocks:
    """The control blocks that have been seen, in the order in which they were.

    Attributes:
        station_of: a device's substation.
        names: (device, control block) by index.
        kinds: index into ``messages.KINDS``.
        device: index of the device.
        station: index of its substation.
        devices: their ids.
        stations: their ids.
        addresses: source addresses by their checksums, the same in every process.
        of_device: the blocks of each device.
        in_station: the devices of each substation.
    """

    station_of: Callable[[str], str]
    names: list[tuple[str, str]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    device: list[int] = field(default_factory=list)
    station: list[int] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    stations: list[str] = field(default_factory=list)
    addresses: dict[int, str] = field(default_factory=dict)
    of_device: list[list[int]] = field(default_factory=list)
    in_station: list[list[int]] = field(default_factory=list)
    _devices: dict[str, int] = field(default_factory=dict)
    _stations: dict[str, int] = field(default_factory=dict)
    _code: CodeMap = field(default_factory=CodeMap)
    _address: CodeMap = field(default_factory=CodeMap)

    def __len__(self) -> int:
        return len(self.names)

    def of(self, frame: pl.DataFrame) -> tuple[Ints, Ints]:
        """Of each message the index of its block, and its source address, ``UNKNOWN`` without; both [n]."""
        ied = pl.col("ied_id").cast(pl.String)
        name = pl.concat_str("kind", ied.str.len_chars().cast(pl.String), ied, "control_block", separator=_BETWEEN)
        column = frame.select(name.cast(_BLOCK)).to_series()
        codes = column.to_physical().to_numpy()
        known = self._code.get(codes)
        fresh = np.flatnonzero(known < 0)
        if len(fresh):
            for text in sorted(column.gather(fresh).unique().cast(pl.String)):
                self._add(text)
            known = self._code.get(codes)
        return known, self._addresses_of(frame.get_column("source_address"))

    def message_kind(self, block: int) -> str:
        """Which messages a block sends, of ``messages.KINDS``."""
        return KINDS[self.kinds[block]]

    def _add(self, text: str) -> None:
        kind, length, rest = text.split(_BETWEEN, 2)
        ied, control_block = rest[: int(length)], rest[int(length) + 1 :]
        self._code.put(pl.Series([text], dtype=_BLOCK).to_physical().to_numpy(), np.array([len(self.names)]))
        station = self.station_of(ied)
        self.names.append((ied, control_block))
        self.kinds.append(KINDS.index(kind))
        if ied not in self._devices:
            self._devices[ied] = len(self.devices)
            self.devices.append(ied)
            self.of_device.append([])
        if station not in self._stations:
            self._stations[station] = len(self.stations)
            self.stations.append(station)
            self.in_station.append([])
        device = self._devices[ied]
        self.device.append(device)
        self.station.append(self._stations[station])
        if not self.of_device[device]:
            self.in_station[self.station[-1]].append(device)
        self.of_device[device].append(len(self.names) - 1)

    def _addresses_of(self, column: pl.Series) -> Ints:
        there = column.is_not_null().to_numpy()
        addresses = column.cast(_ADDRESS).drop_nulls()
        codes = addresses.to_physical().to_numpy()
        known = self._address.get(codes)
        fresh = np.flatnonzero(known < 0)
        if len(fresh):
            new = addresses.gather(fresh).unique()
            names = [spelt(one) for one in new.cast(pl.String)]
            numbers = [number_of(one) for one in names]
            self._address.put(new.to_physical().to_numpy(), np.array(numbers, np.int64))
            self.addresses.update(zip(numbers, names, strict=True))
            known = self._address.get(codes)
        found = np.full(len(column), UNKNOWN, np.int64)
        found[there] = known
        return found

    def dump(self) -> tuple[list[tuple[str, int, str]], dict[int, str]]:
        """What names them."""
        return [(ied, kind, block) for (ied, block), kind in zip(self.names, self.kinds, strict=True)], self.addresses

    @classmethod
    def load(cls, station_of: Callable[[str], str], data: tuple[list[tuple[str, int, str]], dict[int, str]]) -> Blocks:
        """As dumped, with the same indices."""
        blocks = cls(station_of)
        named, addresses = data
        for ied, kind, control_block in named:
            blocks._add(_BETWEEN.join((KINDS[kind], str(len(ied)), ied, control_block)))
        blocks.addresses = dict(addresses)
        return blocks
