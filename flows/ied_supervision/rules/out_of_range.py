"""A measurement has a value that no grid can have: a negative current, a frequency of 5 Hz, not a number.

Zero is possible: of what is switched off.

Clause: IEC 61850-7-4, MMXU; IEC 61850-7-2, quality *outOfRange*, with which the device should have marked it.

Remedy: the transducer, its wiring, the scaling; do not use this value.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen
from flows.ied_supervision.values import CURRENT, FREQUENCY, NO_NUMBER, RANGES


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.values.odd != UNKNOWN


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    m = seen.values
    meaning, (least, most) = list(RANGES.items())[m.odd_means[n]]
    unit = {CURRENT: " A", FREQUENCY: " Hz"}.get(meaning, "")
    value = "no number" if m.odd_value[n] == NO_NUMBER else f"{m.odd_value[n] / 1000:g}{unit}"
    return {
        "expected": f"a {meaning} of {least:g} to {most:,.0f}{unit}",
        "seen": f"{value} in entry {m.odd[n]} of {seen.named(n)}",
        "entry": str(m.odd[n]),
        "value": value,
    }


RULE = Rule("OUT_OF_RANGE", WARNING, "{seen} instead of {expected}", _shows, _says, 180 * SECOND)
