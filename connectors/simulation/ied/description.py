"""Intelligent electronic devices of a substation: who they are, how they are addressed and what they tell.

References are those of the MMS mapping, IEC 61850-8-1: logical device / logical node $ functional constraint $ name.
Logical nodes and data objects are named as in IEC 61850-7-4, edition 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

POSITION = "CTRL/XCBR1.Pos.stVal"
STARTED = "PROT/PTOC1.Str.general"
OPERATED = "PROT/PTOC1.Op.general"
TRIPPED = "PROT/PTRC1.Tr.general"

# What is measured in which column, its reference in the report, and how many decimals are told. The units are those of
# the columns, kW, kvar, kV and A: the data objects' units.multiplier is set to k for the first three.
MEASURANDS = (
    ("p_kw", "CTRL/MMXU1.TotW.mag.f", 1),
    ("q_kvar", "CTRL/MMXU1.TotVAr.mag.f", 1),
    ("u_kv", "CTRL/MMXU1.AvPPVPhs.mag.f", 3),  # mean of the phase-to-phase voltages
    ("i_a", "CTRL/MMXU1.A.phsA.cVal.mag.f", 1),
    ("i_b", "CTRL/MMXU1.A.phsB.cVal.mag.f", 1),
    ("i_c", "CTRL/MMXU1.A.phsC.cVal.mag.f", 1),
)

Entries = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Ied:
    """A bay's protection and control device.

    Attributes:
        ied_id: its name, such as S01-F03-P1.
        substation: element id of its substation.
        bay: element id of what it protects.
        breaker: element id of its circuit breaker; None: it has none, and so no XCBR1.
    """

    ied_id: str
    substation: str
    bay: str
    breaker: str | None

    @property
    def goose(self) -> str:
        """Reference of its GOOSE control block."""
        return f"{self.ied_id}PROT/LLN0$GO$gcb01"

    @property
    def report(self) -> str:
        """Reference of its buffered report control block."""
        return f"{self.ied_id}CTRL/LLN0$BR$brcbMMXU"

    @property
    def logical_node(self) -> str:
        """Reference of the logical node whose health it tells."""
        return f"{self.ied_id}CTRL/LLN0"

    def first_values(self) -> dict[str, str]:
        """The GOOSE data set, in order, with the values of an undisturbed bay."""
        values = {POSITION: "on", STARTED: "false", OPERATED: "false", TRIPPED: "false"}
        return {name: value for name, value in values.items() if name != POSITION or self.breaker is not None}


@dataclass(frozen=True)
class StateChange:
    """Something physical that a bay's device tells in its GOOSE and reports.

    Attributes:
        time: true time, µs since 1970.
        ied_id: the device that sees it.
        values: new values by reference; positions as intermediate, off, on, bad.
    """

    time: int
    ied_id: str
    values: Mapping[str, str]


def added_entry(number: int) -> tuple[str, str]:
    """What the GOOSE data set has more after its ``number``-th change, from 1: a further overcurrent stage."""
    return f"PROT/PTOC{number + 1}.Op.general", "false"


def mac_address(substation: int, index: int) -> str:
    """The device's own address: locally administered, unicast (IEEE 802)."""
    return f"02:47:{substation >> 8 & 255:02x}:{substation & 255:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"


def ip_address(substation: int, index: int) -> str:
    """The device's address in the station's private network (RFC 1918)."""
    return f"10.{substation % 256}.{index // 200 % 256}.{index % 200 + 10}"
