"""A control block sends more messages than one in 10 ms, for longer than any retransmission lasts.

The limit is how many messages may be ahead of that rate (generic cell rate algorithm, ITU-T I.371, annex A).

Clause: IEC 61850-8-1, 18.1: retransmissions back off to the steady interval; IEC 62351-6: denial of service.

Remedy: shut the port that floods; set a storm control on the switches.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.pace import SLOT_US
from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, limit: Limit) -> Bools:
    return seen.paced.queued > limit * SLOT_US


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {
        "expected": f"at most one message in {SLOT_US / 1000:.0f} ms",
        "seen": f"{seen.paced.queued[n] // SLOT_US} messages ahead of that",
    }


RULE = Rule("FLOODING", ALARM, "too many messages: {seen}", _shows, _says, limit=200, unit="messages")
