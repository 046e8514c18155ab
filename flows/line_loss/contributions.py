"""What each meter contributes to the balances: the state of one shard of meters.

A shard takes in readings, keeps their registers, and, whenever the watermark passes the end of a window, works out
the energies of all its meters in that window. From then on a reading that changes a window already worked out
restates it: the window's energies are computed before and after the reading, and only the difference goes on. Sums
are of integers, so a sum of differences is exact and does not depend on their order.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.streaming.alignment import Aligned, AlignmentRules, align
from flows.streaming.event_time import MINIMUM, SECOND, Watermark
from flows.streaming.network import NetworkTable, Segment
from flows.streaming.registers import MICRO_WH_PER_KWH, Ints, Readings, RegisterStore, readings_of

# Columns of a contribution, all int64 and all sums. Energies in µWh, variances in 1e-9 kWh², times in µs.
COLUMNS = (
    "head_in",
    "head_out",
    "customers_out",
    "customers_in",
    "variance_systematic",
    "variance_random",
    "heads_known",
    "heads_measured",
    "customers_measured",
    "measured_us",
    "started",
    "facts",
)
KEYS = ("element_id", "window")
_INDEX = {name: position for position, name in enumerate(COLUMNS)}

_VARIANCE = 1e9  # units per kWh²
_GAP_SHARE = 0.5  # standard uncertainty of an energy that was estimated or interpolated, as a share of it
_RESOLUTION_KWH = 0.001
_CHUNK = 1_000_000  # most (meter, window) pairs worked out at once


@dataclass(frozen=True, slots=True)
class LossRules:
    """What a shard needs to know of the settings; times in µs."""

    window: int
    delay: int
    lateness: int
    reach_back: int
    alignment: AlignmentRules
    power_per_kva: float
    class_percent: float
    refuse_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a shard emits for a round of input.

    Attributes:
        shard: its key.
        contributions: differences per (element, window).
        energies: rows of MeterEnergy that are new or restated.
        ticked: windows that end by here (µs) have been worked out.
        watermark: the shard's watermark, µs.
        dead: letters for the dead-letter topic.
        late: letters for the late topic.
        counts: what became of the readings taken in.
    """

    shard: str
    contributions: pl.DataFrame
    energies: pl.DataFrame
    ticked: int
    watermark: int
    dead: pl.DataFrame
    late: pl.DataFrame
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """(meter row, window number) pairs."""

    row: Ints
    window: Ints

    def __len__(self) -> int:
        return len(self.row)


@dataclass
class _Roles:
    """For what each row measures: its segments and claims, flattened; ``first[r] : first[r] + size[r]``."""

    first: Ints
    size: Ints
    begin: Ints
    end: Ints
    element: Ints
    head: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, per_row: list[list[Segment]], codes: dict[str, int]) -> _Roles:
        size = np.array([len(segments) for segments in per_row], np.int64)
        flat = [segment for segments in per_row for segment in segments]
        return cls(
            first=np.cumsum(size) - size,
            size=size,
            begin=np.array([s.begin for s in flat], np.int64),
            end=np.array([s.end for s in flat], np.int64),
            element=np.array([codes.setdefault(s.element, len(codes)) for s in flat], np.int64),
            head=np.array([s.head for s in flat], bool),
        )

    def plus(self, more: _Roles) -> _Roles:
        """These rows, followed by more."""
        return _Roles(
            first=np.concatenate([self.first, more.first + len(self.begin)]),
            size=np.concatenate([self.size, more.size]),
            begin=np.concatenate([self.begin, more.begin]),
            end=np.concatenate([self.end, more.end]),
            element=np.concatenate([self.element, more.element]),
            head=np.concatenate([self.head, more.head]),
        )

    def expand(self, rows: Ints) -> tuple[Ints, Ints]:
        """For each row all its segments: index of the row in ``rows``, and of the segment."""
        size = self.size[rows]
        which = np.repeat(np.arange(len(rows)), size)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
        return which, self.first[rows][which] + offset


