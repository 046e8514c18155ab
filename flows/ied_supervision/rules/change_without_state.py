"""A GOOSE message has other data than those with which its state began, under the same stNum.

Clause: IEC 61850-8-1, 18.1 and IEC 61850-7-2, 18.2.1: every change of a member makes a new stNum.

Remedy: the data have been altered on the way, or somebody else has sent the message; find its source.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.walked.altered


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "the data of its state", "seen": f"other data at {seen.named(n)}"}


RULE = Rule("CHANGE_WITHOUT_STATE", ALARM, "data changed without a new stNum: {seen}", _shows, _says)
