"""What is kept in a recovery store: it comes back as it was, and what another version has kept is not misread."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from connectors.errors import InputError
from flows.streaming.packing import Layout
from flows.streaming.shards import shard_key
from flows.topology.switching import SwitchingShard
from tests.flows.harness import Calculation, network_of
from tests.flows.ied_supervision.station import SECOND, Supervision, goose, health, report
from tests.flows.test_line_loss_properties import long_history
from tests.flows.test_registers import readings, store_of
from tests.flows.topology.grid import Running, batch_of, telemetry
from tests.flows.topology.test_switching import RULES, switching_day, switching_network

_LAYOUT = Layout("the state of a test", 3)


def test_what_is_packed_comes_back() -> None:
    state = {"array": np.arange(5), "text": "ä", "nothing": None}
    again = _LAYOUT.unpack(_LAYOUT.pack(state))
    assert again["array"].tolist() == [0, 1, 2, 3, 4]
    assert (again["text"], again["nothing"]) == ("ä", None)
    again["array"][0] = 7  # as what was packed can be written to


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (Layout("the state of a test", 2).pack(1), "the state of a test in layout 2"),
        (Layout("something else", 3).pack(1), "something else in layout 3"),
        (pickle.dumps([(4, b"abcd")]), "the state of a test in a layout without number"),
        (pickle.dumps((1, 2, 3)), "the state of a test in a layout without number"),
    ],
)
def test_what_another_version_has_kept_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(InputError, match=f"the recovery store holds {found}, and this version .* in layout 3: start"):
        _LAYOUT.unpack(data)


def _supervision() -> bytes:
    run = Supervision()
    run.take(goose(changes=(20 * SECOND,)) + health(until=60 * SECOND) + report(until=60 * SECOND))
    run.look_ahead()
    return next(iter(run.parts.values())).dump()


def _switching() -> bytes:
    shard = SwitchingShard(RULES)
    shard.take([], [batch_of(switching_network(), "grid.network.v1", None)])
    day = switching_day()
    shard.take([batch_of(day, "grid.ftu.v1", int(day["time"].to_physical().max()))])  # type: ignore[arg-type]
    return shard.dump()


def _topology() -> bytes:
    street = telemetry()
    run = Running(street.network)
    run.take(street.readings)
    return run.shard.dump()


def _line_loss() -> Calculation:
    run = Calculation()
    run.network(network_of({"A": ("H", ["M1", "M2"])}))
    run.readings(long_history(random.Random(1), 15))
    return run


def _meters() -> bytes:
    return _line_loss().shards[shard_key(0)].dump()


def _balance() -> bytes:
    return _line_loss().balance.dump()


def _registers() -> bytes:
    store = store_of(2)
    store.insert(readings([0, 1, 0], [1, 2, 3]))
    return store.dump()


@pytest.mark.parametrize(
    ("dump", "layout", "shape"),
    [
        (_supervision, 3, "98035d11dfef"),
        (_switching, 1, "f803c613e00d"),
        (_topology, 1, "a05dfe8b81f6"),
        (_meters, 1, "6246313decc2"),
        (_balance, 1, "52ed29611383"),
        (_registers, 1, "306f4097d111"),
    ],
    ids=["supervision", "switching", "topology", "meters", "balance", "registers"],
)
def test_state_of_another_shape_has_another_number(dump: Callable[[], bytes], layout: int, shape: str) -> None:
    data = dump()
    name, number, _ = pickle.loads(data)
    lines = sorted(set(_shape(Layout(name, number).unpack(data))))
    found = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
    assert (number, found) == (layout, shape), (
        f"{name} is kept in another shape: raise the number of its Layout, and put both here\n" + "\n".join(lines)
    )


def _shape(state: Any, path: str = "") -> Iterator[str]:
    """A line for every part of a state: where it is and of what kind, without what depends on the data."""
    kind = type(state).__qualname__
    match state:
        case np.ndarray():
            width = state.shape[-1] if state.ndim > 1 else ""
            yield f"{path}: {kind} {state.dtype.names or state.dtype.kind} {state.ndim} {width}"
        case pl.DataFrame():
            yield f"{path}: {kind} {dict(state.schema)}"
        case pl.Series():
            yield f"{path}: {kind} {state.dtype}"
        case bytes() if state[:2] == b"\x80\x05":
            inner = pickle.loads(state)
            if isinstance(inner, tuple) and isinstance(inner[-1], list):  # of another layout
                yield f"{path}: {inner[0]} {inner[1]}"
            else:
                yield from _shape(inner, f"{path}.pickle")
        case dict():
            yield f"{path}: {kind}"
            for key, value in state.items():
                yield from _shape(key, f"{path}.key")
                yield from _shape(value, f"{path}.value")
        case list() | set() | frozenset():
            yield f"{path}: {kind}"
            for one in state:
                yield from _shape(one, f"{path}.each")
        case tuple():
            yield f"{path}: {kind} of {len(state)}"
            for number, one in enumerate(state):
                yield from _shape(one, f"{path}.{number}")
        case _ if is_dataclass(state):
            yield f"{path}: {kind}"
            for one in fields(state):
                yield from _shape(getattr(state, one.name), f"{path}.{one.name}")
        case _ if hasattr(state, "__dict__"):
            yield f"{path}: {kind}"
            for name, value in vars(state).items():
                yield from _shape(value, f"{path}.{name}")
        case _:
            yield f"{path}: {kind}"
