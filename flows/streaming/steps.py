"""Steps of dataflows that all flows share: letters, counts, and any number of sinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

from connectors.batch import Batch

Frames = Sink[tuple[str, pl.DataFrame]]


def output(name: str, stream: KeyedStream[pl.DataFrame], sinks: dict[str, Frames]) -> None:
    """Write a stream of frames to each of several sinks."""
    for kind, sink in sinks.items():
        op.output(f"{name}_{kind}", stream, sink)


def frames(name: str) -> Callable[[Any], Iterable[tuple[str, pl.DataFrame]]]:
    """Takes a frame, if it has rows, out of batches, or of what is keyed: their attribute of that name."""

    def pick(item: Any) -> Iterable[tuple[str, pl.DataFrame]]:
        key, source = item if isinstance(item, tuple) else (f"{item.topic}/{item.partition}", item)
        frame = getattr(source, name)
        return [(key, frame)] if frame.height else []

    return pick


def batch_counts(flow: str) -> Callable[[Batch], tuple[str, dict[str, Any]]]:
    """What came in of a batch, and what of it left by the side doors, as the metrics take it."""

    def count(batch: Batch) -> tuple[str, dict[str, Any]]:
        counted = {"in": batch.taken, "late": batch.late.height, "dead_letter": batch.dead.height}
        return f"{batch.topic}/{batch.partition}", {"flow": flow, "topic": batch.topic, "outcomes": counted}

    return count
