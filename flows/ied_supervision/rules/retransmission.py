"""A GOOSE publisher's steady retransmissions come in another interval than they always have.

The limit is by which factor the interval is shorter or longer than the publisher's usual one.

Clause: IEC 61850-8-1, 18.1.2.5: retransmissions back off to a steady maximum time.

Remedy: a loaded device or network; if messages come in between, look whether a second publisher sends them.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.continuity import NEXT
from flows.ied_supervision.rule import INFO, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen

_STEADY = 20  # sqNum from which on every publisher has come to its steady interval


def _shows(seen: Seen, limit: Limit) -> Bools:
    w = seen.walked
    steady = seen.how(NEXT) & ~w.interleaved & (w.period > 0) & (w.gap > 0) & (seen.messages.sq_num >= _STEADY)
    return steady & ((w.gap > limit * w.period) | (w.gap * limit < w.period))


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    w = seen.walked
    return {
        "expected": f"{w.period[n] / 1000:.1f} ms between two messages",
        "seen": f"{w.gap[n] / 1000:.1f} ms before {seen.named(n)}",
    }


RULE = Rule("RETRANSMISSION", INFO, "{seen}", _shows, _says, hold=60 * SECOND, limit=1.5, unit="times")
