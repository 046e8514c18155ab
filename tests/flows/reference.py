"""Line losses, slow and obvious: one reading, one window, one meter at a time, from the whole set of readings.

It knows nothing of batches, watermarks, shards, state or revisions; it only says what the final rows must be.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

KWH = 1_000_000_000  # µWh
SECOND = 1_000_000


@dataclass(frozen=True)
class Reading:
    meter: str
    time: int
    imported: float
    exported: float | None
    quality: int
    received: int | None


@dataclass(frozen=True)
class Rules:
    window: int
    interval: int
    max_gap: int
    span: int
    backcast: int
    forecast: int
    limit_kw: float
    rollovers: tuple[int, ...]
    near: int
    far: int
    rollover_kw: float


@dataclass
class Energy:
    imported: int = 0
    exported: int = 0
    covered: int = 0
    measured: int = 0
    known: bool = False
    started: bool = False


Register = tuple[int, int, int | None]  # time, import, export


def registers(readings: list[Reading]) -> dict[str, list[Register]]:
    """Of each meter the reading that counts at each instant, in order of time."""
    versions: dict[str, dict[int, set[tuple[int, int, int]]]] = defaultdict(lambda: defaultdict(set))
    for r in readings:
        if r.quality & 0xD1:
            continue
        exported = -1 if r.exported is None else round(r.exported * KWH)
        received = -(10**18) if r.received is None else r.received
        versions[r.meter][r.time].add((received, round(r.imported * KWH), exported))
    return {
        meter: [
            (time, max(seen)[1], None if max(seen)[2] == -1 else max(seen)[2]) for time, seen in sorted(times.items())
        ]
        for meter, times in versions.items()
    }


IMPORT, EXPORT = 1, 2


def most(length: int, rules: Rules) -> float:
    return rules.limit_kw * KWH / (3600 * SECOND) * length + KWH // 100


def contradicted(meter: list[Register], a: Register, b: Register, which: int, far: int, rules: Rules) -> bool:
    """Whether other readings say that a register did not really rise from one reading to the next.

    It rose to a value that is taken back later, to no less than where it had been (a reading was too large); or it
    rose from a value that is lower than one before, to no less than that (a reading was too small).
    """
    register = {r[0]: value for r in meter if (value := r[which]) is not None}
    if a[0] not in register or b[0] not in register:
        return False
    low, high = register[a[0]], register[b[0]]
    later = {time: value for time, value in register.items() if b[0] < time <= a[0] + far}
    earlier = {time: value for time, value in register.items() if b[0] - far <= time < a[0]}
    return (
        any(low <= value < high and time <= a[0] + rules.near for time, value in later.items())
        or any(low < value <= high and time >= b[0] - rules.near for time, value in earlier.items())
        or (far > rules.near and low <= min(later.values(), default=high) < high)
        or (far > rules.near and low < max(earlier.values(), default=low) <= high)
    )


def rolled_over(old: int, new: int, allowed: float, rules: Rules) -> int | None:
    """How far a register rose that seems to have rolled over; None when it cannot have."""
    for modulus in rules.rollovers:
        rolled = new + modulus - old
        if new < old < modulus and rolled <= allowed and old >= modulus - min(allowed, modulus // 10):
            return rolled
    return None


def stretch(meter: list[Register], at: int, rules: Rules, far: int | None = None) -> tuple[int, int] | None:
    """Import and export between the reading ``at`` and the next one, or None when that is not plausible.

    With ``far`` as when the stretch is used to estimate others: roll-overs are left out, contradictions looked for
    not further away than that.
    """
    a, b = meter[at], meter[at + 1]
    length = b[0] - a[0]
    if length > rules.max_gap:
        return None
    found = []
    fell = False
    for which in (IMPORT, EXPORT):
        old, new = a[which], b[which]
        if old is None or new is None:
            found.append(0)
        elif new >= old:
            if new - old > most(length, rules):
                return None
            found.append(new - old)
        else:
            fell = True
            rolled = rolled_over(old, new, most(length, rules), rules)
            if rolled is None or far is not None:
                return None
            before = mean_power(meter, a[0] - rules.span, a[0], rules) or (0.0, 0.0)
            after = mean_power(meter, b[0], b[0] + rules.span, rules) or (0.0, 0.0)
            usual = max(before[which - 1], after[which - 1])
            if rolled > length * max(4 * usual, rules.rollover_kw * KWH / (3600 * SECOND)):
                return None
            found.append(rolled)
    if not fell and any(contradicted(meter, a, b, which, far or rules.far, rules) for which in (IMPORT, EXPORT)):
        return None
    return found[0], found[1]


def share(total: int, part: int, length: int) -> int:
    return total if part >= length else round(total * (part / length))


def mean_power(meter: list[Register], begin: int, end: int, rules: Rules) -> tuple[float, float] | None:
    """Of the plausible stretches between readings of [begin, end]; µWh per µs."""
    imported = exported = covered = 0
    for at, (a, b) in enumerate(zip(meter, meter[1:], strict=False)):
        rose = stretch(meter, at, rules, rules.near) if begin <= a[0] and b[0] <= end else None
        if rose is not None:
            imported, exported, covered = imported + rose[0], exported + rose[1], covered + b[0] - a[0]
    return (imported / covered, exported / covered) if covered else None


def energy(meter: list[Register], begin: int, end: int, rules: Rules) -> Energy:
    """What a meter took and gave in [begin, end)."""
    result = Energy()
    if not meter:
        return result
    doubtful = []
    for at, (a, b) in enumerate(zip(meter, meter[1:], strict=False)):
        if b[0] <= begin or a[0] >= end:
            continue
        rose = stretch(meter, at, rules)
        if rose is None:
            if b[0] - end <= rules.max_gap:
                doubtful.append((a[0], b[0]))
            continue
        low, high, length = max(a[0], begin) - a[0], min(b[0], end) - a[0], b[0] - a[0]
        result.imported += share(rose[0], high, length) - share(rose[0], low, length)
        result.exported += share(rose[1], high, length) - share(rose[1], low, length)
        result.covered += high - low
        if length <= 1.5 * rules.interval:
            result.measured += high - low
    result.known = any(
        begin - rules.forecast <= time <= begin or begin < time <= begin + rules.backcast or begin < time < end
        for time, _, _ in meter
    )
    result.started = result.known and meter[0][0] < end
    unknown = end - begin - result.covered
    if unknown and result.known:
        power = None
        # Before the first stretch that is not plausible, and after the last one; else around the window's begin or end.
        before = doubtful[0][0] if doubtful else max((r[0] for r in meter if r[0] <= end), default=None)
        if before is not None:
            power = mean_power(meter, before - rules.span, before, rules)
        if power is None:
            after = doubtful[-1][1] if doubtful else min((r[0] for r in meter if r[0] >= begin), default=None)
            if after is not None and after - end <= rules.max_gap:
                power = mean_power(meter, after, after + rules.span, rules)
        if power is not None:
            result.imported += round(power[0] * unknown)
            result.exported += round(power[1] * unknown)
    return result


def line_losses(
    readings: list[Reading], areas: dict[str, tuple[str, list[str]]], rules: Rules
) -> dict[tuple[str, int], tuple[int, int, int, int, str]]:
    """Final rows: (area, window start) -> energy in, out (µWh), expected, reporting meters, status."""
    meters = registers(readings)
    newest = max(r.time for r in readings)
    rows = {}
    for area, (head, customers) in areas.items():
        present = [meters[m] for m in (head, *customers) if meters.get(m)]
        if not present:
            continue
        first = min(m[0][0] for m in present) // rules.window
        for window in range(first, newest // rules.window):
            begin, end = window * rules.window, (window + 1) * rules.window
            top = energy(meters.get(head, []), begin, end, rules)
            below = [energy(meters.get(m, []), begin, end, rules) for m in customers]
            if not top.known or not any(e.started for e in (top, *below)):
                continue
            reporting = sum(e.measured == rules.window for e in (top, *below))
            rows[area, begin] = (
                top.imported + sum(e.exported for e in below),
                top.exported + sum(e.imported for e in below),
                1 + len(customers),
                reporting,
                "COMPLETE" if reporting == 1 + len(customers) else "INCOMPLETE",
            )
    return rows
