"""The switching state of the medium voltage: operations of switches, and whose supply they change.

Values wait until no earlier one can come. What the watermark has reached is looked at before that, too, with a copy of
the state; what later values then show to have been otherwise is withdrawn. A row's revision is its place among the
rows of its change, even where it was said ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.streaming.event_time import MAXIMUM, MINIMUM, Watermark
from flows.streaming.letters import without_late
from flows.streaming.network import USAGE_POINT, NetworkTable, Version
from flows.streaming.packing import Layout
from flows.topology.positions import Operation, Positions, bay_of
from flows.topology.rows import Row, above, change_frame, in_place_of, same
from flows.topology.supply import SWITCHES, Effect, Supply

UNIT, TIME = "ftu_id", "time"
FTU_TOPIC, NETWORK_TOPIC = "grid.ftu.v1", "grid.network.v1"
VALUE = ("point", "time", "value", "quality", "cause")
"""Columns of a value that are used, beside the unit's id."""

_LAYOUT = Layout("the switching of the grid", 1)
_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)
_SURE, _HEARSAY = 0.99, 0.95  # of what was told when it happened, and of what an interrogation brought


@dataclass(frozen=True, slots=True)
class SwitchingRules:
    """How the switching state is followed; times in µs.

    Attributes:
        delay: the watermark's, behind the newest value of the slowest partition.
        lateness: how late a value may come.
        debounce: for how long a position must stand.
        switches: elements by unit and point, as ``FTU-1/XCBR1.Pos``, where the network table does not tell.
    """

    delay: int
    lateness: int
    debounce: int
    switches: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is said after a round of input.

    Attributes:
        changes: rows of TopologyChange.
        late: letters for the late topic.
        watermark: µs since 1970.
        counts: what became of the values.
        ahead: those of the rows that were said before they were settled, times in µs.
    """

    changes: pl.DataFrame
    late: pl.DataFrame
    watermark: int
    counts: dict[str, int]
    ahead: list[Row] = field(default_factory=list)


@dataclass
class _Head:
    """What is known up to a time."""

    until: int
    positions: Positions
    places: dict[str, int] = field(default_factory=dict)  # rows said of each change
    dead: dict[str, int] = field(default_factory=dict)  # changes of each kind and transformer
    power: dict[tuple[str, str], float] = field(default_factory=dict)  # kW by unit and bay
    caused: dict[str, list[Row]] = field(default_factory=dict)  # what the last operation of each switch did


class _Grid:
    """The medium voltage as the network table has it from a time on."""

    def __init__(self, network: NetworkTable, time: int, told: Mapping[str, str]) -> None:
        valid = {one: version for one in network.versions if (version := network.as_of(one, time)) is not None}
        self.valid = valid
        self.customers: dict[str, int] = {}
        for version in valid.values():
            if version.kind == USAGE_POINT and version.container:
                self.customers[version.container] = self.customers.get(version.container, 0) + 1
        self.normal = {one: not version.normal_open for one, version in valid.items() if version.kind in SWITCHES}
        self.elements = _points(valid, told)


def _points(valid: Mapping[str, Version], told: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Which position point is which switch: by the unit that measures it and the end of its id, or by the settings."""
    found: dict[tuple[str, str], str] = {}
    for element, version in valid.items():
        if version.kind in SWITCHES and version.device:
            found[version.device, f"{element.rsplit('-', 1)[-1].upper()}.Pos"] = element
    for point, element in told.items():
        unit, _, name = point.partition("/")
        found[unit, name] = element
    return found


