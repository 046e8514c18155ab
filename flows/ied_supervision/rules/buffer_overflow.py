"""A buffered report control block has lost entries: its buffer was full before it was read.

Clause: IEC 61850-7-2, 17.2.3.2.2.9 (BufOvfl).

Remedy: the client was away for too long; make the buffer larger or the connection better, and read the values anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return (seen.messages.buffer_overflow == 1) & seen.genuine


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.buffer_overflow != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "not set", "seen": f"BufOvfl is set in {seen.named(n)}"}


RULE = Rule("BUFFER_OVERFLOW", WARNING, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells)
