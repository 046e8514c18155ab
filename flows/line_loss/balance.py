"""The energy balance of every measured element, from the sums of the meters' contributions (IEC TR 63353, 7.4).

An element with a measuring device is balanced against all customers below it; one without is the sum of the topmost
measured elements below it. Energy in is what the heads deliver and the customers feed in; energy out is what the
customers take and what returns through the heads.

The state are integer sums per (element, window). A row is a pure function of them, of the network and of whether the
window has been closed, and its revision counts the facts it rests on: those of its meters, two for each version of the
network (a version can make a window complete that had been closed as incomplete), one for the closing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from connectors.batch import Batch
from flows.line_loss.contributions import Outcome
from flows.line_loss.sums import COLUMNS, Contributions
from flows.line_loss.window_table import WindowTable
from flows.streaming.event_time import MINIMUM
from flows.streaming.network import Hierarchy, NetworkTable
from flows.streaming.packing import pack, unpack
from flows.streaming.registers import MICRO_WH_PER_KWH, Ints

_C = {name: position for position, name in enumerate(COLUMNS)}
_HEAD = ("head_in", "head_out", "heads_known", "heads_measured")
_VARIANCE_PER_KWH2 = 1e9
_COVERAGE = 2.0  # k = 2: about 95 % (GUM, 6.2.2)


@dataclass(frozen=True, slots=True)
class BalanceRules:
    """What the balance needs of the settings; times in µs."""

    window: int
    lateness: int
    keep: int
    shards: int
    alarm_completeness: float
    high_loss_percent: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """How sums of leaves become balances while the network does not change: sparse 0/1 matrices by element."""

    elements: list[str]
    row: Ints
    kinds: list[str]
    regions: list[str | None]
    expected_heads: Ints
    expected_customers: Ints
    head_of: Ints
    head_leaf: Ints
    area_of: Ints
    area_leaf: Ints


class BalanceState:
    """Balances of all elements."""

    def __init__(self, rules: BalanceRules) -> None:
        self.rules = rules
        self.network = NetworkTable()
        self._codes: dict[str, int] = {}
        self._table = WindowTable()
        self._ticked: dict[str, int] = {}
        self._watermarks: dict[str, int] = {}
        self._closed_until: int | None = None
        self._forget_plans()

    def _forget_plans(self) -> None:
        self._plans: dict[int, _Plan] = {}
        self._changes = self.network.change_times()
        self._facts = {element: np.array(times, np.int64) for element, times in self.network.facts().items()}
        self._ancestors = self.network.claimed_ancestors()
        self._up: tuple[Ints, Ints] | None = None

    # ------------------------------------------------------------------ rounds

    def take(self, outcomes: list[Outcome], network: list[Batch]) -> None:
        """Take in shards' outcomes and versions of the network."""
        changed = False
        for batch in network:
            changed |= bool(batch.frame.height and self.network.apply(batch.frame))
        if changed:
            self._forget_plans()
            self._table.mark_all()
        for outcome in outcomes:
            if len(outcome.contributions):
                self._add(outcome.contributions)
        for outcome in outcomes:
            self._ticked[outcome.shard] = max(outcome.ticked, self._ticked.get(outcome.shard, MINIMUM))
            self._watermarks[outcome.shard] = max(outcome.watermark, self._watermarks.get(outcome.shard, MINIMUM))

    def rows(self) -> pl.DataFrame:
        """The rows of LineLoss that are new or restated since they were last asked for."""
        watermark = self._least(self._watermarks)
        closed = None
        if watermark != MINIMUM:
            closed = (watermark - self.rules.lateness - 1) // self.rules.window
        rows = self._state(self._least(self._ticked), closed)
        if watermark != MINIMUM:
            self._table.forget((watermark - self.rules.keep) // self.rules.window)
        return rows

    def flush(self) -> pl.DataFrame:
        """The input has ended: all windows stated so far are closed."""
        return self._state(self._least(self._ticked), self._table.end)

    def _least(self, values: dict[str, int]) -> int:
        return min(values.values()) if len(values) >= self.rules.shards else MINIMUM

    def _add(self, more: Contributions) -> None:
        known = self._table.knows(more.window)
        if not known.all():  # only a version of the network can reach back that far
            more = more.take(known)
        codes = np.array([self._codes.setdefault(name, len(self._codes)) for name in more.elements], np.int64)
        self._table.add(len(self._codes), codes[more.element], more.window, more.values)

    # -------------------------------------------------------------------- rows

    def _state(self, ticked: int, closed: int | None) -> pl.DataFrame:
        """State the rows of windows that have ended and changed since they were last stated."""
        table = self._table
        if ticked == MINIMUM or not len(self.network):
            return pl.DataFrame()
        if closed is not None and (self._closed_until is None or closed > self._closed_until):
            table.mark(MINIMUM if self._closed_until is None else self._closed_until, closed)
            self._closed_until = closed
        windows = table.take_marked(ticked // self.rules.window)
        if not len(windows):
            return pl.DataFrame()
        parts = []
        for plan_at, group in self._by_plan(windows):
            parts.append(self._rows(self._plan(plan_at), group))
        parts = [part for part in parts if part.height]
        return pl.concat(parts) if parts else pl.DataFrame()

    def _by_plan(self, windows: Ints) -> list[tuple[int, Ints]]:
        """Windows grouped by the span between two changes of the network in which they begin."""
        begins = windows * self.rules.window
        epochs = np.searchsorted(np.array(self._changes, np.int64), begins, side="right")
        return [(int(epoch), windows[epochs == epoch]) for epoch in np.unique(epochs)]

    def _plan(self, epoch: int) -> _Plan:
        plan = self._plans.get(epoch)
        if plan is None:
            time = self._changes[epoch - 1] if epoch else MINIMUM
            if len(self._plans) >= 64:
                self._plans.pop(next(iter(self._plans)))
            plan = self._plans[epoch] = self._make_plan(self.network.hierarchy(time))
        return plan

    def _make_plan(self, hierarchy: Hierarchy) -> _Plan:
        elements = sorted(hierarchy.heads)
        for element in (*elements, *hierarchy.customers, *hierarchy.kind):
            self._codes.setdefault(element, len(self._codes))
        self._table.reach(len(self._codes))
        head_of, head_leaf, area_of, area_leaf = [], [], [], []
        for position, element in enumerate(elements):
            for head in hierarchy.heads[element]:
                head_of.append(position)
                head_leaf.append(self._codes[head])
            for area in hierarchy.areas[element]:
                area_of.append(position)
                area_leaf.append(self._codes[area])
        return _Plan(
            elements=elements,
            row=np.array([self._codes[e] for e in elements], np.int64),
            kinds=[hierarchy.kind[e] for e in elements],
            regions=[hierarchy.region.get(e) for e in elements],
            expected_heads=np.array([len(hierarchy.heads[e]) for e in elements], np.int64),
            expected_customers=np.array(
                [sum(hierarchy.customers[a] for a in hierarchy.areas[e]) for e in elements], np.int64
            ),
            head_of=np.array(head_of, np.int64),
            head_leaf=np.array(head_leaf, np.int64),
            area_of=np.array(area_of, np.int64),
            area_leaf=np.array(area_leaf, np.int64),
        )

    def _claims(self) -> tuple[Ints, Ints]:
        """(ancestor, leaf) codes over everything that was ever claimed: for sums of facts."""
        if self._up is None:
            pairs = [
                (
                    self._codes.setdefault(above, len(self._codes)),
                    self._codes.setdefault(leaf, len(self._codes)),
                )
                for leaf, reached in self._ancestors.items()
                for above in reached
            ]
            self._up = (
                np.array([a for a, _ in pairs], np.int64),
                np.array([leaf for _, leaf in pairs], np.int64),
            )
            self._table.reach(len(self._codes))
        return self._up

    def _rows(self, plan: _Plan, windows: Ints) -> pl.DataFrame:
        """Rows [elements x windows] that differ from what was last stated."""
        if not plan.elements:
            return pl.DataFrame()
        above, leaf = self._claims()
        table, rules = self._table, self.rules
        n, k = len(plan.elements), len(windows)
        places = table.places(windows)
        sums = table.sums[:, places]

        def gather(column: str, of: Ints, source: Ints) -> Ints:
            total = np.zeros((n, k), np.int64)
            np.add.at(total, of, sums[source, :, _C[column]])
            return total

        heads = {c: gather(c, plan.head_of, plan.head_leaf) for c in _HEAD}
        # Contributions of a leaf mix its head's and its customers' variances; a head below another head counts
        # with its customers' there. The head's own share is small and errs on the wide side.
        areas = {
            c: gather(c, plan.area_of, plan.area_leaf) for c in ("customers_in", "customers_out", "customers_measured")
        }
        both = self._leaves(plan)
        spread = {c: gather(c, *both) for c in ("variance_systematic", "variance_random", "measured_us")}
        facts_all = np.zeros((sums.shape[0], k), np.int64)
        np.add.at(facts_all, above, sums[leaf, :, _C["facts"]])
        started_all = np.zeros((sums.shape[0], k), np.int64)
        np.add.at(started_all, above, sums[leaf, :, _C["started"]])
        begins = windows * rules.window
        ends = begins + rules.window
        none = np.zeros(0, np.int64)
        versions = np.array([np.searchsorted(self._facts.get(e, none), ends) for e in plan.elements], np.int64)
        energy_in = heads["head_in"] + areas["customers_in"]
        energy_out = areas["customers_out"] + heads["head_out"]
        expected = (plan.expected_heads + plan.expected_customers)[:, None]
        reporting = np.minimum(heads["heads_measured"] + areas["customers_measured"], expected)
        complete = reporting >= expected
        closed = windows[None, :] < (self._closed_until if self._closed_until is not None else MINIMUM)
        revision = facts_all[plan.row] + 2 * versions + (closed & ~complete)
        exists = (heads["heads_known"] >= plan.expected_heads[:, None]) & (started_all[plan.row] > 0)
        stated = table.stated[np.ix_(plan.row, places)]
        at = np.nonzero(exists & (revision > stated))
        if not len(at[0]):
            return pl.DataFrame()
        e, w = at
        table.stated[plan.row[e], places[w]] = revision[at]
        share = np.minimum(spread["measured_us"][at] / (expected[e, 0] * rules.window), 1.0)
        time = pl.Datetime("us", "UTC")
        systematic = spread["variance_systematic"][at] / _VARIANCE_PER_KWH2
        random = spread["variance_random"][at] / _VARIANCE_PER_KWH2
        status = np.where(complete[at], "COMPLETE", np.where(closed[0, w], "INCOMPLETE", "PROVISIONAL"))
        loss = energy_in[at] - energy_out[at]
        frame = pl.DataFrame(
            {
                "element_id": pl.Series(plan.elements, dtype=pl.String).gather(e),
                "element_kind": pl.Series(plan.kinds, dtype=pl.String).gather(e),
                "region_id": pl.Series(plan.regions, dtype=pl.String).gather(e),
                "window_start": pl.Series(begins[w]).cast(time),
                "window_end": pl.Series(ends[w]).cast(time),
                "revision": revision[at],
                "energy_in_kwh": energy_in[at] / MICRO_WH_PER_KWH,
                "energy_out_kwh": energy_out[at] / MICRO_WH_PER_KWH,
                "loss_kwh": loss / MICRO_WH_PER_KWH,
                "uncertainty_kwh": _COVERAGE * np.sqrt(np.maximum(systematic + random, 0)),
                "systematic_uncertainty_kwh": _COVERAGE * np.sqrt(np.maximum(systematic, 0)),
                "expected_meters": expected[e, 0].astype(np.int32),
                "reporting_meters": reporting[at].astype(np.int32),
                "completeness": share,
                "status": status,
            }
        )
        return self._with_alarms(frame)

    def _leaves(self, plan: _Plan) -> tuple[Ints, Ints]:
        """(element, leaf) pairs of heads and areas together, each once."""
        pairs = np.unique(
            np.concatenate([plan.head_of, plan.area_of]) * (1 << 32) + np.concatenate([plan.head_leaf, plan.area_leaf])
        )
        return pairs >> 32, pairs & 0xFFFFFFFF

    def _with_alarms(self, frame: pl.DataFrame) -> pl.DataFrame:
        percent = pl.when(pl.col("energy_in_kwh") > 0).then(100 * pl.col("loss_kwh") / pl.col("energy_in_kwh"))
        enough = pl.col("completeness") >= self.rules.alarm_completeness
        high = pl.col("loss_kwh") - pl.col("uncertainty_kwh") > pl.col("energy_in_kwh") * (
            self.rules.high_loss_percent / 100
        )
        negative = pl.col("loss_kwh") + pl.col("uncertainty_kwh") < 0
        alarm = (
            pl.when(enough & negative)
            .then(pl.lit("NEGATIVE_LOSS"))
            .when(enough & high & (pl.col("energy_in_kwh") > 0))
            .then(pl.lit("HIGH_LOSS"))
            .otherwise(pl.lit("NONE"))
        )
        suspect = pl.Struct({"meter_id": pl.String, "score": pl.Float64, "missing_kwh": pl.Float64})
        return frame.with_columns(
            percent.alias("loss_percent"),
            pl.lit(None, pl.Float64).alias("technical_loss_kwh"),
            pl.lit(None, pl.Float64).alias("unaccounted_kwh"),
            alarm.alias("alarm"),
            pl.Series("suspects", [[]], dtype=pl.List(suspect)).new_from_index(0, frame.height).alias("suspects"),
        )

    # ---------------------------------------------------------------- recovery

    def dump(self) -> bytes:
        """The state as compressed bytes."""
        return pack(
            (
                self.network.dump(),
                self._codes,
                self._table,
                self._ticked,
                self._watermarks,
                self._closed_until,
            )
        )

    @classmethod
    def load(cls, rules: BalanceRules, data: bytes) -> BalanceState:
        """A state from its bytes."""
        state = cls(rules)
        network, state._codes, state._table, state._ticked, state._watermarks, state._closed_until = unpack(data)
        state.network.restore(network)
        state._forget_plans()
        return state
