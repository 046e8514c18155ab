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


def rise(old: int, new: int, most: float, rollovers: tuple[int, ...]) -> int | None:
    """How far a register rose between two readings; None when that is not plausible."""
    if new >= old:
        return new - old if new - old <= most else None
    for modulus in rollovers:
        rolled = new + modulus - old
        if old < modulus and rolled <= most and old >= modulus - min(most, modulus // 10):
            return rolled
    return None


def stretch(a: Register, b: Register, rules: Rules) -> tuple[int, int] | None:
    """Import and export between two consecutive readings, or None."""
    length = b[0] - a[0]
    if length > rules.max_gap:
        return None
    most = rules.limit_kw * KWH / (3600 * SECOND) * length + KWH // 100
    imported = rise(a[1], b[1], most, rules.rollovers)
    exported = 0 if a[2] is None or b[2] is None else rise(a[2], b[2], most, rules.rollovers)
    return None if imported is None or exported is None else (imported, exported)


def share(total: int, part: int, length: int) -> int:
    return total if part >= length else round(total * (part / length))


def mean_power(part: list[Register], rules: Rules) -> tuple[float, float] | None:
    imported = exported = covered = 0
    for a, b in zip(part, part[1:], strict=False):
        rose = stretch(a, b, rules)
        if rose is not None:
            imported, exported, covered = imported + rose[0], exported + rose[1], covered + b[0] - a[0]
    return (imported / covered, exported / covered) if covered else None


def energy(meter: list[Register], begin: int, end: int, rules: Rules) -> Energy:
    """What a meter took and gave in [begin, end)."""
    result = Energy()
    if not meter:
        return result
    for a, b in zip(meter, meter[1:], strict=False):
        if b[0] <= begin or a[0] >= end:
            continue
        rose = stretch(a, b, rules)
        if rose is None:
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
        before = [r for r in meter if r[0] <= end]
        if before:
            power = mean_power([r for r in before if r[0] >= before[-1][0] - rules.span], rules)
        if power is None:
            after = [r for r in meter if r[0] >= begin]
            if after and after[0][0] - end <= rules.max_gap:
                power = mean_power([r for r in after if r[0] <= after[0][0] + rules.span], rules)
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
