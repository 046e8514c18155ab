"""The first message of a new state is not repeated as soon as its publisher has always repeated it.

Learned from two states on: how long the first repetition of a state has been away at the longest. Raised by event
time, after twice that and what the limit grants, in seconds; not where the message must be followed by another one
sooner (timeAllowedtoLive), which is SILENCE.

Clause: IEC 61850-8-1, 18.1.2.5: a new state is repeated at once, in intervals that grow.

Remedy: do not trust this state until the device confirms it: a single forged message looks like this, which its
publisher's next message gives away (RIVAL_PUBLISHER); so does a device whose connection fails with the event.
"""

from __future__ import annotations

from flows.ied_supervision.rule import SECOND, WARNING, Rule

RULE = Rule("UNREPEATED", WARNING, "{seen}, expected {expected}", hold=10 * SECOND, limit=0.5, unit="s")
