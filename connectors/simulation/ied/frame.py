"""Messages of runs as the contract's columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from connectors.simulation.grid.customers import Ints
from connectors.simulation.ied.description import MEASURANDS, POSITION, Entries
from connectors.simulation.ied.measured import DATA, Measured
from connectors.simulation.ied.runs import Rhythm, Run
from connectors.simulation.ied.table import NONE, Messages, RunTable, ints
from schemas import contract

_CONTRACT = contract("grid.ied.v1")
# What all messages of a run share, as columns of the contract.
_SHARED = (
    "kind", "control_block", "source_address", "app_id", "st_num", "conf_rev", "simulation", "nds_com",
    "buffer_overflow", "clock_failure", "clock_not_synchronized", "beh", "health", "phy_health",
)  # fmt: skip


def goose_numbers(numbers: Ints) -> Ints:
    """The sqNum of messages of one state by their count from 0; it overruns to 1 (IEC 61850-8-1)."""
    return np.where(numbers == 0, 0, (numbers - 1) % 0xFFFF_FFFF + 1)


class MessageFrames:
    """Makes frames of messages.

    Args:
        runs: all runs.
        ids: of the devices.
        table: the same runs.
        rhythm: theirs.
    """

    def __init__(self, runs: Sequence[Run], ids: Sequence[str], table: RunTable, rhythm: Rhythm) -> None:
        self._table, self._rhythm = table, rhythm
        payloads: dict[Entries, int] = {}
        for run in runs:
            if run.content is not None and not run.measured:
                payloads.setdefault(run.content, len(payloads))
        self._payloads = pl.Series([_entries(content) for content in payloads], dtype=DATA)
        self._payload = ints(payloads.get(run.content) if run.content is not None else None for run in runs)
        self._measured = np.array([run.measured for run in runs], np.bool_)
        self._goose = np.array([run.kind == "GOOSE" for run in runs], np.bool_)
        self._report = np.array([run.kind == "REPORT" for run in runs], np.bool_)
        self._entry = ints(run.entry for run in runs)
        self._live = ints(run.live_ms for run in runs)
        self._state_time = ints(run.state_time for run in runs)
        self._step = ints(run.clock_step for run in runs)
        self._fast = np.array([run.clock_ppm * 1e-6 for run in runs], np.float64)
        self._since = ints(run.clock_since for run in runs)
        shared: dict[str, list[object]] = {name: [getattr(run, name) for run in runs] for name in _SHARED}
        shared["ied_id"] = [ids[run.ied] for run in runs]
        shared["num_entries"] = [
            None if run.content is None else len(run.content) + run.measured * len(MEASURANDS) for run in runs
        ]
        self._shared = pl.DataFrame(shared, {name: _CONTRACT.polars[name] for name in shared})
        # Of measured runs the breaker's position, null without a breaker.
        self._position = pl.Series([dict(run.content or ()).get(POSITION) for run in runs], dtype=pl.String)
        self._sq_base = ints(run.sq_base for run in runs)
        names = sorted({(ids[run.ied], run.control_block) for run in runs})
        ranks = {name: rank for rank, name in enumerate(names)}
        self._rank = ints(ranks[ids[run.ied], run.control_block] for run in runs)

    def frame(self, found: Messages, measured: Measured) -> pl.DataFrame:
        """The contract's columns of messages, by time of arrival, device, control block and sequence number.

        Args:
            found: the messages, in any order.
            measured: measurements of the times at which the reports among them were made.
        """
        numbers = self._sequence(found)
        order = np.lexsort((numbers, self._rank[found.run], found.received))
        found, numbers = found.where(order), numbers[order]
        data, payload = self._data(found, measured)
        entries, entry = self._entry_ids(found)
        moment = _CONTRACT.polars["time"]
        return (
            self._shared[found.run]
            .with_columns(
                pl.Series("time", self._times(found)).cast(moment),
                pl.Series("received_time", found.received).cast(moment),
                _nullable("sq_num", numbers),
                _nullable("time_allowed_to_live_ms", self._live_ms(found)),
                entries.gather(_nullable("entry", entry)).alias("entry_id"),
                data.gather(_nullable("payload", payload)).alias("data"),
            )
            .select(_CONTRACT.polars.names())
        )

    def _sequence(self, found: Messages) -> Ints:
        reports = np.where(self._report[found.run], found.number % 0x1_0000, NONE)  # INT16U, IEC 61850-7-2
        return np.where(self._goose[found.run], goose_numbers(found.number + self._sq_base[found.run]), reports)

    def _times(self, found: Messages) -> Ints:
        state, drifted = self._state_time[found.run], self._fast[found.run] * (found.sent - self._since[found.run])
        own = found.sent + self._step[found.run] + np.rint(drifted).astype(np.int64)
        return np.where(state == NONE, own, state)

    def _live_ms(self, found: Messages) -> Ints:
        early = self._rhythm.in_burst(self._table.burst[found.run], found.number)
        return np.where(early, self._rhythm.live_ms(found.number), self._live[found.run])

    def _data(self, found: Messages, measured: Measured) -> tuple[pl.Series, Ints]:
        """Distinct payloads, and the index of each message's; that of the reports is their own."""
        payload = self._payload[found.run]
        parts, count = [self._payloads], len(self._payloads)
        integrity = self._measured[found.run]
        positions = self._position[found.run]
        for with_breaker in (True, False):
            rows = np.flatnonzero(integrity & (positions.is_not_null().to_numpy() == with_breaker))
            front = pl.DataFrame({POSITION: positions[rows]}) if with_breaker else pl.DataFrame()
            parts.append(measured.data(self._table.ied[found.run[rows]], found.sent[rows], front))
            payload[rows] = count + np.arange(len(rows))
            count += len(rows)
        return pl.concat(parts), payload

    def _entry_ids(self, found: Messages) -> tuple[pl.Series, Ints]:
        base = self._entry[found.run]
        rows = np.flatnonzero(base != NONE)
        entry = np.full(len(found), NONE)
        entry[rows] = np.arange(len(rows))
        return hexadecimal(base[rows] + found.number[rows]), entry


def hexadecimal(numbers: Ints) -> pl.Series:
    """Numbers as 16 hexadecimal digits each: an EntryID is 8 octets (IEC 61850-8-1)."""
    digits = numbers.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * 16
    texts = pl.from_arrow(pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(digits)))
    assert isinstance(texts, pl.Series)
    return texts


def _nullable(name: str, values: Ints) -> pl.Series:
    series = pl.Series(name, values)
    return pl.select(pl.when(series != NONE).then(series).alias(name)).to_series()


def _entries(content: Entries) -> list[dict[str, object]]:
    return [{"reference": reference, "value": value, "quality": 0} for reference, value in content]
