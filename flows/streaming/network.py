"""The reference network as a versioned table, asked as of an event time.

A version of an element is valid from its ``valid_from`` until its ``valid_to`` or until the next version of the same
element begins. Every distinct version is a *fact* and is kept, also when a later one supersedes it: the revisions of
what rests on the network count facts, and must not fall when one version takes the place of another. Hence two
views: what holds (``segments``, ``Hierarchy``) and what has ever been *claimed*.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from flows.streaming.event_time import MAXIMUM, to_micros

USAGE_POINT = "UsagePoint"
TRANSFORMER = "PowerTransformer"
REGION = "SubGeographicalRegion"

_COLUMNS = (
    "element_id",
    "kind",
    "container_id",
    "rated_kva",
    "measuring_device_id",
    "terminal_1",
    "terminal_2",
    "phases",
    "normal_open",
    "r_ohm",
    "no_load_loss_kw",
    "load_loss_kw",
    "measuring_terminal",
    "x_ohm",
    "longitude_deg",
    "latitude_deg",
)


class Version(NamedTuple):
    """One version of an element; times in µs, ``valid_to`` MAXIMUM when open."""

    valid_from: int
    valid_to: int
    kind: str
    container: str | None
    rated_kva: float | None
    device: str | None
    terminal_1: str | None = None
    terminal_2: str | None = None
    phases: str | None = None
    normal_open: bool | None = None
    r_ohm: float | None = None
    no_load_loss_kw: float | None = None
    load_loss_kw: float | None = None
    measuring_terminal: int | None = None
    x_ohm: float | None = None
    longitude_deg: float | None = None
    latitude_deg: float | None = None


class Segment(NamedTuple):
    """While [begin, end) a device measures for ``element``: as its head, or as a customer's meter in it."""

    begin: int
    end: int
    element: str
    head: bool


@dataclass
class Hierarchy:
    """The energy-balance hierarchy as it held at one time.

    Attributes:
        kind: CIM class of each element.
        parent: container of each element.
        heads: of each element with a balance the elements whose measuring devices meter the energy into it.
        areas: of each element with a balance the containers whose customers it serves.
        below: of each measured element that and all below it.
        customers: how many metered customers each container has.
        region: the region of each element.
    """

    kind: dict[str, str] = field(default_factory=dict)
    parent: dict[str, str] = field(default_factory=dict)
    heads: dict[str, list[str]] = field(default_factory=dict)
    areas: dict[str, list[str]] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)
    customers: dict[str, int] = field(default_factory=dict)
    region: dict[str, str] = field(default_factory=dict)


