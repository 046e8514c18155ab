"""Reports of a control block are missing, or its entry ids go back, or leave some out.

Entry ids are the device's own; that some are left out is told only of a device that counted them one by one so far.

Clause: IEC 61850-7-2, 17.2.3.2.2.8 (SqNum) and 17.2.3.2.2.11 (EntryID): both go on with every report; SqNum
starts over when the report is enabled anew.

Remedy: read the values anew; look why the client or the connection lost them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.pace import Paced
from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    m, before = seen.messages, seen.paced
    back = (before.entry_before != UNKNOWN) & (m.entry != UNKNOWN) & (m.entry < before.entry_before)
    # With SqNum, or else with EntryID, 0 or 1 a report has been enabled anew.
    goes_on = np.where(m.sq_num != UNKNOWN, m.sq_num > 1, (m.entry > 1) & (m.st_num == UNKNOWN))
    shows: Bools = _jumps(m, before) | ((back | (before.left_out > 0)) & goes_on)
    return shows


def _jumps(m: Messages, before: Paced) -> Bools:
    step = m.sq_num - before.sq_before
    jumps: Bools = (before.sq_before != UNKNOWN) & (m.sq_num > 1) & (step != 1) & (step != 0) & (m.st_num == UNKNOWN)
    return jumps


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    m, p = seen.messages, seen.paced
    before, sq_num = int(p.sq_before[n]), int(m.sq_num[n])
    if UNKNOWN not in (before, sq_num) and sq_num - before not in (0, 1):
        # It begins anew with 0 after the last number that 8 or 16 bits hold.
        due = "0" if before in (0xFF, 0xFFFF) else str(before + 1)
        return {"expected": f"SqNum {due}", "seen": f"SqNum {sq_num} at {seen.named(n)}"}
    expected = f"EntryID {p.entry_before[n] + 1:x}" if p.left_out[n] else f"an EntryID after {p.entry_before[n]:x}"
    return {"expected": expected, "seen": f"EntryID {m.entry[n]:x} at {seen.named(n)}"}


RULE = Rule("REPORT_GAP", WARNING, "{seen} instead of {expected}", _shows, _says, hold=60 * SECOND)
