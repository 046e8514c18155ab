"""A message with numbers that the publisher has left behind: an old one that somebody sends again.

Clause: IEC 62351-6, 7.2.2: a subscriber must discard what is older than what it has; IEC 61850-8-1, 18.1.

Remedy: find the port that it comes from, by the switches' address tables; a late frame would have been put in its place
by event time, and a restarted device begins with small numbers and goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.walked.old & ~seen.walked.genuine


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "numbers that go on", "seen": f"{seen.named(n)}, behind the publisher's"}


RULE = Rule("REPLAYED", ALARM, "a message out of the past: {seen}", _shows, _says)
