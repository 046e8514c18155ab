"""A GOOSE message carries another number of entries than it announces.

Clause: IEC 61850-8-1, 18.1: numDatSetEntries is the number of members in allData.

Remedy: a fault of the publisher's firmware, or a forged message; look at its source.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return (seen.messages.announced != 0) & (seen.messages.st_num != UNKNOWN)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    m = seen.messages
    return {
        "expected": f"{m.num_entries[n]} entries",
        "seen": f"{m.num_entries[n] - m.announced[n]} in {seen.named(n)}",
    }


RULE = Rule("ENTRIES_MISSING", WARNING, "{seen} instead of {expected}", _shows, _says)
