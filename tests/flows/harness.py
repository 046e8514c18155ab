"""Runs the line-loss calculation on lists of readings, cut into batches at will, without Bytewax."""

from __future__ import annotations

import random

import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.line_loss.balance import BalanceRules, BalanceState
from flows.line_loss.contributions import READING, MeterShard
from flows.line_loss.investigation import InvestigationRules
from flows.line_loss.rules import LossRules
from flows.streaming.alignment import AlignmentRules
from flows.streaming.gate import PartitionGate
from flows.streaming.shards import ShardRouter, shard_key
from schemas import contract
from tests.flows.reference import SECOND, Reading, Rules

NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)
RULES = Rules(
    window=900 * SECOND,
    interval=900 * SECOND,
    max_gap=6 * 3600 * SECOND,
    span=2 * 3600 * SECOND,
    backcast=3600 * SECOND,
    forecast=8 * 3600 * SECOND,
    limit_kw=1000.0,
    rollovers=(10**4 * 10**9, 10**5 * 10**9),
    near=2 * 3600 * SECOND,
    rollover_kw=5.0,
)
LATENESS = 24 * 3600 * SECOND


def loss_rules(rules: Rules = RULES) -> LossRules:
    alignment = AlignmentRules(
        rules.interval,
        rules.max_gap,
        rules.span,
        rules.backcast,
        rules.forecast,
        rules.limit_kw,
        rules.rollovers,
        LATENESS + 24 * 3600 * SECOND,
    )
    return LossRules(rules.window, 120 * SECOND, LATENESS, 72 * 3600 * SECOND, alignment, 2.0, 3150.0, 1.0)


def balance_rules(shards: int, rules: Rules = RULES, every: int = 0) -> BalanceRules:
    keep = LATENESS + rules.max_gap + 72 * 3600 * SECOND
    return BalanceRules(
        rules.window, LATENESS, keep, shards, 0.95, 10.0, InvestigationRules(rules.window, every=every, steady=0)
    )


def batch(topic: str, frame: pl.DataFrame, frontier: int | None, **more: bool) -> Batch:
    return Batch(topic, 0, 1, 0, 0, frame, NO_LETTERS, NO_LETTERS, frame.height, frontier, **more)


def frame_of(readings: list[Reading]) -> pl.DataFrame:
    columns = {
        "meter_id": [r.meter for r in readings],
        "time": [r.time for r in readings],
        "import_kwh": [r.imported for r in readings],
        "export_kwh": [r.exported for r in readings],
        "quality": [r.quality for r in readings],
        "received_time": [r.received for r in readings],
        "reactive_power_kvar": [r.reactive for r in readings],
        "voltage_l1_v": [r.voltage for r in readings],
    }
    schema = contract("grid.meter.v1").polars
    frame = pl.DataFrame(
        columns, schema={name: pl.Int64 if name.endswith("time") else schema[name] for name in columns}
    )
    return frame.with_columns(pl.col("time", "received_time").cast(pl.Datetime("us", "UTC"))).with_row_index("_offset")


def network_of(areas: dict[str, tuple[str, list[str]]], region: str = "R") -> pl.DataFrame:
    rows = [{"element_id": region, "kind": "SubGeographicalRegion"}]
    for area, (head, customers) in areas.items():
        rows.append(
            {
                "element_id": area,
                "kind": "PowerTransformer",
                "container_id": region,
                "measuring_device_id": head,
            }
        )
        rows += [
            {"element_id": f"UP-{m}", "kind": "UsagePoint", "container_id": area, "measuring_device_id": m}
            for m in customers
        ]
    return versions([{"valid_from": 0, **row} for row in rows])


def versions(rows: list[dict[str, object]]) -> pl.DataFrame:
    schema = contract("grid.network.v1").polars
    full = [{name: row.get(name) for name in schema} for row in rows]
    plain = {name: pl.Int64 if name.startswith("valid") else kind for name, kind in schema.items()}
    return pl.DataFrame(full, schema=plain).with_columns(
        pl.col("valid_from", "valid_to").cast(pl.Datetime("us", "UTC"))
    )


class Calculation:
    """The shards and the balance, wired by hand; ``restart`` puts all state through its bytes."""

    def __init__(self, shards: int = 1, every: int = 0) -> None:
        self.count = shards
        self.router = ShardRouter("meter_id", READING, shards)
        self.shards = {shard_key(n): MeterShard(shard_key(n), loss_rules()) for n in range(shards)}
        self.balance = BalanceState(balance_rules(shards, every=every))
        self.gate = PartitionGate("meter_id", "time", 120 * SECOND, LATENESS)
        self.losses: list[pl.DataFrame] = []
        self.energies: list[pl.DataFrame] = []
        self.counts: dict[str, int] = {"late": 0}

    def network(self, frame: pl.DataFrame) -> None:
        piece = batch("grid.network.v1", frame, None, finished=True)
        for shard in self.shards.values():
            self._take(shard.take([], [piece]), [])
        self.balance.take([], [piece])
        self._keep(self.balance.rows())

    def readings(self, readings: list[Reading]) -> None:
        frame = frame_of(readings)
        verdict = self.gate.admit(frame)
        self.counts["late"] += int(verdict.late.sum())
        whole = batch("grid.meter.v1", frame.filter(pl.Series(verdict.accepted)), self.gate.frontier)
        for key, piece in self.router.pieces(whole):
            self._take(self.shards[key].take([piece], []), [])

    def feed(self, arriving: list[Reading], chance: random.Random, sizes: list[int]) -> None:
        """Readings in random batches, with restarts in between."""
        arriving = list(arriving)
        while arriving:
            size = chance.choice(sizes)
            self.readings(arriving[:size])
            del arriving[:size]
            if chance.random() < 0.2:
                self.restart()

    def restart(self) -> None:
        self.shards = {key: MeterShard.load(key, shard.rules, shard.dump()) for key, shard in self.shards.items()}
        self.balance = BalanceState.load(self.balance.rules, self.balance.dump())

    def end(self) -> None:
        self.gate.settle()
        last = batch("grid.meter.v1", frame_of([]), self.gate.frontier, finished=True)
        for shard in self.shards.values():
            self._take(shard.take([last], []), [])
            self._take(shard.flush(), [])
        self._keep(self.balance.flush())

    def _take(self, outcome: object, network: list[Batch]) -> None:
        for name, count in outcome.counts.items():  # type: ignore[attr-defined]
            self.counts[name] = self.counts.get(name, 0) + count
        self.energies += outcome.energies  # type: ignore[attr-defined]
        self.balance.take([outcome], network)  # type: ignore[list-item]
        self._keep(self.balance.rows())

    def _keep(self, rows: pl.DataFrame) -> None:
        if rows.height:
            self.losses.append(rows)
        self.energies += self.balance.energies()

    @property
    def final_losses(self) -> pl.DataFrame:
        return final(self.losses, ["element_id", "window_start"])

    @property
    def final_energies(self) -> pl.DataFrame:
        return final(self.energies, ["meter_id", "window_start"])


def final(frames: list[pl.DataFrame], identity: list[str]) -> pl.DataFrame:
    """One row per identity, that with the highest revision; equal revisions must be equal rows."""
    if not frames:
        return pl.DataFrame()
    rows = pl.concat(frames).unique(maintain_order=True)
    best = rows.filter(pl.col("revision") == pl.col("revision").max().over(identity))
    assert not best.select(identity).is_duplicated().any(), "two contents under one revision"
    return best.sort(identity)


__all__ = ["RULES", "Calculation", "final", "network_of", "versions"]
