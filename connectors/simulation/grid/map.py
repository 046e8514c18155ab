"""Where on a map everything of a substation lies: rings as circles through it, streets that lead away from stations.

Nothing is drawn by chance, so a city with coordinates is the same city.
"""

from __future__ import annotations

import numpy as np

from connectors.simulation.grid.layout import Substation

_CENTRE = (9.5, 51.3)  # longitude and latitude of the first substation
_APART_KM = 8.0  # substations
_PER_ROW = 8
_KM_PER_DEGREE = 111.2
_BEND = 2.399963  # the golden angle: streets of one station lead apart, however many there are
_SWAY = 0.5  # radians by which a street bends at a junction

Place = tuple[float, float]
"""Longitude and latitude, degrees."""


def node_places(grid: Substation) -> list[Place]:
    """Of each connectivity node of a substation."""
    east = np.zeros(len(grid.node_names))
    north = np.zeros(len(grid.node_names))
    _rings(grid, east, north)
    _streets(grid, east, north)
    row, column = divmod(grid.number - 1, _PER_ROW)
    latitude = _CENTRE[1] + (_APART_KM * row + north) / _KM_PER_DEGREE
    per_degree = _KM_PER_DEGREE * np.cos(np.radians(_CENTRE[1]))
    longitude = _CENTRE[0] + (_APART_KM * column + east) / per_degree
    return list(zip(np.round(longitude, 6).tolist(), np.round(latitude, 6).tolist(), strict=True))


def _rings(grid: Substation, east: np.ndarray, north: np.ndarray) -> None:
    """Stations of a ring lie on a circle that begins and ends at the substation, apart as their cables are long."""
    rings = [(index, feeder.partner) for index, feeder in enumerate(grid.feeders) if not 0 <= feeder.partner < index]
    for number, (first, second) in enumerate(rings):
        stations = list(grid.feeders[first].stations)
        lengths = [grid.lines[grid.stations[area].lines[0]].km for area in stations]
        if second >= 0:
            others = grid.feeders[second].stations[::-1]
            lengths.append(grid.lines[grid.feeders[second].tie].km)
            lengths += [grid.lines[grid.stations[area].lines[0]].km for area in others]
            stations += others
        else:
            lengths.append(sum(lengths))
        along = np.cumsum(lengths)
        radius, turn = along[-1] / (2 * np.pi), 2 * np.pi * number / len(rings)
        for area, angle in zip(stations, 2 * np.pi * along / along[-1], strict=False):
            for node in (grid.stations[area].mv_node, grid.stations[area].lv_node):
                east[node] = radius * (np.cos(turn) - np.cos(turn + angle))
                north[node] = radius * (np.sin(turn) - np.sin(turn + angle))


def _streets(grid: Substation, east: np.ndarray, north: np.ndarray) -> None:
    """LV lines lead on from where they begin; they are listed from the station outwards."""
    heading: dict[int, float] = {}
    for index, line in enumerate(grid.lines):
        if line.area < 0 or not line.recorded:
            continue
        begin, end = line.ends
        sway = _SWAY * np.sin(_BEND * index)
        heading[end] = heading[begin] + sway if begin in heading else _BEND * index
        east[end] = east[begin] + line.km * np.cos(heading[end])
        north[end] = north[begin] + line.km * np.sin(heading[end])
