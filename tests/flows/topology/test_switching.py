"""Switches operated in the field: the same rows whatever the order of arrival, and whoever is restarted."""

from __future__ import annotations

import random
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.batch import Batch
from flows.streaming.event_time import SECOND
from flows.topology.rows import Row
from flows.topology.switching import SwitchingRules, SwitchingShard
from schemas import contract
from tests.flows.topology.grid import START, batch_of

RULES = SwitchingRules(120 * SECOND, 3600 * SECOND, SECOND)
HOUR = 3600


def switching_network() -> pl.DataFrame:
    """Two feeders that meet at an open tie; a station between two switches, a customer behind its transformer."""
    rows = [
        ("S", "Substation", None, None, None, None, None),
        ("TR1", "PowerTransformer", "S", "HV", "BB", None, None),
        ("F1", "Feeder", "S", None, None, None, None),
        ("F2", "Feeder", "S", None, None, None, None),
        ("F1-XCBR1", "Breaker", "F1", "BB", "a", False, "FTU-F1"),
        ("F2-XCBR1", "Breaker", "F2", "BB", "z", False, "FTU-F2"),
        ("ST1-XSWI1", "LoadBreakSwitch", "F1", "a", "b", False, "FTU-T1"),
        ("ST1-XSWI2", "LoadBreakSwitch", "F1", "b", "z", True, "FTU-T1"),
        ("ST1", "PowerTransformer", "F1", "b", "lv", None, None),
        ("SU1", "UsagePoint", "ST1", "lv", None, None, "M1"),
    ]
    names = ("element_id", "kind", "container_id", "terminal_1", "terminal_2", "normal_open", "measuring_device_id")
    schema = contract("grid.network.v1").polars
    frame = pl.DataFrame([dict(zip(names, row, strict=True)) for row in rows], infer_schema_length=None)
    frame = frame.with_columns(valid_from=pl.lit(START - 86_400 * SECOND).cast(pl.Datetime("us", "UTC")))
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return frame.with_columns(missing).select(list(schema)).cast(schema)


