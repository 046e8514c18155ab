"""The contracts as files, and what is derived from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest

import schemas
from schemas import SchemaError, all_contracts, contract
from schemas.contracts import parse_contract

FILES = sorted((Path(schemas.__file__).parent / "avro").glob("*.avsc"))
MINIMAL: dict[str, Any] = {
    "type": "record",
    "name": "R",
    "gridflow": {"topic": "t", "key": "a", "time": "b", "identity": ["a"], "tags": []},
    "fields": [
        {"name": "a", "type": "string"},
        {"name": "b", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


def test_all_topics_have_a_contract() -> None:
    assert set(all_contracts()) == {
        "grid.meter.v1",
        "grid.ftu.v1",
        "grid.ied.v1",
        "grid.network.v1",
        "grid.meter-energy.v1",
        "grid.line-loss.v1",
        "grid.ied-anomaly.v1",
        "grid.topology-change.v1",
        "grid.dead-letter.v1",
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_is_named_by_its_topic_and_documented(file: Path) -> None:
    found = parse_contract(file.read_text(encoding="utf-8"), file.name)
    assert file.name == f"{found.topic}.avsc"
    assert all(field["doc"].endswith(".") for field in found.fields)


@pytest.mark.parametrize("topic", sorted(all_contracts()))
def test_polars_arrow_and_avro_agree(topic: str) -> None:
    found = contract(topic)
    parsed: Any = fastavro.parse_schema(found.wire)
    assert [field["name"] for field in parsed["fields"]] == found.arrow.names == list(found.polars)
    assert found.empty().schema == found.polars
    for field in found.arrow:
        assert field.nullable == (field.name in found.nullable)
    assert found.empty().to_arrow().cast(found.arrow).schema == found.arrow
    attributes = {name for entry in (found.wire, *found.wire["fields"]) for name in entry}
    assert not {"gridflow", "minimum", "maximum"} & attributes


@pytest.mark.parametrize("topic", sorted(all_contracts()))
def test_nullable_columns_default_to_null(topic: str) -> None:
    found = contract(topic)
    for field in found.fields:
        if field["name"] in found.nullable:
            assert field["type"][0] == "null"
            assert field["default"] is None


def test_types_of_the_meter_reading() -> None:
    found = contract("grid.meter.v1")
    time = pl.Datetime("us", "UTC")
    assert [*found.polars.items()][:3] == [("meter_id", pl.String), ("time", time), ("import_kwh", pl.Float64)]
    assert [*found.polars.items()][-2:] == [("quality", pl.Int32), ("received_time", time)]
    assert found.arrow.field("import_kwh").type == pa.float64()
    assert {"meter_id", "time", "import_kwh", "quality"}.isdisjoint(found.nullable)
    lowest = {name: bounds[0] for name, bounds in found.ranges.items()}
    assert lowest["quality"] == 0
    assert lowest["time"] == 631_152_000_000_000  # 1990-01-01


def test_nested_types_and_names() -> None:
    loss = contract("grid.line-loss.v1")
    assert loss.dataset == "line_loss"
    assert loss.subject == "grid.line-loss.v1-value"
    assert dict(loss.polars)["suspects"] == pl.List(
        pl.Struct(
            {"meter_id": pl.String} | dict.fromkeys(["score", "missing_kwh", "missing_uncertainty_kwh"], pl.Float64)
        )
    )
    assert loss.enums["status"] == ("PROVISIONAL", "COMPLETE", "INCOMPLETE")
    assert contract("grid.meter-energy.v1").dataset == "meter_energy"
    assert contract("grid.dead-letter.v1").dataset == "dead_letter"
    assert [name for name, found in all_contracts().items() if found.compacted] == ["grid.network.v1"]


def test_an_unknown_topic_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SchemaError, match=r"no contract for 'grid.metre.v1'; there are .*grid\.meter\.v1"):
        contract("grid.metre.v1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gridflow": None}, "not a contract"),
        ({"fields": None}, "not a contract"),
        ({"gridflow": MINIMAL["gridflow"] | {"key": "c"}}, "field 'c'"),
        ({"gridflow": MINIMAL["gridflow"] | {"tags": ["d"]}}, "field 'd'"),
    ],
)
def test_a_malformed_contract_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(SchemaError, match=rf"^some\.avsc: .*{reason}"):
        parse_contract(json.dumps(MINIMAL | change), "some.avsc")


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"some\.avsc: not JSON"):
        parse_contract("{", "some.avsc")


@pytest.mark.parametrize("avro", [["null", "int", "string"], {"type": "fixed", "name": "F", "size": 2}])
def test_a_type_without_columns_is_refused(avro: object) -> None:
    fields = [*MINIMAL["fields"], {"name": "x", "type": avro}]
    with pytest.raises(SchemaError, match="not supported"):
        _ = parse_contract(json.dumps(MINIMAL | {"fields": fields}), "some.avsc").polars
