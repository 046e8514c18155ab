"""A breaker is reported open, and current flows through it; or its position stays bad or intermediate.

Twice in a row, by the latest position that the block has told. What is neither on nor off must be so for a fifth of a
second if it is bad, for ten seconds if it is intermediate. Of several breakers or poles in one data set all must be
open. The limit is the current, in amperes.

Clause: IEC 61850-7-4, XCBR.Pos (off, bad-state) and MMXU.A.

Remedy: the auxiliary contacts and their wiring; until then take this breaker for closed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flows.ied_supervision.rule import ALARM, SECOND, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen

_BAD = 3
_BOUNCES, _TRAVELS = SECOND // 5, 10 * SECOND  # so long a position may be bad, or intermediate


def _shows(seen: Seen, limit: Limit) -> Bools:
    long = np.where(seen.told.place == _BAD, _BOUNCES, _TRAVELS)
    return (seen.told.flowing > limit * 1_000) | ((seen.told.unclear >= long) & seen.genuine)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    m, told = seen.messages, seen.told
    if told.unclear[n]:
        kind = "bad" if told.place[n] == _BAD else "intermediate"
        return {"expected": "on or off", "seen": f"{kind} for {told.unclear[n] / 1e6:.1f} s at {seen.named(n)}"}
    return {"expected": "no current through an open breaker", "seen": f"{m.current[n] / 1000:.1f} A in {seen.named(n)}"}


RULE = Rule("BREAKER_CONTRADICTED", ALARM, "{seen} instead of {expected}", _shows, _says, 180 * SECOND, 5.0, "A")
