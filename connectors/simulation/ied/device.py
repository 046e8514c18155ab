"""A device and all that it sends: its state, its clock and its faults made into runs."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.simulation.chance import Chance
from connectors.simulation.events import EventKind
from connectors.simulation.ied.clock import Clock, time_loss
from connectors.simulation.ied.description import Ied, StateChange, ip_address, mac_address
from connectors.simulation.ied.faults import Fault
from connectors.simulation.ied.goose import goose_runs
from connectors.simulation.ied.health import health_runs
from connectors.simulation.ied.moments import moments
from connectors.simulation.ied.reports import report_runs
from connectors.simulation.ied.runs import Rhythm, Run
from connectors.simulation.options import Options

# While it is down a device neither sends nor counts; while it is out of reach it only is not heard.
DOWN = (EventKind.IED_RESTART, EventKind.IED_CONFIG_CHANGE)
OUT_OF_REACH = (EventKind.IED_SILENCE, EventKind.IED_OUTAGE)


class Device:
    """The runs of a device.

    Args:
        ied: the device.
        index: among those of its substation, from 0.
        changes: what it sees of the grid.
        faults: what goes wrong with it, by time.
        rhythm: of its GOOSE.
        options: what is simulated.
        chance: the seed's streams.
        substation: number of the substation.

    Attributes:
        runs: all that arrives from it or in its name, were it not for silence.
        goose: what became of its GOOSE.
        reports: what became of its reports.
        losses: what became of its clock, by fault.
    """

    def __init__(
        self,
        ied: Ied,
        index: int,
        changes: Sequence[StateChange],
        faults: Sequence[Fault],
        rhythm: Rhythm,
        options: Options,
        chance: Chance,
        substation: int,
    ) -> None:
        start, heartbeat = options.start_us, round(options.goose_heartbeat_seconds * 1e6)
        boots = [fault for fault in faults if fault.kind in DOWN]
        states = moments(ied, changes, boots, start)
        self.losses = {
            fault: time_loss(fault, chance.stream("ied-clock", substation, fault.number))
            for fault in faults
            if fault.kind is EventKind.IED_TIME_LOSS
        }
        clock = Clock(list(self.losses.values()))
        self.goose = goose_runs(
            Run(
                index,
                "GOOSE",
                ied.goose,
                period=heartbeat,
                source_address=mac_address(substation, index),
                app_id=index + 1,
            ),
            states,
            {
                fault: chance.stream("ied-impostor", substation, fault.number)
                for fault in faults
                if fault.kind is EventKind.IED_FALSE_PUBLISHER
            },
            clock,
            rhythm,
            chance.stream("ied-goose", substation, index),
        )
        host = ip_address(substation, index)
        self.reports = report_runs(
            Run(index, "REPORT", ied.report, period=options.report_seconds * 1_000_000, source_address=host),
            states,
            [fault for fault in faults if fault.kind in OUT_OF_REACH],
            chance.stream("ied-reports", substation, index),
            start,
        )
        health = health_runs(
            Run(index, "HEALTH", ied.logical_node, source_address=host),
            boots,
            rhythm,
            chance.stream("ied-health", substation, index),
            start,
        )
        stamped = clock.stamp_each([*self.reports.runs, *health], rhythm)
        self.runs = [*self.goose.runs, *stamped]