def _values(*rows: tuple[float, str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ftu_id": [row[1] for row in rows],
            "point": [row[2] for row in rows],
            "time": [START + round(row[0] * SECOND) for row in rows],
            "value": [row[3] for row in rows],
            "quality": pl.Series([0] * len(rows), dtype=pl.Int32),
            "cause": ["SPONTANEOUS"] * len(rows),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def switching_day() -> pl.DataFrame:
    """Power every ten minutes; a station is cut off, supplied from the other side, put back; one false opening."""
    rows = [
        (t, unit, point, value)
        for t in range(0, 12 * HOUR, 600)
        for unit, point, value in (
            ("FTU-F1", "MMXU1.TotW", 250_000.0),
            ("FTU-T1", "MMXU1.TotW", 90_000.0 if not 2 * HOUR < t <= 4 * HOUR else 0.0),
            ("FTU-F2", "MMXU1.A.phsA", 40.0),
        )
    ]
    rows += [
        (2 * HOUR + 1, "FTU-T1", "XSWI1.Pos", 1.0),
        (2 * HOUR + 60, "FTU-T1", "XSWI2.Pos", 0.0),
        (2 * HOUR + 61, "FTU-T1", "XSWI2.Pos", 2.0),
        (4 * HOUR, "FTU-T1", "XSWI1.Pos", 2.0),
        (4 * HOUR + 30, "FTU-T1", "XSWI2.Pos", 1.0),
        (6 * HOUR + 5, "FTU-F2", "XCBR1.Pos", 1.0),  # while its current flows on
        (9 * HOUR + 5, "FTU-F2", "XCBR1.Pos", 2.0),
    ]
    return _values(*rows).sort("time")


class _Running:
    def __init__(self) -> None:
        self.shard = SwitchingShard(RULES)
        self.shard.take([], [batch_of(switching_network(), "grid.network.v1", None)])
        self.said: list[Row] = []
        self.counts = {"used": 0, "duplicate": 0, "late": 0}
        self.newest = 0

    def take(self, frame: pl.DataFrame) -> None:
        self.newest = max(self.newest, int(frame["time"].to_physical().max()))  # type: ignore[arg-type]
        batch: Batch = replace(batch_of(frame, "grid.ftu.v1", self.newest))
        outcome = self.shard.take([batch])
        self.said += outcome.changes.to_dicts()
        for name in self.counts:
            self.counts[name] += outcome.counts[name]

    def look_ahead(self) -> None:
        self.said += self.shard.look_ahead().changes.to_dicts()

    def restart(self) -> None:
        self.shard = SwitchingShard.load(RULES, self.shard.dump())

    def end(self) -> None:
        outcome = self.shard.flush()
        self.said += outcome.changes.to_dicts()
        for name in self.counts:
            self.counts[name] += outcome.counts[name]

    def standing(self) -> dict[str, Row]:
        best: dict[str, Row] = {}
        for row in self.said:
            if row["change_id"] not in best or row["revision"] >= best[row["change_id"]]["revision"]:
                best[row["change_id"]] = row
        return {key: row for key, row in best.items() if not any(e["key"] == "withdrawn" for e in row["evidence"])}


def _expected() -> _Running:
    run = _Running()
    run.take(switching_day())
    run.end()
    return run


def switching_rows() -> list[Row]:
    """What is to be said of that day."""
    return list(_expected().standing().values())


def test_messages_before_the_first_settling_meet_the_network_of_their_time() -> None:
    """The unit of a switch is exchanged in between: the values of both are its positions, however they are cut."""
    network = switching_network()
    switch = network.filter(pl.col("element_id") == "ST1-XSWI1")
    exchanged = switch.with_columns(
        measuring_device_id=pl.lit("FTU-NEW"),
        valid_from=pl.lit(START + 6 * HOUR * SECOND).cast(pl.Datetime("us", "UTC")),
    )
    values = _values(
        (5 * HOUR, "FTU-T1", "XSWI1.Pos", 1.0),
        (7 * HOUR, "FTU-NEW", "XSWI1.Pos", 2.0),
        (8 * HOUR, "FTU-NEW", "XSWI1.Pos", 1.0),
    )
    found = []
    for size in (1, 3):
        shard, said = SwitchingShard(RULES), []
        shard.take([], [batch_of(pl.concat([network, exchanged]), "grid.network.v1", None)])
        for part in values.iter_slices(size):
            newest = int(part["time"].to_physical().max())  # type: ignore[arg-type]
            said += shard.take([batch_of(part, "grid.ftu.v1", newest)]).changes.to_dicts()
        said += shard.flush().changes.to_dicts()
        found.append([(row["element_id"], row["kind"], row["current"], row["effective_time"]) for row in said])
    operated = [(element, current) for element, kind, current, _ in found[0] if kind == "SWITCH_OPERATED"]
    assert operated == [("ST1-XSWI1", "open"), ("ST1-XSWI1", "closed"), ("ST1-XSWI1", "open")]
    assert sorted(map(str, found[0])) == sorted(map(str, found[1]))


def test_what_waits_for_others_to_confirm_it_is_looked_at_in_the_end() -> None:
    shard = SwitchingShard(RULES)
    shard.take([], [batch_of(switching_network(), "grid.network.v1", None)])
    values = _values((0, "FTU-T1", "XSWI1.Pos", 2.0), (5 * HOUR, "FTU-T1", "XSWI1.Pos", 1.0))
    shard.take([batch_of(values, "grid.ftu.v1", START)])  # the source has not let the time go on
    ended = shard.flush()
    assert "SWITCH_OPERATED" in ended.changes["kind"].to_list()
    assert ended.counts["used"] == 2


def test_a_station_is_cut_off_supplied_from_the_other_side_and_put_back() -> None:
    rows = list(_expected().standing().values())
    of_station = [(r["kind"], r["previous"], r["current"]) for r in rows if r["element_id"] == "ST1"]
    assert of_station == [
        ("DE_ENERGISED", "F1", None),
        ("RE_ENERGISED", None, "F2"),
        ("SUPPLY_CHANGED", "F2", "F1+F2"),
        ("SUPPLY_CHANGED", "F1+F2", "F1"),
    ]
    opening = next(r for r in rows if r["element_id"] == "ST1-XSWI1")
    evidence = {one["key"]: one["value"] for one in opening["evidence"]}
    assert (opening["previous"], opening["current"], opening["state"]) == ("closed", "open", "ACCEPTED")
    assert evidence["transformers_de_energised"] == evidence["customers_de_energised"] == "1"
    assert evidence["kw_before"] == "90.0"
    assert opening["effective_time"].timestamp() * SECOND == START + (2 * HOUR + 1) * SECOND
    false = [r for r in rows if r["element_id"] == "F2-XCBR1"]
    assert [(r["state"], r["current"]) for r in false] == [("WITHDRAWN", "open")]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    lateness=st.sampled_from([0, 30, 3500]),
    twice=st.sampled_from([0.0, 0.3]),
    looks=st.booleans(),
)
def test_order_duplicates_and_restarts_change_nothing(seed: int, lateness: int, twice: float, looks: bool) -> None:
    chance, day = random.Random(seed), switching_day()
    both = pl.concat([day, day.filter(pl.Series([chance.random() < twice for _ in range(day.height)]))])
    arrival = both["time"].to_physical() + pl.Series(
        [int(chance.random() * lateness * SECOND) for _ in range(both.height)]
    )
    arriving = both[arrival.arg_sort().to_list()]
    run, at = _Running(), 0
    while at < arriving.height:
        size = chance.choice([1, 10, 60])
        run.take(arriving[at : at + size])
        at += size
        if looks and chance.random() < 0.5:
            run.look_ahead()
        if chance.random() < 0.2:
            run.restart()
    run.end()
    expected = _expected().standing()
    found = run.standing()
    if looks:
        for row in (*expected.values(), *found.values()):
            row.pop("revision", None)
    assert found == expected
    assert run.counts["late"] == 0
    assert run.counts["used"] == day.height
    assert run.counts["duplicate"] == arriving.height - day.height


@pytest.mark.parametrize("again", [False, True])
def test_an_opening_is_said_before_it_is_settled(again: bool) -> None:
    run = _Running()
    run.take(switching_day().filter(pl.col("time").to_physical() < START + 3 * HOUR * SECOND))
    run.take(switching_day().filter(pl.col("time").to_physical() == START + 3 * HOUR * SECOND))
    before = len(run.said)
    run.look_ahead()
    if again:
        run.look_ahead()
    ahead = run.said[before:]
    assert {row["element_id"] for row in ahead} == {"ST1-XSWI1", "ST1-XSWI2", "ST1"}
    assert len(ahead) == len({row["change_id"] for row in ahead})
