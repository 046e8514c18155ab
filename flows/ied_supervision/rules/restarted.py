"""A GOOSE publisher's numbers have started over, and nobody else goes on with the old ones: it has restarted.

Clause: IEC 61850-8-1, 18.1: after power-up stNum begins with 1 and sqNum with 1.

Remedy: none if the restart was meant; else the device's event log.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.continuity import RESTART
from flows.ied_supervision.rule import INFO, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.how(RESTART)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {
        "expected": "numbers that go on",
        "seen": f"numbers from {seen.named(n)} on, after {seen.walked.gap[n] / 1e6:.1f} s",
    }


RULE = Rule("RESTARTED", INFO, "the device has restarted: {seen}", _shows, _says)
