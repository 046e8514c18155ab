"""A GOOSE message has a new stNum, but the data are those of the state before.

Clause: IEC 61850-8-1, 18.1 and IEC 61850-7-2, 18.2.1: stNum counts changes of a data set member or of its quality.

Remedy: a device that does so by itself (some count a change and its reversal within one cycle) can be muted; else the
data have been replaced on the way: look for a machine in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.walked.unchanged & seen.genuine & (seen.messages.sq_num == 0)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "other data with a new stNum", "seen": f"the same data at {seen.named(n)}"}


RULE = Rule("STATE_WITHOUT_CHANGE", WARNING, "a new state without a change: {seen}", _shows, _says, hold=10 * SECOND)