@dataclass
class _Totals:
    """Pieces of contributions, summed per (element, window) at the end."""

    element: list[Ints] = field(default_factory=list)
    window: list[Ints] = field(default_factory=list)
    values: list[dict[str, Ints]] = field(default_factory=list)

    def add(self, element: Ints, window: Ints, sign: int, values: dict[str, Ints]) -> None:
        self.element.append(element)
        self.window.append(window)
        self.values.append({name: sign * value for name, value in values.items()})

    def frame(self, names: list[str]) -> pl.DataFrame:
        parts = [
            pl.DataFrame({"element": e, "window": w, **{c: v.get(c, np.zeros(len(e), np.int64)) for c in COLUMNS}})
            for e, w, v in zip(self.element, self.window, self.values, strict=True)
            if len(e)
        ]
        if not parts:
            return pl.DataFrame(
                schema={"element_id": pl.String, "window": pl.Int64, **dict.fromkeys(COLUMNS, pl.Int64)}
            )
        total = pl.concat(parts).group_by("element", "window").agg(pl.col(COLUMNS).sum())
        total = total.filter(pl.any_horizontal(pl.col(COLUMNS) != 0))
        element_id = pl.Series(names, dtype=pl.String).gather(total.get_column("element"))
        return total.select(element_id.alias("element_id"), "window", *COLUMNS)


