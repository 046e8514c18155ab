"""Two publishers send under one control block reference.

The genuine one is told by its continuity: what both have in common before they part is its own, it goes on in its own
rhythm, and its states change when its data do. ``confidence`` is how likely that is, from the odds of both lines;
only where it is above 95 % are the messages of the other one accused, and then it is that of the last one accused.
What was taken for a new state of the publisher's shows to be false when that goes on with the old one: then it is
said what came in between, and what proves it.

Clause: IEC 61850-7-2, 18.2: a control block reference belongs to one server; IEC 62351-6, 5.3: spoofing of GOOSE.

Remedy: find the second source by the switches' address tables; until then do not let protection act upon this block.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flows.ied_supervision.rule import ALARM, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen, numbered, shown

_SURE = 3_000  # thousandths of a logarithm of odds: 95 %


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return ~seen.walked.genuine | (seen.walked.parted[:, 2] > 0)


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    w, m = seen.walked, seen.messages
    lead = abs(int(w.lead[n])) / 1000
    st, sq, received, sender = w.parted[n].tolist()
    address = seen.addresses.get(sender if received else int(m.address[n]), "unknown")
    told = {"proved_by": seen.named(n)} if received else {}
    second = f"{numbered(st, sq)}{shown(received)}" if received else seen.named(n)
    return {
        **told,
        "expected": "one line of stNum/sqNum",
        "seen": f"a second one at {second}",
        "false_address": address,
        "confidence": f"{1 / (1 + np.exp(-min(lead, 30.0))):.3f}",
    }


def _accuses(seen: Seen) -> Bools:
    return ~seen.walked.genuine & (seen.walked.lead > _SURE)


RULE = Rule("RIVAL_PUBLISHER", ALARM, "{seen}, from {false_address}", _shows, _says, accuses=_accuses)
