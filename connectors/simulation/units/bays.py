"""The protection and control devices of a substation's bays: who they are, and what they see."""

from __future__ import annotations

import numpy as np
import polars as pl

from connectors.simulation.grid.layout import Substation
from connectors.simulation.ied.description import OPERATED, POSITION, STARTED, TRIPPED, Ied, StateChange
from connectors.simulation.physics.operations import CLEARED, OPERATE, PARTING, PICK_UP, Plan
from connectors.simulation.physics.state import Block

_TRAVEL, _RESET = CLEARED - PARTING, CLEARED + 80_000


def bay_ieds(grid: Substation) -> list[Ied]:
    """One device for each main transformer's bay, one for each feeder's."""
    mains = [Ied(f"{name}-P1", grid.name, name, None) for name, _ in grid.mains]
    return mains + [Ied(f"{feeder.name}-P1", grid.name, feeder.name, feeder.breaker) for feeder in grid.feeders]


def state_changes(grid: Substation, plan: Plan) -> list[StateChange]:
    """What the devices tell beside measured values: positions of their breakers, and trips; by time."""
    ied_of = {feeder.breaker: f"{feeder.name}-P1" for feeder in grid.feeders}
    changes = []
    for operation in plan.operations:
        if ied := ied_of.get(operation.switch):
            changes.append(StateChange(operation.time - _TRAVEL, ied, {POSITION: "intermediate"}))
            changes.append(StateChange(operation.time, ied, {POSITION: "on" if operation.closed else "off"}))
    for fault in plan.faults:
        ied = ied_of[grid.feeders[fault.feeder].breaker]
        # The main's relay picks up too, and falls back when the feeder's has tripped: time grading.
        main = f"{grid.mains[grid.feeders[fault.feeder].busbar][0]}-P1"
        changes.append(StateChange(fault.time + PICK_UP, main, {STARTED: "true"}))
        changes.append(StateChange(fault.time + CLEARED + 20_000, main, {STARTED: "false"}))
        changes.append(StateChange(fault.time + PICK_UP, ied, {STARTED: "true"}))
        changes.append(StateChange(fault.time + OPERATE, ied, {OPERATED: "true", TRIPPED: "true"}))
        reset = {STARTED: "false", OPERATED: "false", TRIPPED: "false"}
        changes.append(StateChange(fault.time + _RESET, ied, reset))
    return sorted(changes, key=lambda change: (change.time, change.ied_id))


def bay_measurements(grid: Substation, ieds: list[Ied], block: Block) -> pl.DataFrame:
    """What the devices measure on the MV side, span by span.

    Returns:
        Columns ied_id, begin, end (µs), p_kw, q_kvar, u_kv (phase to phase), i_a, i_b, i_c (A).
    """
    heads = [feeder.head for feeder in grid.feeders]
    power, reactive = block.mv_power[:, heads, 0], block.mv_reactive[:, heads, 0]
    busbar = np.array([feeder.busbar for feeder in grid.feeders])
    # A main delivers what its busbar's feeders take.
    sums = [[values[:, busbar == b].sum(axis=1) for b in (0, 1)] for values in (power, reactive)]
    power = np.concatenate([np.stack(sums[0], axis=1), power], axis=1)
    reactive = np.concatenate([np.stack(sums[1], axis=1), reactive], axis=1)
    volts = block.mv_volts[:, np.searchsorted(block.mv_nodes, grid.busbars)][:, np.concatenate([[0, 1], busbar])]
    apparent = np.hypot(power, reactive)
    current = np.divide(apparent, volts, out=np.zeros_like(apparent), where=volts > 0)
    m, count = len(power), len(ieds)
    return pl.DataFrame(
        {
            "ied_id": [ied.ied_id for ied in ieds] * m,
            "begin": np.repeat(block.bounds[:-1], count),
            "end": np.repeat(block.bounds[1:], count),
            "p_kw": power.sum(axis=2).ravel() / 1000,
            "q_kvar": reactive.sum(axis=2).ravel() / 1000,
            "u_kv": (volts.mean(axis=2) * np.sqrt(3) / 1000).ravel(),
            "i_a": current[:, :, 0].ravel(),
            "i_b": current[:, :, 1].ravel(),
            "i_c": current[:, :, 2].ravel(),
        }
    )
