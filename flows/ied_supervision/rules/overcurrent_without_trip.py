"""A device that tells of trips measures a fault current, and does not trip.

The limit says how many times the usual current that is, which is learned from what the block has measured; it must last
for fifteen seconds, longer than any grading time. Where pickups are told see PICKUP_WITHOUT_TRIP, which needs no
amperes.

Clause: IEC 61850-7-4, MMXU.A and P….Op; IEC 60255-151, operate times.

Remedy: see whether the next protection has tripped, and to this one's settings; what lasts for ten minutes is a new
load.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import ALARM, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen

_LASTS = 15 * SECOND


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.overcurrent.untripped >= _LASTS


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    amperes, usual = seen.messages.current[n] / 1000, seen.overcurrent.usual[n] / 1000
    return {
        "expected": f"a trip, or about {usual:.1f} A",
        "seen": f"{amperes:.1f} A for {seen.overcurrent.untripped[n] / 1e6:.1f} s at {seen.named(n)}",
    }


def _since(seen: Seen, n: int) -> int:
    return int(seen.messages.received[n] - seen.overcurrent.untripped[n])


RULE = Rule(
    "OVERCURRENT_WITHOUT_TRIP", ALARM, "{seen}, no trip", _shows, _says, 30 * SECOND, 8.0, "times", since=_since
)
