"""A control block is silent for longer than its messages promise, or than it has ever been.

A GOOSE message says how long it holds, timeAllowedtoLive. Reports and health come in a period that is learned, whatever
else is sent in between, or that the settings say (interval_seconds of ied_supervision.expected): what is late by more
than an eighth of it, or by 0.4 s, is silent; where it is learned, by more than it has been late before. Where none is
found but the longest intervals are about alike, twice the longest is silence. What comes only with events is never
silent. The limit is what is granted beyond, in seconds. Raised by event time, while the device is silent; cleared
by the first message. Ten silences that follow one another within the time given below are ten anomalies; those that go
on to follow are the tenth one's, which is raised again: message_count says how often.

Clause: IEC 61850-8-1, 18.1.2.5 (timeAllowedtoLive); IEC 61850-7-2, 17.2.3.2.2.10 (integrity period).

Remedy: the device's supply and its connection. Where many are silent together see COMMON_CAUSE.
"""

from __future__ import annotations

from flows.ied_supervision.rule import ALARM, SECOND, Rule

RULE = Rule(
    "SILENCE",
    ALARM,
    "silent since {last_message}, expected {expected}",
    hold=300 * SECOND,
    limit=0.5,
    unit="s",
    returns=True,
)
