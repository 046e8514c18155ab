"""What values contradict, and what an engineer would not call a contradiction."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl

from flows.ied_supervision.values import EntryMeaning
from tests.flows.ied_supervision.station import MINUTE, SECOND, START, Message, Supervision, goose, health, report, run

_HOUR = 60 * MINUTE
_AMPERES = tuple(f"LD0/MMXU1.A.phs{phase}.cVal.mag.f" for phase in "ABC")
_VOLTS = tuple(f"LD0/MMXU1.PhV.phs{phase}.cVal.mag.f" for phase in "ABC")


def kinds(frame: pl.DataFrame) -> set[str]:
    return set(frame["kind"])


def reports(
    until: int, references: Sequence[str], values: Callable[[int], Sequence[str]], every: int = 5 * SECOND
) -> list[Message]:
    """Reports with some values, by the time."""
    return [
        replace(one, references=tuple(references), values=tuple(values(one.received)))
        for one in report(until=until, every=every)
    ]


def states(references: Sequence[str], *several: tuple[int, Sequence[str]], until: int = 5 * MINUTE) -> list[Message]:
    """A GOOSE that goes through states, each from a time on."""
    ends = [*(since for since, _ in several[1:]), until]
    return [
        Message(at, time=since, st=number + 1, sq=sq, values=tuple(values), references=tuple(references))
        for number, ((since, values), end) in enumerate(zip(several, ends, strict=True))
        for sq, at in enumerate(range(since, end, SECOND))
    ]


def bay(
    until: int, position: Callable[[int], str], ampere: Callable[[int, random.Random], list[float]]
) -> pl.DataFrame:
    """What is found in a bay's reports: a breaker, currents, and voltages that move."""
    chance = random.Random(1)

    def values(at: int) -> list[str]:
        volts = [f"{chance.gauss(11_540, 15):.1f}" for _ in "ABC"]
        return [position(at), *(f"{one:.1f}" for one in ampere(at, chance)), *volts]

    return run(reports(until, ("LD0/XCBR1.Pos.stVal", *_AMPERES, *_VOLTS), values))


def test_poles_and_breakers_of_one_data_set_must_all_be_open() -> None:
    poles = tuple(f"LD0/XCBR{pole}.Pos.stVal" for pole in (1, 2, 3))
    reclosed = states(
        (*poles, *_AMPERES),
        (0, ("on", "on", "on", "310.0", "309.5", "311.2")),
        (100 * SECOND, ("off", "on", "on", "0.0", "309.5", "311.2")),
    )
    assert run(reclosed).is_empty()
    beside = states((*poles[:2], _AMPERES[0]), (0, ("off", "on", "210.0")))
    assert run(beside).is_empty()
    both = states((*poles[:2], _AMPERES[0]), (0, ("off", "off", "210.0")))
    assert kinds(run(both)) == {"BREAKER_CONTRADICTED"}


def test_a_position_may_be_unclear_while_the_contacts_move() -> None:
    bounced = [
        *(replace(one, received=one.received) for one in states(("LD0/XCBR1.Pos",), (0, ("on",)), until=MINUTE)),
        Message(MINUTE, time=MINUTE, st=2, sq=0, values=("bad",), references=("LD0/XCBR1.Pos",)),
        Message(MINUTE + 10_000, time=MINUTE + 10_000, st=3, sq=0, values=("00",), references=("LD0/XCBR1.Pos",)),
        *(Message(MINUTE + 50_000 + n * SECOND, time=MINUTE + 50_000, st=4, sq=n, values=("off",)) for n in range(60)),
    ]
    bounced = [replace(one, references=("LD0/XCBR1.Pos",)) for one in bounced]
    assert run(bounced).is_empty()
    for stuck, seconds in (("bad", 1), ("intermediate", 10)):
        (row,) = run(states(("LD0/XCBR1.Pos",), (0, ("on",)), (MINUTE, (stuck,)))).iter_rows(named=True)
        assert row["kind"] == "BREAKER_CONTRADICTED"
        assert row["start_time"].timestamp() * SECOND == START + MINUTE + seconds * SECOND


def test_an_open_breaker_and_its_current_in_different_reports() -> None:
    sent = [
        replace(one, references=("LD0/XCBR1.Pos",), values=("off",), announced=4)
        if one.received == 10 * SECOND
        else replace(one, references=(_AMPERES[0],), values=("200.0",), announced=4)
        for one in report(until=5 * MINUTE)
    ]
    assert kinds(run(sent)) == {"BREAKER_CONTRADICTED"}


def test_a_feeder_that_is_switched_on_again_carries_what_it_always_has() -> None:
    def amperes(at: int) -> list[str]:
        off = 2 * _HOUR <= at < 5 * _HOUR
        return ["0.1" if off else f"{250 + at / SECOND % 7:.1f}", "false"]

    found = run(reports(7 * _HOUR, (_AMPERES[0], "PROT/PTRC1.Tr.general"), amperes))
    assert found.is_empty()


