"""A measurement has a value that no grid can have: a negative current, a frequency of 0 Hz, not a number.

Clause: IEC 61850-7-4, MMXU; IEC 61850-7-2, quality *outOfRange*, with which the device should have marked it.

Remedy: the transducer, its wiring, the scaling; do not use this value.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.messages.odd != UNKNOWN


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "a value that is possible", "seen": f"entry {seen.messages.odd[n]} of {seen.named(n)}"}


RULE = Rule("OUT_OF_RANGE", WARNING, "an impossible value: {seen}", _shows, _says, 180 * SECOND)
