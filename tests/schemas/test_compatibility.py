"""What counts as readable can be read, and the usual breaks are named."""

from __future__ import annotations

import io
import json
from copy import deepcopy
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import all_contracts, contract
from schemas.avro_types import without_rules
from schemas.compatibility import incompatibilities
from tests.schemas.strategies import PATIENT, values

METER = contract("grid.meter.v1").wire


def record(*fields: tuple[str, Any] | tuple[str, Any, Any], name: str = "R") -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [
            {"name": field[0], "type": field[1]} | ({"default": field[2]} if len(field) > 2 else {}) for field in fields
        ],
    }


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
LINK = record(("next", ["null", "Link"]), ("value", "int"), name="Link")


@pytest.mark.parametrize("topic", sorted(all_contracts()))
def test_a_contract_reads_itself(topic: str) -> None:
    wire = contract(topic).wire
    assert incompatibilities(wire, deepcopy(wire)) == []


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (record(("a", "long")), record(("a", "int"))),
        (record(("a", "double")), record(("a", "float"))),
        (record(("a", ["null", "double"])), record(("a", "float"))),
        (record(("a", "string")), record(("a", "bytes"))),
        (record(("a", "int"), ("b", "int", 0)), record(("a", "int"))),
        (record(("a", "int")), record(("a", "int"), ("b", "int"))),
        (record(("a", ["null", "int"], None)), record(("a", "int"))),
        (record(("a", enum("X", "Y"))), record(("a", enum("X")))),
        (record(("a", enum("X", default="X"))), record(("a", enum("X", "Y")))),
        (record(("a", {"type": "array", "items": "long"})), record(("a", {"type": "array", "items": "int"}))),
        (LINK, deepcopy(LINK)),
        (record(("a", {"type": "string"})), record(("a", "string"))),
        (
            record() | {"fields": [{"name": "new", "aliases": ["old"], "type": "int"}]},
            record(("old", "int")),
        ),
    ],
)
def test_compatible(reader: Any, writer: Any) -> None:
    assert incompatibilities(reader, writer) == []


@pytest.mark.parametrize(
    ("reader", "writer", "reason"),
    [
        (record(("a", "int")), record(("a", "long")), "a: long cannot be read as int"),
        (record(("a", "string")), record(("a", "int")), "a: int cannot be read as string"),
        (
            record(("a", "int"), ("b", "int")),
            record(("a", "int")),
            "b: missing in the writer's schema and has no default",
        ),
        (record(("a", "int")), record(("a", ["null", "int"])), "a: null cannot be read as int"),
        (record(("a", ["null", "int"])), record(("a", "string")), "a: string cannot be read as int"),
        (record(("a", ["int", "string"])), record(("a", "boolean")), "a: boolean is not among int, string"),
        (record(("a", enum("X"))), record(("a", enum("X", "Y"))), "a: symbol Y is not known to the reader"),
        (record(("a", MICROS)), record(("a", MILLIS)), "a: timestamp-millis cannot be read as timestamp-micros"),
        (record(("a", MICROS)), record(("a", "long")), "a: long cannot be read as timestamp-micros"),
        (record(("a", "int")), record(("a", "int"), name="S"), "record S cannot be read as R"),
        (
            record(("a", {"type": "map", "values": record(("x", "int"), name="I")})),
            record(("a", {"type": "map", "values": record(("x", "long"), name="I")})),
            "a{}.x: long cannot be read as int",
        ),
        (
            record(("a", {"type": "array", "items": "int"})),
            record(("a", {"type": "array", "items": "long"})),
            "a[]: long cannot be read as int",
        ),
        (
            LINK,
            record(("next", ["null", "Link"]), ("value", "long"), name="Link"),
            "value: long cannot be read as int",
        ),
        (
            record(("a", {"type": "fixed", "name": "F", "size": 2})),
            record(("a", {"type": "fixed", "name": "F", "size": 3})),
            "a: fixed of 3 bytes cannot be read as one of 2",
        ),
    ],
)
def test_incompatible(reader: Any, writer: Any, reason: str) -> None:
    assert reason in incompatibilities(reader, writer)


_TYPES = ["int", "long", "double", "string", ["null", "long"], ["null", "double"], enum("X", "Y"), enum("X", "Y", "Z")]


@PATIENT
@given(
    data=st.data(),
    reader=st.lists(st.sampled_from(_TYPES), min_size=1, max_size=3),
    writer=st.lists(st.sampled_from(_TYPES), min_size=1, max_size=3),
    default=st.booleans(),
)
def test_whatever_is_found_compatible_is_read_by_fastavro(
    data: st.DataObject, reader: list[Any], writer: list[Any], default: bool
) -> None:
    def schema(types: list[Any], *, defaults: bool) -> Any:
        fields = []
        for number, avro in enumerate(map(deepcopy, types)):
            if isinstance(avro, dict):
                avro["name"] = f"E{number}"
            field = {"name": f"f{number}", "type": avro}
            if defaults and isinstance(avro, list):
                field["default"] = None
            fields.append(field)
        return {"type": "record", "name": "R", "fields": fields}

    ours, theirs = schema(reader, defaults=default), schema(writer, defaults=False)
    sent = data.draw(values(deepcopy(theirs)))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(deepcopy(theirs)), sent)
    stream.seek(0)
    reasons = incompatibilities(ours, theirs)
    if not reasons:
        fastavro.schemaless_reader(stream, deepcopy(theirs), deepcopy(ours))
    elif any("missing" in reason for reason in reasons):
        # Which of several reasons fastavro meets first is its own affair.
        with pytest.raises(Exception, match=r"(?i)no default value|schema mismatch|reader symbol list"):
            fastavro.schemaless_reader(stream, deepcopy(theirs), deepcopy(ours))


def test_attributes_that_do_not_matter() -> None:
    bare = without_rules(METER, frozenset({"doc", "default"}))
    assert incompatibilities(METER, bare) == []
    assert json.dumps(bare) != json.dumps(METER)
