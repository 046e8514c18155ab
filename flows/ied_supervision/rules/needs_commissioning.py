"""A control block says that it needs commissioning: its configuration is incomplete.

Clause: IEC 61850-7-2, 18.2.1.8 (NdsCom).

Remedy: complete its configuration; subscribers must not use its data until then.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.numbers import UNKNOWN
from flows.ied_supervision.rule import UNTIL_GONE, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return (seen.messages.nds_com == 1) & seen.genuine


def _tells(seen: Seen) -> Bools:
    tells: Bools = seen.messages.nds_com != UNKNOWN
    return tells


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "not set", "seen": f"ndsCom is set in {seen.named(n)}"}


RULE = Rule("NEEDS_COMMISSIONING", WARNING, "{seen}", _shows, _says, hold=UNTIL_GONE, tells=_tells)