class NetworkTable:
    """All versions of all elements."""

    def __init__(self) -> None:
        self._versions: dict[str, list[Version]] = {}
        self._elements_of_device: dict[str, set[str]] = defaultdict(set)
        self._dumped: bytes | None = None  # the network seldom changes

    def __len__(self) -> int:
        return len(self._versions)

    def dump(self) -> bytes:
        """What to keep over a restart."""
        if self._dumped is None:
            self._dumped = pickle.dumps(self._versions, protocol=5)
        return self._dumped

    def restore(self, data: bytes) -> None:
        """Take up what was kept."""
        self._versions, self._dumped = pickle.loads(data), data  # noqa: S301 - our own recovery store
        self._elements_of_device.clear()
        for element, versions in self._versions.items():
            for version in versions:
                if version.device:
                    self._elements_of_device[version.device].add(element)

    def apply(self, frame: pl.DataFrame) -> dict[str, int]:
        """Add versions in the order of the log.

        Args:
            frame: rows of ``grid.network.v1``.

        Returns:
            The elements that changed, each with the earliest time (µs) from which; a repeated version changes
            nothing.
        """
        changed: dict[str, int] = {}
        self._dumped = None
        begins = to_micros(frame.get_column("valid_from")).tolist()
        ends = to_micros(frame.get_column("valid_to"), MAXIMUM).tolist()
        for (element, kind, container, rated, device, *more), begin, end in zip(
            frame.select(_COLUMNS).iter_rows(), begins, ends, strict=True
        ):
            version = Version(begin, end, kind, container, rated, device, *more)
            versions = self._versions.get(element)
            if versions is None:
                self._versions[element] = [version]
            elif version in versions:
                continue
            else:
                versions.append(version)
            if device:
                self._elements_of_device[device].add(element)
            changed[element] = min(begin, changed.get(element, MAXIMUM))
        return changed

    @property
    def versions(self) -> Mapping[str, Sequence[Version]]:
        """Of every element the versions in the order of the log."""
        return self._versions

    def devices_of(self, elements: Iterable[str]) -> set[str]:
        """The devices that any version of these elements names."""
        return {v.device for element in elements for v in self._versions.get(element, ()) if v.device}

    def heads(self) -> set[str]:
        """The devices that any version names as an element's own, metering the energy into it."""
        every = (version for versions in self._versions.values() for version in versions)
        return {v.device for v in every if v.device and v.kind != USAGE_POINT}

    def knows_device(self, device: str) -> bool:
        """True when any version of any element names this device."""
        return device in self._elements_of_device

    def valid(self, element: str) -> Iterator[tuple[int, int, Version]]:
        """The versions of an element that hold, each with the span [begin, end) in which it does."""
        # The later in the log wins where two begin at one time: sorted() is stable.
        versions = self._versions.get(element, ())
        ordered = versions if len(versions) < 2 else sorted(versions, key=lambda v: v.valid_from)
        for position, version in enumerate(ordered):
            following = ordered[position + 1].valid_from if position + 1 < len(ordered) else MAXIMUM
            end = min(version.valid_to, following)
            if version.valid_from < end:
                yield version.valid_from, end, version

    def as_of(self, element: str, time: int) -> Version | None:
        """The version that holds at a time, or None."""
        versions = self._versions.get(element, ())
        if len(versions) == 1:
            return versions[0] if versions[0].valid_from <= time < versions[0].valid_to else None
        for begin, end, version in self.valid(element):
            if begin <= time < end:
                return version
        return None

    def segments(self, device: str) -> list[Segment]:
        """For what a device measures, and when."""
        found = []
        for element in self._elements_of(device):
            for begin, end, version in self.valid(element):
                if version.device == device:
                    target = version.container if version.kind == USAGE_POINT else element
                    if target is not None:
                        found.append(Segment(begin, end, target, version.kind != USAGE_POINT))
        return found if len(found) < 2 else sorted(found, key=lambda s: (s.begin, s.element))

    def _elements_of(self, device: str) -> Iterable[str]:
        elements = self._elements_of_device.get(device, ())
        return elements if len(elements) < 2 else sorted(elements)

    def claims(self, device: str) -> list[Segment]:
        """For what any version, superseded or not, has said that a device measures."""
        merged: dict[tuple[str, bool], Segment] = {}
        for element in self._elements_of(device):
            for version in self._versions[element]:
                target = version.container if version.kind == USAGE_POINT else element
                if version.device == device and target is not None:
                    key = (target, version.kind != USAGE_POINT)
                    old = merged.get(key)
                    begin = version.valid_from if old is None else min(old.begin, version.valid_from)
                    merged[key] = Segment(begin, MAXIMUM, *key)
        return sorted(merged.values(), key=lambda s: (s.begin, s.element))

    def versions_about(self, device: str) -> list[int]:
        """When the versions begin, µs, ascending, that bear on where a device is.

        Those of the elements that some version names it for, from the first on that does.
        """
        times: list[int] = []
        for element in self._elements_of(device):
            versions = self._versions[element]
            first = min(v.valid_from for v in versions if v.device == device)
            times += [v.valid_from for v in versions if v.valid_from >= first]
        return times if len(times) < 2 else sorted(times)

    def facts(self) -> dict[str, list[int]]:
        """Of each element the times (µs, ascending) from which versions of it or of what it holds say something."""
        found: dict[str, list[int]] = defaultdict(list)
        for element, versions in self._versions.items():
            containers = {v.container for v in versions if v.container}
            for version in versions:
                found[element].append(version.valid_from)
                for container in containers:
                    found[container].append(version.valid_from)
        return {element: sorted(times) for element, times in found.items()}

    def claimed_ancestors(self) -> dict[str, set[str]]:
        """Of each element that meters anything, or has ever held who does, itself and all its containers ever."""
        holds = {
            v.container for versions in self._versions.values() for v in versions if v.kind == USAGE_POINT and v.device
        }
        up = {e: {v.container for v in versions if v.container} for e, versions in self._versions.items()}
        found: dict[str, set[str]] = {}
        for element, versions in self._versions.items():
            if all(v.kind == USAGE_POINT or not v.device for v in versions) and element not in holds:
                continue
            reached, open_ = {element}, [element]
            while open_:
                for container in up.get(open_.pop(), ()):
                    if container not in reached:
                        reached.add(container)
                        open_.append(container)
            found[element] = reached
        return found

    def change_times(self) -> list[int]:
        """All times, µs ascending, at which some version begins or ends."""
        times = {t for versions in self._versions.values() for v in versions for t in (v.valid_from, v.valid_to)}
        return sorted(times - {MAXIMUM})

    def hierarchy(self, time: int) -> Hierarchy:
        """The energy-balance hierarchy as of a time, µs."""
        result = Hierarchy()
        measured: set[str] = set()
        children: dict[str, list[str]] = defaultdict(list)
        for element in sorted(self._versions):
            version = self.as_of(element, time)
            if version is None:
                continue
            if version.kind == USAGE_POINT:
                if version.device and version.container:
                    result.customers[version.container] = result.customers.get(version.container, 0) + 1
                continue
            result.kind[element] = version.kind
            if version.device:
                measured.add(element)
            if version.container and version.container != element:
                result.parent[element] = version.container
                children[version.container].append(element)
        result.below = {element: _below(element, children) for element in sorted(measured)}
        for element in result.kind:
            seen, above = {element}, element
            while result.kind.get(above) != REGION and above in result.parent and result.parent[above] not in seen:
                above = result.parent[above]
                seen.add(above)
            if result.kind.get(above) == REGION:
                result.region[element] = above
            heads = _heads(element, measured, children)
            if heads:
                result.heads[element] = heads
                result.areas[element] = [
                    area for head in heads for area in result.below[head] if result.customers.get(area)
                ]
        return result


def _heads(element: str, measured: set[str], children: dict[str, list[str]]) -> list[str]:
    """The element itself if it is measured, else the topmost measured elements below it."""
    found, open_, seen = [], [element], {element}
    while open_:
        here = open_.pop()
        if here in measured:
            found.append(here)
            continue
        for child in children.get(here, ()):
            if child not in seen:
                seen.add(child)
                open_.append(child)
    return sorted(found)


def _below(element: str, children: dict[str, list[str]]) -> list[str]:
    """The element and all below it."""
    found, open_, seen = [], [element], {element}
    while open_:
        here = open_.pop()
        found.append(here)
        for child in children.get(here, ()):
            if child not in seen:
                seen.add(child)
                open_.append(child)
    return found
