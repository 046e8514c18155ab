"""Messages of a GOOSE publisher are missing: its numbers jump ahead.

Clause: IEC 61850-8-1, 18.1 and IEC 61850-7-2, 18.2.1: sqNum counts every retransmission, stNum every change.

Remedy: look for lost frames: the network's load, a switch that drops them, the capture itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.continuity import LOST, LOST_STATE
from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.how(LOST, LOST_STATE)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    w = seen.walked
    return {
        "expected": "numbers one after the other",
        "seen": f"{w.lost[n]} messages missing",
        "after_ms": f"{w.gap[n] / 1000:.1f}",
    }


RULE = Rule("SEQUENCE_GAP", WARNING, "{seen} before {first_message}", _shows, _says, hold=60 * SECOND)
