"""What the grid is built of: cables and transformers as they are bought.

Sources: cables from the data sheets of common types as collected in pandapower's standard types (Thurner et al.,
IEEE Trans. Power Systems 33(6), 2018) and DIN VDE 0276-603 and -620; distribution transformers by the limits of
Commission Regulation (EU) 548/2014, table I.1, tier 1 (no-load A0, load loss Ck), short-circuit voltages by
EN 50588-1; HV/MV transformers as in pandapower's standard types.
"""

from __future__ import annotations

from dataclasses import dataclass

LV_VOLTS = 400.0
MV_VOLTS = 20_000.0
HV_VOLTS = 110_000.0
FREQUENCY_HZ = 50.0


@dataclass(frozen=True)
class Cable:
    """A cable type; impedances per km and conductor, at operating temperature.

    The four conductors of an LV cable are alike. Its zero-sequence current returns through the neutral alone, whose
    drop it sees three times: Z0 = Z1 + 3 Zn = 4 R1 + j 4 X1. With that, phase voltages of the three-phase model are
    phase to neutral, and its losses include those of the neutral (Kersting, Distribution System Modeling and
    Analysis, ch. 4, with the neutral taken as isolated between its ends).

    Attributes:
        name: the type's name.
        r_ohm: resistance, Ω/km.
        x_ohm: reactance, Ω/km.
        c_nf: capacitance to earth, nF/km.
        rated_a: permitted current in the ground, A.
        r0_ohm: zero-sequence resistance, Ω/km.
        x0_ohm: zero-sequence reactance, Ω/km.
    """

    name: str
    r_ohm: float
    x_ohm: float
    c_nf: float
    rated_a: float
    r0_ohm: float
    x0_ohm: float


def _four_wire(name: str, r_ohm: float, x_ohm: float, rated_a: float) -> Cable:
    return Cable(name, r_ohm, x_ohm, 0.0, rated_a, 4 * r_ohm, 4 * x_ohm)


NAYY_35 = _four_wire("NAYY 4x35", 0.868, 0.086, 118)
NAYY_50 = _four_wire("NAYY 4x50", 0.642, 0.083, 142)
NAYY_95 = _four_wire("NAYY 4x95", 0.320, 0.082, 215)
NAYY_150 = _four_wire("NAYY 4x150", 0.208, 0.080, 270)
NAYY_240 = _four_wire("NAYY 4x240", 0.125, 0.080, 364)
LV_TRUNKS = (NAYY_95, NAYY_150, NAYY_240)

# Screens earthed at both ends carry the zero-sequence current: R0 about that of the 25 mm² copper screen.
NA2XS2Y_150 = Cable("NA2XS2Y 3x1x150/25", 0.206, 0.116, 254, 319, 0.94, 0.116)
NA2XS2Y_240 = Cable("NA2XS2Y 3x1x240/25", 0.122, 0.112, 304, 421, 0.86, 0.112)


@dataclass(frozen=True)
class TransformerType:
    """A transformer type.

    Attributes:
        rated_kva: rated power.
        no_load_kw: loss at no load.
        load_kw: loss at rated load.
        uk: short-circuit voltage, share of the rated voltage.
        i0: no-load current, share of the rated current.
    """

    rated_kva: float
    no_load_kw: float
    load_kw: float
    uk: float
    i0: float


DISTRIBUTION = (
    TransformerType(50, 0.090, 1.1, 0.04, 0.004),
    TransformerType(100, 0.145, 1.75, 0.04, 0.0035),
    TransformerType(160, 0.210, 2.35, 0.04, 0.003),
    TransformerType(250, 0.300, 3.25, 0.04, 0.0025),
    TransformerType(400, 0.430, 4.6, 0.04, 0.0022),
    TransformerType(630, 0.600, 6.5, 0.04, 0.002),
    TransformerType(800, 0.650, 8.4, 0.06, 0.0018),
    TransformerType(1000, 0.770, 10.5, 0.06, 0.0017),
    TransformerType(1600, 1.200, 14.5, 0.06, 0.0015),
    TransformerType(2500, 1.750, 22.0, 0.06, 0.0014),
)
# Below 25 MVA: no-load and load loss from the least peak efficiency that the regulation asks for (table I.4, tier 1),
# 1 - 2 √(P0 Pk) / S, in the ratio of 1 to 7.5 that larger ones have; short-circuit voltages by IEC 60076-5, table 1.
MAIN = (
    TransformerType(4_000, 3.9, 29.3, 0.07, 0.0012),
    TransformerType(6_300, 5.6, 42.2, 0.07, 0.001),
    TransformerType(10_000, 8.0, 60.2, 0.08, 0.0009),
    TransformerType(16_000, 11.2, 84.3, 0.08, 0.0008),
    TransformerType(25_000, 14.0, 102.5, 0.12, 0.0007),
    TransformerType(40_000, 18.0, 136.0, 0.162, 0.0005),
    TransformerType(63_000, 22.0, 202.9, 0.18, 0.0004),
)
# On-load tap changer of a main transformer: 19 positions of 1.5 % on the HV side.
TAP_STEP, TAP_RANGE = 0.015, 9


def smallest(types: tuple[TransformerType, ...], kva: float) -> TransformerType:
    """The smallest type that carries a load for good; the largest if none does."""
    return next((kind for kind in types if kind.rated_kva >= kva), types[-1])
