"""What each meter contributes to the balances: the state of one shard of meters.

A shard takes in readings, keeps their registers, and, whenever the watermark passes the end of a window, works out
the energies of all its meters in that window. From then on a reading that changes a window already worked out
restates it: the window's energies are computed before and after the reading, and only the difference goes on. Sums
are of integers, so a sum of differences is exact and does not depend on their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.line_loss.energies import Energies
from flows.line_loss.history import EnergyPiece, ReadingPiece
from flows.line_loss.meters import MeterEnergies, MeterReadings, MeterRegisters
from flows.line_loss.placement import Placement
from flows.line_loss.refusals import without_unknown
from flows.line_loss.restatement import Pairs, Ranges, affected, note_doubt, rounds
from flows.line_loss.rules import LossRules
from flows.line_loss.sums import Contributions, Sums
from flows.streaming.event_time import MAXIMUM, MINIMUM, Watermark
from flows.streaming.letters import without_late
from flows.streaming.network import NetworkTable
from flows.streaming.packing import Layout
from flows.streaming.ratings import Ratings
from flows.streaming.registers import Ints, usable

OUTCOMES = ("taken", "used", "duplicate", "correction", "late", "dead_letter")
READING = ("time", "import_kwh", "export_kwh", "quality", "received_time", "reactive_power_kvar", "voltage_l1_v")
"""Columns of a reading that a shard uses, beside the meter's id."""

