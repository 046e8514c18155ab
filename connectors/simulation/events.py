"""What was injected: the truth, one row for each thing that goes wrong or is done to the grid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl


class EventKind(StrEnum):
    """Kinds of injected events; ``element_id`` and ``amount`` of each in brackets."""

    CLOCK_OFFSET = "CLOCK_OFFSET"  # meter; seconds, meter clock minus true time
    CLOCK_DRIFT = "CLOCK_DRIFT"  # meter; ppm, from the start on
    REGISTER_ROLLOVER = "REGISTER_ROLLOVER"  # meter; kWh at which it starts again from zero
    METER_EXCHANGE = "METER_EXCHANGE"  # usage point; previous and current meter
    THEFT_PARTIAL = "THEFT_PARTIAL"  # meter; kWh not registered in all
    THEFT_NIGHT = "THEFT_NIGHT"
    THEFT_BYPASS = "THEFT_BYPASS"
    METER_TRANSFORMER_CHANGED = "METER_TRANSFORMER_CHANGED"  # usage point; previous and current transformer
    METER_PHASE_CHANGED = "METER_PHASE_CHANGED"  # usage point; previous and current phase
    WRONG_TRANSFORMER = "WRONG_TRANSFORMER"  # usage point; previous: the record, current: the truth
    WRONG_PHASE = "WRONG_PHASE"
    SWITCHING = "SWITCHING"  # open point (switch) over which is re-supplied; kW re-supplied
    FEEDER_FAULT = "FEEDER_FAULT"  # faulted line; fault current in A
    DE_ENERGISED = "DE_ENERGISED"  # transformer; customers without supply
    IED_SILENCE = "IED_SILENCE"  # IED; messages that were not sent
    IED_RESTART = "IED_RESTART"
    IED_TIME_LOSS = "IED_TIME_LOSS"  # IED; ppm of its free-running clock
    IED_FALSE_PUBLISHER = "IED_FALSE_PUBLISHER"  # IED; false messages
    IED_CONFIG_CHANGE = "IED_CONFIG_CHANGE"  # IED; previous and current confRev
    IED_OUTAGE = "IED_OUTAGE"  # substation; IEDs that are silent together


@dataclass(frozen=True)
class Event:
    """One injected event.

    Attributes:
        kind: what it is.
        element_id: whom it hits.
        start: µs since 1970.
        end: µs since 1970; None if it lasts.
        previous: what was before, where that has a name.
        current: what is from then on.
        amount: its size, in the unit that its kind has.
        details: more, by name.
    """

    kind: EventKind
    element_id: str
    start: int
    end: int | None = None
    previous: str | None = None
    current: str | None = None
    amount: float | None = None
    details: Mapping[str, str | float | int] = field(default_factory=dict)


EVENT_SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "element_id": pl.String(),
        "start": pl.Datetime("us", "UTC"),
        "end": pl.Datetime("us", "UTC"),
        "previous": pl.String(),
        "current": pl.String(),
        "amount": pl.Float64(),
        "details": pl.String(),  # a JSON object
    }
)


def event_frame(events: Iterable[Event]) -> pl.DataFrame:
    """The events as a frame of ``EVENT_SCHEMA``, by time, kind and element."""
    rows = sorted(events, key=lambda event: (event.start, event.kind, event.element_id))
    return pl.DataFrame(
        {
            "kind": [str(row.kind) for row in rows],
            "element_id": [row.element_id for row in rows],
            "start": [row.start for row in rows],
            "end": [row.end for row in rows],
            "previous": [row.previous for row in rows],
            "current": [row.current for row in rows],
            "amount": [None if row.amount is None else float(row.amount) for row in rows],
            "details": [json.dumps(dict(row.details), sort_keys=True) for row in rows],
        },
        schema={
            **EVENT_SCHEMA,
            "start": pl.Int64(),
            "end": pl.Int64(),
        },
    ).cast(EVENT_SCHEMA)
