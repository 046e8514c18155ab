"""A GOOSE message that is due says that its state began at another time than the messages before have said.

All else of it goes on as it must. The time stands still while stNum does; a publisher that wrongly puts the present
into each of its messages is not meant.

Clause: IEC 61850-8-1, 18.1 and IEC 61850-7-2, 18.2.1: t is the time at which stNum was incremented.

Remedy: somebody has altered the message on its way, or the messages before; compare with the device's own record.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.continuity import RETIMED
from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen, shown


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.how(RETIMED)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {
        "expected": "the time at which its state began",
        "seen": f"{shown(int(seen.messages.time[n]))} in {seen.named(n)}",
    }


RULE = Rule("TIME_WITHOUT_STATE", ALARM, "another time without a new stNum: {seen}", _shows, _says)
