"""What the entries of messages mean: positions, trips, pickups, currents, and values that no grid can have.

An entry is known by its reference (IEC 61850-7-4: XCBR.Pos, PTRC.Tr, P….Str, MMXU.A), or, where messages carry none, by
the settings: control block, place in the data set, meaning. What an entry means whose reference says nothing, and of
which the settings say nothing, is learned only so far: a number that moves is a measurement, and may freeze.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from flows.ied_supervision.numbers import UNKNOWN, Ints

_SINGLE = ("position", "trip", "pickup", "fault", "current", "odd", "odd_means", "odd_value")
MEASURED = 8
"""So many measurements of a message are watched for standing still: the first ones of its data set."""

_UNUSABLE = 0xC0  # invalid, not topical
PARTS, OF_PART = 5, 7
"""So many entries are told apart when data change: a byte of each, not 0, seven in a number."""

POSITION, TRIP, PICKUP, CURRENT, VOLTAGE, FREQUENCY = "position", "trip", "pickup", "current", "voltage", "frequency"
_FAULT = "fault"  # a pickup that only a fault current causes

# Of references without a functional constraint, or with one ($ instead of .).
_MAGNITUDE = r"([.$](inst)?[cC]Val)?([.$]mag)?([.$][fi])?$"  # of a measured value, not its angle
_REFERENCES = {
    POSITION: r"XCBR\d*[.$](ST[.$])?Pos([.$]stVal)?$",
    TRIP: r"(PTRC\d*[.$](ST[.$])?Tr|P[A-Z]{3}\d*[.$](ST[.$])?Op)([.$]general)?$",
    PICKUP: r"P[A-Z]{3}\d*[.$](ST[.$])?Str([.$]general)?$",
    # Of voltages, of overload and the like it lasts as long as these do; PTRC tells of all functions together.
    _FAULT: r"(PTOC|PIOC|PDIS|PDIF|PVOC|PTEF|PTRC)\d*[.$](ST[.$])?Str([.$]general)?$",
    CURRENT: r"MMXU\d*[.$](MX[.$])?A[.$]phs[ABC]" + _MAGNITUDE,
    VOLTAGE: r"MMXU\d*[.$](MX[.$])?(PPV[.$]phs(AB|BC|CA)|PhV[.$]phs[ABC]|AvPPVPhs|AvPhVPhs)" + _MAGNITUDE,
    FREQUENCY: r"MMXU\d*[.$](MX[.$])?Hz" + _MAGNITUDE,
}
# By name, as a double point (IEC 60870-5), and as the bits of one.
_POSITIONS = {
    "intermediate": 0,
    "intermediate-state": 0,
    "off": 1,
    "on": 2,
    "bad": 3,
    "bad-state": 3,
    "0": 0,
    "1": 1,
    "2": 2,
    "3": 3,
    "00": 0,
    "01": 1,
    "10": 2,
    "11": 3,
}
_OFF = 1
_TRUE, _FALSE = ("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0")
# What no grid can have; amperes and hertz. Voltages are in V, kV or by another multiplier: only their sign is known.
RANGES = {CURRENT: (0.0, 200_000.0), VOLTAGE: (0.0, 2_000_000.0), FREQUENCY: (15.0, 75.0)}
NO_NUMBER = 2**62
_GREATEST = 1e12  # of what is no more than named


@dataclass(frozen=True, slots=True)
class EntryMeaning:
    """What an entry without a telling reference means.

    Attributes:
        control_block: pattern of control blocks, as of file names.
        entry: its place in the data set, from 0.
        means: ``POSITION`` or another of these.
    """

    control_block: str
    entry: int
    means: str


@dataclass(frozen=True, slots=True)
class Values:
    """What messages tell; all [n], int64, ``UNKNOWN`` where they do not.

    Attributes:
        position: of the breaker: 0 intermediate, 1 off, 2 on, 3 bad; of several, or of poles, 1 only if all are off.
        trip: 1 where the protection trips.
        pickup: 1 where a protection function has started.
        fault: 1 where one has that only a fault current starts.
        current: greatest phase current, mA.
        odd: place in the data set of the first value that no grid can have.
        odd_means: place in ``RANGES`` of what that means.
        odd_value: it, in thousandths; ``NO_NUMBER`` for none.
        measured: the first measurements, in millionths, times 4, and what each means: 1 + its place in ``RANGES``, 0
            where nobody knows; [n, ``MEASURED``].
        parts: a byte of the hash of each of the first entries, 0 where there is none; [n, ``PARTS``].
    """

    position: Ints
    trip: Ints
    pickup: Ints
    fault: Ints
    current: Ints
    odd: Ints
    odd_means: Ints
    odd_value: Ints
    measured: Ints
    parts: Ints

    @classmethod
    def of(cls, frame: pl.DataFrame, payload: Ints, meanings: Sequence[EntryMeaning] = ()) -> Values:
        """From messages.

        Args:
            frame: control_block, num_entries and data; [n].
            payload: hash of the data; messages of one block with the same hash are looked at once; [n].
            meanings: the later ones win.
        """
        n = frame.height
        flat = [np.full(n, UNKNOWN, np.int64) for _ in _SINGLE]
        measured, parts = np.full((n, MEASURED), UNKNOWN, np.int64), np.zeros((n, PARTS), np.int64)
        found = cls(**dict(zip(_SINGLE, flat, strict=True)), measured=measured, parts=parts)
        # Of a report that carries only what has changed the places say nothing.
        whole = (pl.col("num_entries") == pl.col("data").list.len()).fill_null(True)
        rows = frame.select("control_block", "data", whole=whole).with_columns(payload=payload)
        rows = rows.with_row_index("row").filter(pl.col("data").list.len() > 0)
        if not rows.height:
            return found
        key = ["control_block", "payload", "whole"]
        distinct = rows.unique(key, keep="first", maintain_order=True)
        told = _told(distinct, meanings)
        every = rows.select("row", *key).join(distinct.select(*key, first="row"), on=key, how="left")
        every = every.join(told, left_on="first", right_on="row", how="inner")
        at = every.get_column("row").to_numpy()
        for name in _SINGLE:
            getattr(found, name)[at] = every.get_column(name).fill_null(UNKNOWN).to_numpy()
        for place in range(MEASURED):
            found.measured[at, place] = every.get_column(f"measured_{place}").fill_null(UNKNOWN).to_numpy()
        for place in range(PARTS):
            found.parts[at, place] = every.get_column(f"part_{place}").to_numpy()
        return found


def _told(rows: pl.DataFrame, meanings: Sequence[EntryMeaning]) -> pl.DataFrame:
    """One row of what is told for each row, by ``row``."""
    places = rows.select("row", "control_block", "whole", "data", place=pl.int_ranges(pl.col("data").list.len()))
    entries = places.explode("data", "place").unnest("data")
    # What the device itself marks as invalid or old tells nothing; that it does is its quality's to say.
    byte = (pl.struct("value", "quality").hash(2) % 255 + 1).cast(pl.Int64) * pl.lit(256, pl.Int64).pow(
        pl.col("place") % OF_PART
    )
    usable = (pl.col("quality").fill_null(0) & _UNUSABLE) == 0
    entries = entries.with_columns(_byte=byte, value=pl.when(usable).then(pl.col("value")))
    entries = _with_meaning(entries, meanings)
    number = pl.col("value").cast(pl.Float64, strict=False)
    means = pl.col("means")
    truth = pl.when(pl.col("value").is_in(_TRUE)).then(1).when(pl.col("value").is_in(_FALSE)).then(0)
    position = pl.col("value").str.to_lowercase().replace_strict(_POSITIONS, default=None, return_dtype=pl.Int64)
    told = pl.col("value").is_not_null() & (pl.col("value") != "")
    odd = pl.lit(False)
    for meaning, (least, most) in RANGES.items():
        possible = number.is_finite() & (number.is_between(least, most) | (number == 0))
        odd = odd | ((means == meaning) & told & ~possible.fill_null(False))
    # A number that is no flag: with a fraction, or a known measurement.
    measured = number.is_not_null() & (pl.col("value").str.contains(".", literal=True) | means.is_in(list(RANGES)))
    in_ranges = means.replace_strict({one: n for n, one in enumerate(RANGES)}, default=None, return_dtype=pl.Int64)
    entries = entries.with_columns(
        _position=pl.when(means == POSITION).then(position),
        _trip=pl.when(means == TRIP).then(truth),
        _pickup=pl.when(means.is_in([PICKUP, _FAULT])).then(truth),
        _fault=pl.when(means == _FAULT).then(truth),
        _current=pl.when((means == CURRENT) & number.is_between(0, RANGES[CURRENT][1])).then((1_000 * number).round()),
        _odd=pl.when(odd.fill_null(False)).then(pl.col("place")),
        _odd_value=pl.when(number.is_finite())
        .then((1_000 * number.clip(-_GREATEST, _GREATEST)).round().cast(pl.Int64))
        .otherwise(NO_NUMBER),
        _odd_means=in_ranges,
        _value=pl.when(measured & number.is_finite()).then(
            4 * (1e6 * number.clip(-_GREATEST, _GREATEST)).round().cast(pl.Int64) + in_ranges.fill_null(-1) + 1
        ),
        _nth=pl.when(measured).then(measured.cum_sum().over("row") - 1),
    )
    return entries.group_by("row").agg(
        position=pl.when((pl.col("_position").max() == _OFF) & (pl.col("_position").min() != _OFF))
        .then(0)
        .otherwise(pl.col("_position").max())
        .cast(pl.Int64),
        trip=pl.col("_trip").max().cast(pl.Int64),
        pickup=pl.col("_pickup").max().cast(pl.Int64),
        fault=pl.col("_fault").max().cast(pl.Int64),
        current=pl.col("_current").max().cast(pl.Int64),
        odd=pl.col("_odd").min().cast(pl.Int64),
        **{
            name: pl.col(f"_{name}").filter(pl.col("_odd").is_not_null()).first().cast(pl.Int64)
            for name in ("odd_means", "odd_value")
        },
        **{f"measured_{place}": pl.col("_value").filter(pl.col("_nth") == place).first() for place in range(MEASURED)},
        **{
            f"part_{part}": pl.col("_byte").filter(pl.col("place") // OF_PART == part).sum().cast(pl.Int64)
            for part in range(PARTS)
        },
    )


def _with_meaning(entries: pl.DataFrame, meanings: Sequence[EntryMeaning]) -> pl.DataFrame:
    """The entries with what they mean, null where nobody knows."""
    references = entries.get_column("reference").unique().drop_nulls()
    known = {
        one: meaning
        for one in references
        for meaning, pattern in _REFERENCES.items()
        if pl.Series([one]).str.contains(pattern).item()
    }
    means = pl.col("reference").replace_strict(known, default=None, return_dtype=pl.String)
    for one in meanings:
        blocks = [name for name in entries["control_block"].unique() if fnmatchcase(name, one.control_block)]
        said = pl.col("control_block").is_in(blocks) & (pl.col("place") == one.entry) & pl.col("whole")
        means = pl.when(said).then(pl.lit(_FAULT if one.means == PICKUP else one.means)).otherwise(means)
    return entries.with_columns(means=means)
