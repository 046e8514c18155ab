"""A message is marked as a simulated one: from a test set, in place of the publisher's.

Clause: IEC 61850-7-2, 18.2.3 (simulation) and IEC 61850-7-4, LPHD.Sim.

Remedy: none during a test; afterwards take the test set away and set LPHD.Sim back. In live operation it is an attack.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.messages.simulation == 1


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    return {"expected": "not set", "seen": f"the simulation flag is set in {seen.named(n)}"}


RULE = Rule("SIMULATION", WARNING, "{seen}", _shows, _says, hold=10 * SECOND)