_LAYOUT = Layout("the meters of line losses", 1)
_NO_PAIRS = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
_CHUNK = 1_000_000  # most (meter, window) pairs worked out at once


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a shard emits for a round of input.

    Attributes:
        shard: its key.
        contributions: differences per (element, window).
        energies: frames of MeterEnergy, rows that are new or restated.
        meters: the shard's meters, by row.
        worked_out: the same energies for the study of areas, of all meters of which anything is known.
        told: what readings tell beside their registers.
        ticked: windows that end by here (µs) have been worked out.
        watermark: the shard's watermark, µs.
        dead: letters for the dead-letter topic.
        late: letters for the late topic.
        counts: what became of the readings taken in.
    """

    shard: str
    contributions: Contributions
    energies: list[pl.DataFrame]
    meters: list[str]
    worked_out: list[EnergyPiece]
    told: list[ReadingPiece]
    ticked: int
    watermark: int
    dead: pl.DataFrame
    late: pl.DataFrame
    counts: dict[str, int]


class MeterShard:
    """Registers, windows and contributions of the meters of one shard.

    Args:
        key: the shard's key.
        rules: the rules.
    """

    def __init__(self, key: str, rules: LossRules) -> None:
        self.key = key
        self.rules = rules
        self.meters = MeterRegisters(rules.alignment, rules.kept_readings)
        self.network = NetworkTable()
        self.watermark = Watermark(rules.delay)
        self.ticked: int | None = None  # windows below this number have been worked out
        self._unusable: set[tuple[Any, ...]] = set()
        self._told: list[ReadingPiece] = []
        self._codes: dict[str, int] = {}
        self._ratings: Ratings | None = None
        self._place = self._placed([])

    # ------------------------------------------------------------------ rounds

    def take(self, meters: list[Batch], network: list[Batch]) -> Outcome:
        """Take in a round of batches: new versions of the network, then readings, then the watermark."""
        totals = Sums()
        energies = Energies()
        changed: dict[str, int] = {}
        for batch in network:
            for element, since in self._apply_network(batch).items():
                changed[element] = min(since, changed.get(element, since))
        self._restate_moved(changed, totals, energies)
        counts = dict.fromkeys(OUTCOMES, 0)
        dead: list[pl.DataFrame] = []
        late: list[pl.DataFrame] = []
        self._insert(self._admit(meters, counts, dead, late), counts, totals, energies)
        watermark = self.watermark.observe(meters)
        self._tick(watermark, totals, energies)
        return self._outcome(totals, energies, counts, dead, late)

    def flush(self) -> Outcome:
        """The input has ended: work out all windows that were over by its newest reading."""
        totals, energies = Sums(), Energies()
        self.watermark.value = max(self.watermark.value, self.watermark.newest)
        self._tick(self.watermark.value, totals, energies)
        return self._outcome(totals, energies, dict.fromkeys(OUTCOMES, 0), [], [])

    def _outcome(
        self,
        totals: Sums,
        energies: Energies,
        counts: dict[str, int],
        dead: list[pl.DataFrame],
        late: list[pl.DataFrame],
    ) -> Outcome:
        ticked = MINIMUM if self.ticked is None else self.ticked * self.rules.window
        outcome = Outcome(
            self.key,
            totals.total(list(self._codes)),
            energies.frames(self.meters.imports, self.rules.window),
            self.meters.imports.meters,
            energies.pieces(self.rules.window),
            self._told,
            ticked,
            self.watermark.value,
            pl.concat(dead) if dead else pl.DataFrame(schema=LETTER_SCHEMA),
            pl.concat(late) if late else pl.DataFrame(schema=LETTER_SCHEMA),
            counts,
        )
        self._told = []
        return outcome

    # --------------------------------------------------------------- insertion

    def _admit(
        self, batches: list[Batch], counts: dict[str, int], dead: list[pl.DataFrame], late: list[pl.DataFrame]
    ) -> list[pl.DataFrame]:
        """What may be used of the batches."""
        frames = []
        for batch in batches:
            frame = batch.frame
            counts["taken"] += frame.height
            if frame.height and self.rules.refuse_unknown:
                frame, letters = without_unknown(batch, frame, self.network)
                counts["dead_letter"] += letters.height
                dead.append(letters)
            if frame.height and self.watermark.value != MINIMUM:
                frame, letters = without_late(
                    batch, frame, self.watermark.value - self.rules.lateness, device="meter_id", time="time"
                )
                counts["late"] += letters.height
                late.append(letters)
            if frame.height:
                frames.append(frame.select("meter_id", *READING))
        return frames

    def _insert(self, frames: list[pl.DataFrame], counts: dict[str, int], totals: Sums, energies: Energies) -> None:
        if not frames:
            return
        frame = frames[0] if len(frames) == 1 else pl.concat(frames)
        good = usable(frame)
        if not good.all():
            self._set_unusable_aside(frame.filter(~good), counts)
            frame = frame.filter(good)
        new = self.meters.read(frame)
        self._told.append(ReadingPiece.of(frame, new.imported.row, self.rules.window))
        self._place_rows()
        for some in rounds(new, len(self.meters.imports.meters)):
            self._take_up(some, counts, totals, energies)

    def _take_up(self, new: MeterReadings, counts: dict[str, int], totals: Sums, energies: Energies) -> None:
        """Store readings, and restate the windows already worked out on which they bear."""
        pairs = _NO_PAIRS
        if self.ticked is not None:
            ranges = self._affected(new)
            if ranges.size > _CHUNK and int(ranges.row.min()) < int(ranges.row.max()):
                lower = new.imported.row <= (int(ranges.row.min()) + int(ranges.row.max())) // 2
                self._take_up(new.take(lower), counts, totals, energies)
                self._take_up(new.take(~lower), counts, totals, energies)
                return
            if ranges.size:
                pairs = ranges.pairs()
        before = self._aligned(pairs)
        # Both sides in full: what did not change cancels out, exactly.
        self._place.contribute(self.meters, pairs, before, -1, totals)
        duplicates, corrections = self.meters.insert(new)
        self._note_doubt(new)
        counts["used"] += len(new) - duplicates
        counts["duplicate"] += duplicates
        counts["correction"] += corrections
        after = self._aligned(pairs)
        self._place.contribute(self.meters, pairs, after, +1, totals)
        changed = np.flatnonzero(before.facts != after.facts)
        self._state(pairs.take(changed), after.take(changed), energies)

    def _affected(self, new: MeterReadings) -> Ranges:
        assert self.ticked is not None
        width, meters = self.rules.window, self.meters
        edge = self.ticked * width
        ranges = affected(meters.imports, meters.rules, edge, width, new.imported)
        if not len(new.which):
            return ranges
        more = affected(meters.exports, meters.rules, edge, width, new.exported)
        return ranges.plus(Ranges(meters.meter_of[more.row], more.start, more.stop))

    def _note_doubt(self, new: MeterReadings) -> None:
        meters, limit = self.meters, self._place.limit
        note_doubt(meters.imports, meters.rules, limit, new.imported)
        if len(new.which):
            note_doubt(meters.exports, meters.rules, limit[meters.meter_of], new.exported)

    def _set_unusable_aside(self, bad: pl.DataFrame, counts: dict[str, int]) -> None:
        """Readings of bad quality say nothing of the register, but are counted, once."""
        columns = bad.select(
            pl.col("meter_id").cast(pl.String), pl.col("time").to_physical(), "import_kwh", "export_kwh"
        )
        for one in columns.iter_rows():
            counts["duplicate" if one in self._unusable else "used"] += 1
            self._unusable.add(one)

    def _aligned(self, pairs: Pairs) -> MeterEnergies:
        """Energies of whole windows; of rows without any reading nothing is known."""
        begin = pairs.window * self.rules.window
        place = self._place
        return self.meters.align(place.limit, place.limit_facts, pairs.row, begin, begin + self.rules.window)

    def _state(self, pairs: Pairs, aligned: MeterEnergies, energies: Energies) -> None:
        energies.add(pairs, self._place.stated(pairs, aligned))

    # ------------------------------------------------------------------- ticks

    def _tick(self, watermark: int, totals: Sums, energies: Energies) -> None:
        """Work out the windows that the watermark has passed, for every meter."""
        if watermark == MINIMUM:
            return
        width, store = self.rules.window, self.meters.imports
        until = watermark // width
        if self.ticked is not None and until <= self.ticked:
            return
        rows = np.flatnonzero(store.count > 0)
        window = self.ticked
        if window is None:
            window = (int(store.time[rows, 0].min(initial=watermark)) - self.rules.alignment.backcast) // width
        step = max(1, _CHUNK // max(len(rows), 1))
        while window < until and len(rows):
            count = min(step, until - window)
            pairs = Pairs(np.tile(rows, count), np.repeat(np.arange(window, window + count), len(rows)))
            aligned = self._aligned(pairs)
            if not aligned.known.any():
                window = min(self._next_known(rows, window + count), until)
                continue
            self._place.contribute(self.meters, pairs, aligned, +1, totals)
            self._state(pairs, aligned, energies)
            window += count
        self.ticked = until
        if self.meters.crowded:
            self._evict()

    def _next_known(self, rows: Ints, window: int) -> int:
        """The first window from ``window`` on of which some meter may have something to say."""
        time = np.full(len(rows), window * self.rules.window)
        store = self.meters.imports
        at = store.search(rows, time)
        coming = np.flatnonzero(at < store.count[rows])
        if not len(coming):
            return np.iinfo(np.int64).max
        earliest = int(store.time[rows[coming], at[coming]].min())
        return max(window, (earliest - self.rules.alignment.backcast) // self.rules.window)

    def _evict(self) -> None:
        """Forget readings on which nothing can rest any more."""
        if self.watermark.value == MINIMUM:
            return
        horizon = self.watermark.value - self.rules.kept
        self.meters.evict(horizon)
        if self._unusable:
            self._unusable = {one for one in self._unusable if one[1] >= horizon}

    # ----------------------------------------------------------------- network

    def _apply_network(self, batch: Batch) -> dict[str, int]:
        changed = self.network.apply(batch.frame) if batch.frame.height else {}
        if changed:
            self._ratings = None
        return changed

    def _placed(self, meters: list[str]) -> Placement:
        if self._ratings is None:
            self._ratings = Ratings(self.network.versions, self.rules.assumed_kva)
        return Placement.of(self.rules, self.network, self._ratings, meters, self._codes)

    def _place_rows(self) -> None:
        """Look up what rows measure that are new since the last time."""
        known = self.meters.imports.meters
        placed, n = len(self._place.limit), len(known)
        if placed == n:
            return
        fresh = self._placed(known[placed:])
        self._place = self._place.plus(fresh) if placed else fresh

    def _restate_moved(self, changed: dict[str, int], totals: Sums, energies: Energies) -> None:
        """New versions of the network: take back what they make wrong, and state it anew."""
        if not changed:
            return
        store = self.meters.imports
        old = self._place
        new = self._place = self._placed(store.meters)
        # A changed rating changes the limit of every meter below it, and with it what is plausible.
        limited = old.limit_facts != new.limit_facts
        self._note_doubt(self.meters.readings(np.flatnonzero(limited)))
        if self.ticked is None or not store.meters:
            return
        since = np.full(len(store.meters), MAXIMUM)
        since[limited] = MINIMUM
        rows_of = {meter: row for row, meter in enumerate(store.meters)}
        for element, begin in changed.items():
            for device in self.network.devices_of([element]):
                if device in rows_of:
                    since[rows_of[device]] = min(begin, since[rows_of[device]])
        rows = np.flatnonzero((since < MAXIMUM) & (store.count > 0))
        width = self.rules.window
        oldest = (self.watermark.value - self.rules.kept) // width
        start = np.maximum(since[rows], store.time[rows, 0] - self.rules.alignment.backcast) // width
        start = np.maximum(start, oldest)
        ranges = Ranges(rows, start, np.full(len(rows), self.ticked))
        for some in ranges.chunks(_CHUNK):
            pairs = some.pairs()
            self._place = old
            old.contribute(self.meters, pairs, self._aligned(pairs), -1, totals)
            self._place = new
            after = self._aligned(pairs)
            new.contribute(self.meters, pairs, after, +1, totals)
            self._state(pairs, after, energies)

    # ---------------------------------------------------------------- recovery

    def dump(self) -> bytes:
        """The state as bytes."""
        self._evict()
        return _LAYOUT.pack(
            (
                self.meters.dump(),
                self.network.dump(),
                self.watermark,
                self.ticked,
                self._unusable,
            )
        )

    @classmethod
    def load(cls, key: str, rules: LossRules, data: bytes) -> MeterShard:
        """A shard from its bytes."""
        shard = cls(key, rules)
        (
            meters,
            network,
            shard.watermark,
            shard.ticked,
            shard._unusable,
        ) = _LAYOUT.unpack(data)
        shard.watermark.delay = rules.delay
        shard.meters.restore(meters, rules.kept_readings)
        shard.network.restore(network)
        shard._ratings = None
        shard._place = shard._placed(shard.meters.imports.meters)
        return shard
