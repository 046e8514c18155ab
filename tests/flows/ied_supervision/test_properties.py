"""The core property: order of arrival, duplicates, shards, restarts and looks ahead change no final anomaly."""

from __future__ import annotations

import random
from dataclasses import replace

import polars as pl
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.flows.ied_supervision.reference import findings
from tests.flows.ied_supervision.station import (
    LATENESS,
    MINUTE,
    SECOND,
    Message,
    Supervision,
    disturbed,
    goose,
    health,
    report,
)

_KINDS = {"SILENCE", "SEQUENCE_GAP", "SIMULATION", "NEEDS_COMMISSIONING", "BEH", "HEALTH_ALARM"}
_SPAN = 4 * MINUTE


def _device(ied: str, chance: random.Random) -> list[Message]:
    changes = sorted(chance.sample(range(SECOND, _SPAN, 7_000), chance.randrange(4)))
    # What the station's devices tell of together, all but a few times.
    changes += [
        at + 1_000 * chance.randrange(900) for at in range(5 * SECOND, _SPAN, 13 * SECOND) if chance.random() > 0.1
    ]
    return [*goose(ied, until=_SPAN, changes=changes), *health(ied, until=_SPAN)]


def _faulty(messages: list[Message], chance: random.Random) -> list[Message]:
    """Some of them lost, alone or for a while, and some with flags."""
    for _ in range(chance.randrange(6)):
        begin = chance.randrange(_SPAN)
        end = begin + chance.choice([1, 1, 5, 20]) * SECOND
        spoilt = chance.choice(["lost", "simulation", "nds_com", "beh", "health"])
        messages = [
            one if not begin <= one.received < end else _spoilt(one, spoilt)
            for one in messages
            if spoilt != "lost" or not begin <= one.received < end
        ]
    if chance.random() < 0.4:  # its connection flaps
        period, begin = chance.choice([6, 9, 30]) * SECOND, chance.randrange(_SPAN)
        messages = [
            one
            for one in messages
            if one.kind != "GOOSE" or one.received < begin or (one.received - begin) % period < period // 3
        ]
    return messages


def _spoilt(one: Message, how: str) -> Message:
    if one.kind == "HEALTH":
        return replace(one, beh=3) if how == "beh" else replace(one, health=3) if how == "health" else one
    return replace(one, **{how: True}) if how in ("simulation", "nds_com") else one  # type: ignore[arg-type]


def _station(seed: int) -> list[Message]:
    chance = random.Random(seed)
    return [one for ied in ("S1-A", "S1-B", "S1-C", "S2-A") for one in _faulty(_device(ied, chance), chance)]


def _attacked(seed: int) -> list[Message]:
    """A second publisher, old messages again, reports, a restart: all that the reference does not know."""
    chance, messages = random.Random(seed), _station(seed)
    mine = [one for one in messages if one.block == "S1-A/GOOSE"]
    begin = chance.randrange(len(mine) - 30)
    at = mine[begin].received
    forged = [
        replace(
            mine[begin], received=at + n * SECOND + 137_000, time=at, st=(mine[begin].st or 0) + 1, sq=n, values=("x",)
        )
        for n in range(chance.randrange(1, 20))
    ]
    old = [replace(one, received=one.received + 90 * SECOND + 3_000) for one in mine[5:12]]
    reports = [one for one in report("S1-B", until=_SPAN) if chance.random() > 0.05]
    mixture = [*messages, *forged, *old, *reports, *_protected("S3-A", chance), *_unrepeated("S3-B", chance)]
    if chance.random() < 0.6:  # the station's network fails, for each device a little later
        begin = chance.randrange(30 * SECOND, 200 * SECOND)
        apart = {f"S1-{letter}": chance.randrange(12 * SECOND) for letter in "ABC"}
        ends = {ied: begin + chance.choice([20, 40]) * SECOND + late for ied, late in apart.items()}
        mixture = [
            one for one in mixture if one.ied not in apart or not begin + apart[one.ied] < one.received < ends[one.ied]
        ]
        if chance.random() < 0.5:  # and once more
            again = begin + chance.choice([50, 70, 90]) * SECOND
            mixture = [one for one in mixture if one.ied not in apart or not again < one.received < again + 9 * SECOND]
    return mixture


