"""The states that a device goes through: its data set's values, and when it takes notice of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.simulation.ied.description import Ied, StateChange
from connectors.simulation.ied.faults import Fault

# Changes within one cycle of the device's logic make one new state.
SCAN_US = 5_000


@dataclass(frozen=True)
class Moment:
    """From when the data set has certain values.

    Attributes:
        time: true time, µs since 1970.
        values: all values by reference.
        boot: with what the device has just come back; None: it has been running.
    """

    time: int
    values: dict[str, str]
    boot: Fault | None = None


def moments(ied: Ied, changes: Sequence[StateChange], boots: Sequence[Fault], start: int) -> list[Moment]:
    """The states one after the other, the first at the start of the simulation.

    What changes while the device is down it finds when it comes back; what changes to what is already told is no
    change.

    Args:
        ied: the device.
        changes: what it sees.
        boots: from when to when it is down, by time.
        start: µs since 1970.

    Raises:
        ValueError: a change names what is not in the device's data set.
    """
    down = [boot.start for boot in boots]
    back = {boot.end: boot for boot in boots}
    seen: dict[int, dict[str, str]] = {start: ied.first_values(), **{time: {} for time in back}}
    for change in changes:
        unknown = change.values.keys() - seen[start].keys()
        if unknown:
            raise ValueError(f"{ied.ied_id}: {min(unknown)} is not in its GOOSE data set")
    last = start
    for change in sorted(changes, key=lambda change: change.time):
        place = bisect_right(down, change.time) - 1
        if place >= 0 and change.time < boots[place].end + SCAN_US:
            last = boots[place].end
        elif change.time - last >= SCAN_US:
            last = change.time
        seen.setdefault(last, {}).update(change.values)
    found: list[Moment] = []
    values: dict[str, str] = {}
    for time in sorted(seen):
        following = values | seen[time]
        if following != values or time in back:
            found.append(Moment(time, following, back.get(time)))
        values = following
    return found
