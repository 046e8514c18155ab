"""A logical node cannot work: severe problems of its own.

Clause: IEC 61850-7-4, 6.2 (Health: 3, Alarm).

Remedy: do not count on this device; see its own diagnosis, exchange it.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import ALARM, UNTIL_GONE, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.messages.health == 3


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.health != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "Ok (1)", "seen": f"Alarm (3) at {seen.named(n)}"}


RULE = Rule("HEALTH_ALARM", ALARM, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells)
