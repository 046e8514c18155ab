"""confRev, the number of data set entries or the APPID are not those that are expected, or that it has always had.

Clause: IEC 61850-7-2, 18.2.1.7: confRev counts changes of the configuration; subscribers must not use the data of
another one (IEC 61850-8-1, 18.1).

Remedy: compare with the station's SCD; engineer the subscribers anew or take the change back. What has stayed for ten
minutes is the usual configuration from then on, unless the settings say what is expected
(``[[ied_supervision.expected]]``).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen

_WATCHED = ("conf_rev", "num_entries", "app_id")
_PRIME = 1_000_003


def _shows(seen: Seen, _limit: Limit) -> Bools:
    changed = np.zeros(len(seen.messages), bool)
    for name in _WATCHED:
        changed |= seen.differs(name, getattr(seen.messages, name))
    return changed & seen.genuine


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    said = {name: (int(seen.usually(name)[n]), int(getattr(seen.messages, name)[n])) for name in _WATCHED}
    changed = {name: pair for name, pair in said.items() if UNKNOWN not in pair and pair[0] != pair[1]}
    return {
        "expected": ", ".join(f"{name} {usual}" for name, (usual, _) in changed.items()),
        "seen": ", ".join(f"{name} {now}" for name, (_, now) in changed.items()),
    }


def _value(seen: Seen) -> Ints:
    """A number that is another one where any of the values that differ is."""
    value = np.zeros(len(seen.messages), np.int64)
    for name in _WATCHED:
        values = getattr(seen.messages, name)
        value = value * _PRIME + np.where(seen.differs(name, values), values, UNKNOWN)
    return value


RULE = Rule(
    "CONFIGURATION_CHANGED",
    WARNING,
    "{seen} instead of {expected}",
    _shows,
    _says,
    hold=UNTIL_GONE,
    value=_value,
)
