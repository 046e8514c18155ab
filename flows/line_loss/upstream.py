"""Losses above the areas: those of transformers, and of the medium-voltage lines that feed them.

A transformer loses its no-load loss always, and its load loss by the square of its loading (IEC 60076-1): at its rated
voltage. Of low voltages that is known (IEC 60038), so where the head meter tells one, the no-load loss goes by its
square, and the load loss, at the same power, by its inverse. Measured at its low-voltage side a transformer loses
outside the balance of what is below it, measured at the other side within. The lines
of a feeder are swept as those of an area are (see ``areas.lines``), with its transformers as loads; what flows
through them needs no more than their head meters' energies, the voltage is that of the feeder's head meter.
"""

from __future__ import annotations

import numpy as np

from flows.line_loss.areas.data import Floats
from flows.line_loss.areas.lines import RadialLines
from flows.line_loss.believable import believable_reactive, mean_volts
from flows.line_loss.connectivity import Connectivity
from flows.line_loss.history import MeterHistory
from flows.streaming.event_time import SECOND
from flows.streaming.network import TRANSFORMER, USAGE_POINT, Version

_PRIMARY = 1  # terminal at the side that feeds
_RATED_VOLTS = np.array([120.0, 400 / 3**0.5, 480 / 3**0.5, 690 / 3**0.5])  # phase to neutral, of low-voltage windings
_NEAR_RATED = 0.12


class Upstream:
    """Transformers, and containers of lines with transformers as loads.

    Args:
        connectivity: of the network.
        window: µs.

    Attributes:
        transformers: all of them.
        feeding: elements with transformers right in them: their lines are swept here, customers among the loads.
        elements: those and the transformers.
    """

    def __init__(self, connectivity: Connectivity, window: int) -> None:
        self._connectivity, self._window = connectivity, window
        versions = connectivity.network.versions
        self.transformers = {e for e, those in versions.items() if any(one.kind == TRANSFORMER for one in those)}
        self.feeding = {e for e in versions if not self.transformers.isdisjoint(connectivity.ever_in(e))}
        self.elements = sorted(self.transformers | self.feeding)

    def losses(self, element: str, history: MeterHistory, begin: int, end: int) -> tuple[Floats, Floats]:
        """What an element loses in windows begin .. end (exclusive), kWh.

        Returns:
            within its balance (its lines and, measured at its primary side, itself), and beside it (a transformer
            that is measured at its secondary side); [W] each.
        """
        within, beside = np.zeros(end - begin), np.zeros(end - begin)
        for time, some in self._connectivity.epochs(element, begin, end, self._window):
            version = self._connectivity.network.as_of(element, time)
            if version is None:
                continue
            low, high = int(some[0]), int(some[-1]) + 1
            if version.kind == TRANSFORMER:
                itself = self._transformer(element, version, time, history, low, high)
                target = within if version.measuring_terminal == _PRIMARY or version.device is None else beside
                target[low - begin : high - begin] += itself
            if element in self.feeding:
                within[low - begin : high - begin] += self._lines(element, version, time, history, low, high)
        return within, beside

    def _transformer(
        self, element: str, version: Version, time: int, history: MeterHistory, begin: int, end: int
    ) -> Floats:
        hours = self._window / SECOND / 3600
        volts = self._volts([version.device] if version.device else [], history, begin, end)
        if volts is None:
            volts = self._volts(self._customers(element, time), history, begin, end)
        squared_volts = _per_rated(volts) ** 2
        loss = (version.no_load_loss_kw or 0.0) * hours * np.broadcast_to(squared_volts, end - begin)
        if version.load_loss_kw and version.rated_kva:
            active, reactive = self._load(element, version, time, history, begin, end)
            squared = (active / hours) ** 2 + reactive**2
            loss += version.load_loss_kw * squared / version.rated_kva**2 * hours / squared_volts
        return loss

    def _load(
        self, element: str, version: Version, time: int, history: MeterHistory, begin: int, end: int
    ) -> tuple[Floats, Floats]:
        """What goes through a transformer: kWh, and kvar, by its head meter, else by its customers'."""
        devices = [version.device] if version.device else []
        if not devices:
            devices = self._customers(element, time)
        columns = history.index(devices)
        imported, exported = (history.take(name, begin, end, columns, 0.0) for name in ("imported", "exported"))
        active = imported - exported
        told = history.take("reactive", begin, end, columns, np.nan)
        reactive = believable_reactive(told, active / (self._window / SECOND / 3600))
        return active.sum(axis=1), reactive.sum(axis=1)

    def _lines(self, element: str, version: Version, time: int, history: MeterHistory, begin: int, end: int) -> Floats:
        """What the lines between an element and the transformers in it lose, kWh; [W]."""
        lines = self._connectivity.lines(element, time)
        loads = [
            (name, one)
            for name, one in self._connectivity.content(element, time)
            if one.kind == TRANSFORMER or (one.kind == USAGE_POINT and one.device)
        ]
        volts = self._volts([version.device] if version.device else [], history, begin, end)
        if not lines or not loads or volts is None:
            return np.zeros(end - begin)
        found = RadialLines.of(
            self._source(version, time), lines, [one.terminal_1 for _, one in loads], [one.phases for _, one in loads]
        )
        active, reactive = np.zeros((end - begin, len(loads))), np.zeros((end - begin, len(loads)))
        hours = self._window / SECOND / 3600
        for place, (name, one) in enumerate(loads):
            active[:, place], kvar = self._load(name, one, time, history, begin, end)
            reactive[:, place] = kvar * hours
            if one.kind == TRANSFORMER and one.measuring_terminal != _PRIMARY:
                active[:, place] += self._transformer(name, one, time, history, begin, end)
        return found.losses(active, reactive, hours, volts, at_source=True)

    def _customers(self, element: str, time: int) -> list[str]:
        content = self._connectivity.content(element, time)
        return sorted(one.device for _, one in content if one.kind == USAGE_POINT and one.device)

    def _volts(self, devices: list[str], history: MeterHistory, begin: int, end: int) -> Floats | None:
        """Phase to neutral, the mean by some meters; None where they do not tell."""
        told = history.take("voltage", begin, end, history.index(devices), np.nan)
        return mean_volts(told)

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
            one = self._connectivity.network.as_of(one.container, time)
        return None


def _per_rated(volts: Floats | None) -> Floats:
    """Low voltages by the rated ones they are next to; 1 where none is known."""
    if volts is None:
        return np.ones(1)
    nearest = _RATED_VOLTS[np.argmin(np.abs(_RATED_VOLTS - np.median(volts)))]
    per_rated = volts / nearest
    return np.where(np.abs(per_rated - 1) < _NEAR_RATED, per_rated, 1.0)
