"""The utility's record of a substation's grid as versions of ``grid.network.v1``: what it has, right or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance, chosen
from connectors.simulation.grid.city import REGION, City
from connectors.simulation.grid.layout import PHASE_NAMES, Substation
from connectors.simulation.grid.map import node_places
from connectors.simulation.meters.metering import Exchange
from connectors.simulation.options import Options
from schemas import contract

NETWORK = "grid.network.v1"


@dataclass(frozen=True)
class WrongRecord:
    """A usage point that is recorded elsewhere.

    Attributes:
        customer: index in the substation.
        area: recorded area.
        phase: recorded phase.
    """

    customer: int
    area: int
    phase: int


def draw_wrong_records(grid: Substation, options: Options, chance: Chance, others: set[int]) -> list[WrongRecord]:
    """Records that are wrong from the start.

    Args:
        grid: the substation.
        options: with the rates.
        chance: the seed's streams.
        others: customers whose record becomes wrong later, or that deceive: one trouble each.
    """
    customers, stream = grid.customers, chance.stream("records", grid.number)
    free = np.setdiff1d(np.arange(len(customers)), np.array(sorted(others), np.int64))
    alone = len(grid.stations) < 2
    displaced = chosen(stream, 0 if alone else options.faults.wrong_transformer_rate, free)
    single = np.intersect1d(np.setdiff1d(free, displaced), np.flatnonzero(customers.single))
    turned = chosen(stream, options.faults.wrong_phase_rate, single)
    found = [
        WrongRecord(c, int(stream.choice(grid.neighbours(int(customers.area[c])))), int(customers.phase[c]))
        for c in displaced.tolist()
    ]
    found += [
        WrongRecord(c, int(customers.area[c]), int(customers.phase[c] + stream.integers(1, 3)) % 3)
        for c in turned.tolist()
    ]
    return found


def region_row(options: Options) -> pl.DataFrame:
    """The region that all substations are in."""
    return _frame([{"element_id": REGION, "kind": "SubGeographicalRegion"}], options)


def network_rows(
    grid: Substation, city: City, options: Options, wrong: list[WrongRecord], exchanges: list[Exchange]
) -> pl.DataFrame:
    """The record of one substation; containers before what they hold, exchanges of meters at the end."""
    rows = _substation(grid) + _feeders(grid) + _stations(grid) + _lines(grid)
    points = _usage_points(grid, city, wrong)
    rows += points
    for exchange in sorted(exchanges, key=lambda e: e.time):
        rows.append(
            {**points[exchange.customer], "measuring_device_id": exchange.new_meter, "valid_from": exchange.time}
        )
    _place(rows, grid)
    return _frame(rows, options)


def _place(rows: list[dict[str, Any]], grid: Substation) -> None:
    """Say where elements lie: at their node, lines half way; feeders and the region are no places."""
    of_nodes = node_places(grid)
    place = dict(zip(grid.node_names, of_nodes, strict=True))
    for line in grid.lines:
        place |= {_switch_node(s): of_nodes[node] for s, node in zip(line.switches, line.ends, strict=True) if s}
    place[grid.name] = of_nodes[grid.hv_node]
    for row in rows:
        ends = [row[name] for name in ("terminal_1", "terminal_2") if name in row] or [row["element_id"]]
        known = [place[end] for end in (ends if row["kind"] == "ACLineSegment" else ends[:1]) if end in place]
        if known:
            row["longitude_deg"], row["latitude_deg"] = (
                round(sum(one) / len(known), 6) for one in zip(*known, strict=True)
            )


def _frame(rows: list[dict[str, Any]], options: Options) -> pl.DataFrame:
    recorded = options.start_us - round(timedelta(days=30).total_seconds()) * 1_000_000
    schema = contract(NETWORK).polars
    columns = {name: [row.get(name) for row in rows] for name in schema}
    columns["valid_from"] = [recorded if value is None else value for value in columns["valid_from"]]
    loose = {name: pl.Int64() if name.startswith("valid") else kind for name, kind in schema.items()}
    return pl.DataFrame(columns, schema=loose).cast(dict(schema))  # type: ignore[arg-type]


def _substation(grid: Substation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"element_id": grid.name, "kind": "Substation", "container_id": REGION}]
    nodes = [grid.node_names[node] for node in grid.busbars]
    for (name, kind), node in zip(grid.mains, nodes, strict=True):
        rows.append(
            {
                "element_id": name,
                "kind": "PowerTransformer",
                "container_id": grid.name,
                "terminal_1": grid.node_names[grid.hv_node],
                "terminal_2": node,
                "phases": "ABC",
                "rated_kva": kind.rated_kva,
                "no_load_loss_kw": kind.no_load_kw,
                "load_loss_kw": kind.load_kw,
                "measuring_device_id": f"H-{name}",
                "measuring_terminal": 1,
            }
        )
    for index, node in enumerate(nodes):
        rows.append(
            {
                "element_id": busbar_name(grid, index),
                "kind": "BusbarSection",
                "container_id": grid.mains[index][0],
                "terminal_1": node,
                "phases": "ABC",
            }
        )
    rows.append(
        {
            "element_id": f"{grid.name}-XCBR1",
            "kind": "Breaker",
            "container_id": grid.name,
            "terminal_1": nodes[0],
            "terminal_2": nodes[1],
            "phases": "ABC",
            "normal_open": True,
        }
    )
    return rows


def busbar_name(grid: Substation, index: int) -> str:
    """Element id of a busbar."""
    return f"{grid.name}-BB{index + 1}"


def _switch_node(switch: str) -> str:
    """The connectivity node between a switch and its cable."""
    return f"CN-{switch}"


def _feeders(grid: Substation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for feeder in grid.feeders:
        rows.append(
            {
                "element_id": feeder.name,
                "kind": "Feeder",
                "container_id": busbar_name(grid, feeder.busbar),
                "measuring_device_id": f"H-{feeder.name}",
            }
        )
        busbar = grid.node_names[grid.busbars[feeder.busbar]]
        rows.append(_switch(feeder.breaker, "Breaker", feeder.name, busbar, False, feeder.ftu))
    return rows


def _switch(name: str, kind: str, container: str, node: str, normal_open: bool, ftu: str | None) -> dict[str, Any]:
    return {
        "element_id": name,
        "kind": kind,
        "container_id": container,
        "terminal_1": node,
        "terminal_2": _switch_node(name),
        "phases": "ABC",
        "normal_open": normal_open,
        "measuring_device_id": ftu,
    }


def _stations(grid: Substation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    places = grid.switch_places()
    for station in grid.stations:
        feeder, node = grid.feeders[station.feeder].name, grid.node_names[station.mv_node]
        for number in (1, 2):
            name = f"{station.name}-XSWI{number}"
            if name in places:
                line, side = places[name]
                normal_open = not grid.lines[line].closed[side]
                ftu = station.ftu if station.telemetry else None
                rows.append(_switch(name, "LoadBreakSwitch", feeder, node, normal_open, ftu))
        rows.append(
            {
                "element_id": station.name,
                "kind": "PowerTransformer",
                "container_id": feeder,
                "terminal_1": node,
                "terminal_2": grid.node_names[station.lv_node],
                "phases": "ABCN",
                "rated_kva": station.kind.rated_kva,
                "no_load_loss_kw": station.kind.no_load_kw,
                "load_loss_kw": station.kind.load_kw,
                "measuring_device_id": f"H-{station.name}",
                "measuring_terminal": 2,
            }
        )
    return rows


def _lines(grid: Substation) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for line in grid.lines:
        if not line.recorded:
            continue
        medium = line.feeder >= 0
        ends = [
            grid.node_names[node] if switch is None else _switch_node(switch)
            for node, switch in zip(line.ends, line.switches, strict=True)
        ]
        rows.append(
            {
                "element_id": line.name,
                "kind": "ACLineSegment",
                "container_id": grid.feeders[line.feeder].name if medium else grid.stations[line.area].name,
                "terminal_1": ends[0],
                "terminal_2": ends[1],
                "phases": "ABC" if medium else "ABCN",
                "r_ohm": round(line.cable.r_ohm * line.km, 9),
                "x_ohm": round(line.cable.x_ohm * line.km, 9),
            }
        )
    return rows


def _usage_points(grid: Substation, city: City, wrong: list[WrongRecord]) -> list[dict[str, Any]]:
    customers = grid.customers
    area, phase, node = customers.area.copy(), customers.phase.copy(), grid.customer_node.copy()
    for record in wrong:
        if area[record.customer] != record.area:
            # Where else: at the house of somebody who does live there.
            node[record.customer] = node[int(np.searchsorted(customers.area, record.area))]
        area[record.customer], phase[record.customer] = record.area, record.phase
    return [
        {
            "element_id": city.usage_point(number),
            "kind": "UsagePoint",
            "container_id": grid.stations[a].name,
            "terminal_1": grid.node_names[n],
            "phases": PHASE_NAMES[p] if single else "ABCN",
            "measuring_device_id": city.meter(number),
        }
        for number, a, n, p, single in zip(
            customers.number.tolist(),
            area.tolist(),
            node.tolist(),
            phase.tolist(),
            customers.single.tolist(),
            strict=True,
        )
    ]
