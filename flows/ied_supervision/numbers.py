"""Whole numbers in columns."""

from __future__ import annotations

import re
import zlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNKNOWN = -1
"""In place of a number that a message does not carry."""

UNSET = 946_684_800_000_000
"""A clock that tells of before 2000, µs since 1970, has never been set."""


_MAC = re.compile(r"([0-9a-f]{2})[:-]?([0-9a-f]{2})[:.-]?" * 2 + r"([0-9a-f]{2})[:-]?([0-9a-f]{2})")


def spelt(address: str) -> str:
    """A source address in the one spelling that all of it have: small letters, a MAC address with colons.

    Example:
        >>> spelt("01-0C-CD-01-00-2A"), spelt("010c.cd01.002a"), spelt("10.0.0.7")
        ('01:0c:cd:01:00:2a', '01:0c:cd:01:00:2a', '10.0.0.7')
    """
    small = address.strip().lower()
    found = _MAC.fullmatch(small)
    return ":".join(found.groups()) if found else small


def number_of(address: str) -> int:
    """Number of a source address: its checksum, the same in every process and however it is spelt."""
    return zlib.crc32(spelt(address).encode())
