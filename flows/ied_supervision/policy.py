"""How rules are tuned: by kind, device and control block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from flows.ied_supervision.rule import SECOND, UNTIL_GONE, Limit, Rule


@dataclass(frozen=True, slots=True)
class Override:
    """A change to rules; of several that apply the last one wins, each attribute by itself.

    Attributes:
        kind: pattern of the rules' kinds; ``*`` and ``?`` as in file names, as in all three.
        ied: pattern of device ids.
        control_block: pattern of control blocks.
        mute: whether its anomalies are left out; None: as it was, as for all that follow.
        severity: ``INFO``, ``WARNING`` or ``ALARM``.
        hold_seconds: how long an anomaly lasts after the last message that shows it.
        limit: the rule's own limit, in its unit.
    """

    kind: str = "*"
    ied: str = "*"
    control_block: str = "*"
    mute: bool | None = None
    severity: str | None = None
    hold_seconds: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What holds of a rule for a block; hold in µs."""

    mute: bool
    severity: str
    hold: int
    limit: float


@dataclass(slots=True)
class Policy:
    """The rules as they hold for each block.

    Attributes:
        overrides: in order.
    """

    overrides: Sequence[Override] = ()
    _tuned: dict[tuple[str, str, str], Tuned] = field(default_factory=dict)
    _limits: dict[str, list[float]] = field(default_factory=dict)

    def of(self, rule: Rule, ied: str, control_block: str) -> Tuned:
        """What holds of a rule for one block."""
        key = rule.kind, ied, control_block
        if key not in self._tuned:
            mute, severity, hold, limit = False, rule.severity, rule.hold, rule.limit
            for one in self.overrides:
                patterns = (one.kind, rule.kind), (one.ied, ied), (one.control_block, control_block)
                if not all(fnmatchcase(name, pattern) for pattern, name in patterns):
                    continue
                mute = mute if one.mute is None else one.mute
                severity = one.severity or severity
                if one.hold_seconds is not None and rule.hold != UNTIL_GONE:
                    hold = round(one.hold_seconds * SECOND)
                limit = limit if one.limit is None else one.limit
            self._tuned[key] = Tuned(mute, severity, hold, limit)
        return self._tuned[key]

    def limits(self, rule: Rule, blocks: Sequence[tuple[str, str]]) -> Limit:
        """The limit of each block of (device, control block); one for all where nothing is tuned.

        Args:
            rule: the rule.
            blocks: only ever appended to.
        """
        if not any(one.limit is not None and fnmatchcase(rule.kind, one.kind) for one in self.overrides):
            return rule.limit
        known = self._limits.setdefault(rule.kind, [])
        known += [self.of(rule, *block).limit for block in blocks[len(known) :]]
        return np.array(known, np.float64)
