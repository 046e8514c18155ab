"""How much power can pass where: what no register can rise faster than.

A transformer carries its rating, a feeder or substation those of the topmost transformers below it, and a customer what
his transformer does: what he has contracted for does not keep him from taking more. By how much a rating may be
exceeded is for others to say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from flows.streaming.network import TRANSFORMER, USAGE_POINT, Segment, Version


class Rating(NamedTuple):
    """A rating, kVA, None where nothing bounds it; and on how many facts it rests: it changes only if they do."""

    kva: float | None
    facts: int


NOTHING = Rating(None, 0)


class Ratings:
    """Of every element the greatest rating that any version of the network gives it.

    Args:
        versions: of each element.
        assumed_kva: of a transformer whose rating is not known, and that feeds no others.
    """

    def __init__(self, versions: Mapping[str, Sequence[Version]], assumed_kva: float) -> None:
        self._versions = versions
        self._assumed = assumed_kva
        self._children: dict[str, set[str]] = defaultdict(set)
        for element, some in versions.items():
            for version in some:
                if version.container:
                    self._children[version.container].add(element)
        self._found: dict[str, Rating] = {}

    def of_claims(self, claims: Iterable[Segment]) -> Rating:
        """The rating of what a device measures.

        Args:
            claims: for what any version has said that it measures.
        """
        targets = sorted({claim.element for claim in claims})
        elements = [self._element(target) for target in targets if target in self._versions]
        bounds = [one.kva for one in elements if one.kva is not None]
        kva = max(bounds) if bounds and len(bounds) == len(elements) else None
        return Rating(kva, sum(one.facts for one in elements))

    def _element(self, element: str) -> Rating:
        found = self._found.get(element)
        if found is None:
            self._found[element] = NOTHING  # whoever contains itself ends here
            found = self._found[element] = self._look_up(element)
        return found

    def _look_up(self, element: str) -> Rating:
        versions = self._versions[element]
        values = {v.rated_kva or None for v in versions if v.kind == TRANSFORMER}
        loads, parts = 0, []
        for child in sorted(self._children.get(element, ())):
            if any(v.kind == USAGE_POINT for v in self._versions[child]):
                loads += 1
            else:
                parts.append(self._element(child))
        carried = [part for part in parts if part != NOTHING and part.facts > 1]
        rated = max((value for value in values if value is not None), default=None)
        if rated is None and carried:
            bounds = [part.kva for part in carried if part.kva is not None]
            rated = sum(bounds) if len(bounds) == len(carried) and not loads else None
        elif rated is None and values:
            rated = self._assumed
        # Once it is a transformer, or has something below, it says more than that it exists.
        facts = 1 + len(values) + sum(part.facts for part in carried) + (loads if carried or not values else 0)
        return Rating(rated, facts)
