"""Gates for tests: one that lets everything through, and one that judges by plain limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from connectors.batch import Refusal, Verdict


class OpenGate:
    """Accepts everything."""

    def __init__(self, time: str = "time") -> None:
        self.frontier: int | None = None
        self._time = time

    def admit(self, frame: pl.DataFrame) -> Verdict:
        """Accept all rows."""
        if len(frame):
            newest = int(frame[self._time].to_physical().to_numpy().max())
            self.frontier = newest if self.frontier is None else max(newest, self.frontier)
        return Verdict(np.ones(len(frame), np.bool_), np.zeros(len(frame), np.bool_))

    def settle(self) -> None:
        """Nothing is in doubt."""

    def state(self) -> Any:
        """The frontier."""
        return self.frontier

    def restore(self, state: Any) -> None:
        """Take up a kept state."""
        self.frontier = state


class LimitGate(OpenGate):
    """Rows before ``oldest`` are late, rows after ``newest`` are refused; both in µs since 1970."""

    def __init__(self, oldest: int, newest: int) -> None:
        super().__init__()
        self._oldest, self._newest = oldest, newest

    def admit(self, frame: pl.DataFrame) -> Verdict:
        """Judge by the two limits."""
        times = frame["time"].to_physical().to_numpy()
        late, ahead = times < self._oldest, times > self._newest
        accepted = ~late & ~ahead
        if accepted.any():
            self.frontier = int(times[accepted].max())
        refused = tuple(Refusal(int(row), "FutureTime", "time: ahead") for row in np.flatnonzero(ahead))
        return Verdict(accepted, late, refused)
