"""The topology of one grid: readings wait in their slots until no earlier one can come, then a step is made for good.

What a settled step says stands. On a stream that would be as late as the allowed lateness, so steps are made ahead,
too, up to the watermark, on a memory of their own; what later readings then show to have been wrong is withdrawn. A
revision is made of the hour of event time in which it is said, so that it grows with the data; settled rows have odd
ones, and the same on every run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.streaming.event_time import MAXIMUM, MINIMUM, Watermark, to_micros
from flows.streaming.letters import without_late
from flows.streaming.network import NetworkTable
from flows.streaming.packing import Layout
from flows.topology.changes import Changes, Finding, Step, decide
from flows.topology.memory import Memory
from flows.topology.neighbourhood import Neighbourhood, neighbourhood
from flows.topology.rows import Row, above, change_frame, in_place_of, row_of, same
from flows.topology.slots import Slots
from flows.topology.tracker import BALANCE, STEP, step
from flows.topology.versions import ORIGIN, versions_of
from schemas import contract

DEVICE, TIME = "meter_id", "time"
METER_TOPIC, NETWORK_TOPIC = "grid.meter.v1", "grid.network.v1"

_LAYOUT = Layout("the topology of meters", 1)
_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)
_KEPT = BALANCE + 1  # slots that steps look back upon


@dataclass(frozen=True, slots=True)
class TopologyRules:
    """How the topology is followed; times in µs.

    Attributes:
        interval: between the readings of a meter.
        delay: the watermark's, behind the newest reading of the slowest partition.
        lateness: how late a reading may come.
        accept: confidence from which on a change is accepted.
    """

    interval: int
    delay: int
    lateness: int
    accept: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is said after a round of input.

    Attributes:
        changes: rows of TopologyChange.
        versions: rows of NetworkElement: the record as it is by the accepted changes.
        late: letters for the late topic.
        watermark: µs since 1970.
        counts: what became of the readings.
        ahead: those of the rows that were said before they were settled, times in µs.
    """

    changes: pl.DataFrame
    versions: pl.DataFrame
    late: pl.DataFrame
    watermark: int
    counts: dict[str, int]
    ahead: list[Row] = field(default_factory=list)


@dataclass
class _Head:
    """Steps made up to a slot, and what is remembered there."""

    slot: int
    memory: Memory
    changes: Changes

    def copy(self) -> _Head:
        return _Head(self.slot, self.memory.copy(), self.changes.copy())


