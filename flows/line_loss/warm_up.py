"""Compiling the inner loops before the first reading comes, instead of when it has come."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl

from connectors.batch import LETTER_SCHEMA, Batch
from connectors.compiled import is_compiled
from connectors.decode import Decoder
from flows.line_loss.alarms import raised
from flows.line_loss.areas.gaps import GapShapes
from flows.line_loss.areas.lines import Line, RadialLines
from flows.line_loss.contributions import READING, MeterShard
from flows.line_loss.history import MeterHistory
from flows.line_loss.rules import LossRules
from flows.streaming.event_time import SECOND
from flows.streaming.shards import ShardRouter
from schemas import Contract
from schemas.encode import Encoder
from schemas.registry import LocalRegistry
from sinks.rows import conform

log = logging.getLogger(__name__)


def warm_up(contract: Contract, rules: LossRules) -> None:
    """Take a few made-up readings through all that is compiled.

    Args:
        contract: that of the readings.
        rules: any.
    """
    if not is_compiled():
        log.info("compiling the inner loops: some seconds, once after each installation")
    hour = 3600 * SECOND
    times = [0, 4 * hour, hour, hour]  # on time, late, and twice
    plain = {"meter_id": ["M"] * 4, "time": times, "import_kwh": [1.0, 2.0, 1.5, 1.6], "quality": [0] * 4}
    registry = LocalRegistry()
    values = Encoder(contract, registry.id_of(contract)).encode(conform(pl.DataFrame(plain), contract))
    decoded = Decoder(contract, registry.by_id).decode([None] * len(values), values).frame
    letters = LETTER_SCHEMA.to_frame()
    shard, router = MeterShard("", rules), ShardRouter("meter_id", READING, 1)
    for row in range(len(values)):
        one = decoded.slice(row, 1).rename({"_row": "_offset"})
        batch = Batch(contract.topic, 0, 1, row, row, one, letters, letters, 1, max(times[: row + 1]))
        outcome = shard.take([piece for _, piece in router.pieces(batch)], [])
        MeterHistory().add("", outcome.meters, outcome.worked_out, outcome.told)
    _studies()


def _studies() -> None:
    """What the study of an area and its alarms need."""
    energy, sure = np.ones((4, 1)), np.array([[True], [False], [True], [True]])
    area, slot = energy.sum(axis=1), np.arange(4)
    shapes = GapShapes.learned(energy, sure, area, slot, 4)
    shapes.fill(energy, sure, np.ones_like(sure), area, slot)
    lines = RadialLines.of("A", [Line("A", "B", 0.1)], ["B"], [None])
    lines.losses(energy, energy, 1.0, np.full(4, 230.0), at_source=True)
    raised(energy, energy)
