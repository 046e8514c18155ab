"""When areas are studied, and what studies say of which windows.

Each day of UTC is studied for good once, when nothing can change any more of what the study rests on; some days are
taken together, as one study says the same of all of them. On a stream it is studied before that as well, from time to
time, and what has changed since is said again by the latest study. While the input is being caught up with, that
waits: it would be said again a moment later.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl

from flows.line_loss.energies import energy_rows
from flows.line_loss.investigation import Investigation, InvestigationRules, Said
from flows.line_loss.sums import Contributions
from flows.line_loss.window_table import HEARD, SAID, WindowTable
from flows.streaming.event_time import MAXIMUM, SECOND
from flows.streaming.registers import Ints
from schemas import contract

FINAL = 100
"""Grade of a study on which nothing will improve; those before have lower ones."""

_LEAST_SCORE = 0.1
_ALARM_DAYS = 5  # evidence is summed up from so many days before
_CATCHING_UP = 3600 * SECOND  # of event time in some rounds
_SAY_AGAIN = 3600 * SECOND
_CLOCKS = 1 << 50  # revision of energies by a corrected clock, above those of energies as registered
_SUSPECTS = contract("grid.line-loss.v1").polars["suspects"]
_COVERAGE = 1.96
_S = {name: position for position, name in enumerate(SAID)}


class Learning:
    """What has been learned of areas, and of which windows it has been said.

    Args:
        rules: the rules.
        keep: how far behind the watermark windows can still change, µs.
        codes: of elements; shared with the balance.
        table: of windows; the same.
    """

    def __init__(self, rules: InvestigationRules, keep: int, codes: dict[str, int], table: WindowTable) -> None:
        self.rules, self._keep, self._codes, self._table = rules, keep, codes, table
        self.investigation = Investigation(rules)
        self._final: int | None = None  # days before this number have been studied for good
        self._boundary: int | None = None  # the last interim study
        self._recent: list[int] = []  # windows before these numbers had ended in the last rounds
        self._said: int | None = None  # when the latest studies were last asked
        self._dirty: dict[str, set[int]] = defaultdict(set)
        self._suspects: dict[tuple[int, int], list[dict[str, object]]] = {}
        self._energies: list[pl.DataFrame] = []

    def soil(self, more: Contributions) -> None:
        """Remember of which windows of areas anything has changed since studies last spoke of them."""
        studies = self.investigation.studies
        for place, window in zip(more.element.tolist(), more.window.tolist(), strict=True):
            if more.elements[place] in studies:
                self._dirty[more.elements[place]].add(window)

    def investigate(self, ticked: int, watermark: int) -> None:
        """Make the studies that are due, and have them say what they say."""
        rules, history = self.investigation.rules, self.investigation.history
        first = history.first
        if first is None:
            return
        if self._final is None:
            self._final = first // rules.per_day
        until = min(ticked // rules.window, history.end)
        while self._final * rules.per_day < until:
            following = history.next(self._final * rules.per_day)
            if following is None or following >= until:
                break
            self._final = max(self._final, following // rules.per_day)  # of days in between nothing is known
            after = self._group_end(self._final)
            end = (after + rules.settle) * rules.per_day
            if watermark != MAXIMUM and watermark < end * rules.window + self._keep:
                break
            if end >= until:  # the input has ended: of the last days the same study speaks
                end, after = until, -(-until // rules.per_day)
            begin, stop = max(self._final * rules.per_day, first), min(after * rules.per_day, until)
            self._study(end, begin, stop, FINAL)
            self._table.settle(begin, stop)
            self._final = after
        if rules.every and watermark != MAXIMUM:
            self._meanwhile(until, first)

    def _group_end(self, day: int) -> int:
        """The day after the last one of those that are studied for good together with a day."""
        return (day // self.rules.together + 1) * self.rules.together

    def _meanwhile(self, until: int, first: int) -> None:
        """On a stream, say what can be said so far."""
        assert self._final is not None
        rules = self.rules
        self._recent = [*self._recent, until][-rules.steady - 1 :]
        if len(self._recent) <= rules.steady or (until - self._recent[0]) * rules.window > _CATCHING_UP:
            return
        boundary = until * rules.window // rules.every
        end = boundary * rules.every // rules.window
        begin = max(self._final * rules.per_day, end - rules.again, first)
        if boundary > (self._boundary or 0) and begin < end:
            self._boundary = boundary
            self._study(end, begin, until, None)
        if until * rules.window // _SAY_AGAIN > (self._said or 0):
            self._said = until * rules.window // _SAY_AGAIN
            self._clean(until)

    def _study(self, end: int, begin: int, stop: int, grade: int | None) -> None:
        """Study all areas by the windows before ``end``, and say what that says of ``begin .. stop``."""
        for element, said in self.investigation.studied(end, begin, stop):
            if said is not None:
                windows = np.arange(begin, stop)
                self._hear(element, said, windows, grade, end)
                self._tell_clocks(said, grade, end)
            else:
                self._unhear(element, np.arange(begin, stop))
            self._dirty.pop(element, None)
        self._hear_upstream(begin, stop)

    def _hear_upstream(self, begin: int, stop: int) -> None:
        """Take down what is lost above the areas in windows begin .. stop."""
        windows = self._table.known(begin, stop)
        if not len(windows):
            return
        places, at = self._table.places(windows), windows - begin
        for element, within, beside in self.investigation.upstream(begin, stop):
            code = self._codes.setdefault(element, len(self._codes))
            self._table.reach(len(self._codes))
            self._table.said[code, places, _S["beside"]] = np.round(beside[at], 6)
            if within is not None:
                self._table.said[code, places, _S["technical"]] = np.round(within[at], 6)
                doubt = within[at] * self.rules.study.line_percent / 100
                self._table.said[code, places, _S["doubt"]] = np.round(doubt, 6)

    def _clean(self, until: int) -> None:
        """Have the latest studies speak of windows that are new or have changed."""
        assert self._final is not None
        least = self._final * self.investigation.rules.per_day
        restated: set[int] = set()
        for element, windows in self._dirty.items():
            some = sorted(window for window in windows if least <= window < until)
            if some:
                said = self.investigation.say(element, some[0], some[-1] + 1)
                if said is not None:
                    self._hear(element, said, np.array(some), None, None)
                    restated.update(some)
        if restated:
            self._hear_upstream(min(restated), max(restated) + 1)
        self._dirty = defaultdict(set, {e: {w for w in windows if w >= until} for e, windows in self._dirty.items()})

    def _hear(self, element: str, said: Said, windows: Ints, grade: int | None, end: int | None) -> None:
        """Take down what a study says of an area's windows."""
        code = self._codes.setdefault(element, len(self._codes))
        self._table.reach(len(self._codes))
        windows = windows[np.isin(windows, self._table.known(int(windows[0]), int(windows[-1]) + 1))]
        if not len(windows):
            return
        places, at = self._table.places(windows), windows - said.begin
        self._table.said[code, places, _S["spoken"]] = 1
        for column, name in enumerate(HEARD):
            self._table.said[code, places, column] = np.round(getattr(said, name)[at], 9 if name == "random" else 6)
        grades = self._grades(windows, grade, end)
        self._table.studied[code, places] = np.maximum(self._table.studied[code, places], grades)
        for window in windows.tolist():
            self._suspects.pop((code, window), None)
        for one in sorted(said.suspects, key=lambda one: (-one.score, one.meter)):
            if one.score < _LEAST_SCORE:
                continue
            amounts, spreads = one.missing[at].tolist(), (_COVERAGE * one.spread[at]).tolist()
            for window, amount, spread in zip(windows.tolist(), amounts, spreads, strict=True):
                if amount > 0:
                    row = {
                        "meter_id": one.meter,
                        "score": round(one.score, 3),
                        "missing_kwh": round(amount, 6),
                        "missing_uncertainty_kwh": round(spread, 6),
                    }
                    self._suspects.setdefault((code, window), []).append(row)
        self._table.mark_each(windows)

    def _unhear(self, element: str, windows: Ints) -> None:
        """An area of which nothing can be said any more: its record cannot be right."""
        code = self._codes.get(element)
        known = self._table.known(int(windows[0]), int(windows[-1]) + 1) if len(windows) else windows
        if code is not None and len(known):
            self._table.said[code, self._table.places(known)] = 0
            for window in known.tolist():
                self._suspects.pop((code, window), None)

    def _tell_clocks(self, said: Said, grade: int | None, end: int) -> None:
        """Rows of MeterEnergy of meters whose clocks are off."""
        for clock in said.clocks:
            on = np.flatnonzero((clock.offset != 0) & np.isfinite(clock.share))
            windows = said.begin + on
            self._energies.append(
                energy_rows(
                    pl.Series([clock.meter]).new_from_index(0, len(on)),
                    windows,
                    self.rules.window,
                    imported=np.round(clock.imported[on], 6),
                    exported=np.round(clock.exported[on], 6),
                    measured_share=clock.share[on],
                    offset=pl.Series(np.round(clock.offset[on], 1)),
                    revision=_CLOCKS + self._grades(windows, grade, end),
                )
            )

    def _grades(self, windows: Ints, grade: int | None, end: int | None) -> Ints:
        """How good what is said of windows is: as given, else the better the more of a study lies behind them."""
        if grade is not None or end is None:
            return np.full(len(windows), grade or 1)
        step = max(self.rules.every // self.rules.window, 1)
        return np.clip((end - windows) // step + 1, 1, FINAL - 1)

    def suspects_of(self, elements: Ints, windows: Ints) -> pl.Series:
        """The suspects of elements, by their codes, in windows."""
        if not self._suspects:
            return pl.Series([[]], dtype=_SUSPECTS).new_from_index(0, len(elements))
        keys = zip(elements.tolist(), windows.tolist(), strict=True)
        return pl.Series([self._suspects.get(key, []) for key in keys], dtype=_SUSPECTS)

    def energies(self) -> list[pl.DataFrame]:
        """Frames of MeterEnergy of meters whose clocks have been put right, since they were last asked for."""
        frames, self._energies = self._energies, []
        return frames

    def needed_from(self) -> int:
        """Windows from this one on have a part in what can still be stated."""
        return ((self._final or 0) - _ALARM_DAYS) * self.rules.per_day

    def forget(self, before: int) -> None:
        """Drop what is said of windows before a number, and history that no study will look at."""
        final = self._final or 0
        begin = self._group_end(final) + self.rules.settle - self.rules.days
        self.investigation.history.forget((min(begin, final) - 1) * self.rules.per_day)
        self._suspects = {key: value for key, value in self._suspects.items() if key[1] >= before}

    def dump(self) -> tuple[object, ...]:
        """What to keep over a restart."""
        state = (self._final, self._boundary, self._recent, self._said, dict(self._dirty), self._suspects)
        return (*state, self.investigation.dump())

    def restore(self, kept: tuple[Any, ...]) -> None:
        """Take up what was kept."""
        self._final, self._boundary, self._recent, self._said, dirty, self._suspects, investigated = kept
        self._dirty = defaultdict(set, dirty)
        self.investigation.restore(investigated)
