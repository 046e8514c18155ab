"""Decoding a batch in columns gives what fastavro gives message by message, whatever the bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.decode import Decoded, Decoder
from schemas import Contract, RegistryError, SchemaError, all_contracts, contract
from schemas.avro_types import without_rules
from schemas.encode import Encoder, JsonEncoder, confluent_prefix
from schemas.registry import LocalRegistry, local_guid
from tests.schemas.strategies import EVERYTHING, PATIENT, YEAR_2199, physical, to_columns, values

METER = contract("grid.meter.v1")
CONTRACTS = [*all_contracts().values(), EVERYTHING]
PREFIX = confluent_prefix(7)
READING: dict[str, Any] = dict.fromkeys(METER.polars, None) | {
    "meter_id": "m",
    "time": 1_767_225_600_000_000,
    "import_kwh": 1.5,
    "quality": 0,
}


def decoder_of(found: Contract, *, check_keys: bool = False, **schemas: Any) -> Decoder:
    known = {f"s{7}": found.wire, **schemas}

    def by_id(schema_id: int) -> Any:
        try:
            return known[f"s{schema_id}"]
        except KeyError:
            raise SchemaError(f"no schema {schema_id}") from None

    return Decoder(found, by_id, check_keys=check_keys)


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))


def bare(avro: Any) -> Any:
    """Without logical types, so that times are integers: a datetime cannot hold all."""
    return _parsed(json.dumps(without_rules(avro, frozenset({"logicalType", "doc"}))))


def written(avro: Any, record: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, bare(avro), record)
    return stream.getvalue()


def nones(value: Any) -> int:
    """How many nulls there are in a value, at any depth."""
    if isinstance(value, dict):
        return sum(map(nones, value.values()))
    return sum(map(nones, value)) if isinstance(value, list | tuple) else int(value is None)


def one_by_one(found: Contract, bodies: list[bytes], writer: Any = None) -> tuple[list[dict[str, Any]], list[int]]:
    """The reference: fastavro, then each value by itself into its column."""
    rows, dead = [], []
    for number, body in enumerate(bodies):
        stream = io.BytesIO(body)
        try:
            record = fastavro.schemaless_reader(stream, bare(writer or found.wire), bare(found.wire))
            assert stream.tell() == len(body)
            frame = to_columns(found, [record])  # type: ignore[list-item]
            assert all(not frame[name].has_nulls() for name in set(found.polars) - found.nullable)
            row = physical(frame)[0]
            assert nones(row) == nones(record)  # Polars makes a nested value that does not fit its type null
            rows.append(row | {"_row": number})
        except Exception:
            dead.append(number)
    return rows, dead


def outcome(decoded: Decoded) -> tuple[list[dict[str, Any]], list[int]]:
    return physical(decoded.frame), [letter.row for letter in decoded.dead]


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """A body, mostly as it is, else with a byte changed, cut, lengthened, or nonsense."""
    kind = draw(st.sampled_from(["whole", "whole", "changed", "cut", "longer", "inserted", "nonsense"]))
    at = draw(st.integers(0, max(len(body) - 1, 0)))
    extra = draw(st.binary(min_size=1, max_size=4))
    return {
        "whole": body,
        "changed": body[:at] + extra[:1] + body[at + 1 :],
        "cut": body[:at],
        "longer": body + extra,
        "inserted": body[:at] + extra + body[at:],
        "nonsense": draw(st.binary(max_size=40)),
    }[kind]


@pytest.mark.parametrize("found", CONTRACTS, ids=lambda found: found.record)
@PATIENT
@given(data=st.data())
def test_intact_messages(found: Contract, data: st.DataObject) -> None:
    records = data.draw(st.lists(values(found.wire), max_size=6))
    bodies = [written(found.wire, record) for record in records]
    decoded = decoder_of(found).decode([None] * len(bodies), [PREFIX + body for body in bodies])
    assert decoded.dead == []
    assert physical(decoded.frame.drop("_row")) == physical(to_columns(found, records))
    assert decoded.frame.schema == {**found.polars, "_row": pl.Int64}
    assert decoded.frame["_row"].to_list() == [*range(len(bodies))]


@pytest.mark.parametrize("found", CONTRACTS, ids=lambda found: found.record)
@PATIENT
@given(data=st.data())
def test_damaged_messages_are_judged_as_fastavro_judges_each(found: Contract, data: st.DataObject) -> None:
    records = data.draw(st.lists(values(found.wire), min_size=1, max_size=6))
    bodies = [data.draw(damaged(written(found.wire, record))) for record in records]
    decoded = decoder_of(found).decode([None] * len(bodies), [PREFIX + body for body in bodies])
    assert outcome(decoded) == one_by_one(found, bodies)
    assert all(letter.schema_id == 7 and letter.stage == "decode" for letter in decoded.dead)


# Earlier and later versions of a meter reading, each with what a record of it looks like.
def _version(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> dict[str, Any]:
    fields = [dict(field) for field in METER.wire["fields"]]
    return METER.wire | {"fields": change(fields)}


def _retyped(name: str, avro: Any) -> dict[str, Any]:
    changed = {"name": name, "type": avro}
    return _version(lambda fields: [changed if f["name"] == name else f for f in fields])


def _record(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


VERSIONS = {
    "older, without nullable fields": _version(lambda fields: [f for f in fields if "default" not in f]),
    "other order": _version(lambda fields: fields[::-1]),
    "newer, with further fields": _version(
        lambda fields: [{"name": "extra", "type": {"type": "map", "values": "long"}}, *fields]
    ),
    "float for double": _retyped("import_kwh", "float"),
    "long for double": _retyped("import_kwh", "long"),
    "nullable in the writer only": _retyped("import_kwh", ["null", "double"]),
    "null last": _retyped("export_kwh", ["double", "null"]),
    "never null in the writer": _retyped("export_kwh", "double"),
    "a union that columns do not know": _retyped("export_kwh", ["null", "double", "string"]),
    "fixed, which columns do not know": _version(
        lambda fields: [*fields, {"name": "f", "type": {"type": "fixed", "name": "F", "size": 3}}]
    ),
    "named types, referred to": _version(
        lambda fields: [
            {"name": "first", "type": {"type": "enum", "name": "Side", "symbols": ["L", "R"]}},
            {"name": "second", "type": ["null", "gridflow.Side"]},
            {"name": "pair", "type": _record("Pair", {"name": "s", "type": "Side"})},
            *fields,
        ]
    ),
    "a recursive type, which columns do not know": _version(
        lambda fields: [
            {"name": "chain", "type": _record("Link", {"name": "next", "type": ["null", "Link"]})},
            *fields,
        ]
    ),
    "another namespace": METER.wire | {"namespace": "org.example"},
    "bytes for string": _retyped("meter_id", "bytes"),
}


def _values(avro: Any, names: dict[str, Any]) -> Any:
    if isinstance(avro, dict) and avro.get("type") == "fixed":
        return st.just(b"abc")
    if isinstance(avro, dict) and avro.get("name") == "Link":
        return st.sampled_from([{"next": None}, {"next": {"next": None}}])
    if avro == ["null", "gridflow.Side"]:
        return st.sampled_from([None, "L", "R"])
    return values(avro, names)


@pytest.mark.parametrize("name", VERSIONS)
@PATIENT
@given(data=st.data())
def test_other_versions_of_the_schema(name: str, data: st.DataObject) -> None:
    writer = VERSIONS[name]
    names: dict[str, Any] = {}
    record = st.fixed_dictionaries({f["name"]: _values(f["type"], names) for f in writer["fields"]})
    records = data.draw(st.lists(record, min_size=1, max_size=5))
    bodies = [data.draw(damaged(written(writer, each))) for each in records]
    decoder = decoder_of(METER, s9=writer)
    decoded = decoder.decode([None] * len(bodies), [confluent_prefix(9) + body for body in bodies])
    renamed = writer | {"namespace": METER.wire["namespace"]}  # only fields decide
    assert outcome(decoded) == one_by_one(METER, bodies, renamed)


def test_versions_are_mixed_in_one_batch_and_stay_in_order() -> None:
    old = VERSIONS["older, without nullable fields"]
    one = confluent_prefix(8) + written(old, READING)
    other = PREFIX + written(METER.wire, READING | {"quality": 1})
    mixed = [one if number % 3 else other for number in range(20)]
    decoded = decoder_of(METER, s8=old).decode([b"m"] * 20, mixed)
    assert decoded.frame["_row"].to_list() == [*range(20)]
    assert decoded.frame["quality"].to_list() == [0 if number % 3 else 1 for number in range(20)]


def test_milliseconds_are_not_taken_for_microseconds() -> None:
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    for writer in (_retyped("time", millis), _retyped("time", ["null", millis, "string"])):
        body = written(writer, READING | {"time": 1_767_225_600_000})
        decoded = decoder_of(METER, s9=writer).decode([b"m"], [confluent_prefix(9) + body])
        assert decoded.frame["time"].to_physical().to_list() == [1_767_225_600_000_000]


@pytest.mark.parametrize(
    ("writer", "reason"),
    [
        ("string", "no record"),
        (_version(lambda fields: [f for f in fields if f["name"] != "import_kwh"]), "lacks field import_kwh"),
        (contract("grid.ftu.v1").wire, "lacks field meter_id"),
    ],
)
def test_a_schema_of_something_else_is_refused_whole(writer: Any, reason: str) -> None:
    decoded = decoder_of(METER, s9=writer).decode([None, None], [confluent_prefix(9) + b"abc"] * 2)
    assert [letter.error_class for letter in decoded.dead] == ["UnknownSchema"] * 2
    assert reason in decoded.dead[0].message


def _rows(count: int) -> pl.DataFrame:
    return to_columns(METER, [READING | {"meter_id": f"m{n}", "export_kwh": 2.0} for n in range(count)])


def test_all_framings_in_one_batch() -> None:
    frame = _rows(6)
    local = LocalRegistry()
    framed = Encoder(METER, local.id_of(METER)).encode(frame)
    prefix = framed[0][:5]
    guid = b"\x01" + local_guid(METER.wire).bytes
    json_bodies = JsonEncoder(METER).encode(frame)
    sent = [
        framed[0],
        guid + framed[1][5:],
        framed[2][5:],
        framed[3][5:],
        json_bodies[4],
        b"\n  " + json_bodies[5].replace(b",", b",\r\n"),
    ]
    headers: list[list[tuple[str, bytes | None]] | None] = [
        None,
        [("other", b"x")],
        [("__value_schema_id", prefix)],
        [("__value_schema_id", guid), ("empty", None)],
        [],
        None,
    ]
    decoded = Decoder(METER).decode([f"m{n}".encode() for n in range(6)], sent, headers)
    assert decoded.dead == []
    assert decoded.frame.drop("_row").equals(frame)


def test_what_is_no_framing_is_set_aside_alone() -> None:
    good = PREFIX + written(METER.wire, READING)
    guid = b"\x01" + bytes(15)
    sent = [good, None, b"", b"\x00\x00", guid, b"hello", b"[1]", b"{", b"{}", confluent_prefix(99), good]
    headers: list[list[tuple[str, bytes | None]] | None] = [None] * 11
    decoded = decoder_of(METER).decode([None] * 11, sent, headers)
    assert decoded.frame["_row"].to_list() == [0, 10]
    assert decoded.tombstones == []
    assert {letter.row: letter.error_class for letter in decoded.dead} == {
        1: "NoValue",
        2: "EmptyValue",
        3: "UnknownFraming",
        4: "UnknownFraming",
        5: "UnknownFraming",
        6: "UnknownFraming",
        7: "UndecodableJson",
        8: "MissingField",
        9: "UnknownSchema",
    }


def test_on_a_compacted_topic_no_value_deletes() -> None:
    decoded = decoder_of(contract("grid.network.v1")).decode([b"T1"], [None])
    assert (decoded.tombstones, decoded.dead, decoded.frame.height) == ([0], [], 0)


def test_a_header_that_is_no_reference_is_refused() -> None:
    decoded = decoder_of(METER).decode([None], [b"abc"], [[("__value_schema_id", b"abc")]])
    assert decoded.dead[0].error_class == "UnknownFraming"
    assert "__value_schema_id" in decoded.dead[0].message


def test_no_messages() -> None:
    decoded = decoder_of(METER).decode([], [])
    assert decoded.frame.schema == {**METER.polars, "_row": pl.Int64}
    assert len(decoded.frame) == 0


def test_a_key_that_is_not_the_id_is_refused_and_a_missing_key_is_not() -> None:
    frame = _rows(3)
    local = LocalRegistry()
    bodies = Encoder(METER, local.id_of(METER)).encode(frame)
    decoded = Decoder(METER).decode([b"m0", None, b"m1"], bodies)
    assert decoded.frame["meter_id"].to_list() == ["m0", "m1"]
    assert decoded.dead[0].error_class == "KeyMismatch"
    assert decoded.dead[0].message == "the key is b'm1', field meter_id 'm2'"
    unchecked = Decoder(METER, check_keys=False).decode([b"m0", None, b"m1"], bodies)
    assert len(unchecked.frame) == 3


def test_one_bad_body_among_thousands_costs_only_itself() -> None:
    frame = _rows(5_000)
    bodies = Encoder(METER, LocalRegistry().id_of(METER)).encode(frame)
    bodies[1234] = bodies[1234][:-7]
    bodies[2345] = bodies[2345][:5] + b"\xff" * 30
    keys: list[bytes | None] = [name.encode() for name in frame["meter_id"]]
    decoded = Decoder(METER).decode(keys, bodies)
    assert [letter.row for letter in decoded.dead] == [1234, 2345]
    assert decoded.dead[0].message == f"the record ends too soon, after {len(bodies[1234] or b'') - 5} bytes"
    kept = [n for n in range(5_000) if n not in (1234, 2345)]
    assert decoded.frame.drop("_row").equals(frame[kept])


def test_text_that_is_not_utf8_is_refused_alone() -> None:
    frame = _rows(3).with_columns(meter_id=pl.Series(["zähler-1", "zähler-2", "zähler-3"]))
    bodies = Encoder(METER, LocalRegistry().id_of(METER)).encode(frame)
    bodies[1] = bodies[1].replace("ä".encode(), b"\xff\xfe")
    decoded = Decoder(METER).decode([None] * 3, bodies)
    assert [letter.row for letter in decoded.dead] == [1]
    assert decoded.frame["meter_id"].to_list() == ["zähler-1", "zähler-3"]


def test_a_long_array_and_one_that_announces_its_size_are_read_too() -> None:
    ied = contract("grid.ied.v1")
    base = dict.fromkeys(ied.polars, None) | {
        "ied_id": "i",
        "kind": "GOOSE",
        "control_block": "c",
        "time": 0,
        "received_time": 0,
        "data": [{"reference": None, "value": str(n), "quality": n} for n in range(200)],
    }
    long = written(ied.wire, base)
    short = written(ied.wire, base | {"data": [{"reference": "r", "value": "v", "quality": None}]})
    item = b"\x02\x02r\x02v\x00"
    assert short.endswith(b"\x02" + item + b"\x00")
    sized = short[: -len(item) - 2] + b"\x01" + bytes([2 * len(item)]) + item + b"\x00"
    decoded = decoder_of(ied).decode([None] * 3, [PREFIX + body for body in (long, short, sized)])
    assert decoded.dead == []
    assert [len(data) for data in decoded.frame["data"]] == [200, 1, 1]
    assert decoded.frame["data"][1].equals(decoded.frame["data"][2])


def test_a_registry_that_is_away_is_no_fault_of_the_messages() -> None:
    def away(_: int) -> Any:
        raise RegistryError("away")

    with pytest.raises(RegistryError):
        Decoder(METER, away).decode([None], [PREFIX + b"abc"])


def test_an_unknown_guid_is_refused() -> None:
    decoded = Decoder(METER).decode([None], [b"\x01" + UUID(int=5).bytes + b"abc"])
    assert decoded.dead[0].error_class == "UnknownSchema"
    assert str(UUID(int=5)) in decoded.dead[0].message


def _json(**change: Any) -> bytes:
    row: dict[str, Any] = {"meter_id": "m", "time": "2026-01-01T00:00:00Z", "import_kwh": 1.0, "quality": 0}
    return json.dumps({key: value for key, value in (row | change).items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        ({"time": 1_767_225_600_000_001}, "time", 1_767_225_600_000_001),
        ({"time": "2026-01-01T08:00:00+08:00"}, "time", 1_767_225_600_000_000),
        ({"time": "2026-01-01 00:00:00"}, "time", 1_767_225_600_000_000),
        ({"time": "2026-01-01T00:00:00.5Z"}, "time", 1_767_225_600_500_000),
        ({"received_time": "2026-01-01T00:00:00.123456Z"}, "received_time", 1_767_225_600_123_456),
        ({"import_kwh": 7}, "import_kwh", 7.0),
        ({"export_kwh": {"double": 2.5}}, "export_kwh", 2.5),
        ({"received_time": {"long": 5}}, "received_time", 5),
        ({"received_time": {"long.timestamp-micros": 5}}, "received_time", 5),
        ({"quality": 3.0}, "quality", 3),
        ({"unknown": [1, 2]}, "quality", 0),
        ({"export_kwh": None}, "export_kwh", None),
    ],
)
def test_json_as_gateways_send_it(change: dict[str, Any], name: str, expected: Any) -> None:
    decoded = Decoder(METER).decode([b"m", b"m"], [_json(), _json(**change)])
    assert decoded.dead == []
    assert decoded.frame[name].to_physical().to_list()[1] == expected


@pytest.mark.parametrize(
    ("change", "error_class", "said"),
    [
        ({"import_kwh": "7"}, "ValueDoesNotFit", "field import_kwh: '7' is not a number"),
        ({"import_kwh": True}, "ValueDoesNotFit", "field import_kwh: True is not a number"),
        ({"import_kwh": None}, "ValueDoesNotFit", "field import_kwh: null"),
        ({"import_kwh": ...}, "MissingField", "field import_kwh: missing"),
        ({"quality": 1 << 31}, "ValueDoesNotFit", "field quality: 2147483648 is not an integer of 32 bits"),
        ({"quality": 0.5}, "ValueDoesNotFit", "field quality: 0.5 is not an integer of 32 bits"),
        ({"quality": True}, "ValueDoesNotFit", "field quality: True is not an integer"),
        (
            {"time": "2026-02-30T00:00:00Z"},
            "ValueDoesNotFit",
            "field time: '2026-02-30T00:00:00Z' is not",
        ),
        ({"time": "yesterday"}, "ValueDoesNotFit", "field time: 'yesterday' is not a time"),
        ({"time": 1e300}, "ValueDoesNotFit", "field time: 1e+300 is not a time"),
        ({"meter_id": 5}, "ValueDoesNotFit", "field meter_id: 5 is not a string"),
        (
            {"export_kwh": {"string": "x"}},
            "ValueDoesNotFit",
            "field export_kwh: {'string': 'x'} is not",
        ),
    ],
)
def test_json_that_does_not_fit_is_refused_alone(change: dict[str, Any], error_class: str, said: str) -> None:
    decoded = Decoder(METER, check_keys=False).decode([None] * 3, [_json(), _json(**change), _json()])
    assert decoded.frame["_row"].to_list() == [0, 2]
    assert [letter.error_class for letter in decoded.dead] == [error_class]
    assert decoded.dead[0].message.startswith(said)


def _has_json_form(frame: pl.DataFrame) -> pl.Expr:
    """Numbers are finite and times between the years 1 and 9999."""
    conditions = [pl.lit(value=True)]
    for name, dtype in frame.schema.items():
        if dtype.is_float():
            conditions.append(pl.col(name).is_finite())
        elif dtype.is_temporal():
            conditions.append(pl.col(name).to_physical().is_between(-62_135_596_800_000_000, YEAR_2199))
    return pl.all_horizontal([condition.fill_null(value=True) for condition in conditions])


@pytest.mark.parametrize("topic", ["grid.meter.v1", "grid.ftu.v1", "grid.ied.v1", "grid.network.v1"])
@PATIENT
@given(data=st.data())
def test_json_round_trip(topic: str, data: st.DataObject) -> None:
    found = contract(topic)
    frame = to_columns(found, data.draw(st.lists(values(found.wire), max_size=4)))
    frame = frame.filter(_has_json_form(frame))
    decoded = Decoder(found, check_keys=False).decode([None] * len(frame), JsonEncoder(found).encode(frame))
    assert decoded.dead == []
    assert physical(decoded.frame.drop("_row")) == physical(frame)
