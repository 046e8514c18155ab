"""The first message of a GOOSE publisher's new state came later than usual after the state's own time.

Told by the state's t, once four states have shown how long messages usually take; the limit is how much later, in
seconds. The next one tells whether it was a delay: where it is as late, the clock has been set back (CLOCK_OFFSET).

Clause: IEC 61850-5, transfer times: a trip must arrive within milliseconds; IEC 62351-6, 5.3: delayed messages.

Remedy: look for a network that is overloaded or loops, and for somebody who holds messages back on their way.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, limit: Limit) -> Bools:
    return seen.paced.late > limit * 1e6


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    late = seen.paced.late[n] / 1e6
    return {
        "expected": "the usual delay after its time",
        "seen": f"{seen.named(n)} is {late:.3f} s late",
        "delay_seconds": f"{late:.6f}",
    }


RULE = Rule("DELAYED", WARNING, "{seen}", _shows, _says, hold=10 * SECOND, limit=0.25, unit="s")
