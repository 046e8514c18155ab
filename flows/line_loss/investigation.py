"""Areas under study: from the history of all meters and the network to what is said of each area's windows.

An area is an element with a measuring device of its own and customers right below it, as a rule a transformer. It is
studied at the end of days of UTC (and, on a stream, some times in between), from the windows of the days before. What
a study says of a window is final once the day of the window lies ``settle`` days before the study's end, and nothing
that the study rests on can change any more. Until then it is said again as studies become better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from flows.line_loss.areas.clocks import corrected, worth
from flows.line_loss.areas.data import AreaData, Bools, Floats, Ints
from flows.line_loss.areas.lines import RadialLines
from flows.line_loss.areas.search import StudyRules
from flows.line_loss.areas.study import Applied, Study, apply, is_plausible, study
from flows.line_loss.believable import believable_reactive, mean_volts
from flows.line_loss.connectivity import Connectivity
from flows.line_loss.history import MEASURED, UNSTATED, MeterHistory
from flows.line_loss.upstream import Upstream
from flows.streaming.event_time import SECOND
from flows.streaming.network import USAGE_POINT, NetworkTable

_DAY = 86_400 * SECOND
_NOWHERE_PERCENT = 30.0  # what the technical loss may be off more, where no customer's node is known


@dataclass(frozen=True, slots=True)
class InvestigationRules:
    """What studies need of the settings.

    Attributes:
        window: length of windows, µs; divides a day.
        days: a study looks back so far.
        settle: so many days after a window's own are looked at before what is said of it is final.
        every: on a stream, studies are made anew at multiples of this, µs; 0: only final ones.
        steady: those are made while so many rounds bring no more than an hour, so not while the input is caught up
            with.
        again: interim studies say anew what they say of this many windows before them.
        volts: phase to neutral, where no meter tells.
        study: of the studies themselves.
    """

    window: int
    days: int = 10
    settle: int = 2
    every: int = 0
    steady: int = 16
    again: int = 192
    volts: float = 230.0
    study: StudyRules = field(default_factory=StudyRules)

    @property
    def per_day(self) -> int:
        """Windows in a day."""
        return _DAY // self.window

    @property
    def together(self) -> int:
        """Days that are studied for good by one study: it looks at some days before them, too."""
        return max(self.days - self.settle - 3, 1)

    @property
    def context(self) -> int:
        """Windows beside those that are asked for, so that gaps, clocks and standstills are seen whole at the edges."""
        return max(self.per_day // 6, 8)


@dataclass(frozen=True, slots=True)
class Member:
    """A device in an area while [begin, end)."""

    device: str
    begin: int
    end: int
    node: str | None
    phases: str | None


@dataclass(frozen=True, slots=True)
class Area:
    """Who belongs to an area.

    Attributes:
        heads: its head meters.
        customers: its customers' meters, and the head meters of what lies right below it: they take from it, too.
        beneath: which of the customers are such heads.
    """

    heads: tuple[Member, ...]
    customers: tuple[Member, ...]
    beneath: frozenset[str]


@dataclass(frozen=True, slots=True)
class Clock:
    """A meter whose clock is off, and its energies put right.

    Attributes:
        meter: its id.
        offset: s; [W].
        imported: kWh; [W].
        exported: kWh; [W].
        share: of each window that is measured, nan where its energy is not stated; [W].
    """

    meter: str
    offset: Floats
    imported: Floats
    exported: Floats
    share: Floats


@dataclass(frozen=True, slots=True)
class Suspect:
    """A customer who is suspected.

    Attributes:
        meter: its id.
        score: probability, 0..1.
        missing: kWh; [W].
        spread: its standard uncertainty, kWh; [W].
    """

    meter: str
    score: float
    missing: Floats
    spread: Floats


@dataclass(frozen=True, slots=True)
class Said:
    """What a study says of an area's windows begin .. end.

    Attributes:
        head: kWh to add to what the heads delivered; [W].
        customers: kWh to add to what the customers took; [W].
        technical: kWh; [W].
        systematic: standard uncertainty common to all windows, kWh; [W].
        random: variance of the rest, kWh²; [W].
        taken: standard uncertainty of what all customers took, common to all windows, kWh; [W].
        doubt: standard uncertainty of the technical loss, kWh; [W].
        beyond: what errors beyond the meters' classes would change, kWh; [W].
        suspects: who is suspected.
        clocks: of those that are off.
    """

    begin: int
    head: Floats
    customers: Floats
    technical: Floats
    systematic: Floats
    random: Floats
    taken: Floats
    doubt: Floats
    beyond: Floats
    suspects: list[Suspect]
    clocks: list[Clock]


class Investigation:
    """All areas.

    Args:
        rules: the rules.
    """

    def __init__(self, rules: InvestigationRules) -> None:
        self.rules = rules
        self.history = MeterHistory()
        self.studies: dict[str, Study] = {}
        self._areas: dict[str, Area] = {}
        self._lines: dict[tuple[str, int], tuple[RadialLines, tuple[str, ...]]] = {}

    # ----------------------------------------------------------------- network

    def set_network(self, network: NetworkTable) -> None:
        """Take up a network, or a changed one."""
        self._network = network
        self._lines.clear()
        heads: dict[str, list[Member]] = defaultdict(list)
        customers: dict[str, list[Member]] = defaultdict(list)
        beneath: dict[str, list[Member]] = defaultdict(list)
        self._connectivity = Connectivity(network)
        self._upstream = Upstream(self._connectivity, self.rules.window)
        for element in network.versions:
            for begin, end, version in network.valid(element):
                if version.device and version.kind != USAGE_POINT:
                    heads[element].append(Member(version.device, begin, end, None, None))
                    if version.container is not None:
                        below = Member(version.device, begin, end, version.terminal_1, version.phases)
                        beneath[version.container].append(below)
                elif version.device and version.container is not None:
                    member = Member(version.device, begin, end, version.terminal_1, version.phases)
                    customers[version.container].append(member)
        self._areas = {
            element: Area(
                tuple(sorted(heads[element], key=lambda m: (m.device, m.begin))),
                tuple(sorted([*customers[element], *beneath[element]], key=lambda m: (m.device, m.begin))),
                frozenset(member.device for member in beneath[element]),
            )
            for element in sorted(heads)
            if customers.get(element)
        }

    @property
    def areas(self) -> list[str]:
        """Elements that can be studied, ascending."""
        return list(self._areas)

    @property
    def losing(self) -> frozenset[str]:
        """Elements in which energy is lost."""
        return frozenset(self._areas) | frozenset(self._upstream.elements)

    def upstream(self, begin: int, stop: int) -> Iterator[tuple[str, Floats | None, Floats]]:
        """What is lost above the areas in windows begin .. stop, kWh: within each element's balance, and beside it.

        Within an area of which a study speaks, that one tells.
        """
        for element in self._upstream.elements:
            within, beside = self._upstream.losses(element, self.history, begin, stop)
            if element in self.studies:
                yield element, None, beside
                continue
            data = self._data(element, begin, stop)
            if data is not None:
                within = within + self._technical(element, data)
            yield element, within, beside

    # ------------------------------------------------------------------ studies

    def studied(self, end: int, begin: int, stop: int) -> Iterator[tuple[str, Said | None]]:
        """Study all areas by the windows before ``end``: of each, what that says of windows begin .. stop."""
        for element in self.areas:
            yield element, self._studied(element, end, begin, stop)

    def _studied(self, element: str, end: int, begin: int, stop: int) -> Said | None:
        first = self.history.first
        if first is None:
            return None
        since = max(min(end - self.rules.days * self.rules.per_day, begin - self.rules.context), first)
        data = self._data(element, since, max(end, stop + self.rules.context))
        past = None if data is None else data.part(end - self.rules.days * self.rules.per_day, end)
        if data is None or past is None or not is_plausible(past):
            self.studies.pop(element, None)
            return None
        technical = self._technical(element, data)
        nowhere, phaseless = self._unknown(element, data)
        rules = replace(self.rules.study, line_percent=self.rules.study.line_percent + _NOWHERE_PERCENT * nowhere)
        swept = element in self._upstream.feeding
        learned = study(past, technical[past.first - since : end - since], rules, phaseless, swept=swept)
        self.studies[element] = learned
        some = data.part(begin - self.rules.context, stop + self.rules.context)
        low = some.first - since
        return self._say(element, learned, some, technical[low : low + some.windows], begin, stop)

    def say(self, element: str, begin: int, end: int) -> Said | None:
        """What the latest study says of windows begin .. end (exclusive)."""
        learned = self.studies.get(element)
        first = self.history.first
        if learned is None or first is None:
            return None
        low = max(begin - self.rules.context, min(first, begin))
        data = self._data(element, low, end + self.rules.context, (learned.heads, learned.customers))
        return None if data is None else self._say(element, learned, data, self._technical(element, data), begin, end)

    def _say(self, element: str, learned: Study, data: AreaData, technical: Floats, begin: int, end: int) -> Said:
        applied, low = apply(learned, data, technical), data.first
        clocks = [
            self._clock(data, learned, who, applied.offset[:, who], begin, end)
            for who in np.flatnonzero(applied.offset[begin - low : end - low].any(axis=0)).tolist()
        ]
        # That is told of those transformers themselves.
        beneath = self._lost_beneath(element, data.first, data.first + data.windows)
        applied = replace(applied, technical=applied.technical - beneath)
        return _said(data, learned, applied, clocks, begin, end, self._areas[element].beneath)

    def _clock(self, data: AreaData, learned: Study, who: int, offset: Floats, begin: int, end: int) -> Clock:
        meter, some = learned.customers[who], slice(begin - data.first, end - data.first)
        column = self.history.index([meter])
        stop = data.first + data.windows
        imported, exported = (
            self.history.take(name, data.first, stop, column, 0.0)[:, 0] for name in ("imported", "exported")
        )
        shifted = worth(imported - exported, offset, data.seconds)
        imported, exported = (corrected(one, shifted, data.seconds)[some] for one in (imported, exported))
        share = self.history.take("share", begin, end, column, UNSTATED)[:, 0]
        share = np.where(share == UNSTATED, np.nan, share / MEASURED)
        return Clock(meter, offset[some], imported, exported, share)

    def _data(
        self, element: str, begin: int, end: int, meters: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    ) -> AreaData | None:
        """An area's columns in windows begin .. end; of those who belong to it then, or of given meters."""
        area, width = self._areas.get(element), self.rules.window
        if area is None or end <= begin:
            return None
        since, until = begin * width, end * width
        heads = [m for m in area.heads if m.begin < until and m.end > since]
        customers = [m for m in area.customers if m.begin < until and m.end > since]
        if meters is None:
            meters = (tuple(sorted({m.device for m in heads})), tuple(sorted({m.device for m in customers})))
            if not meters[0] or not meters[1]:
                return None
        bounds: Ints = np.arange(begin, end + 1, dtype=np.int64) * width
        present, cut = _presence(customers, meters[1], bounds)
        leading, cut_heads = _presence(heads, meters[0], bounds)
        columns, head_columns = self.history.index(list(meters[1])), self.history.index(list(meters[0]))
        take = self.history.take
        energy = take("imported", begin, end, columns, 0.0) - take("exported", begin, end, columns, 0.0)
        head = take("imported", begin, end, head_columns, 0.0) - take("exported", begin, end, head_columns, 0.0)
        head_measured = take("share", begin, end, head_columns, UNSTATED) == MEASURED
        known = head_measured | ~leading
        return AreaData(
            customers=meters[1],
            heads=meters[0],
            first=begin,
            per_day=self.rules.per_day,
            seconds=width / SECOND,
            energy=energy * present,
            measured=take("share", begin, end, columns, UNSTATED) == MEASURED,
            present=present,
            head=head * leading,
            head_measured=known,
            delay=np.where(present, take("delay", begin, end, columns, np.nan), np.nan),
            lost=self._upstream.losses(element, self.history, begin, end)[0] + self._lost_beneath(element, begin, end),
            complete=~cut & ~cut_heads & leading.any(axis=1) & known.all(axis=1),
        )

    # ---------------------------------------------------------- technical losses

    def _lost_beneath(self, element: str, begin: int, end: int) -> Floats:
        """What transformers right below an area lose before their head meters, kWh; [W]."""
        total = np.zeros(end - begin)
        for child in self._connectivity.ever_in(element) if self._areas[element].beneath else ():
            if child in self._upstream.transformers:
                total += self._upstream.losses(child, self.history, begin, end)[1]
        return total

    def _technical(self, element: str, data: AreaData) -> Floats:
        """Energy lost in an area's lines by their data, kWh, 0 where there are none; [W].

        Where the lines feed transformers, too, that is told by ``upstream``.
        """
        if element in self._upstream.feeding:
            return np.zeros(data.windows)
        columns = self.history.index(list(data.customers))
        begin, end = data.first, data.first + data.windows
        epochs = [
            (self._lines_of(element, time, data.customers), windows - begin)
            for time, windows in self._connectivity.epochs(element, begin, end, self.rules.window)
        ]
        if not any(len(lines.begin) for lines, _ in epochs):
            return np.zeros(data.windows)
        hours = data.seconds / 3600
        told = self.history.take("reactive", begin, end, columns, np.nan)
        reactive = believable_reactive(told, data.energy / hours) * data.present
        voltage = self.history.take("voltage", begin, end, columns, np.nan)
        volts = mean_volts(voltage)
        if volts is None:
            volts = np.full(data.windows, self.rules.volts)
        total = np.zeros(data.windows)
        for lines, some in epochs:
            total[some] = lines.losses(data.energy[some], reactive[some] * hours, hours, volts[some], at_source=False)
        return total

    def _unknown(self, element: str, data: AreaData) -> tuple[float, float]:
        """Shares of an area's customers whose nodes, and whose phases, are not known."""
        epochs = self._connectivity.epochs(element, data.first, data.first + data.windows, self.rules.window)
        nowhere = phaseless = 0.0
        for time, _ in epochs if element not in self._upstream.feeding else ():
            lines = self._lines_of(element, time, data.customers)
            nowhere = max(nowhere, lines.nowhere / max(len(data.customers), 1))
            phaseless = max(phaseless, lines.phaseless / max(len(data.customers), 1))
        return nowhere, phaseless

    def _lines_of(self, element: str, time: int, customers: tuple[str, ...]) -> RadialLines:
        known = self._lines.get((element, time))
        if known is not None and known[1] == customers:
            return known[0]
        source = self._network.as_of(element, time)
        at = {m.device: m for m in self._areas[element].customers if m.begin <= time < m.end}
        members = [at.get(device) for device in customers]
        found = RadialLines.of(
            None if source is None else source.terminal_2,
            self._connectivity.lines(element, time),
            [None if m is None else m.node for m in members],
            [None if m is None else m.phases for m in members],
        )
        self._lines[element, time] = (found, customers)
        return found

    # ---------------------------------------------------------------- recovery

    def dump(self) -> tuple[MeterHistory, dict[str, Study]]:
        """What to keep over a restart."""
        return self.history, self.studies

    def restore(self, kept: tuple[MeterHistory, dict[str, Study]]) -> None:
        """Take up what was kept."""
        self.history, self.studies = kept


