"""The device says that its clock has failed: its time stamps are worthless.

Clause: IEC 61850-7-2, 6.1.2.9 (TimeQuality.ClockFailure).

Remedy: exchange the device or its clock; do not use its sequence of events.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return (seen.messages.clock_failure == 1) & seen.genuine


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.clock_failure != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "not set", "seen": f"ClockFailure is set in {seen.named(n)}"}


RULE = Rule("CLOCK_FAILURE", WARNING, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells)
