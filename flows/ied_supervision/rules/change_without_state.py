"""A GOOSE message has other data than those with which its state began, under the same stNum.

Clause: IEC 61850-8-1, 18.1 and IEC 61850-7-2, 18.2.1: every change of a member makes a new stNum.

Remedy: the data have been altered on the way, or somebody else has sent the message; find its source.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen
from flows.ied_supervision.values import OF_PART, PARTS


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.walked.altered


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    entries = [str(place) for place in range(PARTS * OF_PART) if seen.walked.changed[n] >> place & 1]
    found = {"expected": "the data of its state", "seen": f"other data at {seen.named(n)}"}
    if not entries:
        return found
    what = f"entr{'y' if len(entries) == 1 else 'ies'} {', '.join(entries)}"
    return {**found, "seen": f"other data in {what} of {seen.named(n)}", "entries": ", ".join(entries)}


RULE = Rule("CHANGE_WITHOUT_STATE", ALARM, "data changed without a new stNum: {seen}", _shows, _says)
