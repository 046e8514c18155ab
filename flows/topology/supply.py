"""The energised network: who is fed by which feeder, as switches are operated.

Connectivity nodes are joined by lines, busbars, closed switches and substation transformers. What is reached from a
source without entering a feeder is the *infeed*; the rest falls into connected parts. A part is fed through its
*heads*, the closed elements that join it to the infeed, each of a feeder; a part without a head is dead, one with
several, or with a ring in it, is looped. An operation looks at the two sides of the switch in turns and stops when the
smaller one is known, so that it costs what it touches (Even and Shiloach, "An on-line edge-deletion problem", J. ACM
28(1), 1981, search both sides in parallel in the same way).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import rustworkx as rx

from flows.streaming.network import TRANSFORMER, USAGE_POINT, Version

SWITCHES = frozenset({"Breaker", "LoadBreakSwitch"})
BUSBAR = "busbar"
"""In place of a feeder: of what hangs at the infeed itself."""

_FEEDER, _SUBSTATION = "Feeder", "Substation"


@dataclass(frozen=True, slots=True)
class Effect:
    """What an operation did to a transformer's supply: the feeders before and after, none when it is dead."""

    transformer: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass
class _Part:
    """A connected part beside the infeed: its nodes, heads by feeder, transformers, and inner elements."""

    nodes: set[int] = field(default_factory=set)
    heads: Counter[str] = field(default_factory=Counter)
    transformers: set[str] = field(default_factory=set)
    edges: int = 0

    @property
    def feeders(self) -> tuple[str, ...]:
        return tuple(sorted(self.heads))

    @property
    def looped(self) -> bool:
        return self.heads.total() > 1 or (bool(self.heads) and self.edges >= len(self.nodes))


@dataclass(frozen=True, slots=True)
class _Element:
    one: int
    two: int
    feeder: str | None


