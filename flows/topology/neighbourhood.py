"""Who is recorded where, and which transformers a customer could hang at instead.

A customer can be moved to where a cable reaches: to the transformers that are nearest on the map; where no
coordinates are recorded, to those that are fewest steps away in the network, or, where lines and switches are not
recorded either, to those of the same feeder, substation or region. Their number is limited, so that the cost of
comparing grows linearly with the grid.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flows.streaming.network import TRANSFORMER, USAGE_POINT, NetworkTable, Version
from flows.topology.identification import PHASES
from flows.topology.signals import Ints

NEAREST = 8  # transformers beside its own that a customer could hang at
_REACH_KM = 3.0  # farther away no low-voltage cable leads
_KM_PER_DEGREE = 111.2
_STRIP = 256  # transformers that are compared together
_MOST_STEPS = 200  # connectivity nodes that are looked at from one transformer, times NEAREST


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The record at one time: n usage points with a meter, T transformers with usage points.

    Attributes:
        points: element ids of the usage points, ascending; [n].
        meters: their devices; [n].
        transformer: of each; [n].
        phase: of each 0, 1, 2 for A, B, C; -1 where it has several, or none is recorded; [n].
        transformers: element ids, ascending; [T].
        heads: their measuring devices, None where there is none; [T].
        candidates: of each transformer those whose customers could be at it, itself among them; symmetric.
    """

    points: list[str]
    meters: list[str]
    transformer: Ints
    phase: Ints
    transformers: list[str]
    heads: list[str | None]
    candidates: Sequence[Ints]


def neighbourhood(network: NetworkTable, time: int) -> Neighbourhood:
    """The record as of a time, µs."""
    valid = {element: version for element in network.versions if (version := network.as_of(element, time)) is not None}
    kinds = {element: version.kind for element, version in valid.items()}
    recorded = sorted(
        (element, version)
        for element, version in valid.items()
        if version.kind == USAGE_POINT and version.device and kinds.get(version.container or "") == TRANSFORMER
    )
    transformers = sorted({str(version.container) for _, version in recorded})
    number = {transformer: n for n, transformer in enumerate(transformers)}
    return Neighbourhood(
        [element for element, _ in recorded],
        [str(version.device) for _, version in recorded],
        np.array([number[str(version.container)] for _, version in recorded], np.int64),
        np.array([phase_of(version.phases) for _, version in recorded], np.int64),
        transformers,
        [valid[transformer].device for transformer in transformers],
        _candidates(valid, transformers),
    )


def phase_of(phases: str | None) -> int:
    """0, 1, 2 where exactly one of A, B, C is named, else -1."""
    named = [phase for phase in PHASES if phase in (phases or "")]
    return PHASES.index(named[0]) if len(named) == 1 else -1


def _candidates(valid: dict[str, Version], transformers: list[str]) -> list[Ints]:
    near = _by_distance(valid, transformers)
    if unplaced := [n for n, found in enumerate(near) if not found]:
        for n, others in zip(unplaced, _by_lines(valid, transformers, unplaced), strict=True):
            near[n] = others
    alone = [n for n, found in enumerate(near) if not found]
    if alone:
        for n, others in zip(alone, _by_containers(valid, transformers, alone), strict=True):
            near[n] = others
    both: list[set[int]] = [{n} for n in range(len(transformers))]
    for n, others in enumerate(near):
        for other in others:
            both[n].add(other)
            both[other].add(n)
    return [np.array(sorted(some), np.int64) for some in both]


def _by_distance(valid: dict[str, Version], transformers: list[str]) -> list[list[int]]:
    """The nearest on the map, of those that are placed on it."""
    place = np.array(
        [place_of(valid[transformer]) or (np.nan, np.nan) for transformer in transformers], np.float64
    ).reshape(-1, 2)
    known = np.flatnonzero(np.isfinite(place).all(axis=1))
    found: list[list[int]] = [[] for _ in transformers]
    if not len(known):
        return found
    degree = np.array([np.cos(np.radians(place[known, 1].mean())), 1.0]) * _KM_PER_DEGREE
    known = known[np.lexsort((known, place[known, 0]))]
    km = place[known] * degree
    # From west to east, in strips: those farther west or east than a cable reaches are not looked at.
    for start in range(0, len(known), _STRIP):
        mine = slice(start, start + _STRIP)
        low, high = np.searchsorted(km[:, 0], (km[mine, 0][0] - _REACH_KM, km[mine, 0][-1] + _REACH_KM))
        apart = np.hypot(*(km[mine, None] - km[None, low:high]).transpose(2, 0, 1))
        ranked = np.argsort(apart, axis=1, kind="stable")[:, : NEAREST + 1]
        for row, n in enumerate(known[mine].tolist()):
            at = ranked[row][apart[row, ranked[row]] <= _REACH_KM]
            found[n] = [other for other in known[low + at].tolist() if other != n][:NEAREST]
    return found


def place_of(version: Version) -> tuple[float, float] | None:
    """Longitude and latitude; None where unknown, as are those off the coast of Ghana, where all zeros go."""
    longitude, latitude = version.longitude_deg, version.latitude_deg
    if longitude is None or latitude is None or (longitude == 0 and latitude == 0):
        return None
    return longitude, latitude


def _by_lines(valid: dict[str, Version], transformers: list[str], some: list[int]) -> list[list[int]]:
    """The nearest by steps along lines and switches, open ones too, not through transformers."""
    along: dict[str, list[str]] = defaultdict(list)
    at: dict[str, list[int]] = defaultdict(list)
    for element, version in valid.items():
        one, two = version.terminal_1, version.terminal_2
        if one and two and version.kind not in (TRANSFORMER, USAGE_POINT) and element != one:
            along[one].append(two)
            along[two].append(one)
    for n, transformer in enumerate(transformers):
        for node in (valid[transformer].terminal_1, valid[transformer].terminal_2):
            if node:
                at[node].append(n)
    found: list[list[int]] = []
    for n in some:
        transformer = transformers[n]
        start = [node for node in (valid[transformer].terminal_1, valid[transformer].terminal_2) if node]
        seen, open_, nearest = set(start), deque(start), dict.fromkeys([n])
        while open_ and len(nearest) <= NEAREST and len(seen) < _MOST_STEPS * NEAREST:
            node = open_.popleft()
            nearest |= dict.fromkeys(at[node])
            for following in along[node]:
                if following not in seen:
                    seen.add(following)
                    open_.append(following)
        found.append([other for other in nearest if other != n])
    return found


def _by_containers(valid: dict[str, Version], transformers: list[str], some: list[int]) -> list[list[int]]:
    """Those of the smallest container that holds others too."""
    inside: dict[str, list[int]] = defaultdict(list)
    above: list[list[str]] = []
    for n, transformer in enumerate(transformers):
        chain: list[str] = []
        container = valid[transformer].container
        while container and container not in chain:
            chain.append(container)
            container = valid[container].container if container in valid else None
        above.append(chain)
        for one in chain:
            inside[one].append(n)
    found = []
    for n in some:
        others = next((inside[one] for one in above[n] if len(inside[one]) > 1), [])
        # In a large one without lines nothing tells who is near: those whose names are.
        place = others.index(n) if n in others else 0
        low = max(0, min(place - NEAREST // 2, len(others) - NEAREST - 1))
        found.append([other for other in others[low : low + NEAREST + 1] if other != n])
    return found
