"""However time is cut into blocks, the messages are the same; all of them fit the contract."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.decode import Decoder
from connectors.simulation.ied.description import StateChange
from connectors.simulation.ied.frame import goose_numbers, hexadecimal
from connectors.simulation.ied.goose import following
from connectors.simulation.ied.runs import Rhythm, Run
from connectors.simulation.ied.table import RunTable, ints
from connectors.validate import validate
from schemas import contract
from schemas.encode import Encoder
from schemas.registry import LocalRegistry
from tests.connectors.simulation.ied_station import (
    HOUR,
    IEDS,
    SOME_FAULTS,
    in_blocks,
    options,
    position_change,
    telemetry,
)

IED = contract("grid.ied.v1")
OPTIONS = options(SOME_FAULTS, report_seconds=5)
START = OPTIONS.start_us
CHANGES: list[StateChange] = [
    position_change(number % 3, START + number * HOUR // 7, ("off", "on")[number // 3 % 2]) for number in range(1, 40)
]
WHOLE = telemetry(OPTIONS, CHANGES)
FRAME = in_blocks(WHOLE, START, [OPTIONS.end_us])


def test_every_message_fits_the_contract() -> None:
    assert FRAME.schema == IED.polars
    good, refused = validate(IED, FRAME)
    assert good.all(), refused[:3]
    assert not FRAME.select(pl.struct(IED.identity).is_duplicated().any()).item()
    bodies = Encoder(IED, LocalRegistry().id_of(IED)).encode(FRAME)
    decoded = Decoder(IED).decode([key.encode() for key in FRAME["ied_id"]], bodies)
    assert decoded.dead == []
    assert decoded.frame.drop("_row").equals(FRAME)


def test_order() -> None:
    keys = ["received_time", "ied_id", "control_block", "sq_num"]
    assert FRAME.equals(FRAME.sort(keys, maintain_order=True))
    assert FRAME["received_time"].to_physical().is_between(START, OPTIONS.end_us, closed="left").all()


# Cuts anywhere, and where a buffer is just being emptied, or a burst sent.
NEAR = sorted(
    {
        *(event.start for event in WHOLE.events()),
        *(event.end or event.start for event in WHOLE.events()),
        *(change.time for change in CHANGES),
    }
)
CUTS = st.one_of(
    st.integers(START, OPTIONS.end_us),
    st.builds(int.__add__, st.sampled_from(NEAR), st.integers(0, 12_000_000)),
    st.builds(int.__add__, st.sampled_from(NEAR), st.integers(-1, 20_000)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(CUTS, max_size=8))
def test_cuts_make_no_difference(cuts: list[int]) -> None:
    ends = [*sorted(cut for cut in cuts if START < cut < OPTIONS.end_us), OPTIONS.end_us]
    source = telemetry(OPTIONS, CHANGES)
    assert source.false_messages().is_empty()
    assert in_blocks(source, START, ends).equals(FRAME)
    assert source.false_messages().equals(WHOLE.false_messages())


def test_many_small_blocks_make_no_difference() -> None:
    ends = list(range(START + HOUR // 60, OPTIONS.end_us + 1, HOUR // 60))
    assert in_blocks(telemetry(OPTIONS, CHANGES), START, ends).equals(FRAME)


@given(
    st.booleans(),
    st.integers(100_000, 60_000_000),
    st.integers(-1000, 1_000_000_000),
)
def test_a_messages_number_is_the_inverse_of_when_it_is_due(burst: bool, heartbeat: int, time: int) -> None:
    rhythm = Rhythm(heartbeat)
    number = int(rhythm.number(burst, heartbeat, time))
    assert int(rhythm.offset(burst, heartbeat, number)) >= time
    if number > 0 or not burst:
        assert int(rhythm.offset(burst, heartbeat, number - 1)) < time


def test_numbers_overrun_as_the_standard_says() -> None:
    assert following(1) == 2
    assert following(4294967294) == 4294967295
    assert following(4294967295) == 1
    numbers = ints([0, 1, 4294967294, 4294967295, 4294967296, 4294967297, 2 * 4294967295 + 1])
    assert goose_numbers(numbers).tolist() == [0, 1, 4294967294, 4294967295, 1, 2, 1]


def test_report_numbers_overrun_to_zero() -> None:
    rows = FRAME.filter((pl.col("kind") == "REPORT") & (pl.col("ied_id") == IEDS[0].ied_id))
    assert rows["sq_num"].is_between(0, 65535).all()
    run = Run(0, "REPORT", "r", first=0, period=10_000_000, latency=1000, begin=65534, end=65538)
    table = RunTable([run], Rhythm(10_000_000))
    assert table.between(0, 1 << 50).number.tolist() == [65534, 65535, 65536, 65537]


def test_hexadecimal() -> None:
    assert hexadecimal(ints([0, 255, 2**40 + 1])).to_list() == ["0" * 16, "00000000000000ff", "0000010000000001"]
    assert hexadecimal(ints([])).to_list() == []
