"""What the line-loss calculation needs to know of the settings."""

from __future__ import annotations

from dataclasses import dataclass

from flows.streaming.alignment import AlignmentRules

_MOST_ROOM = 2048  # whoever has more readings gets more room when it comes to that


@dataclass(frozen=True, slots=True)
class LossRules:
    """What a shard needs to know of the settings; times in µs."""

    window: int
    delay: int
    lateness: int
    reach_back: int
    alignment: AlignmentRules
    power_per_kva: float
    assumed_kva: float
    class_percent: float
    head_class_percent: float = 0.5
    refuse_unknown: bool = False

    @property
    def kept(self) -> int:
        """How far behind the watermark windows can still change, and readings are needed, µs."""
        alignment = self.alignment
        late = self.lateness + self.delay + alignment.max_gap + alignment.estimate_reach
        return max(late, self.reach_back) + 4 * self.window

    @property
    def kept_readings(self) -> int:
        """Room for the readings of a meter: twice as much as is needed, so that forgetting is seldom due."""
        span = self.kept + self.alignment.looks_back
        return min(2 * span // self.alignment.interval, _MOST_ROOM) + 16
