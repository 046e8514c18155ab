"""The registry client: against a real registry, and against answers that a real one gives seldom."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest

from ops.services import Services
from schemas import Contract, RegistryError, SchemaError, all_contracts, contract
from schemas.registry import LocalRegistry, Registry, local_guid, local_id

METER = contract("grid.meter.v1")
Answer = Callable[[httpx.Request], httpx.Response]


def renamed(topic: str, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Contract:
    """A contract on a topic of the test's own, changed."""
    avro = deepcopy(dict(METER.avro))
    change(avro)
    return replace(METER, topic=topic, avro=avro)


def scripted(*answers: Answer, **options: Any) -> tuple[Registry, list[httpx.Request], list[float]]:
    """A client whose requests get these answers, the last one for good."""
    asked: list[httpx.Request] = []
    slept: list[float] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1](request)

    client = Registry("http://registry/api/", transport=httpx.MockTransport(handle), sleep=slept.append, **options)
    return client, asked, slept


def status(code: int, **body: Any) -> Answer:
    return lambda _: httpx.Response(code, json=body)


def refused(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


FOUND = status(200, schema=METER.wire_json)


def test_register_look_up_and_evolve_on_a_real_registry(services: Services) -> None:
    registry = Registry(services.registry_url)
    first = renamed("test.evolve")
    with pytest.raises(SchemaError, match="not registered"):
        Registry(services.registry_url, auto_register=False).id_of(first)
    first_id = registry.register(first)
    assert registry.register(first) == first_id == Registry(services.registry_url).id_of(first)
    assert registry.by_id(first_id) == first.wire

    second = renamed(
        "test.evolve",
        lambda avro: avro["fields"].append({"name": "new", "type": ["null", "string"], "default": None, "doc": "."}),
    )
    second_id = registry.register(second)
    assert second_id != first_id
    assert registry.versions(first) == [first.wire, second.wire]

    third = renamed("test.evolve", lambda avro: avro["fields"][2].update(type="string"))
    with pytest.raises(SchemaError, match="ncompatible"):
        registry.register(third)
    level = httpx.get(f"{services.registry_url}/config/{first.subject}", trust_env=False).json()
    assert level["compatibilityLevel"] == "BACKWARD_TRANSITIVE"


def test_what_a_real_registry_does_not_know(services: Services) -> None:
    registry = Registry(services.registry_url)
    with pytest.raises(SchemaError, match="no Avro schema has the id 99999999"):
        registry.by_id(99_999_999)
    with pytest.raises(SchemaError, match="no Avro schema has the GUID"):
        registry.by_guid(UUID(int=5))
    assert registry.versions(renamed("test.never")) == []


def test_a_schema_is_asked_for_once() -> None:
    registry, asked, _ = scripted(FOUND)
    guid = UUID(int=7)
    for _ in range(3):
        assert registry.by_id(5) == METER.wire
        assert registry.by_guid(guid) == METER.wire
    assert [request.url.path for request in asked] == ["/api/schemas/ids/5", f"/api/schemas/guids/{guid}"]


def test_an_unknown_id_is_not_asked_for_again_at_once() -> None:
    registry, asked, _ = scripted(status(404, error_code=40403, message="Schema not found"))
    for _ in range(3):
        with pytest.raises(SchemaError):
            registry.by_id(5)
    assert len(asked) == 1


def test_a_schema_of_another_kind_is_none() -> None:
    registry, _, _ = scripted(status(200, schema="message M {}", schemaType="PROTOBUF"))
    with pytest.raises(SchemaError, match="no Avro schema has the id 5"):
        registry.by_id(5)


@pytest.mark.parametrize("trouble", [refused, status(503), status(429, error_code=429, message="slow down")])
def test_a_registry_that_is_away_for_a_while_is_waited_for(trouble: Answer) -> None:
    registry, asked, slept = scripted(trouble, trouble, FOUND)
    assert registry.by_id(5) == METER.wire
    assert len(asked) == 3
    assert slept == sorted(slept)


def test_a_registry_that_stays_away_is_an_error_that_names_it() -> None:
    registry, _, slept = scripted(refused, patience_seconds=10)
    with pytest.raises(RegistryError, match=r"http://registry/api/schemas/ids/5: connection refused"):
        registry.by_id(5)
    assert 10 <= sum(slept) < 20


def test_a_wrong_password_is_an_error_at_once_and_is_not_shown() -> None:
    registry, asked, slept = scripted(
        status(401, error_code=401, message="Unauthorized"), username="me", password="s3cret"
    )
    with pytest.raises(RegistryError, match="HTTP 401: Unauthorized") as caught:
        registry.by_id(5)
    assert slept == []
    assert asked[0].headers["authorization"].startswith("Basic ")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(registry)


def test_an_answer_that_is_no_schema_is_an_error() -> None:
    registry, _, _ = scripted(status(200, schema="{"))
    with pytest.raises(RegistryError, match="holds no schema"):
        registry.by_id(5)


def test_the_rule_is_set_before_a_version_is_registered() -> None:
    registry, asked, _ = scripted(status(404), status(200, compatibility="BACKWARD_TRANSITIVE"), status(200, id=3))
    assert registry.id_of(METER) == 3
    assert registry.id_of(METER) == 3
    calls = [(request.method, request.url.path) for request in asked]
    assert calls == [
        ("POST", "/api/subjects/grid.meter.v1-value"),
        ("PUT", "/api/config/grid.meter.v1-value"),
        ("POST", "/api/subjects/grid.meter.v1-value/versions"),
    ]
    assert json.loads(json.loads(asked[2].content)["schema"]) == METER.wire


def test_local_ids_are_distinct_stable_and_hang_on_what_decides_the_bytes() -> None:
    ids = {topic: local_id(found.wire) for topic, found in all_contracts().items()}
    assert len(set(ids.values())) == len(ids)
    assert all(0 < each < 1 << 31 for each in ids.values())
    undocumented = deepcopy(METER.wire)
    del undocumented["doc"]
    millis = json.loads(METER.wire_json.replace("timestamp-micros", "timestamp-millis"))
    assert local_id(undocumented) == local_id(METER.avro) == local_id(METER.wire)
    assert local_id(millis) != local_id(METER.wire)
    assert local_guid(millis) != local_guid(METER.wire)


def test_the_local_mode_knows_the_contracts_only() -> None:
    local = LocalRegistry()
    for found in all_contracts().values():
        assert local.by_id(local.id_of(found)) == found.wire
        assert local.by_guid(local_guid(found.wire)) == found.wire
    with pytest.raises(SchemaError, match="local mode"):
        local.by_id(1)
    with pytest.raises(SchemaError, match="local mode"):
        local.by_guid(UUID(int=1))
