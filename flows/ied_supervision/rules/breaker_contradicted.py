"""A breaker is reported open, and current flows through it; or its position is bad.

Within one message, so that both are of the same time, and twice in a row. The limit is the current, in amperes.

Clause: IEC 61850-7-4, XCBR.Pos (off, bad-state) and MMXU.A.

Remedy: the auxiliary contacts and their wiring; until then take this breaker for closed.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import ALARM, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen

_OFF, _BAD = 1, 3


def _shows(seen: Seen, limit: Limit) -> Bools:
    m = seen.messages
    return ((m.position == _OFF) & (seen.told.flowing > limit * 1_000)) | (m.position == _BAD)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    m = seen.messages
    if m.position[n] == _BAD:
        return {"expected": "on or off", "seen": f"a bad position in {seen.named(n)}"}
    return {"expected": "no current through an open breaker", "seen": f"{m.current[n] / 1000:.1f} A in {seen.named(n)}"}


RULE = Rule("BREAKER_CONTRADICTED", ALARM, "{seen} instead of {expected}", _shows, _says, 180 * SECOND, 5.0, "A")
