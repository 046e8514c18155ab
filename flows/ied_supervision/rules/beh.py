"""A logical node does not work as it should: its behaviour is not *on* but blocked, test, test/blocked or off.

Clause: IEC 61850-7-4, 6.2 (Beh) and annex A.

Remedy: none while somebody tests; else set the mode (Mod) of the node or its logical device back to on.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen

_NAMES = {1: "on", 2: "blocked", 3: "test", 4: "test/blocked", 5: "off"}


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return (seen.messages.beh != 1) & (seen.messages.beh != UNKNOWN)


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.beh != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    value = int(seen.messages.beh[n])
    return {"expected": "on (1)", "seen": f"{_NAMES.get(value, 'unknown')} ({value})"}


def _value(seen: Seen) -> Ints:
    return seen.messages.beh


RULE = Rule("BEH", WARNING, "Beh is {seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells, value=_value)
