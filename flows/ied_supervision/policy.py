"""How rules are tuned: by kind, device and control block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from flows.ied_supervision.baseline import FIELDS
from flows.ied_supervision.numbers import UNKNOWN, Ints, number_of, spelt
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
class Expected:
    """What messages are expected to carry, by the station's SCD; of several that apply the last one wins.

    Attributes:
        ied: pattern of device ids; ``*`` and ``?`` as in file names.
        control_block: pattern of control blocks.
        conf_rev: configuration revision; None: what it has always been, as for all that follow.
        num_entries: of a GOOSE message.
        app_id: APPID.
        source_address: of its messages, as they carry it.
        interval_seconds: integrity period of a report or health message.
    """

    ied: str = "*"
    control_block: str = "*"
    conf_rev: int | None = None
    num_entries: int | None = None
    app_id: int | None = None
    source_address: str | None = None
    interval_seconds: float | None = None

    @property
    def address(self) -> int | None:
        """Number of the source address."""
        return None if self.source_address is None else number_of(self.source_address)


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
        expected: in order.
    """

    overrides: Sequence[Override] = ()
    expected: Sequence[Expected] = ()
    _tuned: dict[tuple[str, str, str], Tuned] = field(default_factory=dict)
    _limits: dict[str, list[float]] = field(default_factory=dict)
    _expected: list[list[int]] = field(default_factory=list)
    _promised: list[int] = field(default_factory=list)

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

    def expectations(self, blocks: Sequence[tuple[str, str]]) -> Ints | None:
        """What is expected of each block of (device, control block), as of the baseline; None: nothing of any.

        Args:
            blocks: only ever appended to.

        Returns:
            ``UNKNOWN`` where nothing is said; [blocks, ``baseline.FIELDS``].
        """
        if not self.expected:
            return None
        for ied, control_block in blocks[len(self._expected) :]:
            row = dict.fromkeys(FIELDS, UNKNOWN)
            for one in self.expected:
                if _fits(one, ied, control_block):
                    said = {name: getattr(one, name, None) for name in FIELDS}
                    row |= {name: value for name, value in said.items() if value is not None}
            self._expected.append(list(row.values()))
        return np.array(self._expected, np.int64).reshape(-1, len(FIELDS))

    @property
    def addresses(self) -> dict[int, str]:
        """Source addresses that are expected, by their numbers."""
        return {number_of(one.source_address): spelt(one.source_address) for one in self.expected if one.source_address}

    def promised(self, blocks: Sequence[tuple[str, str]]) -> Ints:
        """After how long each block of (device, control block) must be heard again, µs, 0 where nothing is said.

        Args:
            blocks: only ever appended to.
        """
        for ied, control_block in blocks[len(self._promised) :]:
            said = [one.interval_seconds for one in self.expected if _fits(one, ied, control_block)]
            told = [seconds for seconds in said if seconds is not None]
            self._promised.append(round(told[-1] * SECOND) if told else 0)
        return np.array(self._promised, np.int64)

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

    def grace(self, rule: Rule, blocks: Sequence[tuple[str, str]]) -> Ints:
        """The limit of a rule that is one in seconds, µs, for each block of (device, control block).

        Args:
            rule: the rule.
            blocks: only ever appended to.
        """
        seconds = np.asarray(self.limits(rule, blocks))
        return np.broadcast_to(seconds * 1e6, len(blocks)).astype(np.int64)


def _fits(one: Expected, ied: str, control_block: str) -> bool:
    return fnmatchcase(ied, one.ied) and fnmatchcase(control_block, one.control_block)
