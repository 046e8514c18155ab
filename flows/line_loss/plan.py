"""How sums of leaves become balances while the network does not change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.line_loss.areas.data import Bools
from flows.streaming.network import Hierarchy
from flows.streaming.registers import Ints


@dataclass(frozen=True, slots=True)
class Plan:
    """How sums of leaves become balances while the network does not change: sparse 0/1 matrices by element."""

    elements: list[str]
    row: Ints
    kinds: list[str]
    regions: list[str | None]
    expected_heads: Ints
    expected_customers: Ints
    head_of: Ints
    head_leaf: Ints
    area_of: Ints
    area_leaf: Ints
    measured: Bools
    itself: Bools
    head_position: Ints
    within_of: Ints
    within_leaf: Ints
    beside_of: Ints
    beside_leaf: Ints


def make_plan(hierarchy: Hierarchy, codes: dict[str, int], losing: frozenset[str]) -> Plan:
    """The plan of a hierarchy; elements that have no code yet get one.

    Args:
        hierarchy: as it holds.
        codes: of elements.
        losing: elements in which energy is lost.
    """
    elements = sorted(hierarchy.heads)
    for element in (*elements, *hierarchy.customers, *losing):
        codes.setdefault(element, len(codes))
    head_of, head_leaf, area_of, area_leaf = [], [], [], []
    for place, element in enumerate(elements):
        for head in hierarchy.heads[element]:
            head_of.append(place)
            head_leaf.append(codes[head])
        for area in hierarchy.areas[element]:
            area_of.append(place)
            area_leaf.append(codes[area])
    position = {element: n for n, element in enumerate(elements)}
    within = {
        (at, leaf)
        for element, at in position.items()
        for head in hierarchy.heads[element]
        for leaf in hierarchy.below[head]
        if leaf in losing
    }
    tops = {(at, head) for element, at in position.items() for head in hierarchy.heads[element]}
    within_of, within_leaf = _pairs(within, codes)
    beside_of, beside_leaf = _pairs(within - tops, codes)
    return Plan(
        elements=elements,
        row=np.array([codes[e] for e in elements], np.int64),
        kinds=[hierarchy.kind[e] for e in elements],
        regions=[hierarchy.region.get(e) for e in elements],
        expected_heads=np.array([len(hierarchy.heads[e]) for e in elements], np.int64),
        expected_customers=np.array(
            [sum(hierarchy.customers[a] for a in hierarchy.areas[e]) for e in elements], np.int64
        ),
        head_of=np.array(head_of, np.int64),
        head_leaf=np.array(head_leaf, np.int64),
        area_of=np.array(area_of, np.int64),
        area_leaf=np.array(area_leaf, np.int64),
        measured=np.array([hierarchy.heads[e] == [e] for e in elements], bool),
        itself=np.array([hierarchy.heads[e] == [e] and hierarchy.areas[e] == [e] for e in elements], bool),
        head_position=np.array([position[h] for e in elements for h in hierarchy.heads[e]], np.int64),
        within_of=within_of,
        within_leaf=within_leaf,
        beside_of=beside_of,
        beside_leaf=beside_leaf,
    )


def _pairs(pairs: set[tuple[int, str]], codes: dict[str, int]) -> tuple[Ints, Ints]:
    """Positions and codes, in an order that is the same in every run: that of codes is not, and sums depend on it."""
    ordered = [(at, codes[leaf]) for at, leaf in sorted(pairs)]
    table = np.array(ordered, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
