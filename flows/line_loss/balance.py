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
from flows.line_loss import alarms
from flows.line_loss.areas.data import Bools, Floats
from flows.line_loss.contributions import Outcome
from flows.line_loss.investigation import InvestigationRules
from flows.line_loss.learning import FINAL, Learning
from flows.line_loss.plan import Plan, make_plan
from flows.line_loss.sums import COLUMNS, Contributions
from flows.line_loss.window_table import SAID, WindowTable
from flows.streaming.event_time import MAXIMUM, MINIMUM
from flows.streaming.network import NetworkTable
from flows.streaming.packing import Layout
from flows.streaming.registers import MICRO_WH_PER_KWH, Ints

_LAYOUT = Layout("the balance of line losses", 1)
_C = {name: position for position, name in enumerate(COLUMNS)}
_HEAD = ("head_in", "head_out", "heads_known", "heads_measured", "heads_us")
_CUSTOMERS = ("customers_in", "customers_out", "customers_measured", "customers_us")
_VARIANCE_PER_KWH2 = 1e9
_COVERAGE = 2.45  # 95 % by a Student t with 6 degrees of freedom (GUM, G.4): the variances are estimates, too
_ALARM_DAYS = 5  # evidence is summed up from so many days before
_TIME = pl.Datetime("us", "UTC")
_S = {name: position for position, name in enumerate(SAID)}


@dataclass(frozen=True, slots=True)
class BalanceRules:
    """What the balance needs of the settings; times in µs."""

    window: int
    lateness: int
    keep: int
    shards: int
    alarm_completeness: float
    high_loss_percent: float
    investigation: InvestigationRules


