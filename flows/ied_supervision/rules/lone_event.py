"""One device alone tells of an event that others of its substation have always told of within a second, too.

Learned from what has been: at least so many events of the control block as the limit says came with others, and hardly
any came alone. Raised a second after the event, when the others would have spoken.

Clause: IEC TR 63353, 7.6; IEC 61850-5, GOOSE transfer times.

Remedy: compare with the disturbance records of the neighbours. Either they have missed it, or there was no such event:
a test, a faulty input, a forged message.
"""

from __future__ import annotations

from flows.ied_supervision.rule import SECOND, WARNING, Rule

RULE = Rule("LONE_EVENT", WARNING, "nobody else tells of {seen}", hold=60 * SECOND, limit=6.0, unit="events")
