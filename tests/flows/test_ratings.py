"""Ratings: of transformers, of what is above them, of customers; and their facts."""

from __future__ import annotations

import random
from typing import Any

import pytest

from flows.streaming.network import NetworkTable
from flows.streaming.ratings import Rating, Ratings
from tests.flows.harness import versions

FEEDER: dict[str, Any] = {"element_id": "F", "kind": "Feeder", "measuring_device_id": "HF"}


def transformer(name: str, kva: float | None, **more: Any) -> dict[str, Any]:
    return {"element_id": name, "kind": "PowerTransformer", "container_id": "F", "rated_kva": kva, **more}


def customer(name: str, container: str, **more: Any) -> dict[str, Any]:
    return {
        "element_id": f"UP-{name}",
        "kind": "UsagePoint",
        "container_id": container,
        "measuring_device_id": name,
        **more,
    }


def rating(rows: list[dict[str, Any]], device: str) -> Rating:
    network = NetworkTable()
    network.apply(versions([{"valid_from": 0, **row} for row in rows]))
    return Ratings(network.versions, 3150.0).of_claims(network.claims(device))


@pytest.mark.parametrize(
    ("rows", "device", "kva"),
    [
        ([transformer("T", 400.0, measuring_device_id="H")], "H", 400.0),
        ([transformer("T", None, measuring_device_id="H")], "H", 3150.0),
        ([transformer("T", 400.0), customer("A", "T")], "A", 400.0),
        ([transformer("T", 400.0), customer("A", "T", rated_kva=5.0)], "A", 400.0),
        ([transformer("T", 0.0), customer("A", "T", rated_kva=0.0)], "A", 3150.0),
        ([FEEDER, transformer("T", 400.0), transformer("U", 250.0)], "HF", 650.0),
        ([FEEDER, transformer("T", 400.0), transformer("U", None)], "HF", 3550.0),
        ([FEEDER, transformer("T", 400.0), customer("A", "F")], "HF", None),
        ([FEEDER, customer("A", "F")], "A", None),
        ([FEEDER], "HF", None),
        ([], "A", None),
        ([transformer("X", 400.0, container_id="Y"), transformer("Y", None, container_id="X")], "H", None),
    ],
)
def test_rating(rows: list[dict[str, Any]], device: str, kva: float | None) -> None:
    assert rating(rows, device).kva == kva


def test_a_substation_carries_what_its_own_transformer_does() -> None:
    rows = [
        {"element_id": "S", "kind": "Substation", "measuring_device_id": "HS"},
        transformer("HV", 25_000.0, container_id="S"),
        {**FEEDER, "container_id": "HV"},
        transformer("T", 400.0),
    ]
    assert rating(rows, "HS").kva == 25_000.0


def test_a_rating_changes_only_with_its_facts_whatever_comes_first() -> None:
    rows = [
        FEEDER,
        transformer("T", None),
        transformer("T", 250.0, valid_from=5),
        transformer("U", 250.0),
        customer("A", "T"),
        customer("A", "U", valid_from=9),
        customer("B", "F"),
        transformer("U", None, valid_from=3),
        transformer("W", 5.0),
        transformer("W", None, valid_from=3),
        customer("A", "W", valid_from=19),
    ]
    for device in ("A", "HF"):
        ends: set[Rating] = set()
        for seed in range(200):
            order = random.Random(seed).sample(rows, len(rows))
            before = Rating(None, 0)
            for size in range(1, len(order) + 1):
                now = rating(order[:size], device)
                assert now == before or now.facts > before.facts
                before = now
            ends.add(before)
        assert len(ends) == 1
