"""The city's weather, interval by interval: temperature, and what the sun gives to a tilted roof."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

from connectors.simulation.chance import Chance
from connectors.simulation.grid.customers import Floats, Ints
from connectors.simulation.options import Options

LATITUDE, LONGITUDE = 52.0, 9.0
TIME_ZONE: Final = "Europe/Berlin"


@dataclass(frozen=True)
class Calendar:
    """When the intervals are, in the middle of each.

    Attributes:
        hour: local hour of the day, 0 .. 24.
        weekday: 0 Monday .. 6 Sunday, local.
        day: days since 1970, local.
        year_share: day of the year by 365.25.
        utc_hour: hour of the day in UTC.
    """

    hour: Floats
    weekday: Ints
    day: Ints
    year_share: Floats
    utc_hour: Floats

    @classmethod
    def of(cls, options: Options, count: int) -> Calendar:
        """Of the first ``count`` intervals."""
        start = options.start + timedelta(minutes=options.interval_minutes / 2)
        step = timedelta(minutes=options.interval_minutes)
        utc = pl.select(
            pl.datetime_range(start, start + count * step, step, closed="left", time_unit="us", time_zone="UTC")
        ).to_series()
        local = utc.dt.convert_time_zone(TIME_ZONE)
        return cls(
            hour=_hours(local),
            weekday=local.dt.weekday().cast(pl.Int64).to_numpy() - 1,
            day=local.dt.date().cast(pl.Int32).cast(pl.Int64).to_numpy(),
            year_share=utc.dt.ordinal_day().to_numpy() / 365.25,
            utc_hour=_hours(utc),
        )


def _hours(times: pl.Series) -> Floats:
    seconds = times.dt.hour().cast(pl.Int64) * 3600 + times.dt.minute().cast(pl.Int64) * 60 + times.dt.second()
    return np.asarray(seconds.to_numpy() / 3600)


@dataclass(frozen=True)
class Weather:
    """Arrays over intervals.

    Attributes:
        temperature: °C.
        elevation: sine of the sun's elevation.
        sun: unit vectors to the sun, (n, 3): east, south, up.
        clearness: share of a clear sky's direct sunlight, city-wide.
    """

    temperature: Floats
    elevation: Floats
    sun: Floats
    clearness: Floats

    @classmethod
    def of(cls, options: Options, calendar: Calendar, chance: Chance) -> Weather:
        """The weather of a city.

        The sun's position by Duffie and Beckman, Solar Engineering of Thermal Processes, ch. 1.6 (without the
        equation of time).
        """
        stream = chance.stream("weather")
        n = len(calendar.hour)
        season = np.cos(2 * np.pi * (calendar.year_share - 0.055))  # coldest around 20 January
        daily = np.cos(2 * np.pi * (calendar.hour - 15) / 24)
        temperature = 10.0 - 9.0 * season + 3.5 * daily + smooth(stream, n, 1, 36.0, options)[:, 0] * 3.0
        declination = np.radians(23.45) * np.sin(2 * np.pi * (calendar.year_share + 284 / 365.25))
        angle = np.radians(15 * (calendar.utc_hour + LONGITUDE / 15 - 12))
        latitude = np.radians(LATITUDE)
        up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
        east = -np.cos(declination) * np.sin(angle)
        south = np.sin(latitude) * np.cos(declination) * np.cos(angle) - np.cos(latitude) * np.sin(declination)
        clearness = _logistic(0.2 + 1.6 * smooth(stream, n, 1, 5.0, options)[:, 0])
        return cls(temperature, up, np.stack([east, south, up], axis=1), clearness)


def smooth(stream: np.random.Generator, steps: int, width: int, hours: float, options: Options) -> Floats:
    """Standard normal noise that forgets itself within ``hours``, (steps, width)."""
    keep = float(np.exp(-options.interval_minutes / 60 / hours))
    noise = stream.standard_normal((steps, width))
    for step in range(1, steps):
        noise[step] = keep * noise[step - 1] + np.sqrt(1 - keep**2) * noise[step]
    return noise


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def irradiance(weather: Weather, block: slice, normals: Floats, clearness: Floats) -> Floats:
    """Irradiance on tilted planes, kW/m², (steps, planes).

    Direct normal irradiance of a clear sky by Meinel and Meinel (Applied Solar Energy, 1976), weakened by clouds;
    diffuse light as a tenth of the direct, more under clouds.

    Args:
        weather: of the city.
        block: which intervals.
        normals: (planes, 3) unit vectors, as ``Weather.sun``.
        clearness: (steps, planes), 0 .. 1.
    """
    height = weather.elevation[block]
    air_mass = 1 / np.maximum(height, 0.02)
    direct = np.where(height > 0.0, 1.353 * 0.7 ** (air_mass**0.678), 0.0)
    facing = np.maximum(weather.sun[block] @ normals.T, 0.0)
    diffuse = np.maximum(height, 0.0)[:, None] * 0.12 * (0.6 + 1.2 * (1 - clearness))
    return np.asarray(direct[:, None] * clearness * facing + diffuse)
