"""The device says that its clock is not synchronised.

Clause: IEC 61850-7-2, 6.1.2.9 (TimeQuality.ClockNotSynchronized); IEC 61850-5, time performance classes.

Remedy: the time server, its antenna, the way from there to the device.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return (seen.messages.clock_not_synchronized == 1) & seen.genuine


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.clock_not_synchronized != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "not set", "seen": f"ClockNotSynchronized is set in {seen.named(n)}"}


RULE = Rule("NOT_SYNCHRONIZED", WARNING, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells)