@dataclass(frozen=True, slots=True)
class _Told:
    """What studies say of elements; [elements, windows], see ``Said``; and where they speak of all areas below."""

    head: Floats
    customers: Floats
    technical: Floats
    systematic: Floats
    random: Floats
    doubt: Floats
    beyond: Floats
    studied: Bools


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
        self._learning = Learning(rules.investigation, rules.keep, self._codes, self._table)
        self._forget_plans()

    def _forget_plans(self) -> None:
        self._plans: dict[int, Plan] = {}
        self._changes = self.network.change_times()
        self._facts = {element: np.array(times, np.int64) for element, times in self.network.facts().items()}
        self._ancestors = self.network.claimed_ancestors()
        self._up: tuple[Ints, Ints] | None = None
        self._learning.investigation.set_network(self.network)

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
            self._learning.investigation.history.add(outcome.shard, outcome.meters, outcome.worked_out, outcome.told)
            self._ticked[outcome.shard] = max(outcome.ticked, self._ticked.get(outcome.shard, MINIMUM))
            self._watermarks[outcome.shard] = max(outcome.watermark, self._watermarks.get(outcome.shard, MINIMUM))

    def rows(self) -> pl.DataFrame:
        """The rows of LineLoss that are new or restated since they were last asked for."""
        watermark, ticked = self._least(self._watermarks), self._least(self._ticked)
        closed = None
        if watermark != MINIMUM:
            closed = (watermark - self.rules.lateness - 1) // self.rules.window
            self._learn(ticked, watermark)
        rows = self._state(ticked, closed)
        if watermark != MINIMUM:
            self._forget(watermark)
        return rows

    def flush(self) -> pl.DataFrame:
        """The input has ended: all windows stated so far are closed, and studied for good."""
        ticked = self._least(self._ticked)
        self._learn(ticked, MAXIMUM)
        return self._state(ticked, self._table.end)

    def _learn(self, ticked: int, watermark: int) -> None:
        if ticked != MINIMUM and len(self.network):
            self._learning.investigate(ticked, watermark)

    def energies(self) -> list[pl.DataFrame]:
        """Frames of MeterEnergy of meters whose clocks have been put right, since they were last asked for."""
        return self._learning.energies()

    def _forget(self, watermark: int) -> None:
        before = min((watermark - self.rules.keep) // self.rules.window, self._learning.needed_from())
        self._learning.forget(before)
        self._table.forget(before)

    def _least(self, values: dict[str, int]) -> int:
        return min(values.values()) if len(values) >= self.rules.shards else MINIMUM

    def _add(self, more: Contributions) -> None:
        known = self._table.knows(more.window)
        if not known.all():  # only a version of the network can reach back that far
            more = more.take(known)
        if self.rules.investigation.every:  # else only final studies speak, and nothing changes after them
            self._learning.soil(more)
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

    def _plan(self, epoch: int) -> Plan:
        plan = self._plans.get(epoch)
        if plan is None:
            time = self._changes[epoch - 1] if epoch else MINIMUM
            if len(self._plans) >= 64:
                self._plans.pop(next(iter(self._plans)))
            losing = self._learning.investigation.losing
            plan = self._plans[epoch] = make_plan(self.network.hierarchy(time), self._codes, losing)
            self._table.reach(len(self._codes))
        return plan

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

    def _rows(self, plan: Plan, windows: Ints) -> pl.DataFrame:
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
        areas = {c: gather(c, plan.area_of, plan.area_leaf) for c in _CUSTOMERS}
        both = self._leaves(plan)
        spread = {c: gather(c, *both) for c in ("variance_systematic", "variance_random")}
        facts_all = np.zeros((sums.shape[0], k), np.int64)
        np.add.at(facts_all, above, sums[leaf, :, _C["facts"]])
        grade = np.zeros((sums.shape[0], k), np.int64)
        np.maximum.at(grade, above, table.studied[leaf][:, places])
        grade[:, table.settled[places]] = FINAL
        started_all = np.zeros((sums.shape[0], k), np.int64)
        np.add.at(started_all, above, sums[leaf, :, _C["started"]])
        begins = windows * rules.window
        ends = begins + rules.window
        none = np.zeros(0, np.int64)
        versions = np.array([np.searchsorted(self._facts.get(e, none), ends) for e in plan.elements], np.int64)
        energy_in = heads["head_in"] + areas["customers_in"]
        energy_out = areas["customers_out"] + heads["head_out"]
        told = self._told(plan, places)
        expected = (plan.expected_heads + plan.expected_customers)[:, None]
        reporting = np.minimum(heads["heads_measured"] + areas["customers_measured"], expected)
        complete = reporting >= expected
        closed = windows[None, :] < (self._closed_until if self._closed_until is not None else MINIMUM)
        revision = facts_all[plan.row] + 2 * versions + (closed & ~complete) + grade[plan.row]
        exists = (heads["heads_known"] >= plan.expected_heads[:, None]) & (started_all[plan.row] > 0)
        stated = table.stated[np.ix_(plan.row, places)]
        at = np.nonzero(exists & (revision > stated))
        if not len(at[0]):
            return pl.DataFrame()
        e, w = at
        table.stated[plan.row[e], places[w]] = revision[at]
        share = np.minimum((heads["heads_us"] + areas["customers_us"]) / (expected * rules.window), 1.0)
        rough = ~told.studied
        systematic = np.where(
            rough, np.sqrt(np.maximum(spread["variance_systematic"] / _VARIANCE_PER_KWH2, 0)), told.systematic
        )
        random = np.where(rough, np.maximum(spread["variance_random"] / _VARIANCE_PER_KWH2, 0), told.random)
        kwh_in = energy_in / MICRO_WH_PER_KWH + told.head
        kwh_out = energy_out / MICRO_WH_PER_KWH + told.customers
        loss = (energy_in - energy_out) / MICRO_WH_PER_KWH + told.head - told.customers
        # What lies beyond a meter's class is stated, and alarmed of, but it may be a wrong meter.
        uncertainty = _COVERAGE * np.sqrt(systematic**2 + random) + told.beyond
        alarm = self._alarms(
            plan, windows, places, loss, told, systematic, random, kwh_in, share, heads["heads_measured"]
        )
        status = np.where(complete[at], "COMPLETE", np.where(closed[0, w], "INCOMPLETE", "PROVISIONAL"))
        technical = pl.Series(told.technical[at]).set(pl.Series(~told.studied[at]), None)
        return pl.DataFrame(
            {
                "element_id": pl.Series(plan.elements, dtype=pl.String).gather(e),
                "element_kind": pl.Series(plan.kinds, dtype=pl.String).gather(e),
                "region_id": pl.Series(plan.regions, dtype=pl.String).gather(e),
                "window_start": pl.Series(begins[w]).cast(_TIME),
                "window_end": pl.Series(ends[w]).cast(_TIME),
                "revision": revision[at],
                "energy_in_kwh": kwh_in[at],
                "energy_out_kwh": kwh_out[at],
                "loss_kwh": loss[at],
                "loss_percent": pl.Series(
                    np.divide(100 * loss[at], kwh_in[at], out=np.full(len(e), np.nan), where=kwh_in[at] > 0)
                ).fill_nan(None),
                "technical_loss_kwh": technical,
                "unaccounted_kwh": pl.Series(loss[at]) - technical,
                "uncertainty_kwh": uncertainty[at],
                "systematic_uncertainty_kwh": (_COVERAGE * systematic + told.beyond)[at],
                "expected_meters": expected[e, 0].astype(np.int32),
                "reporting_meters": reporting[at].astype(np.int32),
                "completeness": share[at],
                "status": status,
                "alarm": alarms.NAMES[alarm[at]],
                "suspects": self._learning.suspects_of(plan.row[e], windows[w]),
            }
        )

    def _told(self, plan: Plan, places: Ints) -> _Told:
        """What studies say of elements, summed over their heads and areas; [elements, windows]."""
        said = self._table.said[:, places]
        n, k = len(plan.elements), len(places)

        def gather(column: str, of: Ints, source: Ints) -> Floats:
            total = np.zeros((n, k))
            np.add.at(total, of, said[source, :, _S[column]])
            return total

        studied = said[:, :, _S["spoken"]] > 0
        count = np.zeros((n, k), np.int64)
        np.add.at(count, plan.area_of, studied[plan.area_leaf])
        areas = np.bincount(plan.area_of, minlength=n)[:, None]
        of, leaf = plan.area_of, plan.area_leaf
        # Of an element above areas: its own head's meter, and what all customers below took.
        alone = self._table.sums[plan.row][:, places] * plan.measured[:, None, None] / _VARIANCE_PER_KWH2
        above = np.maximum(alone[:, :, _C["variance_systematic"]], 0)
        np.add.at(above, of, said[leaf, :, _S["taken"]] ** 2)
        around = np.maximum(alone[:, :, _C["variance_random"]], 0) + gather("random", of, leaf)
        itself = plan.itself[:, None]
        squares = np.where(itself, said[plan.row, :, _S["systematic"]] ** 2, above)
        random = np.where(itself, said[plan.row, :, _S["random"]], around)
        # One without a head of its own is the sum of those it has.
        total, scattered = np.zeros((n, k)), np.zeros((n, k))
        np.add.at(total, plan.head_of, squares[plan.head_position])
        np.add.at(scattered, plan.head_of, random[plan.head_position])
        return _Told(
            head=gather("head", plan.head_of, plan.head_leaf),
            customers=gather("customers", of, leaf),
            technical=gather("technical", plan.within_of, plan.within_leaf)
            + gather("beside", plan.beside_of, plan.beside_leaf),
            systematic=np.sqrt(total),
            random=scattered,
            beyond=np.where(itself, said[plan.row, :, _S["beyond"]], 0.0),
            doubt=gather("doubt", plan.within_of, plan.within_leaf)
            + gather("beside", plan.beside_of, plan.beside_leaf) * self.rules.investigation.study.line_percent / 100,
            studied=(count >= areas) & (areas > 0),
        )

    def _alarms(
        self,
        plan: Plan,
        windows: Ints,
        places: Ints,
        loss: Floats,
        told: _Told,
        systematic: Floats,
        random: Floats,
        kwh_in: Floats,
        completeness: Floats,
        heads_measured: Ints,
    ) -> Ints:
        """Alarms of elements with heads of their own; [elements, windows]."""
        table, rules = self._table, self.rules
        counts = (
            (completeness >= rules.alarm_completeness)
            & (heads_measured >= plan.expected_heads[:, None])
            & plan.measured[:, None]
        )
        bias = systematic + told.doubt
        unsure = _COVERAGE * np.sqrt(bias**2 + random)
        extreme = (loss - told.technical - unsure > kwh_in * (rules.high_loss_percent / 100)) & (kwh_in > 0)
        high, low = alarms.evidence(loss - told.technical, bias, np.sqrt(random), extreme, counts)
        table.evidence[plan.row[:, None], places[None, :], 0] = high
        table.evidence[plan.row[:, None], places[None, :], 1] = low
        found = np.zeros(loss.shape, np.int64)
        per_day = rules.investigation.per_day
        for day in np.unique(windows // per_day).tolist():
            some = np.flatnonzero(windows // per_day == day)
            since = (day - _ALARM_DAYS) * per_day
            before = table.known(since, int(windows[some[-1]]) + 1)
            then = table.places(before)
            sums = table.evidence[plan.row[:, None], then[None, :]]
            found[:, some] = alarms.raised(sums[:, :, 0], sums[:, :, 1])[:, np.searchsorted(before, windows[some])]
        return found * counts

    def _leaves(self, plan: Plan) -> tuple[Ints, Ints]:
        """(element, leaf) pairs of heads and areas together, each once."""
        pairs = np.unique(
            np.concatenate([plan.head_of, plan.area_of]) * (1 << 32) + np.concatenate([plan.head_leaf, plan.area_leaf])
        )
        return pairs >> 32, pairs & 0xFFFFFFFF

    # ---------------------------------------------------------------- recovery

    def dump(self) -> bytes:
        """The state as compressed bytes."""
        return _LAYOUT.pack(
            (
                self.network.dump(),
                self._codes,
                self._table,
                self._ticked,
                self._watermarks,
                self._closed_until,
                self._learning.dump(),
            )
        )

    @classmethod
    def load(cls, rules: BalanceRules, data: bytes) -> BalanceState:
        """A state from its bytes."""
        state = cls(rules)
        (
            network,
            codes,
            table,
            state._ticked,
            state._watermarks,
            state._closed_until,
            learned,
        ) = _LAYOUT.unpack(data)
        state._codes, state._table = codes, table
        state._learning = Learning(rules.investigation, rules.keep, codes, table)
        state._learning.restore(learned)
        state.network.restore(network)
        state._forget_plans()
        return state
