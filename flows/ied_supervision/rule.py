"""What a rule is. The rules themselves are in ``rules``, one small file each."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flows.ied_supervision.numbers import Ints

if TYPE_CHECKING:
    from flows.ied_supervision.seen import Seen

Bools = npt.NDArray[np.bool_]
Limit = float | npt.NDArray[np.float64]
"""One limit for all messages, or each its own; [n]."""

INFO, WARNING, ALARM = "INFO", "WARNING", "ALARM"

UNTIL_GONE = -1
"""In place of a hold: what is shown ends with the first message that says otherwise, if it stays so for a while."""

STAYS = 10_000_000
"""So long, µs: what comes back sooner has not been gone."""

SECOND = 1_000_000

_SINGLE = {INFO: 3, WARNING: 3, ALARM: 10}

AGAIN = 300 * SECOND
"""So soon, µs, after the one before, and its hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that messages, or their absence, can show.

    Attributes:
        kind: its name, as in ``IedAnomaly.kind``.
        severity: ``INFO``, ``WARNING`` or ``ALARM``.
        sentence: what is wrong, for people; formatted with the evidence.
        shows: which of the messages show it, by the rule's limit; [n]. None: it is the absence of messages that does.
        says: what was expected and seen, of the message with an index, as evidence.
        hold: it lasts for so long, µs, after what shows it, or ``UNTIL_GONE``.
        limit: the rule's own limit, if it has one.
        unit: the limit's unit.
        tells: which of the messages say whether it is so, so that another one can end it; None: all do.
        accuses: which of the messages are accused of not being the publisher's; None: none are.
        returns: what comes back within the hold is the same anomaly, raised again.
        since: when the fault began that a message shows, µs since 1970; None: with the message.
        value: the value that each message shows, where it may turn into another wrong one while the anomaly lasts: then
            that is said, too, as ``then``; [n]. None: it does not matter which one it is.
    """

    kind: str
    severity: str
    sentence: str
    shows: Callable[[Seen, Limit], Bools] | None = None
    says: Callable[[Seen, int], Mapping[str, str]] = lambda seen, n: {}  # noqa: ARG005
    hold: int = 10 * SECOND
    limit: float = 0.0
    unit: str = ""
    tells: Callable[[Seen], Bools] | None = None
    accuses: Callable[[Seen], Bools] | None = None
    returns: bool = False
    since: Callable[[Seen, int], int] | None = None
    value: Callable[[Seen], Ints] | None = None

    def told(self, evidence: Mapping[str, str]) -> str:
        """What is wrong, with the evidence."""
        then = f"; then {evidence['then']}" if "then" in evidence else ""
        return self.sentence.format(**evidence) + then

    @property
    def single(self) -> int:
        """So many that soon follow one another are anomalies of their own; the next ones are the last one's."""
        return _SINGLE[self.severity]


@cache
def all_rules() -> dict[str, Rule]:
    """Every rule by its kind: each module of ``rules`` has one, ``RULE``."""
    return {rule.kind: rule for rule, _ in _found()}


@cache
def explanation(kind: str) -> str:
    """What a rule means, its clause of the standard and its remedy: the docstring of its module."""
    return next(text for rule, text in _found() if rule.kind == kind)


def _found() -> list[tuple[Rule, str]]:
    import flows.ied_supervision.rules as package  # noqa: PLC0415 - the rules import this module

    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return [(module.RULE, inspect.getdoc(module) or "") for module in modules]
