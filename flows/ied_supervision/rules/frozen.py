"""A measurement stands still while the others of its control block move.

It must have moved before, and stand four times as long as it ever has. The limit is for how many messages at least.

Clause: IEC 61850-7-2, quality *oldData*, with which the device should have marked it; IEC TR 63353, 7.6.

Remedy: the transducer or its connection; the value is old.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, limit: Limit) -> Bools:
    return seen.told.still_for >= limit


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    told = seen.told
    return {
        "expected": "a value that moves with the others",
        "seen": f"measurement {told.still[n]} the same for {told.still_for[n]} messages, to {seen.named(n)}",
    }


RULE = Rule("FROZEN", WARNING, "{seen}", _shows, _says, 300 * SECOND, 30.0, "messages")
