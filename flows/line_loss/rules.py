"""What the line-loss calculation needs to know of the settings."""

from __future__ import annotations

from dataclasses import dataclass

from flows.streaming.alignment import AlignmentRules


@dataclass(frozen=True, slots=True)
class LossRules:
    """What a shard needs to know of the settings; times in µs."""

    window: int
    delay: int
    lateness: int
    reach_back: int
    alignment: AlignmentRules
    power_per_kva: float
    class_percent: float
    refuse_unknown: bool = False
