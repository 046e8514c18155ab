"""One shard of substations: messages wait until no earlier one can come, then they are looked at for good.

What is said of settled messages stands. On a stream that would be as late as the allowed lateness, so what the
watermark has reached is looked at before, too, with a copy of the state; what later messages then show to have been
wrong is withdrawn: CLEARED, with ``withdrawn`` in its evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from flows.ied_supervision.advance import Row, advance
from flows.ied_supervision.blocks import Blocks, station_by
from flows.ied_supervision.episode import Revision
from flows.ied_supervision.messages import Messages
from flows.ied_supervision.policy import Expected, Override, Policy
from flows.ied_supervision.state import State
from flows.ied_supervision.values import EntryMeaning
from flows.streaming.event_time import MINIMUM, Watermark
from flows.streaming.letters import without_late
from flows.streaming.packing import Layout
from schemas import contract

TIME, DEVICE = "received_time", "ied_id"
MESSAGE = tuple(name for name in contract("grid.ied.v1").polars if name != DEVICE)
"""Columns of a message that a shard uses, beside the device's id."""

_LAYOUT = Layout("the supervision of IEDs", 3)
_NO_LETTERS = pl.DataFrame(schema=LETTER_SCHEMA)
_WITHDRAWN = "withdrawn"
_TIMES = ("start_time", "detected_time", "updated_time", "end_time")


