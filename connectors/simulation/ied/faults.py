"""When what goes wrong with the devices of a substation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connectors.simulation.chance import Chance, how_many
from connectors.simulation.events import EventKind
from connectors.simulation.options import Options

EVERY_IED = -1
# Seconds, least and most; the longest come first, while there is room for them.
_LASTING: Mapping[EventKind, tuple[int, int]] = {
    EventKind.IED_OUTAGE: (60, 900),
    EventKind.IED_TIME_LOSS: (3_600, 14_400),
    EventKind.IED_SILENCE: (120, 1_800),
    EventKind.IED_RESTART: (40, 120),
    EventKind.IED_CONFIG_CHANGE: (20, 60),  # until the device is back; the configuration remains
    EventKind.IED_FALSE_PUBLISHER: (5, 60),
}
LONGEST_SILENCE_US = 1_800_000_000
# Between two faults of a device, so that each shows by itself; its buffer is empty again well within the least.
_APART_US = (15_000_000, 60_000_000)
# In a short simulation nothing lasts longer than this share of it.
_LONGEST_SHARE = 1 / 8
_ATTEMPTS = 100

Spans = defaultdict[int, list[tuple[int, int]]]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        kind: what it is.
        ied: index of the device; EVERY_IED: all of them.
        start: µs since 1970.
        end: µs since 1970.
        number: among those of its kind.
    """

    kind: EventKind
    ied: int
    start: int
    end: int
    number: int

    def hits(self, ied: int) -> bool:
        """Whether a device is concerned."""
        return self.ied in (ied, EVERY_IED)


def _rate(options: Options, kind: EventKind) -> float:
    return float(getattr(options.faults, f"{kind.lower()}_per_day"))


def place(options: Options, ieds: int, chance: Chance, substation: int) -> list[Fault]:
    """Faults at random, none overlapping another of the same device; those for which there is no room are left out.

    Args:
        options: the rates, and the simulated time.
        ieds: number of devices.
        chance: the seed's streams.
        substation: number of the substation.
    """
    taken: Spans = defaultdict(list)
    found = []
    for kind in _LASTING:
        for fault in _of_kind(kind, options, ieds, chance, substation, taken):
            for ied in range(ieds) if fault.ied == EVERY_IED else (fault.ied,):
                taken[ied].append((fault.start, fault.end))
            found.append(fault)
    return sorted(found, key=lambda fault: (fault.start, fault.kind, fault.ied))


def _of_kind(
    kind: EventKind, options: Options, ieds: int, chance: Chance, substation: int, taken: Spans
) -> Iterator[Fault]:
    common = kind is EventKind.IED_OUTAGE
    count = how_many(_rate(options, kind), min(ieds, 1) * options.days if common else ieds * options.days)
    span = options.end_us - options.start_us
    apart = min(max(span // 50, _APART_US[0]), _APART_US[1])
    shortest, longest = (min(seconds * 1_000_000, int(span * _LONGEST_SHARE)) for seconds in _LASTING[kind])
    stream = chance.stream(f"{kind.lower()}-when", substation)
    for number in range(count):
        for _ in range(_ATTEMPTS):
            ied = EVERY_IED if common else int(stream.integers(ieds))
            lasting = int(stream.integers(shortest, longest, endpoint=True))
            start = int(stream.integers(options.start_us + apart, options.end_us - apart - lasting))
            others = range(ieds) if common else (ied,)
            if all(
                start - apart > end or start + lasting + apart < begin
                for other in others
                for begin, end in taken[other]
            ):
                yield Fault(kind, ied, start, start + lasting, number)
                break
        else:
            return  # there is hardly any room left
