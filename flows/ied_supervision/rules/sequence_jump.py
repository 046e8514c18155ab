"""A GOOSE publisher that was silent comes back with numbers that neither go on nor start over.

Clause: IEC 61850-8-1, 18.1.

Remedy: as for a gap; if the device has not been cut off, somebody may speak in its place: look at its address.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.continuity import JUMP
from flows.ied_supervision.rule import WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.how(JUMP)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {
        "expected": "numbers that go on or start over",
        "seen": f"{seen.named(n)} after {seen.walked.gap[n] / 1e6:.1f} s",
    }


RULE = Rule("SEQUENCE_JUMP", WARNING, "other numbers: {seen}", _shows, _says)
