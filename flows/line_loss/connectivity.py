"""What lies in an element, when that changes, and which lines connect it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from flows.line_loss.areas.data import Ints
from flows.line_loss.areas.lines import Line
from flows.streaming.event_time import MINIMUM
from flows.streaming.network import TRANSFORMER, NetworkTable, Version


class Connectivity:
    """The content of elements, as of any time.

    Args:
        network: the network.

    Attributes:
        network: the same.
        changes: of each element the times, µs ascending, at which it or its content changes.
    """

    def __init__(self, network: NetworkTable) -> None:
        self.network = network
        content: dict[str, list[str]] = defaultdict(list)
        changes: dict[str, set[int]] = defaultdict(set)
        for element, versions in network.versions.items():
            for container in {version.container for version in versions if version.container}:
                content[container].append(element)
            for begin, end, version in network.valid(element):
                changes[element].update((begin, end))
                if version.container:
                    changes[version.container].update((begin, end))
        self._content: Mapping[str, Sequence[str]] = content
        self.changes = {element: np.array(sorted(times), np.int64) for element, times in changes.items()}

    def ever_in(self, element: str) -> Sequence[str]:
        """All that any version puts into an element."""
        return self._content.get(element, ())

    def content(self, element: str, time: int) -> Iterator[tuple[str, Version]]:
        """What is in an element at a time, µs."""
        for name in self.ever_in(element):
            version = self.network.as_of(name, time)
            if version is not None and version.container == element:
                yield name, version

    def lines(self, element: str, time: int) -> list[Line]:
        """The lines and closed switches in an element at a time, µs."""
        return [
            Line(version.terminal_1, version.terminal_2, version.r_ohm or 0.0, version.x_ohm or 0.0)
            for _, version in self.content(element, time)
            if version.kind != TRANSFORMER
            and version.terminal_1 is not None
            and version.terminal_2 is not None
            and not version.normal_open
        ]

    def epochs(self, element: str, begin: int, end: int, width: int) -> Iterator[tuple[int, Ints]]:
        """Windows begin .. end (exclusive) without a change between them, each span with a time, µs, before it.

        Args:
            element: its id.
            begin: first window.
            end: one past the last.
            width: of windows, µs.
        """
        changes = self.changes.get(element, np.zeros(0, np.int64))
        windows = np.arange(begin, end)
        epochs = np.searchsorted(changes, windows * width, side="right")
        for epoch in np.unique(epochs).tolist():
            yield int(changes[epoch - 1]) if epoch else MINIMUM, windows[epochs == epoch]