class Supply:
    """The network as it is connected.

    Args:
        valid: of each element the version that holds.
        closed: positions of switches; of others their normal ones.
    """

    def __init__(self, valid: Mapping[str, Version], closed: Mapping[str, bool]) -> None:
        self._graph: rx.PyGraph[str, str] = rx.PyGraph(multigraph=True)
        self._node: dict[str, int] = {}
        self._elements: dict[str, _Element] = {}
        self._edge: dict[str, int] = {}
        self._at: dict[int, list[str]] = defaultdict(list)
        self._sources: list[int] = []
        self._infeed: set[int] = set()
        self._part: dict[int, _Part] = {}
        holding = {version.container for version in valid.values() if version.kind == USAGE_POINT}
        for element, version in valid.items():
            self._add(element, version, valid, served=element in holding)
        for element, ends in self._elements.items():
            version = valid[element]
            usual = version.kind not in SWITCHES or not version.normal_open
            if closed.get(element, usual):
                self._edge[element] = self._graph.add_edge(ends.one, ends.two, element)
        self._divide()

    def _add(self, element: str, version: Version, valid: Mapping[str, Version], *, served: bool) -> None:
        if version.kind == USAGE_POINT:
            return
        above = valid.get(version.container or "")
        if version.kind == TRANSFORMER and above is not None and above.kind == _SUBSTATION and not served:
            if version.terminal_1:
                self._sources.append(self._number(version.terminal_1))
        elif version.kind == TRANSFORMER:
            # Its LV side is its own; it takes part in the medium voltage where its terminal 1 is.
            if version.terminal_1:
                self._at[self._number(version.terminal_1)].append(element)
            return
        if version.terminal_1 and version.terminal_2:
            if above is not None and above.kind == TRANSFORMER:
                return  # a line of the low voltage
            feeder = version.container if above is not None and above.kind == _FEEDER else None
            ends = _Element(self._number(version.terminal_1), self._number(version.terminal_2), feeder)
            self._elements[element] = ends

    def _number(self, node: str) -> int:
        if node not in self._node:
            self._node[node] = self._graph.add_node(node)
        return self._node[node]

    def _divide(self) -> None:
        """Find the infeed and all parts anew."""
        self._infeed, open_ = set(self._sources), list(self._sources)
        while open_:
            for node, element in self._around(open_.pop()):
                if node not in self._infeed and self._elements[element].feeder is None:
                    self._infeed.add(node)
                    open_.append(node)
        self._part = {}
        inner = self._graph.copy()
        inner.remove_nodes_from(sorted(self._infeed))
        for nodes in rx.connected_components(inner):
            part = self._part_of(nodes)
            self._part |= dict.fromkeys(nodes, part)

    def _around(self, node: int) -> Iterable[tuple[int, str]]:
        for other, elements in self._graph.adj(node).items():
            # Of parallel elements adj() tells one; each is asked for.
            del elements
            for element in self._graph.get_all_edge_data(node, other):
                yield other, element

    def _part_of(self, nodes: set[int]) -> _Part:
        part = _Part(set(nodes))
        inner = 0
        for node in nodes:
            part.transformers.update(self._at.get(node, ()))
            for other, element in self._around(node):
                if other in self._infeed:
                    part.heads[self._elements[element].feeder or element] += 1
                elif other in nodes:
                    inner += 1
        part.edges = inner // 2
        return part

    # ------------------------------------------------------------------- asking

    def knows(self, switch: str) -> bool:
        """Whether a switch is part of the network."""
        return switch in self._elements

    def closed(self, switch: str) -> bool:
        """Whether a switch is closed."""
        return switch in self._edge

    def feeders(self, transformer: str) -> tuple[str, ...]:
        """The feeders that supply a transformer, none when it is dead; ``BUSBAR`` at the infeed itself."""
        return self.by_transformer().get(transformer, ())

    def by_transformer(self) -> dict[str, tuple[str, ...]]:
        """The feeders of every transformer."""
        found: dict[str, tuple[str, ...]] = {}
        for node, transformers in self._at.items():
            feeders = (BUSBAR,) if node in self._infeed else self._part[node].feeders if node in self._part else ()
            found |= dict.fromkeys(transformers, feeders)
        return found

    def looped(self) -> set[str]:
        """The transformers that are fed from two sides, or in a ring."""
        return {
            one for part in {id(p): p for p in self._part.values()}.values() if part.looped for one in part.transformers
        }

    def copy(self) -> Supply:
        """One that goes its own way."""
        made = Supply.__new__(Supply)
        made.__dict__ |= self.__dict__
        made._graph, made._edge, made._infeed = self._graph.copy(), dict(self._edge), set(self._infeed)
        made._part = deepcopy(self._part)
        return made

    # ------------------------------------------------------------------- operating

    def operate(self, switch: str, *, closed: bool) -> list[Effect]:
        """Operate a switch; what became of the transformers' supply, by their ids.

        Raises:
            KeyError: the switch is not part of the network.
        """
        ends = self._elements[switch]
        if closed == (switch in self._edge):
            return []
        if ends.feeder is None or (ends.one in self._infeed and ends.two in self._infeed):
            return self._operate_infeed(switch, ends, closed=closed)
        return self._close(switch, ends) if closed else self._open(switch, ends)

    def _operate_infeed(self, switch: str, ends: _Element, *, closed: bool) -> list[Effect]:
        before = self.by_transformer()
        self._set(switch, ends, closed=closed)
        self._divide()
        after = self.by_transformer()
        return [Effect(one, was, after[one]) for one, was in sorted(before.items()) if was != after[one]]

    def _set(self, switch: str, ends: _Element, *, closed: bool) -> None:
        if closed:
            self._edge[switch] = self._graph.add_edge(ends.one, ends.two, switch)
        else:
            self._graph.remove_edge_from_index(self._edge.pop(switch))

    def _close(self, switch: str, ends: _Element) -> list[Effect]:
        self._set(switch, ends, closed=True)
        inside = [node for node in (ends.one, ends.two) if node not in self._infeed]
        parts = [self._part[node] for node in inside]
        before = [(part, part.feeders, set(part.transformers)) for part in parts]
        if len(parts) == 1:
            parts[0].heads[ends.feeder or switch] += 1
        elif parts[0] is parts[1]:
            parts[0].edges += 1
        else:
            small, great = sorted(parts, key=lambda part: len(part.nodes))
            great.nodes |= small.nodes
            great.heads += small.heads
            great.transformers |= small.transformers
            great.edges += small.edges + 1
            for node in small.nodes:
                self._part[node] = great
        after = self._part[inside[0]].feeders
        return _effects((names, was, after) for _, was, names in before)

    def _open(self, switch: str, ends: _Element) -> list[Effect]:
        self._set(switch, ends, closed=False)
        inside = [node for node in (ends.one, ends.two) if node not in self._infeed]
        part = self._part[inside[0]]
        was = part.feeders
        if len(inside) == 1:
            part.heads[ends.feeder or switch] -= 1
            part.heads += Counter()  # those of no more heads go
            return _effects([(part.transformers, was, part.feeders)])
        part.edges -= 1
        cut = self._smaller_side(*inside)
        if cut is None:
            return []
        away = self._part_of(cut)
        part.nodes -= cut
        part.heads -= away.heads
        part.transformers -= away.transformers
        part.edges -= away.edges
        for node in cut:
            self._part[node] = away
        return _effects([(away.transformers, was, away.feeders), (part.transformers, was, part.feeders)])

    def _smaller_side(self, one: int, two: int) -> set[int] | None:
        """The nodes of the side that is exhausted first; None where both are still connected."""
        seen = ({one}, {two})
        open_ = ([one], [two])
        while True:
            for side, other in ((0, 1), (1, 0)):
                if not open_[side]:
                    return seen[side]
                for node, _ in self._around(open_[side].pop()):
                    if node in seen[other]:
                        return None
                    if node not in seen[side] and node not in self._infeed:
                        seen[side].add(node)
                        open_[side].append(node)


def _effects(groups: Iterable[tuple[set[str], tuple[str, ...], tuple[str, ...]]]) -> list[Effect]:
    found = [Effect(one, was, now) for names, was, now in groups if was != now for one in names]
    return sorted(found, key=lambda effect: effect.transformer)
