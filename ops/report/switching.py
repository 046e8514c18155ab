"""How the network is switched over time: positions of its switches, and which stations are without supply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

MOST_MOMENTS = 60
_CLOSED = "closed"
_TOGETHER = timedelta(minutes=1)  # operations that follow each other so fast are one change


@dataclass(frozen=True)
class Moment:
    """The state from a time on.

    Attributes:
        time: when it begins.
        closed: position of each switch that is known.
        dark: transformers without supply.
        operated: the switches that were operated to get there.
    """

    time: datetime
    closed: dict[str, bool]
    dark: frozenset[str]
    operated: tuple[str, ...]


class Switching:
    """A grid's switching.

    Args:
        switches: element_id, time, closed: positions, each from a time on.
        supply: element_id, time, fed_by: of each transformer the feeder that supplies it from a time on; null: none.
    """

    def __init__(self, switches: pl.DataFrame, supply: pl.DataFrame) -> None:
        self._switches = switches.sort("time", maintain_order=True)
        self._supply = supply.sort("time", maintain_order=True)

    def moments(self, elements: Collection[str]) -> list[Moment]:
        """The states of a part of the grid: the first, and that after every change; at most ``MOST_MOMENTS``."""
        wanted = list(elements)
        rows = self._switches.filter(pl.col("element_id").is_in(wanted))
        fed = self._supply.filter(pl.col("element_id").is_in(wanted))
        found: list[Moment] = []
        closed: dict[str, bool] = {}
        operated: list[str] = []
        listed = list(rows.select("time", "element_id", "closed").iter_rows())
        for place, (time, switch, position) in enumerate(listed):
            if closed.get(switch) not in {None, position}:
                operated.append(switch)
            closed[switch] = position
            following = listed[place + 1][0] if place + 1 < len(listed) else None
            if following is not None and following - time < _TOGETHER:
                continue
            if not found or operated:
                found.append(Moment(time, dict(closed), _dark(fed, time), tuple(dict.fromkeys(operated))))
                operated = []
            if len(found) == MOST_MOMENTS:
                break
        return found


def switching_found(changes: pl.DataFrame, switches: Mapping[str, bool], start: datetime) -> Switching | None:
    """The switching by what was found; None where no switch was operated.

    Args:
        changes: of the topology, one row each.
        switches: of each whether it is normally open.
        start: from when on; until something else is said, a switch is as it was before it was operated, else normal.
    """
    accepted = changes.filter(pl.col("state") == "ACCEPTED").sort("effective_time", maintain_order=True)
    operated = accepted.filter(pl.col("kind") == "SWITCH_OPERATED")
    if operated.is_empty():
        return None
    first = operated.unique("element_id", keep="first").filter(pl.col("previous").is_not_null())
    before = {name: not is_open for name, is_open in switches.items()}
    before |= {name: previous == _CLOSED for name, previous in first.select("element_id", "previous").iter_rows()}
    initial = pl.DataFrame({"element_id": list(before), "closed": list(before.values())}).with_columns(
        time=pl.lit(min(start, operated["effective_time"][0])).cast(operated.schema["effective_time"])
    )
    said = operated.select("element_id", time="effective_time", closed=pl.col("current") == _CLOSED)
    supplied = accepted.filter(pl.col("kind").is_in(["DE_ENERGISED", "RE_ENERGISED", "SUPPLY_CHANGED"]))
    return Switching(
        pl.concat([initial.select(said.columns), said]),
        supplied.select("element_id", time="effective_time", fed_by="current"),
    )


def _dark(fed: pl.DataFrame, time: datetime) -> frozenset[str]:
    latest = fed.filter(pl.col("time") <= time).unique("element_id", keep="last", maintain_order=True)
    return frozenset(latest.filter(pl.col("fed_by").is_null())["element_id"])
