"""Anomalies in the making: from when one was raised until it is cleared, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flows.ied_supervision.rule import Rule, all_rules

MOST_ACCUSED = 1_000
"""So many messages are named one by one."""

_STEP = 1 << 24


@dataclass(frozen=True, slots=True)
class Revision:
    """Numbers the rows of anomalies by how much data they rest on.

    What is settled rests on a number of messages of its block, and nothing will change it. What is live rests on more
    of them, but later ones may still be put before: so it lies above what is settled with as many messages and was not
    shown by time alone, and below all that will be settled with one more.

    Attributes:
        settled: messages of the block that are settled; None: the row itself is settled.
    """

    settled: int | None = None

    def of(self, messages: int, *, timer: bool = False, more: int = 0) -> int:
        """The revision.

        Args:
            messages: of the block, up to what the row tells of.
            timer: whether time has shown it and no message.
            more: counts what is told more by the same messages.
        """
        if self.settled is None:
            return messages * _STEP + (3 * _STEP // 4 if timer else 0) + more
        return self.settled * _STEP + _STEP // 4 + 64 * (messages - self.settled) + 32 * timer + min(more, 31)


@dataclass(slots=True)
class Episode:
    """One anomaly.

    Attributes:
        kind: name of its rule.
        ied_id: the device, or for a common cause the substation.
        control_block: the block; None: none alone is concerned.
        start: when the fault began, µs since 1970, as all times.
        detected: when it was raised.
        updated: what is said rests on messages until then.
        last: the last message that shows it.
        count: messages that show it; of a silence, how often it has come.
        revision: of what is said.
        evidence: what is said of the first and of the last message that show it.
        first_message: name of the first.
        last_message: name of the last.
        accused: received_time of messages that are accused, at most ``MOST_ACCUSED``.
        accused_count: how many there are.
        end: when it ended; None while it lasts.
        group_id: the common cause.
        gone: the first message since the last that shows it; None: there is none that does not.
        nth: how manieth silence, each soon after the one before.
        messages: kind of the block's messages: two blocks of one name that send different ones are two.
        value: what the last message showed, of a rule for which that matters.
    """

    kind: str
    ied_id: str
    control_block: str | None
    start: int
    detected: int
    updated: int
    last: int
    count: int
    revision: int
    evidence: Mapping[str, str]
    first_message: str | None = None
    last_message: str | None = None
    accused: list[int] = field(default_factory=list)
    accused_count: int = 0
    end: int | None = None
    group_id: str | None = None
    gone: int | None = None
    nth: int = 1
    messages: str | None = None
    value: int = 0

    @property
    def rule(self) -> Rule:
        """What it is of."""
        return all_rules()[self.kind]

    @property
    def anomaly_id(self) -> str:
        """The same in every run: whose, what, and since when."""
        return ":".join(filter(None, (self.ied_id, self.messages, self.control_block, self.kind, str(self.start))))

    def copy(self) -> Episode:
        """A copy that can go its own way."""
        return replace(self, accused=list(self.accused))

    def row(self, severity: str) -> dict[str, Any]:
        """The row of ``IedAnomaly``; times in µs."""
        evidence = dict(self.evidence)
        if self.first_message is not None:
            evidence["first_message"] = self.first_message
        if self.last_message is not None:
            evidence["last_message"] = self.last_message
        if self.rule.accuses is not None:
            evidence["accused_messages"] = str(self.accused_count)
            evidence["accused"] = json.dumps(self.accused)
        state = "CLEARED" if self.end is not None else "RAISED" if self.count <= 1 else "UPDATED"
        return {
            "ied_id": self.ied_id,
            "anomaly_id": self.anomaly_id,
            "control_block": self.control_block,
            "kind": self.kind,
            "severity": severity,
            "state": state,
            "start_time": self.start,
            "detected_time": self.detected,
            "updated_time": self.updated,
            "end_time": self.end,
            "revision": self.revision,
            "message_count": self.count,
            "group_id": self.group_id,
            "evidence": [{"key": key, "value": value} for key, value in sorted(evidence.items())],
            "message": self.rule.told(evidence),
        }
