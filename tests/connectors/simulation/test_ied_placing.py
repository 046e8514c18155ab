"""Faults of devices: how many, when, and never two of a device at once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulation.chance import Chance
from connectors.simulation.events import EventKind
from connectors.simulation.ied.faults import EVERY_IED, place
from connectors.simulation.options import Faults, preset
from tests.connectors.simulation.ied_station import options, telemetry

SECOND = 1_000_000


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            f"ied_{name}_per_day": st.sampled_from([0.0, 0.01, 1.0, 10.0, 1000.0])
            for name in ("silence", "restart", "time_loss", "false_publisher", "config_change", "outage")
        }
    ),
    st.integers(1, 5),
    st.sampled_from([1 / 96, 1 / 24, 0.5, 3.0]),
    st.integers(0, 1000),
)
def test_faults_of_a_device_do_not_overlap(rates: dict[str, float], ieds: int, days: float, seed: int) -> None:
    chosen = options(Faults(**rates), days=days)
    faults = place(chosen, ieds, Chance(seed), 1)
    for ied in range(ieds):
        spans = sorted((fault.start, fault.end) for fault in faults if fault.hits(ied))
        assert all(end + 15 * SECOND < start for (_, end), (start, _) in pairwise(spans))
        assert all(chosen.start_us < start <= end < chosen.end_us for start, end in spans)
    assert all((fault.kind is EventKind.IED_OUTAGE) == (fault.ied == EVERY_IED) for fault in faults)
    for name, rate in rates.items():
        kind = EventKind[name.removesuffix("_per_day").upper()]
        count = sum(fault.kind is kind for fault in faults)
        units = days if kind is EventKind.IED_OUTAGE else days * ieds
        assert (count == 0) == (rate == 0) or max(rates.values()) >= 10 or days < 0.5
        assert count <= max(1, round(rate * units))


def test_each_kind_happens_at_least_once_in_trouble() -> None:
    kinds = {event.kind for event in telemetry(options(preset("trouble"))).events()}
    assert kinds == {kind for kind in EventKind if kind.startswith("IED_")}


def test_nothing_happens_when_all_is_well() -> None:
    source = telemetry(options(preset("field")))
    assert source.events() == []
    assert source.false_messages().is_empty()
