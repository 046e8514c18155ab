"""How readings travel: in time, late, twice, overtaken or never; and the order in which they arrive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.grid.customers import Floats
from connectors.simulation.options import Options
from connectors.simulation.physics.operations import HOUR, MINUTE, SECOND

LATE, DUPLICATE, MISSING, OUT_OF_ORDER = "LATE", "DUPLICATE", "MISSING", "OUT_OF_ORDER"
_DRAWS = 7  # per reading


@dataclass(frozen=True)
class Delivered:
    """What becomes of readings on their way.

    Attributes:
        readings: those that arrive, copies too, with ``received_time`` (µs).
        truth: columns meter, time, what, received_time (µs; null of what is missing): all that did not go smoothly.
    """

    readings: pl.DataFrame
    truth: pl.DataFrame


def deliver(readings: pl.DataFrame, meters: int, options: Options, chance: Chance, number: int) -> Delivered:
    """Send readings on their way.

    Smooth delivery takes 2 s and a gamma(2, 8 s); what is late is so by 16 min to 12 h, log-uniform.

    Args:
        readings: with columns meter, step, sent, time.
        meters: how many meters the substation has.
        options: with the rates.
        chance: the seed's streams.
        number: of the substation.
    """
    draws = _draws(readings, meters, chance, number)
    faults = options.faults
    missing = draws[:, 0] < faults.missing_rate
    late = ~missing & (draws[:, 1] < faults.late_rate)
    overtaken = ~missing & ~late & (draws[:, 2] < faults.out_of_order_rate)
    twice = ~missing & (draws[:, 3] < faults.duplicate_rate)
    delay = 2 * SECOND - 8 * SECOND * np.log(np.maximum(draws[:, 4], 1e-12) * np.maximum(draws[:, 5], 1e-12))
    low, high = np.log(16 * MINUTE), np.log(12 * HOUR)
    delay = np.where(late, np.exp(low + (high - low) * draws[:, 6]), delay)
    delay += np.where(overtaken, options.interval_us + (1 + 20 * draws[:, 6]) * MINUTE, 0)
    received = readings["sent"].to_numpy() + delay.astype(np.int64)
    frame = readings.with_columns(pl.Series("received_time", received))
    copy = pl.Series("received_time", received + SECOND + (draws[:, 6] * (HOUR - SECOND)).astype(np.int64))
    copies = frame.with_columns(copy).filter(pl.Series(twice))
    truth = [
        _truth(frame.filter(pl.Series(mask)), what)
        for mask, what in ((late, LATE), (overtaken, OUT_OF_ORDER), (missing, MISSING))
    ]
    return Delivered(
        pl.concat([frame.filter(pl.Series(~missing)), copies]), pl.concat([*truth, _truth(copies, DUPLICATE)])
    )


def _truth(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    received = pl.lit(None, pl.Int64) if what == MISSING else pl.col("received_time")
    return frame.select("meter", "time", pl.lit(what).alias("what"), received.alias("received_time"))


def _draws(readings: pl.DataFrame, meters: int, chance: Chance, number: int) -> Floats:
    """Draws of each reading that depend on its meter and label alone, not on how time is cut into blocks."""
    steps, meter = readings["step"].to_numpy(), readings["meter"].to_numpy()
    draws = np.empty((len(steps), _DRAWS))
    for step in np.unique(steps).tolist():
        here = steps == step
        whose = meter[here]
        # New meters are numbered after all others.
        size = max(meters, int(whose.max()) + 1)
        draws[here] = chance.stream("delivery", number, step + 1).random((size, _DRAWS))[whose]
    at_exchange = steps < 0
    draws[at_exchange, :4] = 1.0  # the fitter sends these by hand, and they arrive
    return draws