def _presence(members: list[Member], devices: tuple[str, ...], bounds: Ints) -> tuple[Bools, Bools]:
    """Which devices belong to an area in all of a window, [W, n]; and in which windows one comes or goes, [W]."""
    column = {device: place for place, device in enumerate(devices)}
    present = np.zeros((len(bounds) - 1, len(devices)), bool)
    cut = np.zeros(len(bounds) - 1, bool)
    for member in members:
        place = column.get(member.device)
        if place is None:
            continue
        if member.begin <= bounds[0] and bounds[-1] <= member.end:
            present[:, place] = True
            continue
        low, high = np.maximum(bounds[:-1], member.begin), np.minimum(bounds[1:], member.end)
        whole = high - low == np.diff(bounds)
        present[:, place] |= whole
        cut |= (high > low) & ~whole
    return present, cut


def _said(
    data: AreaData,
    learned: Study,
    applied: Applied,
    clocks: list[Clock],
    begin: int,
    end: int,
    beneath: frozenset[str],
) -> Said:
    some = slice(begin - data.first, end - data.first)
    head = applied.head.sum(axis=1) - data.head.sum(axis=1) - applied.head_gain
    # What the heads below it have wrong is no matter of this balance: their customers are in it.
    own = np.array([meter not in beneath for meter in learned.customers], bool)
    customers = (applied.energy - data.energy - applied.customer_gain)[:, own].sum(axis=1)
    return Said(
        begin,
        head[some],
        customers[some],
        applied.technical[some],
        applied.systematic[some],
        applied.random[some],
        applied.taken[some],
        applied.doubt[some],
        applied.beyond[some],
        [
            Suspect(learned.customers[who], score, missing[some], np.sqrt(variance[some]))
            for who, score, missing, variance in applied.suspects
            if own[who]
        ],
        clocks,
    )
