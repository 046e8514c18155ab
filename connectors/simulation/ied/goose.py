"""GOOSE of a device as runs, one for each state: IEC 61850-7-2 for the numbers, IEC 61850-8-1 for the rhythm.

A change of state makes a new ``stNum``, sent at once with ``sqNum`` 0 and then again and again at growing intervals,
up to the heartbeat, which goes on until the next change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from connectors.simulation.events import EventKind
from connectors.simulation.ied.clock import Clock
from connectors.simulation.ied.description import POSITION, TRIPPED, Entries, added_entry
from connectors.simulation.ied.faults import Fault
from connectors.simulation.ied.moments import Moment
from connectors.simulation.ied.runs import ENDLESS, LEAST_LIVE_MS, Rhythm, Run

# From a change to the frame on the wire: one pass of the device's logic.
_PROCESSING_US = (1_000, 3_000)
# Through the station's switches, and through the capture.
LATENCY_US = 2_000
_JITTER_US = 5_000  # of heartbeats
_CRYSTAL_PPM = 50  # either way, by which the heartbeat is off
# How long a device with a changed data set says that it needs commissioning.
_COMMISSIONING_US = (3_000_000, 7_000_000)  # at least, and what chance adds at most
_FALSE_PERIOD_US = (20_000, 200_000)


@dataclass
class GooseRuns:
    """GOOSE of a device.

    Attributes:
        runs: all of them.
        imitations: the false publishers' runs, by fault.
        revisions: confRev from a change of configuration on, by fault.
    """

    runs: list[Run] = field(default_factory=list)
    imitations: dict[Fault, Run] = field(default_factory=dict)
    revisions: dict[Fault, int] = field(default_factory=dict)


def following(number: int) -> int:
    """The stNum after another; it starts again at 1 (IEC 61850-8-1)."""
    return number + 1 if number < 0xFFFF_FFFF else 1


def goose_runs(
    base: Run,
    states: Sequence[Moment],
    impostors: Mapping[Fault, np.random.Generator],
    clock: Clock,
    rhythm: Rhythm,
    stream: np.random.Generator,
) -> GooseRuns:
    """The runs of a device's GOOSE control block.

    Args:
        base: what all have in common, with the heartbeat as its period.
        states: from ``moments``.
        impostors: false publishers, and where their chance comes from.
        clock: the device's.
        rhythm: for the heartbeat.
        stream: where chance comes from.
    """
    period = round(base.period * (1 + float(stream.uniform(-_CRYSTAL_PPM, _CRYSTAL_PPM)) * 1e-6))
    base = replace(
        base,
        period=period,
        latency=LATENCY_US,
        jitter=_JITTER_US,
        burst=True,
        live_ms=max(2 * base.period // 1000, LEAST_LIVE_MS),
        simulation=False,
        nds_com=False,
    )
    st_num, conf_rev = int(stream.integers(1, 201)), int(stream.integers(1, 6))
    # Long after the last change of state: the heartbeats since then give the sqNum.
    number, phase = rhythm.count + int(stream.integers(1, 50_000)), int(stream.integers(period))
    # State by state, so that what is still to come shifts nothing.
    draws = [(int(stream.integers(*_PROCESSING_US)), int(stream.integers(1 << 62)), stream.random()) for _ in states]
    done, added = GooseRuns(), 0
    for place, state in enumerate(states):
        delay, key, share = draws[place]
        boot, first = state.boot, state.time + delay
        reconfigured = boot is not None and boot.kind is EventKind.IED_CONFIG_CHANGE
        if place > 0:
            st_num = following(st_num) if boot is None else 1
        if boot is not None and reconfigured:
            conf_rev, added = conf_rev + 1, added + 1
            done.revisions[boot] = conf_rev
        entries = (*state.values.items(), *(added_entry(one + 1) for one in range(added)))
        run = replace(base, first=first, key=key, st_num=st_num, conf_rev=conf_rev, content=entries)
        run = clock.stamp(run, state.time)
        if boot is not None:
            run = replace(run, sq_base=1)  # 7-2: both numbers start at 1 when GoEna becomes true; 0 is a new state's
        if place == 0:
            first = state.time + phase - int(rhythm.offset(True, period, number))
            run = clock.stamp(replace(run, first=first, begin=number), first - delay)
        if place + 1 < len(states):
            run = rhythm.stop(run, _last_before(states[place + 1], draws[place + 1][0]))
        if reconfigured:
            early, run = rhythm.cut(run, first + round(_COMMISSIONING_US[0] + share * _COMMISSIONING_US[1]))
            done.runs.append(replace(early, nds_com=True))
        done.runs.append(run)
    for fault, stream_of_fault in impostors.items():
        done.imitations[fault] = imitation(done.runs, fault, rhythm, stream_of_fault)
    done.runs = [run for run in (*done.runs, *done.imitations.values()) if run.begin < run.end]
    return done


def _last_before(state: Moment, delay: int) -> int:
    """When the state before is told no more: nothing is still on its way when the new one is sent."""
    return state.boot.start if state.boot is not None else state.time + delay - LATENCY_US


def imitation(genuine: Sequence[Run], fault: Fault, rhythm: Rhythm, stream: np.random.Generator) -> Run:
    """What somebody sends who wants subscribers to believe that the breaker was tripped.

    The stNum is higher than the genuine one, so that it counts as news; from another address, or from a forged one.
    """
    model = [run for run in genuine if run.first <= fault.start][-1]
    assert model.st_num is not None
    assert model.content is not None
    period = int(stream.integers(*_FALSE_PERIOD_US))
    own = "02:" + ":".join(f"{octet:02x}" for octet in stream.integers(256, size=5))
    run = replace(
        model,
        key=int(stream.integers(1 << 62)),
        first=fault.start,
        begin=0,
        end=ENDLESS,
        period=period,
        burst=False,
        jitter=period // 10,
        live_ms=max(2 * period // 1000, LEAST_LIVE_MS),
        state_time=fault.start,
        clock_failure=False,
        clock_not_synchronized=False,
        source_address=model.source_address if stream.random() < 0.5 else own,
        st_num=model.st_num + int(stream.integers(1, 4)),
        nds_com=False,
        content=_falsified(model.content),
        false=True,
    )
    return replace(run, end=rhythm.due(run, fault.end - run.jitter - run.latency))


def _falsified(content: Entries) -> Entries:
    values = dict(content)
    if POSITION in values:
        values[POSITION] = "on" if values[POSITION] == "off" else "off"
    return tuple((values | {TRIPPED: "true"}).items())