@dataclass(frozen=True, slots=True)
class SupervisionRules:
    """How the supervision is made; times in µs.

    Attributes:
        delay: the watermark's, behind the newest message of the slowest partition.
        lateness: how late a message may come.
        station: regular expression whose group is the substation of a device.
        overrides: how the rules are tuned.
        meanings: what entries mean whose references do not say so.
        expected: what messages are expected to carry.
    """

    delay: int
    lateness: int
    station: str
    overrides: tuple[Override, ...] = ()
    meanings: tuple[EntryMeaning, ...] = ()
    expected: tuple[Expected, ...] = ()

    def station_of(self) -> Callable[[str], str]:
        """Gives a device's substation."""
        return station_by(self.station)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a shard says after a round of input.

    Attributes:
        anomalies: rows of IedAnomaly.
        late: letters for the late topic.
        watermark: µs since 1970.
        counts: what became of the messages.
        ahead: those of the rows that were said before they were settled, times in µs.
    """

    anomalies: pl.DataFrame
    late: pl.DataFrame
    watermark: int
    counts: dict[str, int]
    ahead: list[Row] = field(default_factory=list)


class SupervisionShard:
    """The supervision of the substations of one shard.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: SupervisionRules) -> None:
        self.rules = rules
        self.watermark = Watermark(rules.delay)
        self._policy = Policy(rules.overrides, rules.expected)
        self._blocks = Blocks(rules.station_of())
        self._state = State()
        self._waiting: list[Messages] = []
        self._live: dict[str, Row] = {}  # the last row said of each anomaly before it was settled
        self._stood: dict[str, Row] = {}  # and what had been settled of those of them that were over

    # ------------------------------------------------------------------- rounds

    def take(self, batches: Iterable[Batch]) -> Outcome:
        """Take in messages, and look at those that are settled now."""
        batches = list(batches)
        counts = {"used": 0, "duplicate": 0, "late": 0}
        late = []
        for batch in batches:
            frame = batch.frame
            if frame.height and self._state.until != MINIMUM:
                frame, letters = without_late(batch, frame, self._state.until, device=DEVICE, time=TIME)
                counts["late"] += letters.height
                late.append(letters)
            if frame.height:
                self._waiting.append(Messages.of(frame, *self._blocks.of(frame), self.rules.meanings))
        watermark = self.watermark.observe(batches, jump=self.rules.lateness // 2)
        rows = [] if watermark == MINIMUM else self._settle(watermark - self.rules.lateness, counts)
        return self._outcome(rows, late, counts)

    def flush(self) -> Outcome:
        """The input has ended: look at all of it, and let time go on to its newest message."""
        counts = {"used": 0, "duplicate": 0, "late": 0}
        newest = max((int(one.received.max()) for one in self._waiting), default=MINIMUM)
        newest = max(newest, self.watermark.newest)
        rows = [] if newest == MINIMUM else self._settle(newest + 1, counts)
        rows += self._taken_back({}, self._state, Messages.none())
        self._live = {}
        self.watermark.value = max(self.watermark.value, newest)
        return self._outcome(rows, [], counts)

    def look_ahead(self) -> Outcome:
        """Look at what is not settled yet, as far as the watermark has come."""
        settled, until = self._state, self.watermark.value
        if until <= settled.until:
            return self._outcome([], [], {})
        messages, _ = self._before(until)
        ahead = settled.copy()
        said = {row["anomaly_id"]: row for row in advance(ahead, self._blocks, self._policy, messages, until, settled)}
        for key, row in said.items():
            old = self._live.get(key)
            if old is not None and row["revision"] <= old["revision"]:
                # The messages have become more, but those up to here as many as they were up to there.
                row["revision"] = old["revision"]
                row["revision"] += row != old
        self._remember_settled(said)
        rows = [row for key, row in said.items() if row != self._live.get(key)]
        gone = self._taken_back(said, ahead, messages)
        # What was withdrawn may be said again: its revision is remembered until its time is settled.
        back = [row for row in (*self._live.values(), *gone) if is_withdrawn(row) and row["anomaly_id"] not in said]
        self._live = {row["anomaly_id"]: row for row in back if row["updated_time"] >= settled.until} | said
        rows += gone
        return self._outcome(rows, [], {}, rows)

    def _taken_back(self, said: dict[str, Row], state: State, messages: Messages) -> list[Row]:
        """What was said before it was settled, and is not so."""
        rows = []
        # A silence that has ended may have been said to have come again.
        lasting = {
            episode.anomaly_id: episode
            for episode in (*state.ended.values(), *state.past.values(), *state.open.values())
        }
        for together in state.stations.values():
            for one in (together.ended, together.episode):
                if one is not None:
                    lasting[one.anomaly_id] = one
        for key, old in self._live.items():
            if key in said or is_withdrawn(old):
                continue
            revision = max(old["revision"] + 1, self._revision_ahead(messages, old))
            episode = lasting.get(key)
            if episode is None and key in self._stood:  # it was over, and another one has come since
                rows.append({**self._stood[key], "revision": revision})
            elif episode is None:
                rows.append(_withdrawn(old, revision))
            else:  # it is there, but not as it was said
                episode.revision = revision
                rows.append(episode.row(old["severity"]))
        return rows

    def _remember_settled(self, keys: Iterable[str]) -> None:
        """Of anomalies that are said again what stood of them: later ones of their kind may take their place."""
        self._stood = {key: row for key, row in self._stood.items() if key in self._live}
        keys = {key for key in keys if key not in self._stood}
        if not keys:
            return
        state = self._state
        past = [*state.ended.values(), *state.past.values(), *(one.ended for one in state.stations.values())]
        for episode in past:
            if episode is not None and episode.anomaly_id in keys:
                tuned = self._policy.of(episode.rule, episode.ied_id, episode.control_block or "")
                self._stood[episode.anomaly_id] = episode.row(tuned.severity)

    def _settle(self, until: int, counts: dict[str, int]) -> list[Row]:
        if until <= self._state.until:
            return []
        messages, taken = self._before(until)
        for one in self._waiting:
            assert not len(one) or self._state.until == MINIMUM or int(one.received.min()) >= self._state.until
        self._waiting = [rest for one in self._waiting if len(rest := one.since(until))]
        counts["used"] += len(messages)
        counts["duplicate"] += taken - len(messages)
        rows = advance(self._state, self._blocks, self._policy, messages, until)
        for row in rows:
            old = self._live.get(row["anomaly_id"])
            if old is None:
                continue
            if row["anomaly_id"] in self._stood:
                self._stood[row["anomaly_id"]] = row
            if row["revision"] > old["revision"]:
                del self._live[row["anomaly_id"]]
            elif is_withdrawn(old):
                row["revision"] = old["revision"] + 1
                self._live[row["anomaly_id"]] = {**old, "revision": row["revision"]}
        return rows

    def _before(self, until: int) -> tuple[Messages, int]:
        """The waiting messages that were received before a time, ordered, each once; and how many there were."""
        together = Messages.joined([one.before(until) for one in self._waiting])
        return together.ordered(), len(together)

    def _revision_ahead(self, messages: Messages, row: Row) -> int:
        """A revision that no row has which rests on less."""
        name = row["ied_id"], row["control_block"]
        known = [n for n, one in enumerate(self._blocks.names) if one == name and n < len(self._state.ordinal)]
        settled = [int(self._state.ordinal[block]) for block in known]
        counts = [int((messages.block == block).sum()) for block in known]
        return max(
            (Revision(n).of(n + m, timer=True, more=31) for n, m in zip(settled, counts, strict=True)), default=0
        )

    def _outcome(
        self, rows: list[Row], late: list[pl.DataFrame], counts: dict[str, int], ahead: Iterable[Row] = ()
    ) -> Outcome:
        letters = pl.concat(late) if late else _NO_LETTERS
        return Outcome(anomaly_frame(rows), letters, self.watermark.value, counts, list(ahead))

    # ----------------------------------------------------------------- recovery

    def remember(self, rows: list[Row]) -> Outcome:
        """Take for said what a process said ahead that was killed before it made a snapshot; in its order.

        Returns:
            what is to be said once more, for nobody knows how much of it every sink had when it was killed.
        """
        self._live |= {row["anomaly_id"]: row for row in rows}
        self._remember_settled(self._live)
        return self._outcome(rows, [], {})

    def dump(self) -> bytes:
        """The state as bytes."""
        waiting = Messages.joined(self._waiting)
        return _LAYOUT.pack((self.watermark, self._blocks.dump(), self._state, waiting, self._live, self._stood))

    @classmethod
    def load(cls, rules: SupervisionRules, data: bytes) -> SupervisionShard:
        """A shard from its bytes."""
        shard = cls(rules)
        shard.watermark, blocks, shard._state, waiting, shard._live, shard._stood = _LAYOUT.unpack(data)
        shard.watermark.delay = rules.delay
        shard.watermark.resumed()
        shard._blocks = Blocks.load(rules.station_of(), blocks)
        shard._waiting = [waiting] if len(waiting) else []
        return shard


def is_withdrawn(row: Row) -> bool:
    """Whether a row takes back what was said ahead."""
    return any(one["key"] == _WITHDRAWN for one in row["evidence"])


def _withdrawn(row: Row, revision: int) -> Row:
    evidence = [*row["evidence"], {"key": _WITHDRAWN, "value": "a message that came later explains it"}]
    return {
        **row,
        "state": "CLEARED",
        "end_time": row["updated_time"],
        "revision": revision,
        "evidence": evidence,
        "message": f"withdrawn: {row['message']}",
    }


def anomaly_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of ``IedAnomaly``, times in µs, as a frame."""
    schema = contract("grid.ied-anomaly.v1").polars
    plain = {name: pl.Int64 if name in _TIMES else kind for name, kind in schema.items()}
    return pl.DataFrame(rows, schema=plain, infer_schema_length=None).cast(schema)