def _unrepeated(ied: str, chance: random.Random) -> list[Message]:
    """A slow publisher that repeats its states at once, and single states that somebody forges."""
    changes = sorted(chance.sample(range(SECOND, _SPAN, 500_000), 9))
    made = goose(ied, until=_SPAN, every=8 * SECOND, changes=changes, repeats=(4_000, 12_000, 600_000), live=20_000)
    heard = [one for one in made if chance.random() > 0.15]
    forged = [
        replace(one, received=one.received + wait, time=one.received + wait, st=(one.st or 0) + 1, sq=0, values=("x",))
        for one in chance.sample(heard, 3)
        for wait in [chance.randrange(100_000, 5 * SECOND)]
    ]
    return [*heard, *forged]


def _protected(ied: str, chance: random.Random) -> list[Message]:
    """A feeder's currents in one control block, and its protection's trips in another one."""
    fault = chance.randrange(70, 200)
    begin, lasts = fault * SECOND, chance.choice([1, 2, 3, 8]) * SECOND
    tripped = begin + chance.choice([-1, 0, 2, 5, 10**6]) * SECOND + 300_000
    currents = [
        replace(
            one,
            references=("MMXU1.A.phsA.cVal.mag.f",),
            values=(f"{3_000 if begin <= one.received < begin + lasts else chance.uniform(70, 80):.1f}",),
        )
        for one in report(ied, until=_SPAN, every=SECOND)
    ]
    trips = goose(ied, until=_SPAN, changes=[tripped] if tripped < _SPAN else [])
    told = [
        replace(one, references=("PTRC1.Tr.general",), values=("false" if one.values[0] == "true" else "true",))
        for one in trips
        if one.values is not None
    ]
    return [*currents, *told]


def _in_order(messages: list[Message]) -> Supervision:
    supervision = Supervision()
    supervision.take(sorted(messages, key=lambda one: one.received))
    supervision.end()
    return supervision


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10**6))
def test_the_reference_finds_the_same(seed: int) -> None:
    messages = _station(seed)
    found = _in_order(messages).final.filter(pl.col("kind").is_in(sorted(_KINDS)))
    micros = found.with_columns(pl.col("start_time", "end_time").dt.epoch("us"))
    columns = ("control_block", "kind", "start_time", "end_time", "message_count")
    assert set(micros.select(columns).iter_rows()) == findings(messages)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**6),
    shards=st.integers(1, 3),
    lateness=st.sampled_from([1, SECOND, 20 * SECOND, LATENESS]),
    twice=st.sampled_from([0.0, 0.3]),
    looks=st.booleans(),
)
# Old messages again, while the station is silent: whether they came in one round with it must not matter.
@example(seed=29523, shards=1, lateness=1, twice=0.0, looks=False)
@example(seed=29523, shards=1, lateness=SECOND, twice=0.3, looks=True)
def test_order_duplicates_shards_and_restarts_change_nothing(
    seed: int, shards: int, lateness: int, twice: float, looks: bool
) -> None:
    chance, messages = random.Random(seed), _attacked(seed)
    expected = _in_order(messages)
    arriving = disturbed(messages, chance, lateness, twice)
    supervision = Supervision(shards)
    at = kept = 0
    kills = chance.choice([0, 0, 5])
    while at < len(arriving):
        size = chance.choice([1, 20, 200])
        supervision.take(arriving[at : at + size])
        at += size
        if looks and chance.random() < 0.5:
            supervision.look_ahead()
        if chance.random() < 0.2:
            chance.choice([supervision.snapshot, supervision.restart])()
            kept = at
        if kills and chance.random() < 0.1:
            supervision.kill()
            at, kills = kept, kills - 1
    supervision.end()
    compared = [name for name in expected.standing.columns if not looks or name != "revision"]
    assert_frame_equal(supervision.standing.select(compared), expected.standing.select(compared))
    assert supervision.counts["late"] == 0
    assert supervision.counts["used"] == expected.counts["used"] == len(set(messages))
    assert supervision.counts["duplicate"] == len(arriving) - supervision.counts["used"]


def test_a_frame_that_comes_late_is_no_attack() -> None:
    messages = goose(until=_SPAN)
    arriving = sorted(messages, key=lambda one: one.received + (40 * SECOND if one.received == 60 * SECOND else 0))
    supervision = Supervision()
    for one in arriving:
        supervision.take([one])
        supervision.look_ahead()
    supervision.end()
    assert supervision.standing.is_empty()
    (row,) = supervision.final.iter_rows(named=True)  # for as long as it was missing, a message was missing
    assert (row["kind"], row["state"]) == ("SEQUENCE_GAP", "CLEARED")


def test_what_comes_later_than_that_is_late() -> None:
    messages = goose(until=_SPAN)
    missing = messages.pop(60)
    supervision = Supervision()
    supervision.take(messages)
    supervision.take([missing])
    supervision.end()
    assert supervision.counts == {"used": len(messages), "duplicate": 0, "late": 1}
