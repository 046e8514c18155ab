"""A device's time against the time of capture has stepped or drifted away from what it usually is, or stands still.

Told by messages whose own time is that of their sending: reports, health, and the first GOOSE message of a state. Two
of them in a row must agree, so that what was buffered says nothing. The limit is how far, in seconds. An offset that
stands still for a day becomes the usual one, and one that is nearer to the time of capture than the usual one within an
hour. One that goes on drifting never does; a drift of less than 0.1 s a day is not told.

Clause: IEC 61850-7-2, 6.1.2.9; IEC 61850-5, time performance classes; IEC 61850-9-3.

Remedy: the device's synchronisation; where many devices step at once, the time server's or the capture's clock.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flows.ied_supervision.rule import SECOND, WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, limit: Limit) -> Bools:
    return np.abs(seen.paced.off) > limit * 1e6


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    off = seen.paced.off[n] / 1e6
    return {
        "expected": "the usual offset",
        "seen": f"{off:+.3f} s off at {seen.named(n)}",
        "offset_seconds": f"{off:.6f}",
    }


RULE = Rule("CLOCK_OFFSET", WARNING, "its clock is {seen}", _shows, _says, hold=600 * SECOND, limit=0.25, unit="s")
