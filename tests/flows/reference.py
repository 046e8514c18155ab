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
    reactive: float | None = None
    voltage: float | None = None


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
    rollover_kw: float


@dataclass
class Energy:
    amount: int = 0
    covered: int = 0
    measured: int = 0
    known: bool = False
    started: bool = False


Register = list[tuple[int, int]]  # (time, value), ascending


def registers(readings: list[Reading]) -> tuple[dict[str, Register], dict[str, Register]]:
    """Of each meter the import and the export register: the value that counts at each instant, in order of time."""
    found = []
    for name in ("imported", "exported"):
        versions: dict[str, dict[int, set[tuple[int, int]]]] = defaultdict(lambda: defaultdict(set))
        for r in readings:
            value: float | None = getattr(r, name)
            if not r.quality & 0xD1 and value is not None:
                received = -(10**18) if r.received is None else r.received
                versions[r.meter][r.time].add((received, round(value * KWH)))
        found.append(
            {meter: [(time, max(seen)[1]) for time, seen in sorted(times.items())] for meter, times in versions.items()}
        )
    return found[0], found[1]


def most(length: int, rules: Rules) -> float:
    return rules.limit_kw * KWH / (3600 * SECOND) * length + KWH // 100


def contradicted(register: Register, at: int, rules: Rules, *, near_only: bool) -> bool:
    """Whether other readings say that a register did not really rise from the reading ``at`` to the next one.

    It rose to a value that is taken back later, to no less than where it had been (a reading was too large); or it
    rose from a value that is lower than one before, to no less than that (a reading was too small).
    """
    (start, low), (stop, high) = register[at], register[at + 1]
    later = [(time, value) for time, value in register if stop < time <= start + rules.max_gap]
    earlier = [(time, value) for time, value in register if stop - rules.max_gap <= time < start]
    near = any(low <= value < high for time, value in later if time <= start + rules.near)
    near |= any(low < value <= high for time, value in earlier if time >= stop - rules.near)
    if near_only:
        return near
    least = min((value for _, value in later), default=high)
    greatest = max((value for _, value in earlier), default=low)
    return near or low <= least < high or low < greatest <= high


