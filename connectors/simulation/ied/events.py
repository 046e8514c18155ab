"""The truth about what goes wrong with the devices."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.simulation.events import Event, EventKind
from connectors.simulation.ied.description import Ied
from connectors.simulation.ied.device import DOWN, OUT_OF_REACH, Device
from connectors.simulation.ied.faults import Fault
from connectors.simulation.ied.table import RunTable

SILENT = (*DOWN, *OUT_OF_REACH)


def ied_events(ieds: Sequence[Ied], faults: Sequence[Fault], devices: Sequence[Device], table: RunTable) -> list[Event]:
    """One event for each fault.

    Args:
        ieds: the devices.
        faults: what goes wrong with them.
        devices: what they send, in the same order.
        table: all of that.
    """
    return [_event(fault, ieds, devices, table) for fault in faults]


def _event(fault: Fault, ieds: Sequence[Ied], devices: Sequence[Device], table: RunTable) -> Event:
    name = ieds[fault.ied].ied_id
    device = devices[fault.ied]
    if fault.kind is EventKind.IED_OUTAGE:
        missing = _missing(fault, list(range(len(ieds))), devices, table)
        name, amount = ieds[0].substation, float(len(ieds))
        return Event(fault.kind, name, fault.start, fault.end, amount=amount, details=missing)
    if fault.kind is EventKind.IED_SILENCE:
        details = _missing(fault, [fault.ied], devices, table)
        amount = float(details.pop("messages_not_sent"))
        return Event(fault.kind, name, fault.start, fault.end, amount=amount, details=details)
    if fault.kind is EventKind.IED_TIME_LOSS:
        loss = device.losses[fault]
        details = {"step_ms": loss.step / 1000, "clock_failure": int(loss.failed)}
        return Event(fault.kind, name, fault.start, fault.end, amount=loss.ppm, details=details)
    if fault.kind is EventKind.IED_FALSE_PUBLISHER:
        run = device.goose.imitations[fault]
        genuine = next(other.source_address for other in device.goose.runs if not other.false)
        details = {
            "source_address": str(run.source_address),
            "same_address": int(run.source_address == genuine),
            "st_num": run.st_num or 0,
        }
        return Event(fault.kind, name, fault.start, fault.end, amount=float(run.end), details=details)
    if fault.kind is EventKind.IED_CONFIG_CHANGE:
        revision = device.goose.revisions[fault]
        details = {"silent_seconds": (fault.end - fault.start) / 1e6}
        return Event(fault.kind, name, fault.start, None, str(revision - 1), str(revision), details=details)
    return Event(fault.kind, name, fault.start, fault.end)


def _missing(
    fault: Fault, hit: Sequence[int], devices: Sequence[Device], table: RunTable
) -> dict[str, str | float | int]:
    """What does not arrive, and what arrives late, because devices are out of reach."""
    unheard = sum(len(table.between(fault.start, fault.end, table.ied == ied)) for ied in hit)
    lost = sum(devices[ied].reports.lost[fault] for ied in hit)
    delayed = sum(devices[ied].reports.delayed[fault] for ied in hit)
    return {"messages_not_sent": unheard + lost, "reports_delayed": delayed, "reports_lost": lost}
