"""Positions of switches, from what feeder terminal units tell of them.

A double point is 1 *off* or 2 *on*; 0 *intermediate* and 3 *bad* say nothing of where the switch is (IEC 60870-5-101,
7.2.6.2; IEC 61850-7-3, Dbpos). Nor does a value that is invalid, not topical or blocked. A position is believed when
it has stood for the debounce time; what flips within it is one operation. An interrogation repeats what is known, or
tells what was lost. An open switch through which current flows is not believed to be open until the current stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from flows.streaming.event_time import SECOND

OFF, ON = 1.0, 2.0
INVALID, NOT_TOPICAL, BLOCKED = 0x80, 0x40, 0x10

_UNUSABLE = INVALID | NOT_TOPICAL | BLOCKED
_AMPERES = 2.0  # above what a unit measures of nothing
_DIES_AWAY = SECOND  # after an opening, until its current says something
_HOT = 2  # measurements in a row that tell of current


@dataclass(frozen=True, slots=True)
class Operation:
    """A switch was operated, or was not, after all; times in µs.

    Attributes:
        element: the switch.
        ordinal: how manieth operation of it.
        closed: its position since.
        withdrawn: it is not believed any more.
        effective: when it took the position.
        detected: when that was believed, or was no longer.
        evidence: what speaks for it, and against.
    """

    element: str
    ordinal: int
    closed: bool
    withdrawn: bool
    effective: int
    detected: int
    evidence: Mapping[str, str]


@dataclass(slots=True)
class _Switch:
    """What is known of one switch.

    Attributes:
        closed: the position that is believed.
        told: another one that is told, since when, by which cause, and how often it has flipped.
        between: since when it is told to be on its way, 0 while it is not.
        last: the last operation.
        opened: since when it is believed open.
        hot: measurements in a row that tell of current through it.
    """

    closed: bool
    told: tuple[bool, int, str, int] | None = None
    between: int = 0
    last: Operation | None = None
    opened: int = 0
    hot: int = 0
    ordinal: int = 0


def bay_of(point: str) -> str:
    """The measurements beside a switch: ``MMXU`` with the number of its position's logical node."""
    node = point.split(".", maxsplit=1)[0]
    return f"MMXU{node[len(node.rstrip('0123456789')) :]}"