def rolled_over(register: Register, at: int, rules: Rules) -> int | None:
    """How far a register rose that fell because it rolled over; None when it did not."""
    (start, old), (stop, new) = register[at], register[at + 1]
    allowed = most(stop - start, rules)
    for modulus in rules.rollovers:
        rolled = new + modulus - old
        if old < modulus and rolled <= allowed and old >= modulus - min(allowed, modulus // 10):
            break
    else:
        return None
    if any(value >= old for time, value in register if stop < time <= stop + rules.near):
        return None
    if any(value <= new for time, value in register if start - rules.near <= time < start):
        return None
    before = mean_power(register, start - rules.span, start, rules) or 0.0
    after = mean_power(register, stop, stop + rules.span, rules) or 0.0
    floor = rules.rollover_kw * KWH / (3600 * SECOND)
    return rolled if rolled <= (stop - start) * max(4 * before, 4 * after, floor) else None


def stretch(register: Register, at: int, rules: Rules) -> int | None:
    """The energy between the reading ``at`` and the next one, or None when that is not plausible."""
    (start, old), (stop, new) = register[at], register[at + 1]
    if stop - start > rules.max_gap:
        return None
    if new < old:
        return rolled_over(register, at, rules)
    if new - old > most(stop - start, rules) or contradicted(register, at, rules, near_only=False):
        return None
    return new - old


def share(total: int, part: int, length: int) -> int:
    return total if part >= length else round(total * (part / length))


def mean_power(
    register: Register, begin: int, end: int, rules: Rules, against: tuple[int, int] | None = None
) -> float | None:
    """Of the plausible stretches between readings of [begin, end], in µWh per µs.

    One reading further away can say, too, that a stretch is not.
    """
    rise = covered = 0
    for at, ((start, old), (stop, new)) in enumerate(zip(register, register[1:], strict=False)):
        if start < begin or stop > end or stop - start > rules.max_gap:
            continue
        if not 0 <= new - old <= most(stop - start, rules) or contradicted(register, at, rules, near_only=True):
            continue
        if against is not None:
            if against[0] > stop and old <= against[1] < new:
                continue
            if against[0] < start and old < against[1] <= new:
                continue
        rise, covered = rise + new - old, covered + stop - start
    return rise / covered if covered else None


def missing_power(
    register: Register, begin: int, end: int, doubtful: list[tuple[tuple[int, int], tuple[int, int]]], rules: Rules
) -> float:
    """The mean power before the first stretch that is not plausible, or else after the last one.

    Where there is no such stretch, around the window's begin or end.
    """
    times = [time for time, _ in register]
    first, last = (doubtful[0][0], doubtful[-1][1]) if doubtful else (None, None)
    before = first[0] if first else max((time for time in times if time <= end), default=None)
    if before is not None:
        since = before - rules.span
        # With the stretch in which the span begins.
        since = max((time for time in times if since - rules.near <= time <= since), default=since)
        power = mean_power(register, since, before, rules, last)
        if power is not None:
            return power
    after = last[0] if last else min((time for time in times if time >= begin), default=None)
    if after is not None and after - end <= rules.max_gap:
        until = after + rules.span
        until = min((time for time in times if until <= time <= until + rules.near), default=until)
        power = mean_power(register, after, until, rules, first)
        if power is not None:
            return power
    return 0.0


def energy(register: Register, begin: int, end: int, rules: Rules) -> Energy:
    """What a register counted in [begin, end)."""
    result = Energy()
    doubtful = []
    for at, (a, b) in enumerate(zip(register, register[1:], strict=False)):
        if b[0] <= begin or a[0] >= end:
            continue
        rose = stretch(register, at, rules)
        if rose is None:
            if b[0] - end <= rules.max_gap:
                doubtful.append((a, b))
            continue
        low, high, length = max(a[0], begin) - a[0], min(b[0], end) - a[0], b[0] - a[0]
        result.amount += share(rose, high, length) - share(rose, low, length)
        result.covered += high - low
        if length <= 1.5 * rules.interval:
            result.measured += high - low
    result.known = any(
        begin - rules.forecast <= time <= begin or begin < time <= begin + rules.backcast or begin < time < end
        for time, _ in register
    )
    result.started = result.known and register[0][0] < end
    unknown = end - begin - result.covered
    if unknown and result.known:
        result.amount += round(missing_power(register, begin, end, doubtful, rules) * unknown)
    return result


@dataclass
class MeterEnergy:
    imported: int
    exported: int
    share: float
    known: bool
    started: bool


def meter_energy(imports: Register, exports: Register, begin: int, end: int, rules: Rules) -> MeterEnergy:
    """What a meter took and fed in."""
    taken = energy(imports, begin, end, rules)
    given = energy(exports, begin, end, rules)
    measured = min(taken.measured, given.measured) if given.known else taken.measured
    return MeterEnergy(taken.amount, given.amount, measured / (end - begin), taken.known, taken.started)


def line_losses(
    readings: list[Reading], areas: dict[str, tuple[str, list[str]]], rules: Rules
) -> dict[tuple[str, int], tuple[int, int, int, int, float, str]]:
    """Final rows: (area, window start) -> energy in, out (µWh), expected, reporting meters, completeness, status."""
    imports, exports = registers(readings)
    newest = max(r.time for r in readings)
    rows = {}
    for area, (head, customers) in areas.items():
        present = [imports[m] for m in (head, *customers) if imports.get(m)]
        if not present:
            continue
        first = min(register[0][0] for register in present) // rules.window
        for window in range(first, newest // rules.window):
            begin, end = window * rules.window, (window + 1) * rules.window
            top, *below = (
                meter_energy(imports.get(m, []), exports.get(m, []), begin, end, rules) for m in (head, *customers)
            )
            if not top.known or not any(e.started for e in (top, *below)):
                continue
            reporting = sum(e.share == 1 for e in (top, *below))
            rows[area, begin] = (
                top.imported + sum(e.exported for e in below),
                top.exported + sum(e.imported for e in below),
                1 + len(customers),
                reporting,
                round(sum(e.share for e in (top, *below)) / (1 + len(customers)), 9),
                "COMPLETE" if reporting == 1 + len(customers) else "INCOMPLETE",
            )
    return rows