class SwitchingShard:
    """The switching state of all units.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: SwitchingRules) -> None:
        self.rules = rules
        self.watermark = Watermark(rules.delay)
        self.network = NetworkTable()
        self._head = _Head(MINIMUM, Positions(rules.debounce))
        self._waiting: list[pl.DataFrame] = []
        self._said: dict[str, Row] = {}
        self._stands: dict[str, Row] = {}
        self._unsure: set[str] = set()  # who was killed may not have sent what it was about to say
        self._grid: _Grid | None = None
        self._grid_valid = (MAXIMUM, MINIMUM)
        self._supply: Supply | None = None

    # ------------------------------------------------------------------- rounds

    def take(self, units: Iterable[Batch], network: Iterable[Batch] = ()) -> Outcome:
        """Take in values and versions of the network; look at what is settled now."""
        for batch in network:
            if batch.frame.height and self.network.apply(batch.frame):
                self._grid_valid = (MAXIMUM, MINIMUM)
        units = list(units)
        counts = {"used": 0, "duplicate": 0, "late": 0}
        late = []
        for batch in units:
            frame = batch.frame
            if frame.height and self._head.until != MINIMUM:
                frame, letters = without_late(batch, frame, self._head.until, device=UNIT, time=TIME)
                counts["late"] += letters.height
                late.append(letters)
            if frame.height:
                self._waiting.append(
                    frame.select(pl.col(UNIT).cast(pl.String), *VALUE).with_columns(
                        pl.col(TIME).cast(pl.Int64), pl.col("cause").cast(pl.String)
                    )
                )
        watermark = self.watermark.observe(units)
        rows = [] if watermark == MINIMUM else self._settle(watermark - self.rules.lateness, counts)
        return self._outcome(rows, late, counts)

    def flush(self) -> Outcome:
        """The input has ended: look at all of it."""
        counts = {"used": 0, "duplicate": 0, "late": 0}
        # Those in front of a gap, too, that nobody has confirmed.
        newest = max(self.watermark.newest, *(int(one[TIME].to_numpy().max()) for one in self._waiting), MINIMUM)
        rows = [] if newest == MINIMUM else self._settle(newest + self.rules.debounce + 2, counts)
        rows += in_place_of(self._said, self._stands)
        self._said, self._stands = {}, {}
        self.watermark.value = max(self.watermark.value, newest)
        return self._outcome(rows, [], counts)

    def look_ahead(self) -> Outcome:
        """Look at what is not settled yet, as far as the watermark has come."""
        until = self.watermark.value
        if self._head.until == MINIMUM or until <= self._head.until or self._supply is None:
            return self._outcome([], [], {})
        frame, _ = self._before(until)
        head, supply = deepcopy(self._head), self._supply.copy()
        ahead = self._advance(head, supply, frame, until, settled=False)
        rows: list[Row] = []
        latest = {row["change_id"]: row for row in ahead}
        for key, row in latest.items():
            old = self._said.get(key)
            if old is None or not same(row, old) or key in self._unsure:
                rows.append(above(row, old))
        gone = {key: old for key, old in self._said.items() if key not in latest}
        rows += in_place_of(gone, self._stands)
        self._said |= {row["change_id"]: row for row in rows}
        self._unsure -= latest.keys()
        return self._outcome(rows, [], {}, rows)

    def _settle(self, until: int, counts: dict[str, int]) -> list[Row]:
        if until <= self._head.until:
            return []
        frame, taken = self._before(until)
        self._waiting = [rest for one in self._waiting if (rest := one.filter(pl.col(TIME) >= until)).height]
        counts["used"] += frame.height
        counts["duplicate"] += taken - frame.height
        rows: list[Row] = []
        begin = self._head.until
        if begin == MINIMUM and frame.height:
            begin = int(frame[TIME].to_numpy()[0])
        # What the network was until then is asked with what it was then.
        for change in [
            *(one for one in self.network.change_times() if begin < one < until and begin != MINIMUM),
            until,
        ]:
            part = frame.filter(pl.col(TIME) < change)
            frame = frame.filter(pl.col(TIME) >= change)
            self._connect(change - 1)
            assert self._supply is not None
            rows += self._advance(self._head, self._supply, part, change, settled=True)
        said = []
        for row in rows:
            key = row["change_id"]
            old = self._said.get(key)
            if old is not None:
                self._stands[key] = row
                if old["detected_time"] > row["detected_time"]:
                    continue  # what was said ahead goes beyond it
                del self._said[key], self._stands[key]
            said.append(above(row, old))
        return said

    def _connect(self, time: int) -> None:
        """The network as it is at a time; built anew only where it has changed."""
        begin, end = self._grid_valid
        if self._grid is not None and begin <= time < end:
            return
        times = self.network.change_times()
        self._grid_valid = (
            max((one for one in times if one <= time), default=MINIMUM),
            min((one for one in times if one > time), default=MAXIMUM),
        )
        before = None if self._grid is None else _conducting(self._grid.valid)
        self._grid = _Grid(self.network, time, self.rules.switches)
        if before != _conducting(self._grid.valid):
            self._supply = Supply(self._grid.valid, self._head.positions.closed())

    def _before(self, until: int) -> tuple[pl.DataFrame, int]:
        """The waiting values before a time, in order, each once; and how many there were."""
        if not self._waiting:
            return pl.DataFrame(
                schema={
                    UNIT: pl.String,
                    "point": pl.String,
                    TIME: pl.Int64,
                    "value": pl.Float64,
                    "quality": pl.Int32,
                    "cause": pl.String,
                }
            ), 0
        together = pl.concat(self._waiting).filter(pl.col(TIME) < until)
        # Of several values of a point at one time the surest counts, then the most telling cause.
        ordered = together.unique().sort(
            TIME, UNIT, "point", "quality", "cause", "value", descending=[False] * 3 + [False, True, False]
        )
        return ordered, together.height

    # ------------------------------------------------------------------- what it means

    def _advance(self, head: _Head, supply: Supply, frame: pl.DataFrame, until: int, *, settled: bool) -> list[Row]:
        assert self._grid is not None
        grid = self._grid
        found = head.positions.advance(frame, until, grid.elements, grid.normal)
        units = {element: unit_point for unit_point, element in grid.elements.items()}
        rows: list[Row] = []
        powers = frame.filter(pl.col("point").str.contains(r"^MMXU\d+\.TotW$"))
        for operation in found:
            if not supply.knows(operation.element):
                continue
            closed = operation.closed != operation.withdrawn
            effects = supply.operate(operation.element, closed=closed)
            behind = _power(head, powers, units[operation.element], operation.effective)
            rows.append(_of_switch(head, operation, units[operation.element], effects, grid, behind, settled))
            if operation.withdrawn:
                rows += [_taken_back(head, row, operation, settled) for row in head.caused.pop(operation.element, [])]
                continue
            head.caused[operation.element] = [_of_supply(head, one, operation, grid, settled) for one in effects]
            rows += head.caused[operation.element]
        last = powers.group_by(UNIT, "point").agg(pl.col("value").last())
        head.power |= {(unit, point.split(".")[0]): value / 1000 for unit, point, value in last.iter_rows()}
        head.until = until
        return rows

    def _outcome(
        self, rows: list[Row], late: list[pl.DataFrame], counts: dict[str, int], ahead: Iterable[Row] = ()
    ) -> Outcome:
        letters = pl.concat(late) if late else _NO_LETTERS
        return Outcome(change_frame(rows), letters, self.watermark.value, counts, list(ahead))

    # ----------------------------------------------------------------- recovery

    def remember(self, rows: Iterable[Row]) -> None:
        """Take for said what a process said ahead that was killed before it made a snapshot; in its order."""
        remembered = {row["change_id"]: row for row in rows}
        self._said |= remembered
        self._unsure |= remembered.keys()

    def dump(self) -> bytes:
        """The state as bytes."""
        return _LAYOUT.pack((self.watermark, self.network.dump(), self._head, self._waiting, self._said, self._stands))

    @classmethod
    def load(cls, rules: SwitchingRules, data: bytes) -> SwitchingShard:
        """A shard from its bytes."""
        shard = cls(rules)
        shard.watermark, network, shard._head, shard._waiting, shard._said, shard._stands = _LAYOUT.unpack(data)
        shard.watermark.delay = rules.delay
        shard.network.restore(network)
        if shard._head.until != MINIMUM:
            shard._connect(shard._head.until - 1)
        return shard


def _conducting(valid: Mapping[str, Version]) -> dict[str, tuple[object, ...]]:
    """What the supply depends on."""
    return {
        element: (version.kind, version.container, version.terminal_1, version.terminal_2, version.normal_open)
        for element, version in valid.items()
        if version.kind != USAGE_POINT
    }


def _power(head: _Head, powers: pl.DataFrame, unit_point: tuple[str, str], time: int) -> float | None:
    """What flowed through a switch before a time, kW; None where nobody tells."""
    unit, point = unit_point
    bay = bay_of(point)
    before = powers.filter((pl.col(UNIT) == unit) & (pl.col("point") == f"{bay}.TotW") & (pl.col(TIME) < time))
    return float(before["value"][-1]) / 1000 if before.height else head.power.get((unit, bay))


def _of_switch(
    head: _Head,
    operation: Operation,
    unit_point: tuple[str, str],
    effects: list[Effect],
    grid: _Grid,
    behind: float | None,
    settled: bool,
) -> Row:
    evidence = {"point": "/".join(unit_point), **operation.evidence}
    for name, some in (
        ("de_energised", [one for one in effects if one.before and not one.after]),
        ("re_energised", [one for one in effects if one.after and not one.before]),
        ("supply_changed", [one for one in effects if one.after and one.before]),
    ):
        if some:
            evidence[f"transformers_{name}"] = str(len(some))
            evidence[f"customers_{name}"] = str(sum(grid.customers.get(one.transformer, 0) for one in some))
    if behind is not None:
        evidence["kw_before"] = f"{behind:.1f}"
    names = ("open", "closed")
    return _row(
        head,
        operation.element,
        "SWITCH_OPERATED",
        operation.ordinal,
        names[not operation.closed],
        names[operation.closed],
        operation,
        evidence,
        settled,
        state="WITHDRAWN" if operation.withdrawn else "ACCEPTED",
    )


def _of_supply(head: _Head, effect: Effect, operation: Operation, grid: _Grid, settled: bool) -> Row:
    kind = "SUPPLY_CHANGED" if effect.before and effect.after else "RE_ENERGISED" if effect.after else "DE_ENERGISED"
    key = f"{effect.transformer}/{kind}"
    head.dead[key] = head.dead.get(key, 0) + 1
    evidence = {"switch": operation.element, "customers": str(grid.customers.get(effect.transformer, 0))}
    version = grid.valid.get(effect.transformer)
    if version is not None and version.rated_kva is not None:
        evidence["rated_kva"] = f"{version.rated_kva:g}"
    if len(effect.after) > 1:
        evidence["looped"] = "true"
    before, after = ("+".join(side) or None for side in (effect.before, effect.after))
    return _row(head, effect.transformer, kind, head.dead[key], before, after, operation, evidence, settled)


def _taken_back(head: _Head, row: Row, operation: Operation, settled: bool) -> Row:
    """What an operation did that is not believed any more."""
    head.places[row["change_id"]] += 1
    revision = 2 * head.places[row["change_id"]] + settled
    return {**row, "state": "WITHDRAWN", "detected_time": operation.detected, "revision": revision}


def _row(
    head: _Head,
    element: str,
    kind: str,
    ordinal: int,
    previous: str | None,
    current: str | None,
    operation: Operation,
    evidence: Mapping[str, str],
    settled: bool,
    state: str = "ACCEPTED",
) -> Row:
    key = f"{element}/{kind}/{ordinal}"
    head.places[key] = head.places.get(key, 0) + 1
    cause = operation.evidence.get("cause", "SPONTANEOUS")
    return {
        "element_id": element,
        "change_id": key,
        "kind": kind,
        "previous": previous,
        "current": current,
        "state": state,
        "effective_time": operation.effective,
        "detected_time": operation.detected,
        "confidence": _SURE if cause == "SPONTANEOUS" else _HEARSAY,
        "revision": 2 * head.places[key] + settled,
        "evidence": [{"key": name, "value": value} for name, value in evidence.items()],
    }