@dataclass
class Positions:
    """The positions of all switches that units tell of.

    Attributes:
        debounce: µs for which a position must stand.
        switches: by element.
    """

    debounce: int
    switches: dict[str, _Switch] = field(default_factory=dict)

    def closed(self) -> dict[str, bool]:
        """The positions that are believed."""
        return {element: switch.closed for element, switch in self.switches.items()}

    def advance(
        self, frame: pl.DataFrame, until: int, elements: Mapping[tuple[str, str], str], normal: Mapping[str, bool]
    ) -> list[Operation]:
        """Take in values, and let time go on.

        Args:
            frame: of ``grid.ftu.v1``, times as µs, ordered by time, none before what was taken before.
            until: µs; later values may come from then on.
            elements: the switch of each position point, by unit and point.
            normal: whether each is closed in its normal position.

        Returns:
            Operations in the order in which they were believed.
        """
        usable = frame.filter((pl.col("quality") & _UNUSABLE) == 0)
        events = [*self._told(usable, elements), *self._currents(usable, elements, normal)]
        events.sort()
        said: list[Operation] = []
        for time, _, element, value, cause in events:
            switch = self.switches.setdefault(element, _Switch(normal.get(element, True)))
            said += self._believe(element, switch, time)
            if cause:
                self._hear(switch, time, value, cause)
            else:
                said += self._measure(switch, time, value)
        for element, switch in self.switches.items():
            said += self._believe(element, switch, until)
        return sorted(said, key=lambda one: (one.detected, one.element))

    def _told(
        self, usable: pl.DataFrame, elements: Mapping[tuple[str, str], str]
    ) -> list[tuple[int, int, str, float, str]]:
        positions = usable.filter(pl.col("point").str.ends_with(".Pos"))
        rows = positions.select(pl.col("ftu_id").cast(pl.String), "point", "time", "value", "cause").iter_rows()
        return [
            (time, 1, elements[ftu, point], value, cause)
            for ftu, point, time, value, cause in rows
            if (ftu, point) in elements
        ]

    def _currents(
        self, usable: pl.DataFrame, elements: Mapping[tuple[str, str], str], normal: Mapping[str, bool]
    ) -> list[tuple[int, int, str, float, str]]:
        """The greatest current at each time beside the switches that are, or may become, open."""
        told = set(
            usable.filter(pl.col("point").str.ends_with(".Pos") & (pl.col("value") != ON))["ftu_id"].cast(pl.String)
        )
        asked = {
            (ftu, bay_of(point)): element
            for (ftu, point), element in elements.items()
            if ftu in told or not self._closed(element, normal)
        }
        if not asked:
            return []
        currents = (
            usable.filter(pl.col("point").str.contains(r"^MMXU\d+\.A\.phs[ABC]$"))
            .with_columns(pl.col("ftu_id").cast(pl.String), bay=pl.col("point").str.split(".").list.first())
            .filter(pl.col("ftu_id").is_in({ftu for ftu, _ in asked}))
            .group_by("ftu_id", "bay", "time")
            .agg(pl.col("value").abs().max())
        )
        return [
            (time, 0, asked[ftu, bay], value, "")
            for ftu, bay, time, value in currents.iter_rows()
            if (ftu, bay) in asked
        ]

    def _closed(self, element: str, normal: Mapping[str, bool]) -> bool:
        switch = self.switches.get(element)
        return normal.get(element, True) if switch is None else switch.closed and switch.told is None

    def _hear(self, switch: _Switch, time: int, value: float, cause: str) -> None:
        if value not in (OFF, ON):
            switch.between = switch.between or time
            switch.told = None  # what it was about to be has not stood
            return
        closed = value == ON
        if switch.told is not None and switch.told[0] == closed:
            return
        flips = switch.told[3] + 1 if switch.told is not None else 0
        # Not what is believed, or what is believed once more within the debounce time: then nothing has happened.
        switch.told = (closed, time, cause, flips) if closed != switch.closed or switch.told is not None else None
        if switch.told is None:
            switch.between = 0

    def _believe(self, element: str, switch: _Switch, now: int) -> list[Operation]:
        """What has stood for long enough by now."""
        if switch.told is None or switch.told[1] + self.debounce >= now:
            return []
        closed, since, cause, flips = switch.told
        switch.told = None
        between, switch.between = switch.between, 0
        if closed == switch.closed:
            return []
        last = switch.last
        if last is not None and last.withdrawn and closed and not last.closed:
            return []  # an opening that was not believed has gone back: it was withdrawn already
        evidence = {"cause": cause}
        if flips:
            evidence["flips"] = str(flips)
        if between:
            evidence["intermediate_seconds"] = f"{(since - between) / SECOND:.3f}"
        switch.ordinal += 1
        switch.closed, switch.opened, switch.hot = closed, since, 0
        switch.last = Operation(element, switch.ordinal, closed, False, since, since + self.debounce, evidence)
        return [switch.last]

    def _measure(self, switch: _Switch, time: int, amperes: float) -> list[Operation]:
        """A current beside a switch: through an open one there is none."""
        last = switch.last
        if last is None or last.closed or time <= switch.opened + _DIES_AWAY:
            return []
        if amperes > _AMPERES:
            switch.hot += 1
            if switch.closed or switch.hot < _HOT:
                return []
            switch.closed = True
            evidence = {**last.evidence, "contradicted_by": f"{amperes:.1f} A through it"}
            switch.last = replace(last, withdrawn=True, detected=time, evidence=evidence)
            return [switch.last]
        switch.hot = 0
        if not last.withdrawn or not switch.closed:
            return []
        switch.closed = False
        evidence = {**last.evidence, "believed_since": "the current has stopped"}
        switch.last = replace(last, withdrawn=False, effective=time, detected=time, evidence=evidence)
        return [switch.last]
