"""A simulation as files that ``connectors.publish`` takes, though there are none: simulated as they are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from connectors.files import Chunk, ReadingsFile
from connectors.simulation.simulation import NETWORK, STREAMS, Piece, Simulation


class SimulatedFile(ReadingsFile):
    """One topic of a simulation; read once, from the start.

    Args:
        lanes: what it is part of.
        topic: its topic.
    """

    def __init__(self, lanes: Lanes, topic: str) -> None:
        super().__init__(Path(f"simulated {topic}"))
        self._lanes, self._topic = lanes, topic

    @property
    def rows(self) -> int | None:
        """Unknown beforehand."""
        return None

    @property
    def earliest(self) -> int | None:
        """The start of the simulation, µs since 1970."""
        return self._lanes.simulation.options.start_us

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """All rows, at most ``size`` at once."""
        assert start == 0
        while (frame := self._lanes.next_of(self._topic)) is not None:
            for part in frame.iter_slices(size):
                yield Chunk(part, [], part.height, part)


class Lanes:
    """All topics of a simulation side by side: the next block is simulated when one of them runs dry.

    Args:
        simulation: not gone through yet.
        taken: told of each piece.
    """

    def __init__(self, simulation: Simulation, taken: Callable[[Piece], None]) -> None:
        self.simulation = simulation
        self._taken = taken
        self._pieces = simulation.pieces()
        self._waiting: dict[str, deque[pl.DataFrame]] = {topic: deque() for topic in STREAMS}
        self._waiting[NETWORK] = deque([simulation.network])

    def file(self, topic: str) -> SimulatedFile:
        """One of the topics."""
        return SimulatedFile(self, topic)

    def next_of(self, topic: str) -> pl.DataFrame | None:
        """The topic's next rows; None at the end."""
        queue = self._waiting[topic]
        while not queue:
            if topic == NETWORK or (piece := next(self._pieces, None)) is None:
                return None
            self._taken(piece)
            for name, frame in piece.frames.items():
                if frame.height:
                    self._waiting[name].append(frame)
        return queue.popleft()