class TopologyShard:
    """The topology of all meters.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: TopologyRules) -> None:
        self.rules = rules
        self.watermark = Watermark(rules.delay)
        self.network = NetworkTable()
        self._slots = Slots(rules.interval)
        self._settled: _Head | None = None
        self._live: _Head | None = None
        self._ahead: dict[str, Finding] = {}  # found by steps that are not settled
        self._made: dict[int, list[tuple[str, str, str]]] = {}  # by slot, what those steps decided
        self._said: dict[str, Row] = {}  # the last row of each change that was said before it was settled
        self._stands: dict[str, Row] = {}  # the last settled one of those
        self._unsure: set[str] = set()  # who was killed may not have sent what it was about to say
        self._kept: tuple[Memory, Changes] | None = None  # what is believed over a pause
        self._near: Neighbourhood | None = None
        self._near_valid = (MAXIMUM, MINIMUM)

    # ------------------------------------------------------------------- rounds

    def take(self, meters: Iterable[Batch], network: Iterable[Batch] = ()) -> Outcome:
        """Take in readings and versions of the network, and make the steps that are settled now."""
        for batch in network:
            self._record(batch.frame)
        meters = list(meters)
        counts = {"used": 0, "duplicate": 0, "late": 0}
        frames, late = [], []
        limit = self._limit()
        for batch in meters:
            frame = batch.frame
            if frame.height and limit is not None:
                frame, letters = without_late(batch, frame, limit, device=DEVICE, time=TIME)
                counts["late"] += letters.height
                late.append(letters)
            if frame.height:
                frames.append(frame)
        self.watermark.observe(meters)
        rows: list[Row] = []
        versions: list[pl.DataFrame] = []
        for part in self._without_pauses(frames):
            said, made = self._over_a_pause(part)
            rows, versions = rows + said, versions + made
            for frame in part:
                fresh = self._slots.add(frame)
                counts["used"] += fresh
                counts["duplicate"] += frame.height - fresh
        if self.watermark.value != MINIMUM:
            more, more_versions = self._settle(self._settled_until())
            rows, versions = rows + more, versions + more_versions
        return self._outcome(rows, versions, late, counts)

    def _record(self, frame: pl.DataFrame) -> None:
        """Take in versions of the network; those that come from here are known, unless all is begun anew."""
        if "origin" in frame.columns and self._settled is not None:
            frame = frame.filter(pl.col("origin").is_null() | (pl.col("origin") != ORIGIN))
        if frame.height and self.network.apply(frame):
            self._near_valid = (MAXIMUM, MINIMUM)

    def _settled_until(self) -> int:
        """The time before which no reading can come any more, µs."""
        return self.watermark.value - self.rules.lateness - self.rules.interval // 2

    def _limit(self) -> int | None:
        """The time before which readings are late, µs."""
        if self._settled is not None:
            slot = self._settled.slot
        elif self.watermark.value == MINIMUM:
            return None
        else:
            slot = self._slot_before(self._settled_until())
        return slot * self.rules.interval + self.rules.interval // 2

    @property
    def _pause(self) -> int:
        """Slots without any reading after which meters are compared anew."""
        return BALANCE + self.rules.lateness // self.rules.interval

    def _without_pauses(self, frames: list[pl.DataFrame]) -> list[list[pl.DataFrame]]:
        """Frames, cut where nobody has sent anything for days, as one clock that stands in another year does."""
        if not frames:
            return []
        times = [to_micros(frame.get_column(TIME)) // self.rules.interval for frame in frames]
        slots = np.unique(np.concatenate(times))
        cuts = slots[1:][np.diff(slots) > self._pause]
        if not len(cuts):
            return [frames]
        bounds = [int(slots[0]), *cuts.tolist(), int(slots[-1]) + 1]
        return [
            [
                frame.filter(pl.Series((slot >= low) & (slot < high)))
                for frame, slot in zip(frames, times, strict=True)
                if ((slot >= low) & (slot < high)).any()
            ]
            for low, high in pairwise(bounds)
        ]

    def _over_a_pause(self, frames: list[pl.DataFrame]) -> tuple[list[Row], list[pl.DataFrame]]:
        """Where nobody has sent anything for days, what was is settled, and meters are compared anew."""
        last = self._slots.last
        if last is None or not frames:
            return [], []
        begin = min(int(to_micros(frame.get_column(TIME)).min()) for frame in frames) // self.rules.interval
        if begin - last <= self._pause or self._settled_until() <= (last + 1) * self.rules.interval:
            return [], []
        found = self._settle((last + 1) * self.rules.interval)
        if self._settled is not None:
            memory = self._settled.memory
            self._kept = Memory(beliefs=memory.beliefs, recorded=memory.recorded), self._settled.changes
        self._settled, self._live, self._ahead, self._made = None, None, {}, {}
        self._slots.clear()
        return found

    def flush(self) -> Outcome:
        """The input has ended: make all steps that it allows."""
        last = self._slots.last
        newest = max(self.watermark.newest, MINIMUM if last is None else (last + 1) * self.rules.interval)
        rows, versions = ([], []) if newest == MINIMUM else self._settle(newest)
        rows += in_place_of(self._said, self._stands)
        self._said, self._stands = {}, {}
        self.watermark.value = max(self.watermark.value, newest)
        return self._outcome(rows, versions, [], {"used": 0, "duplicate": 0, "late": 0})

    def look_ahead(self) -> Outcome:
        """Make the steps that are not settled yet, as far as the watermark has come."""
        target = self._slot_before(self.watermark.value - self.rules.interval // 2)
        if self._settled is None or target <= self._settled.slot:
            return self._outcome([], [], [], {})
        if self._live is None or self._live.slot < self._settled.slot:
            self._live, self._ahead, self._made = self._settled.copy(), {}, {}
        while self._live.slot < target:
            found = self._advance(self._live)
            self._made[self._live.slot] = _decisions(found)
            self._ahead |= {one.change_id: one for one in found}
        revision = 2 * (target // STEP)
        rows = []
        for key, finding in self._ahead.items():
            old = self._said.get(key)
            row = row_of(finding, self.rules.interval, revision)
            if old is None or not same(row, old) or key in self._unsure:
                rows.append(above(row, old))
        gone = {key: old for key, old in self._said.items() if key not in self._ahead}
        rows += in_place_of(gone, self._stands, revision)
        self._said |= {row["change_id"]: row for row in rows}
        self._unsure -= self._ahead.keys()
        return self._outcome(rows, [], [], {}, rows)

    # ------------------------------------------------------------------- steps

    def _settle(self, until: int) -> tuple[list[Row], list[pl.DataFrame]]:
        target = self._slot_before(until)
        if self._slots.first is None or not len(self.network):
            return [], []
        if self._settled is None:
            # The first step is that at which the shortest span may be full.
            first = -(-self._slots.first // STEP) * STEP
            if target <= first:
                return [], []
            self._settled = _Head(first, *(self._kept or (Memory(), Changes())))
            self._kept = None
        head = self._settled
        rows: list[Row] = []
        versions = []
        while head.slot < target:
            found = self._advance(head)
            if self._live is not None and self._made.pop(head.slot, []) != _decisions(found):
                self._live = None  # later readings told something else: what was made ahead is made anew
            rows += [row for one in found for row in self._stand(one, head)]
            versions += versions_of(self.network, found, self.rules.interval)
        self._slots.forget_before(head.slot - _KEPT)
        return rows, versions

    def _stand(self, finding: Finding, head: _Head) -> list[Row]:
        """The row of a settled finding; none where what was said ahead goes beyond it."""
        hours = (head.slot + self.rules.lateness // self.rules.interval) // STEP
        row = row_of(finding, self.rules.interval, 2 * hours + 1)
        key = finding.change_id
        if key in self._ahead and self._ahead[key].detected <= head.slot:
            del self._ahead[key]
        old = self._said.get(key)
        if old is None:
            return [row]
        self._stands[key] = row
        if old["detected_time"] > row["detected_time"]:
            return []
        del self._said[key]
        del self._stands[key]
        return [above(row, old)]

    def _advance(self, head: _Head) -> list[Finding]:
        head.slot += STEP
        near = self._neighbourhood(head.slot * self.rules.interval)
        if not near.points:
            return []
        scores, record = step(head.memory, self._slots, near, head.slot)
        return decide(head.changes, Step(head.memory, self._slots, near, record, scores, head.slot, self.rules.accept))

    def _slot_before(self, time: int) -> int:
        """The last slot of a step that ends at or before a time."""
        return time // self.rules.interval // STEP * STEP

    def _neighbourhood(self, time: int) -> Neighbourhood:
        begin, end = self._near_valid
        if self._near is None or not begin <= time < end:
            times = self.network.change_times()
            before = [one for one in times if one <= time]
            after = [one for one in times if one > time]
            self._near_valid = (before[-1] if before else MINIMUM, after[0] if after else MAXIMUM)
            self._near = neighbourhood(self.network, time)
        return self._near

    def _outcome(
        self,
        rows: list[Row],
        versions: list[pl.DataFrame],
        late: list[pl.DataFrame],
        counts: dict[str, int],
        ahead: Iterable[Row] = (),
    ) -> Outcome:
        return Outcome(
            change_frame(rows),
            pl.concat(versions) if versions else contract(NETWORK_TOPIC).empty(),
            pl.concat(late) if late else _NO_LETTERS,
            self.watermark.value,
            counts,
            list(ahead),
        )

    # ----------------------------------------------------------------- recovery

    def remember(self, rows: Iterable[Row]) -> None:
        """Take for said what a process said ahead that was killed before it made a snapshot; in its order."""
        remembered = {row["change_id"]: row for row in rows}
        self._said |= remembered
        self._unsure |= remembered.keys()

    def dump(self) -> bytes:
        """The state as bytes."""
        kept = self._slots.dump(), self._settled, self._kept, self._said, self._stands
        return _LAYOUT.pack((self.watermark, self.network.dump(), *kept))

    @classmethod
    def load(cls, rules: TopologyRules, data: bytes) -> TopologyShard:
        """A shard from its bytes."""
        shard = cls(rules)
        shard.watermark, network, slots, shard._settled, shard._kept, shard._said, shard._stands = _LAYOUT.unpack(data)
        shard.watermark.delay = rules.delay
        shard.network.restore(network)
        shard._slots = Slots.load(slots)
        return shard


def _decisions(found: list[Finding]) -> list[tuple[str, str, str]]:
    return sorted((one.change_id, one.state, one.current) for one in found)
