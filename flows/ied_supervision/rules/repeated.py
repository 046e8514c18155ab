"""A GOOSE message came again with the same numbers and the same data.

Clause: IEC 61850-8-1, 18.1: every retransmission has a sqNum of its own; the same message twice has been copied by the
network (a loop, a mirror port that sees it twice, redundancy without duplicate discard, IEC 62439-3) or by somebody.

Remedy: check the capture's mirror ports and the rings; if only single messages are repeated, look for a replay.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.continuity import REPEATED
from flows.ied_supervision.rule import INFO, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.how(REPEATED)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {
        "expected": "a new sqNum",
        "seen": f"{seen.named(n)} once more",
        "after_ms": f"{seen.walked.gap[n] / 1000:.1f}",
    }


RULE = Rule("REPEATED", INFO, "the same message again: {seen}", _shows, _says, hold=60 * SECOND)
