"""What rules look at: messages beside what is known of their control blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from flows.ied_supervision.baseline import FIELDS
from flows.ied_supervision.continuity import Walked
from flows.ied_supervision.contradictions import Contradictions
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.overcurrent import Overcurrent
from flows.ied_supervision.pace import Paced
from flows.ied_supervision.rule import Bools

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """n messages, ordered.

    Attributes:
        messages: the messages.
        values: the same, but of those that are not their publisher's, or are a test's, nothing is told by their values.
        walked: what the walk along lines tells of GOOSE; others are their publisher's.
        paced: what the flow of messages in time tells.
        told: what their values tell beside those before them.
        overcurrent: what their currents tell beside the usual ones, and the trips of their devices.
        usual: what their blocks have always carried, of what they carry; [n, ``baseline.FIELDS``].
        longer: where a message promises a longer time to live than can be believed of it; [n].
        addresses: source addresses by the numbers that messages have of them.
    """

    messages: Messages
    values: Messages
    walked: Walked
    paced: Paced
    told: Contradictions
    overcurrent: Overcurrent
    usual: Ints
    longer: Bools
    addresses: Mapping[int, str]

    @property
    def genuine(self) -> Bools:
        """Messages of the line that is taken for the publisher's, and not of a test set."""
        genuine: Bools = self.walked.genuine & (self.messages.simulation != 1)
        return genuine

    def how(self, *kinds: int) -> Bools:
        """Messages of the publisher's that go on from its line in one of these ways."""
        return np.isin(self.walked.how, kinds) & self.walked.genuine

    def usually(self, name: str) -> Ints:
        """The usual values of a field of the baseline; [n]."""
        return self.usual[:, FIELDS.index(name)]

    def differs(self, name: str, values: Ints) -> Bools:
        """Where a value is not the usual one; both known; [n]."""
        usual = self.usually(name)
        differs: Bools = (usual != UNKNOWN) & (values != UNKNOWN) & (usual != values)
        return differs

    def named(self, n: int) -> str:
        """A message as stNum/sqNum@received_time, a report as its number alone."""
        m = self.messages
        return f"{numbered(int(m.st_num[n]), int(m.sq_num[n]))}{shown(int(m.received[n]))}"


def numbered(st: int, sq: int) -> str:
    """The numbers before a message's time: none where it has none, of a report its ``SqNum``."""
    if sq == UNKNOWN:
        return ""
    return f"{sq}@" if st == UNKNOWN else f"{st}/{sq}@"


def shown(micros: int) -> str:
    """A time, µs since 1970, in ISO 8601."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")
