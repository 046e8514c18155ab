"""IED messages made by hand, and the supervision run on them in batches at will, without Bytewax."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.ied_supervision.advance import Row
from flows.ied_supervision.policy import Expected, Override
from flows.ied_supervision.shard import DEVICE, MESSAGE, TIME, Outcome, SupervisionRules, SupervisionShard
from flows.ied_supervision.values import EntryMeaning
from flows.streaming.gate import PartitionGate
from flows.streaming.shards import ShardRouter, shard_key
from schemas import contract

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_800_000_000 * SECOND
LATENESS = 60 * SECOND
TOPIC = "grid.ied.v1"
_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)


@dataclass(frozen=True)
class Message:
    """One message; times in µs from ``START``."""

    received: int
    ied: str = "S1-A"
    kind: str = "GOOSE"
    time: int = 0
    st: int | None = 1
    sq: int | None = 0
    live: int | None = 2_000
    values: tuple[str, ...] | None = ("true", "false")
    references: tuple[str, ...] | None = None
    address: str | None = "02:00:00:00:00:01"
    conf_rev: int | None = 1
    app_id: int | None = 1
    simulation: bool | None = False
    nds_com: bool | None = False
    entry: str | None = None
    overflow: bool | None = None
    clock_failure: bool | None = None
    unsynchronised: bool | None = None
    beh: int | None = None
    health: int | None = None
    phy_health: int | None = None
    announced: int | None = None

    @property
    def block(self) -> str:
        """Its control block."""
        return f"{self.ied}/{self.kind}"


def goose(
    ied: str = "S1-A",
    *,
    until: int = 60 * SECOND,
    every: int = SECOND,
    since: int = 0,
    changes: Sequence[int] = (),
    repeats: Sequence[int] = (),
    live: int = 2_000,
    st: int = 1,
    sq: int = 0,
) -> list[Message]:
    """A publisher that keeps its heartbeat, and changes its first value now and then; so long after it repeats that."""
    made, state_time, value = [], since, True
    due = sorted(changes)
    more = {at + wait for at in due for wait in (0, *repeats) if since <= at + wait < until}
    for now in sorted({*range(since, until, every), *more}):
        if now in due:
            st, sq, state_time, value = st + 1, 0, now, not value
        values = (str(value).lower(), "false")
        made.append(Message(now, ied, time=state_time, st=st, sq=sq, values=values, live=live))
        sq += 1
    return made


def health(ied: str = "S1-A", *, until: int, every: int = 10 * SECOND) -> list[Message]:
    """A logical node that tells its health."""
    blank = Message(0, ied, "HEALTH", st=None, sq=None, live=None, values=None, app_id=None, conf_rev=None)
    return [replace(blank, received=at, time=at, beh=1, health=1, phy_health=1) for at in range(0, until, every)]


def report(ied: str = "S1-A", *, until: int, every: int = 5 * SECOND) -> list[Message]:
    """A report control block with an integrity period."""
    blank = Message(0, ied, "REPORT", st=None, live=None, app_id=None, overflow=False)
    return [
        replace(blank, received=at, time=at - 3_000, sq=number, entry=f"{number + 1:016x}")
        for number, at in enumerate(range(0, until, every))
    ]


def frame_of(messages: Sequence[Message]) -> pl.DataFrame:
    """The messages in the contract's columns, in their order."""
    schema = contract(TOPIC).polars
    rows = [
        {
            "ied_id": m.ied,
            "kind": m.kind,
            "control_block": m.block,
            "time": START + m.time,
            "received_time": START + m.received,
            "source_address": m.address,
            "app_id": m.app_id,
            "st_num": m.st,
            "sq_num": m.sq,
            "time_allowed_to_live_ms": m.live,
            "conf_rev": m.conf_rev,
            "simulation": m.simulation,
            "nds_com": m.nds_com,
            "entry_id": m.entry,
            "buffer_overflow": m.overflow,
            "clock_failure": m.clock_failure,
            "clock_not_synchronized": m.unsynchronised,
            "beh": m.beh,
            "health": m.health,
            "phy_health": m.phy_health,
            "num_entries": m.announced if m.announced is not None else None if m.values is None else len(m.values),
            "data": None
            if m.values is None
            else [
                {"reference": reference, "value": value, "quality": None}
                for reference, value in zip(m.references or (None,) * len(m.values), m.values, strict=True)
            ],
        }
        for m in messages
    ]
    times = ("time", "received_time")
    plain = {name: pl.Int64 if name in times else kind for name, kind in schema.items()}
    return pl.DataFrame(rows, schema=plain).cast(schema).with_row_index("_offset")


