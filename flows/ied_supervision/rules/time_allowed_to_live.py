"""A GOOSE message promises that it holds for much longer than the publisher has ever promised.

More than a quarter longer, once the longest has stood for a minute. Believed are five in a row, one after which the
publisher has been silent for that long, and those of one that has begun anew; until then SILENCE goes by what could be
believed.

Clause: IEC 61850-8-1, 18.1.2.5: subscribers take a publisher for lost after timeAllowedtoLive.

Remedy: compare with the publisher's settings (MinTime, MaxTime in the SCD). If they are not changed, somebody has
altered the message, so that it is not noticed when the publisher is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.ied_supervision.rule import WARNING, Bools, Limit, Rule
from flows.ied_supervision.seen import Seen


def _shows(seen: Seen, _limit: Limit) -> Bools:
    return seen.longer


def _says(seen: Seen, n: int) -> Mapping[str, str]:
    live = int(seen.messages.time_allowed_to_live_ms[n])
    return {"expected": "at most a quarter more than ever", "seen": f"{live} ms in {seen.named(n)}"}


RULE = Rule("TIME_ALLOWED_TO_LIVE", WARNING, "timeAllowedtoLive is {seen}", _shows, _says)
