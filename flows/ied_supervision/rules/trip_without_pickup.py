"""A protection trips, and none of its functions had started.

Of control blocks that tell both. The limit is how long before the trip one must have started, in seconds.

Clause: IEC 61850-7-4, P….Str before P….Op, PTRC.Tr; IEC 61850-5, protection trip.

Remedy: a trip by hand or by a test set can be muted; else the message has been made up, or the protection is faulty:
compare with the disturbance record.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import ALARM, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, limit: Limit) -> Bools:
    since = seen.told.since_pickup
    return (since != UNKNOWN) & (since > limit * 1e6)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "a function that has started", "seen": f"a trip without one at {seen.named(n)}"}


RULE = Rule("TRIP_WITHOUT_PICKUP", ALARM, "{seen}", _shows, _says, 60 * SECOND, 10.0, "s")
