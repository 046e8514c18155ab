"""A logical node warns of its health: minor problems, but it works. So does a value that Health does not have.

Clause: IEC 61850-7-4, 6.2 (Health: 2, Warning).

Remedy: the device's own diagnosis says which.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return ~np.isin(seen.messages.health, (UNKNOWN, 1, 3))


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.health != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    value = int(seen.messages.health[n])
    return {"expected": "Ok (1)", "seen": f"{'Warning' if value == 2 else 'unknown'} ({value}) at {seen.named(n)}"}


def _value(seen: Seen) -> Ints:
    return seen.messages.health


RULE = Rule("HEALTH_WARNING", WARNING, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells, value=_value)