class MeterShard:
    """Registers, windows and contributions of the meters of one shard.

    Args:
        key: the shard's key.
        rules: the rules.
    """

    def __init__(self, key: str, rules: LossRules) -> None:
        self.key = key
        self.rules = rules
        self.store = RegisterStore()
        self.network = NetworkTable()
        self.watermark = Watermark(rules.delay)
        self.ticked: int | None = None  # windows below this number have been worked out
        self.facts: Ints = np.zeros(0, np.int64)
        self._odd_until: Ints = np.zeros(0, np.int64)
        self._unusable: set[tuple[int, int]] = set()
        self._codes: dict[str, int] = {}
        self._segments = _Roles.of([], self._codes)
        self._claims = _Roles.of([], self._codes)
        self._limit: npt.NDArray[np.float64] = np.zeros(0)
        self._placed = 0

    # ------------------------------------------------------------------ rounds

    def take(self, meters: list[Batch], network: list[Batch]) -> Outcome:
        """Take in a round of batches: new versions of the network, then readings, then the watermark."""
        totals = _Totals()
        energies: list[pl.DataFrame] = []
        changed: dict[str, int] = {}
        for batch in network:
            for element, since in self._apply_network(batch).items():
                changed[element] = min(since, changed.get(element, since))
        self._restate_moved(changed, totals, energies)
        counts = dict.fromkeys(("taken", "used", "duplicate", "correction", "late", "dead_letter"), 0)
        dead: list[pl.DataFrame] = []
        late: list[pl.DataFrame] = []
        self._insert(meters, counts, dead, late, totals, energies)
        watermark = self.watermark.observe(meters)
        self._tick(watermark, totals, energies)
        return self._outcome(totals, energies, counts, dead, late)

    def flush(self) -> Outcome:
        """The input has ended: work out all windows that were over by its newest reading."""
        totals, energies = _Totals(), list[pl.DataFrame]()
        self.watermark.value = max(self.watermark.value, self.watermark.newest)
        self._tick(self.watermark.value, totals, energies)
        counts = dict.fromkeys(("taken", "used", "duplicate", "correction", "late", "dead_letter"), 0)
        return self._outcome(totals, energies, counts, [], [])

    def _outcome(
        self,
        totals: _Totals,
        energies: list[pl.DataFrame],
        counts: dict[str, int],
        dead: list[pl.DataFrame],
        late: list[pl.DataFrame],
    ) -> Outcome:
        ticked = MINIMUM if self.ticked is None else self.ticked * self.rules.window
        return Outcome(
            self.key,
            totals.frame(list(self._codes)),
            pl.concat(energies) if energies else pl.DataFrame(),
            ticked,
            self.watermark.value,
            pl.concat(dead) if dead else pl.DataFrame(schema=LETTER_SCHEMA),
            pl.concat(late) if late else pl.DataFrame(schema=LETTER_SCHEMA),
            counts,
        )

    # --------------------------------------------------------------- insertion

    def _insert(
        self,
        batches: list[Batch],
        counts: dict[str, int],
        dead: list[pl.DataFrame],
        late: list[pl.DataFrame],
        totals: _Totals,
        energies: list[pl.DataFrame],
    ) -> None:
        frames = []
        for batch in batches:
            frame = batch.frame
            counts["taken"] += frame.height
            if frame.height and self.rules.refuse_unknown:
                frame = self._without_unknown(batch, frame, counts, dead)
            if frame.height and self.watermark.value != MINIMUM:
                frame = self._without_late(batch, frame, counts, late)
            if frame.height:
                frames.append(frame.select("meter_id", "time", "import_kwh", "export_kwh", "quality", "received_time"))
        if not frames:
            return
        frame = frames[0] if len(frames) == 1 else pl.concat(frames)
        new = readings_of(frame, self.store.rows_of(frame.get_column("meter_id")))
        self._place_rows()
        if not new.usable.all():
            new = self._set_unusable_aside(new, counts)
        firsts, others = self.store.classify(new)
        affected = self._affected(firsts, others)
        before = self._aligned(affected)
        if before is not None:
            # Both sides in full: what did not change cancels out, exactly.
            self._contribute(affected, before, -1, totals)
        self.store.insert(firsts)
        duplicates, corrections = self.store.correct(others)
        self._note_odd(firsts)
        if len(others):
            self._note_odd(others)
        counts["used"] += len(firsts) + corrections
        counts["duplicate"] += duplicates
        counts["correction"] += corrections
        after = self._aligned(affected)
        if before is None or after is None:
            return
        self._contribute(affected, after, +1, totals)
        changed = np.flatnonzero(before.facts != after.facts)
        if len(changed):
            pairs = _Pairs(affected.row[changed], affected.window[changed])
            self._emit(pairs, _take(after, changed), energies)

    def _set_unusable_aside(self, new: Readings, counts: dict[str, int]) -> Readings:
        """Readings of bad quality say nothing of the register, but are counted, once."""
        bad = new.take(~new.usable)
        for one in zip(bad.row.tolist(), bad.time.tolist(), strict=True):
            counts["duplicate" if one in self._unusable else "used"] += 1
            self._unusable.add(one)
        return new.take(new.usable)

    def _without_unknown(
        self, batch: Batch, frame: pl.DataFrame, counts: dict[str, int], dead: list[pl.DataFrame]
    ) -> pl.DataFrame:
        meters = frame.get_column("meter_id")
        known = [m for m in meters.unique().to_list() if self.network.knows_device(m)]
        mask = meters.is_in(known)
        if mask.all():
            return frame
        gone = frame.filter(~mask)
        counts["dead_letter"] += gone.height
        message = pl.format("meter_id: the network knows no meter '{}'", pl.col("meter_id"))
        dead.append(_letters(batch, gone, "network", "UnknownMeter", message))
        return frame.filter(mask)

    def _without_late(
        self, batch: Batch, frame: pl.DataFrame, counts: dict[str, int], late: list[pl.DataFrame]
    ) -> pl.DataFrame:
        """What a partition that had been idle brings after the others have gone on."""
        limit = self.watermark.value - self.rules.lateness
        times = frame.get_column("time").to_physical()
        if times.min() >= limit:  # type: ignore[operator]
            return frame
        gone = frame.filter(times < limit)
        counts["late"] += gone.height
        message = pl.format("time: {} is beyond the allowed lateness", pl.col("time"))
        late.append(_letters(batch, gone, "event-time", "LateReading", message))
        return frame.filter(times >= limit)

    # ------------------------------------------------------------- restatement

    def _affected(self, firsts: Readings, others: Readings) -> _Pairs:
        """The windows already worked out on which new readings or corrections can bear."""
        none = np.zeros(0, np.int64)
        if self.ticked is None:
            return _Pairs(none, none)
        store, rules = self.store, self.rules.alignment
        row = np.concatenate([firsts.row, others.row])
        time = np.concatenate([firsts.time, others.time])
        count = store.count[row]
        position = store.search(row, time, "left")
        edge = self.ticked * self.rules.window
        # Before: back to the reading before; with nothing known yet windows count from `backcast` before the first
        # reading, and those estimates rest on the span after it.
        previous = np.where(position > 0, store.time[row, np.maximum(position - 1, 0)], time - rules.backcast)
        first_time = np.where(count > 0, store.time[row, 0], time)
        early = time <= first_time + rules.estimate_span
        low = np.where(early, np.minimum(first_time, time) - rules.backcast, previous)
        odd_near = self._odd_until[row] >= time - rules.estimate_span
        # Usual: the newest reading of its meter, after one that lies past all windows worked out.
        bears = (low < edge) | odd_near
        if not bears.any():
            return _Pairs(none, none)
        row, time, count, low, odd_near = row[bears], time[bears], count[bears], low[bears], odd_near[bears]
        # After: up to the next reading; past the last one energy is estimated from the span before that.
        last = store.time[row, np.maximum(count - 1, 0)]
        following = store.search(row, time, "right")
        high = np.where(following >= count, edge, store.time[row, np.minimum(following, np.maximum(count - 1, 0))])
        high = np.where((count == 0) | (time + rules.estimate_span >= last), edge, high)
        # An implausible stretch is estimated from the spans on both its sides: then look as far as those reach.
        odd = np.flatnonzero(odd_near)
        if len(odd):
            some, at, size = row[odd], time[odd], count[odd]
            near = np.maximum(store.search(some, at - rules.estimate_span, "left") - 1, 0)
            far = store.search(some, at + rules.estimate_span, "right") + 1
            reach = np.where(far >= size, edge, store.time[some, np.minimum(far, size - 1)])
            low[odd] = np.minimum(low[odd], store.time[some, near])
            high[odd] = np.maximum(high[odd], reach)
        width = self.rules.window
        start = np.floor_divide(low, width)
        stop = np.minimum(-np.floor_divide(-high, width), self.ticked)
        size = np.maximum(stop - start, 0)
        rows = np.repeat(row, size)
        windows = np.arange(len(rows)) - np.repeat(np.cumsum(size) - size, size) + np.repeat(start, size)
        unique = np.unique(rows * (1 << 32) + windows)
        return _Pairs(unique >> 32, unique & 0xFFFFFFFF)

    def _note_odd(self, new: Readings) -> None:
        """Remember how far the implausible stretches of each meter reach: estimates may stand in for them."""
        store, rules = self.store, self.rules.alignment
        at = store.search(new.row, new.time, "left")
        for first, second in ((at - 1, at), (at, at + 1)):
            there = np.flatnonzero((first >= 0) & (second < store.count[new.row]))
            row, one, two = new.row[there], first[there], second[there]
            end = store.time[row, two]
            step = end - store.time[row, one]
            taken = store.imported[row, two] - store.imported[row, one]
            given = store.exported[row, two] - store.exported[row, one]
            limit = self._limit[row] * (MICRO_WH_PER_KWH / (3600 * SECOND)) * step
            odd = (step > rules.max_gap) | (taken < 0) | (taken > limit) | (given < 0) | (given > limit)
            if odd.any():
                np.maximum.at(self._odd_until, row[odd], end[odd])

    def _aligned(self, pairs: _Pairs) -> Aligned | None:
        """Energies of whole windows; rows without any reading give nothing."""
        if not len(pairs):
            return None
        width = self.rules.window
        has = self.store.count[pairs.row] > 0
        begin = pairs.window * width
        if has.all():
            return self._with_facts(
                align(self.store, self.rules.alignment, self._limit, pairs.row, begin, begin + width),
                pairs.row,
            )
        some = np.flatnonzero(has)
        part = align(self.store, self.rules.alignment, self._limit, pairs.row[some], begin[some], begin[some] + width)
        part = self._with_facts(part, pairs.row[some])

        def spread(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            whole = np.zeros(len(pairs), values.dtype)
            whole[some] = values
            return whole

        return Aligned(*(spread(getattr(part, name)) for name in Aligned.__slots__))

    def _with_facts(self, aligned: Aligned, rows: Ints) -> Aligned:
        if not self.facts.any():
            return aligned
        facts = aligned.facts + np.where(aligned.known, self.facts[rows], 0)
        return replace(aligned, facts=facts)

    # ------------------------------------------------------------------- ticks

    def _tick(self, watermark: int, totals: _Totals, energies: list[pl.DataFrame]) -> None:
        """Work out the windows that the watermark has passed, for every meter."""
        if watermark == MINIMUM or not len(self.store.meters):
            if watermark != MINIMUM:
                self.ticked = max(watermark // self.rules.window, self.ticked or MINIMUM)
            return
        width = self.rules.window
        until = watermark // width
        store = self.store
        rows = np.flatnonzero(store.count[: len(store.meters)] > 0)
        lowest = np.floor_divide(store.time[rows, 0] - self.rules.alignment.backcast, width)
        start = lowest if self.ticked is None else np.maximum(lowest, self.ticked)
        if self.ticked is not None and until <= self.ticked:
            return
        step = max(1, _CHUNK // max(len(rows), 1))
        first = int(start.min(initial=until))
        for begin in range(first, until, step):
            end = min(begin + step, until)
            size = np.maximum(end - np.maximum(start, begin), 0)
            which = np.repeat(np.arange(len(rows)), size)
            if not len(which):
                continue
            offset = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
            pairs = _Pairs(rows[which], np.maximum(start, begin)[which] + offset)
            aligned = self._aligned(pairs)
            if aligned is not None:
                self._contribute(pairs, aligned, +1, totals)
                self._emit(pairs, aligned, energies)
        self.ticked = until
        self._evict(watermark)

    def _evict(self, watermark: int) -> None:
        store = self.store
        if int(store.count.max(initial=0)) < store.time.shape[1]:
            return
        rules = self.rules
        horizon = watermark - max(rules.lateness, rules.reach_back) - rules.window
        store.evict(horizon, rules.alignment.estimate_span)
        if self._unusable:
            self._unusable = {one for one in self._unusable if one[1] >= horizon}

    def _emit(self, pairs: _Pairs, aligned: Aligned, energies: list[pl.DataFrame]) -> None:
        # What is estimated before a meter's first reading serves the balances; it is no row of the meter's own.
        known = np.flatnonzero(aligned.known & aligned.started)
        if not len(known):
            return
        width = self.rules.window
        row, begin = pairs.row[known], pairs.window[known] * width
        time = pl.Datetime("us", "UTC")
        energies.append(
            pl.DataFrame(
                {
                    "meter_id": pl.Series(self.store.meters, dtype=pl.String).gather(row),
                    "window_start": pl.Series(begin).cast(time),
                    "window_end": pl.Series(begin + width).cast(time),
                    "import_kwh": aligned.imported[known] / MICRO_WH_PER_KWH,
                    "export_kwh": aligned.exported[known] / MICRO_WH_PER_KWH,
                    "measured_share": aligned.measured[known] / width,
                    "clock_offset_seconds": pl.Series([None] * 1, dtype=pl.Float64).new_from_index(0, len(known)),
                    "revision": aligned.facts[known],
                }
            )
        )

    # ----------------------------------------------------------- contributions

    def _contribute(self, pairs: _Pairs, aligned: Aligned, sign: int, totals: _Totals) -> None:
        """Add (or take away) the pairs' contributions to the elements for which the meters measure."""
        width = self.rules.window
        begin = pairs.window * width
        which, segment = self._segments.expand(pairs.row)
        if len(which):
            roles = self._segments
            low = np.maximum(roles.begin[segment], begin[which])
            high = np.minimum(roles.end[segment], begin[which] + width)
            whole = (high - low) == width
            cut = np.flatnonzero((high > low) & ~whole)
            full = np.flatnonzero(whole)
            self._add_role(
                roles,
                segment[full],
                pairs.window[which[full]],
                _take(aligned, which[full]),
                width,
                sign,
                totals,
            )
            if len(cut):
                # A meter that came or went within the window: its part of the window counts.
                rows = pairs.row[which[cut]]
                has = self.store.count[rows] > 0
                cut, rows = cut[has], rows[has]
                part = align(self.store, self.rules.alignment, self._limit, rows, low[cut], high[cut])
                self._add_role(roles, segment[cut], pairs.window[which[cut]], part, high[cut] - low[cut], sign, totals)
        which, claim = self._claims.expand(pairs.row)
        applies = self._claims.begin[claim] < begin[which] + width
        which, claim = which[applies], claim[applies]
        totals.add(
            self._claims.element[claim],
            pairs.window[which],
            sign,
            {"facts": aligned.facts[which], "started": aligned.started[which].astype(np.int64)},
        )

    def _add_role(
        self,
        roles: _Roles,
        segment: Ints,
        window: Ints,
        aligned: Aligned,
        span: Ints | int,
        sign: int,
        totals: _Totals,
    ) -> None:
        head = roles.head[segment]
        taken, given = aligned.imported, aligned.exported
        kwh = (taken.astype(np.float64) ** 2 + given.astype(np.float64) ** 2) / MICRO_WH_PER_KWH**2
        # A class limit is the half-width of a rectangular distribution (GUM, 4.3.7); so is a register's step.
        systematic = kwh * (self.rules.class_percent / 100) ** 2 / 3
        doubtful = aligned.estimated / MICRO_WH_PER_KWH * _GAP_SHARE
        random = doubtful**2 + _RESOLUTION_KWH**2 / 6
        measured = (aligned.measured >= span).astype(np.int64)
        zero = np.zeros(len(taken), np.int64)
        totals.add(
            roles.element[segment],
            window,
            sign,
            {
                "head_in": np.where(head, taken, 0),
                "head_out": np.where(head, given, 0),
                "customers_out": np.where(head, 0, taken),
                "customers_in": np.where(head, 0, given),
                "variance_systematic": np.ceil(systematic * _VARIANCE).astype(np.int64),
                "variance_random": np.where(aligned.known, np.ceil(random * _VARIANCE), 0).astype(np.int64),
                "heads_known": np.where(head, aligned.known, zero).astype(np.int64),
                "heads_measured": np.where(head, measured, 0),
                "customers_measured": np.where(head, 0, measured),
                "measured_us": aligned.measured,
            },
        )

    # ----------------------------------------------------------------- network

    def _apply_network(self, batch: Batch) -> dict[str, int]:
        return self.network.apply(batch.frame) if batch.frame.height else {}

    def _place_rows(self) -> None:
        """Look up what rows measure that are new since the last time."""
        n = len(self.store.meters)
        if self._placed == n:
            return
        self.facts = np.concatenate([self.facts, np.zeros(n - len(self.facts), np.int64)])
        more = np.full(n - len(self._odd_until), MINIMUM, np.int64)
        self._odd_until = np.concatenate([self._odd_until, more])
        self._place(self._placed)

    def _place(self, start: int = 0) -> None:
        """Look up what the rows from ``start`` on measure, and how much power they can at most have."""
        meters = self.store.meters[start:]
        segments = _Roles.of([self.network.segments(m) for m in meters], self._codes)
        claims = _Roles.of([self.network.claims(m) for m in meters], self._codes)
        rules = self.rules
        default = rules.alignment.limit_kw
        limit = np.full(len(meters), default)
        for row, meter in enumerate(meters):
            rating = self.network.greatest_rating(meter)
            if rating is not None:
                limit[row] = min(default, rating * rules.power_per_kva)
        if start:
            segments, claims = self._segments.plus(segments), self._claims.plus(claims)
            limit = np.concatenate([self._limit, limit])
        self._segments, self._claims, self._limit = segments, claims, limit
        self._placed = start + len(meters)

    def _restate_moved(self, changed: dict[str, int], totals: _Totals, energies: list[pl.DataFrame]) -> None:
        """New versions of the network: take back what they make wrong, and state it anew."""
        if not changed:
            return
        if self.ticked is None or not self.store.meters:
            self._place()
            return
        rows_of = {meter: row for row, meter in enumerate(self.store.meters)}
        width = self.rules.window
        oldest = (self.watermark.value - max(self.rules.lateness, self.rules.reach_back)) // width
        moved = {
            rows_of[m]: min(changed[e] for e in changed if m in self.network.devices_of([e]))
            for m in self.network.devices_of(changed)
            if m in rows_of
        }
        # A changed rating changes the limit of every meter below it.
        before_limit = self._limit
        old_segments, old_claims = self._segments, self._claims
        self._place()
        new = (self._segments, self._claims, self._limit)
        limited = np.flatnonzero(before_limit != self._limit)
        for row in limited.tolist():
            moved.setdefault(row, MINIMUM)
        rows, windows = [], []
        for row, since in moved.items():
            if not self.store.count[row]:
                continue
            start = max(oldest, (self.store.time[row, 0] - self.rules.alignment.backcast) // width)
            span = np.arange(max(start, since // width), self.ticked)
            rows.append(np.full(len(span), row))
            windows.append(span)
        if not rows:
            self.facts[limited] += 1
            return
        pairs = _Pairs(np.concatenate(rows), np.concatenate(windows))
        self._segments, self._claims, self._limit = old_segments, old_claims, before_limit
        before = self._aligned(pairs)
        if before is not None:
            self._contribute(pairs, before, -1, totals)
        self._segments, self._claims, self._limit = new
        self.facts[limited] += 1
        after = self._aligned(pairs)
        if after is not None:
            self._contribute(pairs, after, +1, totals)
            touched = np.flatnonzero(np.isin(pairs.row, limited))
            self._emit(_Pairs(pairs.row[touched], pairs.window[touched]), _take(after, touched), energies)

    # ---------------------------------------------------------------- recovery

    def dump(self) -> bytes:
        """The state as bytes."""
        return pickle.dumps(
            (
                self.store.dump(),
                self.network.state(),
                self.watermark,
                self.ticked,
                self.facts,
                self._odd_until,
                self._unusable,
            ),
            protocol=5,
        )

    @classmethod
    def load(cls, key: str, rules: LossRules, data: bytes) -> MeterShard:
        """A shard from its bytes."""
        shard = cls(key, rules)
        (
            store,
            network,
            shard.watermark,
            shard.ticked,
            shard.facts,
            shard._odd_until,
            shard._unusable,
        ) = pickle.loads(data)  # noqa: S301 - our own recovery store
        shard.watermark.delay = rules.delay
        shard.store = RegisterStore.load(store)
        shard.network.restore(network)
        shard._place()
        return shard


def _take(aligned: Aligned, index: Ints) -> Aligned:
    return Aligned(*(getattr(aligned, name)[index] for name in Aligned.__slots__))


def _letters(batch: Batch, frame: pl.DataFrame, stage: str, error_class: str, message: pl.Expr) -> pl.DataFrame:
    """Letters of rows that left the flow here; key and value where the source kept them."""
    raw = "_value" in frame.columns
    return frame.select(
        pl.lit(batch.topic).alias("topic"),
        pl.lit(batch.partition, pl.Int32).alias("partition"),
        pl.col("_offset").alias("offset"),
        pl.lit(stage).alias("stage"),
        pl.lit(error_class).alias("error_class"),
        message.alias("error_message"),
        pl.lit(None, pl.Int64).alias("schema_id"),
        pl.col("_key") if raw else pl.col("meter_id").cast(pl.Binary).alias("key"),
        pl.col("_value")
        if raw
        else pl.struct(pl.exclude("_offset")).struct.json_encode().cast(pl.Binary).alias("value"),
    ).rename({"_key": "key", "_value": "value"} if raw else {})
