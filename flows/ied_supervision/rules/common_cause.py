"""Most devices of a substation fell silent together: the fault is not theirs.

At least three, and at least half of those that were heard, within the limit, in seconds, and the time in which their
messages were due. The single anomalies carry this one's id as group_id. It is cleared when most of them are heard
again, and raised again if they fall silent once more within the time given below; message_count says how often. ``ied``
of a tuned rule is the substation here.

Clause: IEC TR 61850-90-4, network engineering: what stations share is switches, gateways and their supply.

Remedy: the station's switch, gateway, or the connection to it, before any of the devices.
"""

from __future__ import annotations

from flows.ied_supervision.rule import ALARM, SECOND, Rule

RULE = Rule(
    "COMMON_CAUSE",
    ALARM,
    "{seen} fell silent together: look at the network, a switch or the gateway",
    hold=300 * SECOND,
    limit=15.0,
    unit="s",
    returns=True,
)
