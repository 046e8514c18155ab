"""Whether a device is under test: what its messages then say of the grid is a test set's (IEC 61850-7-4, annex A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flows.ied_supervision.messages import Messages
from flows.ied_supervision.numbers import UNKNOWN, Ints

_TEST = 3
"""Beh from which on nothing is meant: test, test/blocked, off."""


@dataclass(slots=True)
class Behaviour:
    """What is kept of each device.

    Attributes:
        beh: last Beh that it has told, or one that is no test either, ``UNKNOWN`` before; [devices].
    """

    beh: Ints

    @classmethod
    def none(cls) -> Behaviour:
        """Of no devices."""
        return cls(np.zeros(0, np.int64))

    def reach(self, devices: int) -> None:
        """Make room for devices."""
        more = devices - len(self.beh)
        if more > 0:
            self.beh = np.append(self.beh, np.full(more, UNKNOWN))

    def copy(self) -> Behaviour:
        """A copy that can go its own way."""
        return Behaviour(self.beh.copy())


def under_test(behaviour: Behaviour, messages: Messages, device: Ints) -> npt.NDArray[np.bool_]:
    """Of each message whether its device was under test by then; [n].

    Args:
        behaviour: of at least as many devices as occur; changed.
        messages: in any order; what others than the publisher say of ``beh`` left out.
        device: of each block the number of its device; [blocks].
    """
    n = len(messages)
    if (messages.beh < _TEST).all() and (behaviour.beh < _TEST).all():
        return np.zeros(n, bool)
    of, known = device[messages.block], messages.beh != UNKNOWN
    # By device and time, of one moment those first that tell.
    order = np.lexsort((~known, messages.received, of))
    place = np.arange(n)
    first = np.searchsorted(of[order], of[order])
    told = np.maximum.accumulate(np.where(known[order], place, -1))
    beh = np.where(told >= first, messages.beh[order][np.maximum(told, 0)], behaviour.beh[of[order]])
    tests = np.zeros(n, bool)
    tests[order] = beh >= _TEST
    behaviour.beh[of[order]] = beh  # the last one of each
    return tests
