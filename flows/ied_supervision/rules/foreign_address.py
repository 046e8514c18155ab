"""A message comes from another source address than the publisher's.

Clause: IEC 61850-8-1, annex C.2: the source address is the publisher's own; IEC 62351-6, 5.3.

Remedy: if the device or its network card has been exchanged, the new address becomes the usual one after ten minutes;
else find the port by that address.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.differs("address", seen.messages.address) & (seen.messages.simulation != 1)  # no test set's


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    usual = int(seen.usually("address")[n])
    return {"expected": seen.addresses[usual], "seen": seen.addresses[int(seen.messages.address[n])]}


def _accuses(seen: Seen) -> Bools:
    return ~seen.walked.genuine & (seen.messages.st_num != UNKNOWN)


RULE = Rule("FOREIGN_ADDRESS", ALARM, "from {seen} instead of {expected}", _shows, _says, accuses=_accuses)