def test_a_phase_that_is_dead_while_the_others_carry() -> None:
    def dead(at: int, chance: random.Random) -> list[float]:
        three = [chance.gauss(200, 5) for _ in "ABC"]
        return [0.0, *three[1:]] if at >= _HOUR else three

    found = bay(2 * _HOUR, lambda _: "on", dead)
    assert kinds(found) == {"FROZEN"}
    assert found["start_time"].item().timestamp() * SECOND < START + _HOUR + 3 * MINUTE


def test_what_is_truly_constant_is_not_frozen() -> None:
    def off(at: int) -> bool:
        return _HOUR <= at < 2 * _HOUR

    idle = bay(
        3 * _HOUR,
        lambda at: "off" if off(at) else "on",
        lambda at, chance: [0.1, 0.1, 0.1] if off(at) else [chance.gauss(200, 5) for _ in "ABC"],
    )
    assert idle.is_empty()

    def night(at: int, chance: random.Random) -> list[float]:
        return [chance.gauss(60, 0.5) if at < _HOUR else chance.gauss(4, 0.02) for _ in "ABC"]

    assert bay(3 * _HOUR, lambda _: "on", night).is_empty()


def test_what_has_frozen_before_and_after_an_outage() -> None:
    def frozen(at: int, chance: random.Random) -> list[float]:
        if _HOUR <= at < 3 * _HOUR:
            return [0.0, 0.0, 0.0]
        three = [chance.gauss(200, 5) for _ in "ABC"]
        return [203.4, *three[1:]] if at >= 4 * _HOUR else three

    found = bay(5 * _HOUR, lambda at: "off" if _HOUR <= at < 3 * _HOUR else "on", frozen)
    assert kinds(found) == {"FROZEN"}
    assert found["start_time"].item().timestamp() * SECOND < START + 4 * _HOUR + 5 * MINUTE


def test_what_a_test_set_injects_is_no_fault() -> None:
    injected = states(
        ("LD0/XCBR1.Pos", "PROT/PTOC1.Str", "PROT/PTRC1.Tr", _AMPERES[0]),
        (0, ("off", "false", "false", "0.0")),
        (2 * MINUTE, ("off", "true", "false", "900.0")),
    )
    tested = [replace(one, beh=3 if one.received >= MINUTE else 1) for one in health(until=5 * MINUTE)]
    assert kinds(run([*injected, *tested])) == {"BEH"}
    assert kinds(run([*injected, *health(until=5 * MINUTE)])) == {
        "BREAKER_CONTRADICTED",
        "OVERCURRENT_WITHOUT_TRIP",
        "PICKUP_WITHOUT_TRIP",
    }


def test_starts_that_last_as_long_as_their_causes() -> None:
    for function in ("PTUV1", "PTTR1", "PTOV2"):
        references = (f"PROT/{function}.Str.general", "PROT/PTRC1.Tr.general")
        assert run(states(references, (0, ("false", "false")), (MINUTE, ("true", "false")))).is_empty()


def test_functions_are_known_with_and_without_the_attribute() -> None:
    for references in (
        ("PROT/PTOC1.Str.general", "PROT/PTOC1.Op.general"),
        ("PROT/PTOC1$ST$Str$general", "PROT/PTOC1$ST$Op$general"),
        ("PROT/PTOC1.Str", "PROT/PTRC1.Tr"),
    ):
        started = states(references, (0, ("false", "false")), (MINUTE, ("true", "false")))
        assert kinds(run(started)) == {"PICKUP_WITHOUT_TRIP"}
        tripped = states(references, (0, ("false", "false")), (MINUTE, ("false", "true")))
        assert kinds(run(tripped)) == {"TRIP_WITHOUT_PICKUP"}


def test_places_in_a_report_of_what_has_changed_say_nothing() -> None:
    parts = [replace(one, values=("11541.0", "7.0"), announced=4) for one in report(until=MINUTE)]
    told = Supervision(meanings=(EntryMeaning("S1-*", 0, "frequency"),))
    told.take(parts)
    told.end()
    assert told.final.filter(kind="OUT_OF_RANGE").is_empty()


def test_what_a_false_publisher_measures_is_not_the_devices() -> None:
    genuine = states(("LD0/XCBR1.Pos", _AMPERES[0]), (0, ("on", "200.0")))
    false = [
        replace(one, received=one.received + 300_000, st=900, values=("bad", "-5.0"), address="02:00:00:00:00:99")
        for one in genuine[100:200]
    ]
    assert kinds(run([*genuine, *false])) == {"FOREIGN_ADDRESS", "RIVAL_PUBLISHER"}


def test_nobody_is_alone_whose_company_is_away_or_has_lost_its_first_message() -> None:
    common = [(n + 1) * 30 * SECOND for n in range(8)]
    first = goose("S1-A", until=10 * MINUTE, changes=[*common, 500 * SECOND])
    second = goose("S1-B", until=10 * MINUTE, changes=[at + 40_000 for at in [*common, 500 * SECOND]])
    burst = [replace(one, received=one.received + 4_000, sq=1) for one in second if one.st == 10 and one.sq == 0]
    later = [one for one in second if (one.st or 0) < 10 or (one.sq or 0) > 1]
    assert "LONE_EVENT" not in kinds(run([*first, *burst, *later]))
    away = [one for one in second if one.received < 300 * SECOND]
    assert kinds(run([*first, *away])) == {"SILENCE"}