@dataclass
class Supervision:
    """Shards, wired by hand; ``restart`` puts all state through its bytes."""

    shards: int = 1
    overrides: tuple[Override, ...] = ()
    meanings: tuple[EntryMeaning, ...] = ()
    expected: tuple[Expected, ...] = ()
    rows: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"late": 0, "used": 0, "duplicate": 0})
    said: dict[str, list[Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = SupervisionRules(SECOND, LATENESS, "^([^-]+)", self.overrides, self.meanings, self.expected)
        self.router = ShardRouter(DEVICE, MESSAGE, self.shards, self.rules.station_of())
        self.parts = {shard_key(n): SupervisionShard(self.rules) for n in range(self.shards)}
        self.gate = PartitionGate(DEVICE, TIME, SECOND, LATENESS)
        self.snapshot()

    def take(self, messages: Sequence[Message]) -> None:
        """One batch, in the order of arrival."""
        frame = frame_of(messages)
        verdict = self.gate.admit(frame)
        self.counts["late"] += int(verdict.late.sum())
        self._take(frame.filter(pl.Series(verdict.accepted)))

    def _take(self, frame: pl.DataFrame, **more: bool) -> None:
        whole = Batch(TOPIC, 0, 1, 0, 0, frame, _NO_LETTERS, _NO_LETTERS, frame.height, self.gate.frontier, **more)
        for key, piece in self.router.pieces(whole):
            self._keep(self.parts[key].take([piece]))

    def look_ahead(self) -> None:
        """Look at what is not settled."""
        for key, part in self.parts.items():
            outcome = part.look_ahead()
            self.said.setdefault(key, []).extend(outcome.ahead)
            self._keep(outcome)

    def restart(self) -> None:
        """Stop, and go on from the snapshot."""
        self.snapshot()
        self.kill()

    def snapshot(self) -> None:
        """Keep the state."""
        dumps = {key: part.dump() for key, part in self.parts.items()}
        self.kept = dumps, self.gate.state(), dict(self.counts)
        self.said = {}

    def kill(self) -> None:
        """Go on from the last snapshot, knowing what was said ahead since; the caller sends again what came since."""
        dumps, gate, counts = self.kept
        self.parts = {key: SupervisionShard.load(self.rules, data) for key, data in dumps.items()}
        for key, rows in self.said.items():
            self._keep(self.parts[key].remember(json.loads(json.dumps(rows))))
        self.gate = PartitionGate(DEVICE, TIME, SECOND, LATENESS)
        self.gate.restore(gate)
        self.counts = dict(counts)

    def end(self) -> None:
        """The input has ended."""
        self.gate.settle()
        self._take(frame_of([]), finished=True)
        for part in self.parts.values():
            self._keep(part.flush())

    def _keep(self, outcome: Outcome) -> None:
        for name, count in outcome.counts.items():
            self.counts[name] += count
        if outcome.anomalies.height:
            self.rows.append(outcome.anomalies)

    @property
    def final(self) -> pl.DataFrame:
        """One row per anomaly, that with the highest revision; equal revisions must be equal rows."""
        if not self.rows:
            return contract("grid.ied-anomaly.v1").empty()
        rows = pl.concat(self.rows)
        best = rows.filter(pl.col("revision") == pl.col("revision").max().over("anomaly_id"))
        best = best.with_columns(pl.struct("evidence").struct.json_encode().alias("_said"))
        best = best.unique([name for name in best.columns if name != "evidence"], maintain_order=True).drop("_said")
        assert not best["anomaly_id"].is_duplicated().any(), "two contents under one revision"
        return best.sort("anomaly_id")

    @property
    def standing(self) -> pl.DataFrame:
        """The final rows without those that were withdrawn."""
        return self.final.filter(~pl.col("message").str.starts_with("withdrawn"))


def run(
    messages: Iterable[Message], *overrides: Override, sizes: int = 50, expected: tuple[Expected, ...] = ()
) -> pl.DataFrame:
    """The final anomalies of messages that arrive in the order of their capture."""
    supervision = Supervision(overrides=overrides, expected=expected)
    ordered = sorted(messages, key=lambda one: one.received)
    for at in range(0, len(ordered), sizes):
        supervision.take(ordered[at : at + sizes])
    supervision.end()
    return supervision.final


def disturbed(messages: Sequence[Message], chance: random.Random, lateness: int, twice: float) -> list[Message]:
    """The same messages in another order of arrival, none more than ``lateness`` late, some of them twice."""
    copies = [*messages, *(one for one in messages if chance.random() < twice)]
    return sorted(copies, key=lambda one: (one.received + chance.randrange(max(lateness, 1)), chance.random()))
