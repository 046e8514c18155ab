"""The first messages of a new state are not repeated as soon as their publisher has always repeated them.

Learned from two states on: how long after each of its first messages the next one has come at the longest, where that
is a quarter of a second at most. Raised by event time, after twice that and what the limit grants, in seconds; not
where a message must be followed by another one sooner (timeAllowedtoLive), which is SILENCE.

Clause: IEC 61850-8-1, 18.1.2.5: a new state is repeated at once, in intervals that grow.

Remedy: do not trust this state until the device confirms it: a forged message or two look like this, which its
publisher's next message gives away (RIVAL_PUBLISHER); so does a device whose connection fails with the event.
"""

from __future__ import annotations

from flows.ied_supervision.rule import SECOND, WARNING, Rule

RULE = Rule("UNREPEATED", WARNING, "{seen}, expected {expected}", hold=10 * SECOND, limit=0.5, unit="s")
