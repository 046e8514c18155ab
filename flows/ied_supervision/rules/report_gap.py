"""Reports of a control block are missing, or its entry ids go back.

Clause: IEC 61850-7-2, 17.2.3.2.2.8 (SqNum) and 17.2.3.2.2.11 (EntryID): both go on with every report; SqNum
starts over when the report is enabled anew.

Remedy: read the values anew; look why the client or the connection lost them.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    m, before = seen.messages, seen.paced
    step = m.sq_num - before.sq_before
    jumps = (before.sq_before != UNKNOWN) & (m.sq_num > 1) & (step != 1) & (step != 0) & (m.st_num == UNKNOWN)
    back = (before.entry_before != UNKNOWN) & (m.entry != UNKNOWN) & (m.entry < before.entry_before) & (m.sq_num > 1)
    return jumps | back


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    p = seen.paced
    return {"expected": f"SqNum {p.sq_before[n] + 1}", "seen": f"SqNum {seen.messages.sq_num[n]} at {seen.named(n)}"}


RULE = Rule("REPORT_GAP", WARNING, "{seen} instead of {expected}", _shows, _says, hold=60 * SECOND)
