"""Losses above the areas: those of transformers, and of the medium-voltage lines that feed them.

A transformer loses its no-load loss always, and its load loss by the square of its loading (IEC 60076-1). Measured at
its low-voltage side it does so outside the balance of what is below it, measured at the other side within. The lines
of a feeder are swept as those of an area are (see ``areas.lines``), with its transformers as loads; what flows
through them needs no more than their head meters' energies, the voltage is that of the feeder's head meter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from flows.line_loss.areas.data import Floats, Ints
from flows.line_loss.areas.lines import Line, RadialLines
from flows.line_loss.history import MeterHistory
from flows.streaming.event_time import MINIMUM, SECOND
from flows.streaming.network import TRANSFORMER, USAGE_POINT, NetworkTable, Version

_VOLTS_OFF = 0.4  # of the usual voltage: farther off it is a wrong reading
_MOST_REACTIVE, _LEAST_KVAR = 2.0, 1.0
_PRIMARY = 1  # terminal at the side that feeds


def believable_reactive(told: Floats, active: Floats) -> Floats:
    """Reactive power, 0 where it is not told or cannot be: far beyond what the meter has ever seen of active power.

    Args:
        told: kvar, nan where it is not; [W, n].
        active: kW; [W, n].
    """
    most = _MOST_REACTIVE * np.abs(active).max(axis=0, initial=0.0) + _LEAST_KVAR
    return np.where(np.isfinite(told) & (np.abs(told) <= most), told, 0.0)


class Upstream:
    """Transformers, and containers of lines with transformers as loads.

    Args:
        network: the network.
        content: of each element those that any version puts into it.
        changes: of each element the times, µs ascending, at which it or its content changes.
        window: µs.
    """

    def __init__(
        self, network: NetworkTable, content: dict[str, list[str]], changes: dict[str, list[int]], window: int
    ) -> None:
        self._network, self._content, self._window = network, content, window
        self._changes = {element: np.array(times, np.int64) for element, times in changes.items()}
        self.elements = sorted(element for element in network.versions if self._loses(element))

    def _loses(self, element: str) -> bool:
        kinds = {version.kind for version in self._network.versions[element]}
        if TRANSFORMER in kinds:
            return True
        inside = {version.kind for name in self._content.get(element, ()) for version in self._network.versions[name]}
        return TRANSFORMER in inside

    def losses(self, element: str, history: MeterHistory, begin: int, end: int) -> tuple[Floats, Floats]:
        """What an element loses in windows begin .. end (exclusive), kWh.

        Returns:
            within its balance (its lines and, measured at its primary side, itself), and beside it (a transformer
            that is measured at its secondary side); [W] each.
        """
        within, beside = np.zeros(end - begin), np.zeros(end - begin)
        for time, some in self._epochs(element, begin, end):
            version = self._network.as_of(element, time)
            if version is None:
                continue
            low, high = int(some[0]), int(some[-1]) + 1
            if version.kind == TRANSFORMER:
                itself = self._transformer(element, version, time, history, low, high)
                target = within if version.measuring_terminal == _PRIMARY or version.device is None else beside
                target[low - begin : high - begin] += itself
            within[low - begin : high - begin] += self._lines(element, version, time, history, low, high)
        return within, beside

    def _epochs(self, element: str, begin: int, end: int) -> Iterator[tuple[int, Ints]]:
        """Spans of windows without a change, each with a time in it."""
        changes = self._changes.get(element, np.zeros(0, np.int64))
        windows = np.arange(begin, end)
        epochs = np.searchsorted(changes, windows * self._window, side="right")
        for epoch in np.unique(epochs).tolist():
            yield int(changes[epoch - 1]) if epoch else MINIMUM, windows[epochs == epoch]

    def _transformer(
        self, element: str, version: Version, time: int, history: MeterHistory, begin: int, end: int
    ) -> Floats:
        hours = self._window / SECOND / 3600
        loss = np.full(end - begin, (version.no_load_loss_kw or 0.0) * hours)
        if version.load_loss_kw and version.rated_kva:
            active, reactive = self._load(element, version, time, history, begin, end)
            squared = (active / hours) ** 2 + reactive**2
            loss += version.load_loss_kw * squared / version.rated_kva**2 * hours
        return loss

    def _load(
        self, element: str, version: Version, time: int, history: MeterHistory, begin: int, end: int
    ) -> tuple[Floats, Floats]:
        """What goes through a transformer: kWh, and kvar, by its head meter, else by its customers'."""
        devices = [version.device] if version.device else sorted(self._customers(element, time))
        columns = history.index(devices)
        imported, exported = (history.take(name, begin, end, columns, 0.0) for name in ("imported", "exported"))
        active = imported - exported
        told = history.take("reactive", begin, end, columns, np.nan)
        reactive = believable_reactive(told, active / (self._window / SECOND / 3600))
        return active.sum(axis=1), reactive.sum(axis=1)

    def _customers(self, element: str, time: int) -> Iterator[str]:
        for name in self._content.get(element, ()):
            version = self._network.as_of(name, time)
            if version is not None and version.kind == USAGE_POINT and version.container == element and version.device:
                yield version.device

    def _lines(self, element: str, version: Version, time: int, history: MeterHistory, begin: int, end: int) -> Floats:
        """What the lines between an element and the transformers in it lose, kWh; [W]."""
        lines, loads = [], []
        for name in self._content.get(element, ()):
            one = self._network.as_of(name, time)
            if one is None or one.container != element:
                continue
            if one.kind == TRANSFORMER:
                loads.append((name, one))
            elif one.terminal_1 and one.terminal_2 and not one.normal_open:
                lines.append(Line(one.terminal_1, one.terminal_2, one.r_ohm or 0.0))
        volts = self._volts(version, history, begin, end)
        if not lines or not loads or volts is None:
            return np.zeros(end - begin)
        found = RadialLines.of(
            self._source(version, time), lines, [one.terminal_1 for _, one in loads], [None] * len(loads)
        )
        active, reactive = np.zeros((end - begin, len(loads))), np.zeros((end - begin, len(loads)))
        hours = self._window / SECOND / 3600
        for place, (name, one) in enumerate(loads):
            active[:, place], kvar = self._load(name, one, time, history, begin, end)
            reactive[:, place] = kvar * hours
            if one.measuring_terminal != _PRIMARY:
                active[:, place] += self._transformer(name, one, time, history, begin, end)
        return found.losses(active, reactive, hours, volts)

    def _volts(self, version: Version, history: MeterHistory, begin: int, end: int) -> Floats | None:
        """Phase to neutral, by the head meter; None where it does not tell."""
        if not version.device:
            return None
        told = history.take("voltage", begin, end, history.index([version.device]), np.nan)[:, 0]
        known = np.isfinite(told) & (told > 0)
        if not known.any():
            return None
        usual = float(np.median(told[known]))
        return np.where(known & (np.abs(told / usual - 1) < _VOLTS_OFF), told, usual)

    def _source(self, version: Version, time: int) -> str | None:
        """The node from which an element is fed: the nearest terminal on the way up."""
        seen: set[str] = set()
        one: Version | None = version
        while one is not None:
            node = one.terminal_2 or one.terminal_1
            if node is not None:
                return node
            if one.container is None or one.container in seen:
                return None
            seen.add(one.container)
            one = self._network.as_of(one.container, time)
        return None


def content_of(network: NetworkTable) -> tuple[dict[str, list[str]], dict[str, list[int]]]:
    """Of each element those that any version puts into it, and the times at which it or they change."""
    content: dict[str, list[str]] = defaultdict(list)
    changes: dict[str, set[int]] = defaultdict(set)
    for element, versions in network.versions.items():
        for container in {version.container for version in versions if version.container}:
            content[container].append(element)
        for begin, end, version in network.valid(element):
            changes[element].update((begin, end))
            if version.container:
                changes[version.container].update((begin, end))
    return content, {element: sorted(times) for element, times in changes.items()}
