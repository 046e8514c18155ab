"""The messages of a substation's devices, and the truth about what went wrong with them.

Example:
    >>> import polars as pl
    >>> from connectors.simulation.chance import Chance
    >>> from connectors.simulation.ied.description import Ied
    >>> from connectors.simulation.options import Options
    >>> options, ied = Options(), Ied("S01-F01-P1", "S01", "S01-F01", "S01-F01-XCBR1")
    >>> hour = options.start_us + 3_600_000_000
    >>> names = ("p_kw", "q_kvar", "u_kv", "i_a", "i_b", "i_c")
    >>> load = {"ied_id": [ied.ied_id], "begin": [options.start_us], "end": [hour], **{name: [1.0] for name in names}}
    >>> messages = IedTelemetry([ied], [], options, Chance(1), 1).messages(hour, pl.DataFrame(load))
    >>> messages["kind"].value_counts().sort("kind").rows()
    [('GOOSE', 360), ('HEALTH', 60), ('REPORT', 60)]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.events import Event
from connectors.simulation.ied.description import Ied, StateChange
from connectors.simulation.ied.device import Device
from connectors.simulation.ied.events import SILENT, ied_events
from connectors.simulation.ied.faults import EVERY_IED, LONGEST_SILENCE_US, Fault, place
from connectors.simulation.ied.frame import MessageFrames
from connectors.simulation.ied.measured import Measured
from connectors.simulation.ied.runs import Rhythm
from connectors.simulation.ied.table import Messages, RunTable, Spans, ints
from connectors.simulation.options import Options
from schemas import contract

# How long after it was made a report may still arrive: after the longest silence, when the buffer has been fetched.
_LATEST_US = LONGEST_SILENCE_US + 60_000_000


class IedTelemetry:
    """The messages of a substation's devices.

    Args:
        ieds: the devices.
        changes: what they see of the grid, in any order.
        options: what is simulated.
        chance: the seed's streams.
        substation_number: in the city, from 1.

    Raises:
        ValueError: a change is of a device that is not there, or of what it does not tell.
    """

    def __init__(
        self,
        ieds: Sequence[Ied],
        changes: Sequence[StateChange],
        options: Options,
        chance: Chance,
        substation_number: int,
    ) -> None:
        seen: dict[str, list[StateChange]] = {ied.ied_id: [] for ied in ieds}
        for change in changes:
            if change.ied_id not in seen:
                raise ValueError(f"there is no device {change.ied_id!r} in substation {substation_number}")
            seen[change.ied_id].append(change)
        ids, self._until = list(seen), options.start_us
        rhythm = Rhythm(round(options.goose_heartbeat_seconds * 1e6))
        faults = place(options, len(ieds), chance, substation_number)
        hit: dict[int, list[Fault]] = defaultdict(list)
        for fault in faults:
            for number in range(len(ieds)) if fault.ied == EVERY_IED else (fault.ied,):
                hit[number].append(fault)
        devices = [
            Device(ied, index, seen[ied.ied_id], hit[index], rhythm, options, chance, substation_number)
            for index, ied in enumerate(ieds)
        ]
        runs = [run for device in devices for run in device.runs]
        self._table = RunTable(runs, rhythm)
        self._false = np.array([run.false for run in runs], np.bool_)
        self._frames = MessageFrames(runs, ids, self._table, rhythm)
        self._measured = Measured(ids, options.start_us)
        self._start = options.start_us
        silent = [(index, fault) for index in hit for fault in hit[index] if fault.kind in SILENT]
        self._silent = Spans(
            ints(index for index, _ in silent),
            ints(fault.start for _, fault in silent),
            ints(fault.end for _, fault in silent),
            options.start_us,
        )
        self._events = ied_events(ieds, faults, devices, self._table)

    def messages(self, until: int, measurements: pl.DataFrame) -> pl.DataFrame:
        """The messages that are received from the last call's ``until`` on.

        Args:
            until: µs since 1970, itself not in the span. It grows from call to call.
            measurements: columns ``ied_id``, ``begin`` and ``end`` (µs since 1970) and ``p_kw``, ``q_kvar``, ``u_kv``
                (mean of the phase-to-phase voltages), ``i_a``, ``i_b``, ``i_c`` (A), which hold in [begin, end): of
                all devices, from the last call's ``until`` to this one's.

        Returns:
            The contract's columns, by ``received_time``, ``ied_id``, ``control_block`` and ``sq_num``. How time is cut
            makes no difference to all together.

        Raises:
            ValueError: a measurement is missing.
        """
        self._measured.add(measurements, self._until - _LATEST_US)
        found = self._table.between(self._until, until)
        self._until = max(self._until, until)
        return self._frames.frame(self._heard(found), self._measured)

    def events(self) -> list[Event]:
        """What is injected, known from the start."""
        return list(self._events)

    def false_messages(self) -> pl.DataFrame:
        """Identities of the messages returned so far that a false publisher sent."""
        found = self._heard(self._table.between(self._start, self._until, self._false))
        return self._frames.frame(found, self._measured).select(contract("grid.ied.v1").identity)

    def _heard(self, found: Messages) -> Messages:
        return found.where(self._silent.find(self._table.ied[found.run], found.received) < 0)
