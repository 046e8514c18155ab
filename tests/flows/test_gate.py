"""What a partition's gate admits, and how far it takes the partition to have come."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.streaming.event_time import SECOND
from flows.streaming.gate import PartitionGate
from tests.flows.harness import frame_of
from tests.flows.reference import Reading

HOUR = 3600 * SECOND
START = 1_475_452_800 * SECOND
CENTURY = 876_000.0


def gate() -> PartitionGate:
    return PartitionGate("meter_id", "time", 120 * SECOND, 24 * HOUR)


def at(*hours: float, meter: str | None = None, received: bool = True) -> pl.DataFrame:
    times = [START + int(h * HOUR) for h in hours]
    return frame_of(
        [Reading(meter or f"M{i}", t, 1.0, None, 0, t + SECOND if received else None) for i, t in enumerate(times)]
    )


def test_lateness_is_judged_row_by_row() -> None:
    verdict = gate().admit(at(0.0, 0.0, 0.0, 30.0, 5.0, 7.0, 31.0, 6.9))
    assert verdict.accepted.tolist() == [True, True, True, True, False, True, True, False]
    assert verdict.late.tolist() == [False, False, False, False, True, False, False, True]


def test_a_lone_leap_into_the_future_is_refused_and_makes_nothing_late() -> None:
    one = gate()
    assert one.admit(at(0, 0, 0, received=False)).all_accepted
    verdict = one.admit(at(0.25, CENTURY, 0.25, 0.25, received=False))
    assert verdict.accepted.tolist() == [True, False, True, True]
    assert not verdict.late.any()
    assert "2116" in verdict.refused[0].message
    assert one.frontier == START + HOUR // 4


@pytest.mark.parametrize("ahead", [2.0, 12.0, 30.0])
def test_where_only_the_others_can_tell_a_leap_beyond_the_limit_is_refused(ahead: float) -> None:
    one = PartitionGate("meter_id", "time", SECOND, 60 * SECOND, limit=HOUR)
    assert one.admit(at(0, 0, 0, 0, 0)).all_accepted
    verdict = one.admit(at(0.001, ahead, 0.002, 0.003, 0.004))
    assert [refusal.row for refusal in verdict.refused] == [1]
    assert not verdict.late.any()
    later = one.admit(at(*[5.0] * 8))  # after a pause all go on
    assert not later.late.any()
    assert later.accepted.tolist()[3:] == [True] * 5


def test_wherever_it_comes_a_time_in_the_future_makes_nothing_late() -> None:
    for place in range(6):
        one = gate()
        hours = [0.0, 0.0, 0.0, 0.25, 0.25]
        hours.insert(place, CENTURY)
        verdict = one.admit(at(*hours, received=False))
        assert not verdict.late.any(), place
        assert one.frontier == START + HOUR // 4, place
        assert verdict.accepted[place] == (place == 0), "only the very first has none before it"


def test_a_reading_whose_received_time_agrees_is_taken_whatever_the_gap() -> None:
    one = gate()
    one.admit(at(0, 0, 0, 0))
    assert one.admit(at(24 * 40, meter="M0")).all_accepted
    assert one.frontier == START, "one clock does not move the others"
    one.settle()
    assert one.frontier == START + 24 * 40 * HOUR, "until no other reading can come"


def test_a_gateway_whose_clock_is_a_century_ahead_moves_nobody() -> None:
    one = gate()
    assert one.admit(at(0, 0, 0, 0, 0)).all_accepted
    verdict = one.admit(at(0.25, *[CENTURY] * 10, *[0.25] * 9))
    assert verdict.all_accepted
    assert one.frontier == START + HOUR // 4
    one.settle()
    assert one.frontier == START + HOUR // 4


@pytest.mark.parametrize(("silence", "doubted"), [(100, 0), (50_000, 31)])
@pytest.mark.parametrize("received", [True, False])
def test_a_long_silence_after_which_all_go_on(received: bool, silence: float, doubted: int) -> None:
    one = gate()
    one.admit(at(0, 0, 0, 0, received=received))
    verdict = one.admit(at(*[silence] * 40, received=received))
    assert verdict.accepted.tolist() == [received] * doubted + [True] * (40 - doubted)
    assert one.frontier == START + silence * HOUR
    assert one.admit(at(0)).late.all()


def test_a_partition_of_one_meter_goes_on_too() -> None:
    one = gate()
    one.admit(at(*range(10), meter="M", received=False))
    assert one.admit(at(CENTURY, meter="M", received=False)).refused
    assert one.admit(at(10, 11, 12, 13, meter="M", received=False)).all_accepted
    assert one.frontier == START + 13 * HOUR
    assert one.admit(at(100, 101, 102, 103, meter="M", received=False)).all_accepted
    assert one.frontier == START + 103 * HOUR


@pytest.mark.parametrize("hours", [30, 48])
def test_meters_that_are_read_every_other_day(hours: int) -> None:
    one = gate()
    for day in range(8):
        assert one.admit(at(*[day * hours] * 3, received=False)).all_accepted
    assert one.frontier == START + 7 * hours * HOUR
    lone = gate()
    for day in range(8):
        assert lone.admit(at(day * hours, meter="M", received=False)).all_accepted
    lone.settle()
    assert lone.frontier == START + 7 * hours * HOUR


def named(*readings: tuple[str, float], received: bool = False) -> pl.DataFrame:
    return pl.concat([at(hour, meter=meter, received=received) for meter, hour in readings])


FEW = [("A", 0.0), ("B", 0.0), ("A", 0.25), ("B", 0.25)]
MANY = [(f"M{n}", 0.5) for n in range(40)]


@pytest.mark.parametrize(("received", "ahead"), [(True, CENTURY), (False, CENTURY), (False, 48.0)])
@pytest.mark.parametrize("wrong", ["A", "C"])
@pytest.mark.parametrize("before", [[], MANY])
def test_one_device_moves_nobody_though_the_partition_began_with_few(
    received: bool, ahead: float, wrong: str, before: list[tuple[str, float]]
) -> None:
    one = gate()
    leap = [(wrong, ahead + step / 4) for step in range(3)]
    for part in (FEW, before, leap, MANY):
        if part:
            assert not one.admit(named(*part, received=received)).late.any()
    assert one.frontier == START + HOUR // 2


@pytest.mark.parametrize("silent", [False, True])
def test_two_meters_go_on_after_a_long_silence(silent: bool) -> None:
    """Where one of them stays silent, it takes the other one longer."""
    one = gate()
    one.admit(named(*FEW))
    after = [("A" if silent or step % 2 else "B", 100 + step / 4) for step in range(40)]
    for number, reading in enumerate(after, start=1):
        assert one.admit(named(reading)).all_accepted
        moved = one.frontier != START + HOUR // 4
        assert moved == (number >= (32 if silent else 3))


def test_where_two_of_three_meters_are_left_they_go_on_and_one_alone_does_not() -> None:
    for left, moves in (("AB", True), ("A", False)):
        one = gate()
        one.admit(named(*FEW, ("C", 0.25)))
        after = [(left[step % len(left)], 100 + step / 4) for step in range(64)]
        assert one.admit(named(*after[:-1])).all_accepted
        assert one.frontier == START + HOUR // 4
        assert one.admit(named(after[-1])).all_accepted
        assert (one.frontier != START + HOUR // 4) is moves


def test_a_third_device_is_remembered_however_long_ago_it_was_seen() -> None:
    one = gate()
    one.admit(named(*FEW))
    for part in ([("C", 0.25)], [("A", 0.25), ("B", 0.25)] * 50):
        one.admit(named(*part))
        restored = gate()
        restored.restore(one.state())
        one = restored
    one.admit(named(("A", 48.0), ("A", 48.25), ("A", 48.5), ("A", 48.75)))
    assert one.frontier == START + HOUR // 4


_hours = st.one_of(
    st.floats(0, 60), st.floats(0, 60), st.floats(0, 60), st.sampled_from([900.0, 901.0, CENTURY, CENTURY + 1])
)
_log = st.sampled_from(["A", "AB", "ABC", "ABCDE"]).flatmap(  # a partition begins with few devices more often than not
    lambda first: st.tuples(
        st.lists(st.tuples(_hours, st.sampled_from(first), st.booleans()), max_size=30),
        st.lists(st.tuples(_hours, st.sampled_from("ABCDE"), st.booleans()), min_size=1, max_size=60),
    ).map(lambda parts: parts[0] + parts[1])
)


@given(_log, st.data())
def test_the_verdict_does_not_depend_on_how_the_log_is_cut(
    log: list[tuple[float, str, bool]], data: st.DataObject
) -> None:
    frame = pl.concat([at(hour, meter=meter, received=received) for hour, meter, received in log])
    one = gate()
    whole = one.admit(frame)
    cut, accepted, late, refused, begin = gate(), [], [], 0, 0
    while begin < frame.height:
        size = data.draw(st.integers(1, 20))
        verdict = cut.admit(frame.slice(begin, size))
        accepted += verdict.accepted.tolist()
        late += verdict.late.tolist()
        refused += len(verdict.refused)
        begin += size
        state, cut = cut.state(), gate()
        cut.restore(state)
    assert accepted == whole.accepted.tolist()
    assert late == whole.late.tolist()
    assert refused == len(whole.refused)
    assert refused + sum(accepted) + sum(late) == frame.height
    assert cut.frontier == one.frontier
    assert cut.state() == one.state()
