"""A protection function that only a fault starts has started, for longer than any grading time, and nothing trips.

Overcurrent, distance, differential (PTOC, PIOC, PVOC, PTEF, PDIS, PDIF), and PTRC.Str; undervoltage, thermal overload
and the like last as long as their causes. The limit is how long, in seconds: of an inverse curve little above its
setting a trip takes most of a minute.

Clause: IEC 61850-7-4, P….Str and P….Op; IEC 60255-151, operate times.

Remedy: the fault lasts, or the function is set below the load: see to the settings, and whether the next protection has
tripped. A device whose trip is blocked is no protection.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import ALARM, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, limit: Limit) -> Bools:
    return seen.told.picked_up > limit * 1e6


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    lasted = seen.told.picked_up[n] / 1e6
    return {"expected": "a trip, or the end of the fault", "seen": f"started for {lasted:.1f} s at {seen.named(n)}"}


def _since(seen: Seen, n: int) -> int:
    return int(seen.messages.received[n] - seen.told.picked_up[n])


RULE = Rule("PICKUP_WITHOUT_TRIP", ALARM, "{seen}, no trip", _shows, _says, 30 * SECOND, 60.0, "s", since=_since)
