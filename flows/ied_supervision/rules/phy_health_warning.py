"""The physical device warns of its health: minor problems, but it works.

Clause: IEC 61850-7-4, LPHD.PhyHealth (2, Warning).

Remedy: the device's own diagnosis says which: temperature, supply, memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.messages.phy_health == 2


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.phy_health != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "Ok (1)", "seen": f"Warning (2) at {seen.named(n)}"}


RULE = Rule("PHY_HEALTH_WARNING", WARNING, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells)
