"""Rows to InfluxDB 2.x: lines built in columns, written synchronously, waiting while the server is away.

Writing a row twice is writing it once: the point is given by measurement, tags and time. A lower revision
never has the last word. In one run the revisions of an identity come in order from one shard, so through one
partition, and a request is answered before the next is sent. After a crash the flow begins again at its last
snapshot and may for a while show revisions below those that were written before; but it reads the same data
again, so it ends with the same revision or a higher one. Of the rows gathered for a request only the highest
revision of an identity is written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from schemas import Contract
from sinks.errors import SinkError, close_with
from sinks.influx_api import InfluxApi
from sinks.influx_lines import influx_lines
from sinks.influx_moves import SeriesMoves, State
from sinks.metrics import ROWS_WRITTEN
from sinks.rows import conform, highest_revision

_REQUESTS_GATHERED = 4  # lines are cheaper built for several requests at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InfluxSink(FixedPartitionedSink[pl.DataFrame, State | None]):
    """Writes the rows of one contract as points of the measurement ``contract.dataset``.

    Args:
        api: makes the connection of one partition, such as ``lambda: InfluxApi(url, org, bucket, token)``.
        contract: whose columns the frames have.
        partitions: how many independent writers; an item's key says which.
        batch_lines: most lines in a request.
    """

    def __init__(
        self,
        api: Callable[[], InfluxApi],
        contract: Contract,
        *,
        partitions: int = 1,
        batch_lines: int = 5_000,
    ) -> None:
        self._api = api
        self._contract = contract
        self._partitions = partitions
        self._batch_lines = batch_lines

    def list_parts(self) -> list[str]:
        """The writers' numbers."""
        return [str(number) for number in range(self._partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> _InfluxPartition:  # noqa: ARG002
        """A writer; connects when it has something to write, so that a flow starts while InfluxDB is away."""
        return _InfluxPartition(self._api(), self._contract, self._batch_lines, resume_state)


class _InfluxPartition(StatefulSinkPartition[pl.DataFrame, State | None]):
    def __init__(self, api: InfluxApi, contract: Contract, batch_lines: int, state: State | None) -> None:
        self._api = api
        self._contract = contract
        self._batch_lines = batch_lines
        self._moves = SeriesMoves(contract, state)
        self._buffer: list[pl.DataFrame] = []
        self._buffered = 0
        self._failed = False
        self._written = ROWS_WRITTEN.labels("influxdb", contract.record)

    def write_batch(self, values: list[pl.DataFrame]) -> None:
        for value in values:
            if value.height:
                self._buffer.append(conform(value, self._contract))
                self._buffered += value.height
            if self._buffered >= _REQUESTS_GATHERED * self._batch_lines:
                self._flush()

    def snapshot(self) -> State | None:
        self._flush()
        return self._moves.state

    def close(self) -> None:
        close_with(self._flush, failed=self._failed)
        self._api.close()

    def _flush(self) -> None:
        if not self._buffer:
            return
        self._failed = True  # until it is through
        rows = highest_revision(pl.concat(self._buffer), self._contract.identity)
        self._check_distinct(rows)
        self._delete_replaced(rows)
        lines = influx_lines(rows, self._contract)
        for start in range(0, lines.len(), self._batch_lines):
            request = lines.slice(start, self._batch_lines).str.join("\n").item()
            self._api.write(self._contract.dataset, request.encode())
        self._written.inc(self._buffered)
        self._buffer, self._buffered = [], 0
        self._failed = False

    def _check_distinct(self, rows: pl.DataFrame) -> None:
        """Two identities must not become one point: one of them would be lost without a word."""
        point = {*self._contract.tags, self._contract.time}
        if point.issuperset(self._contract.identity):
            return
        if highest_revision(rows, sorted(point)).height < rows.height:
            hidden = ", ".join(name for name in self._contract.identity if name not in point)
            raise SinkError(f"InfluxDB {self._contract.dataset}: rows that differ only in {hidden} would be one point")

    def _delete_replaced(self, rows: pl.DataFrame) -> None:
        for row in self._moves.replaced(rows).iter_rows(named=True):
            moment = _EPOCH + timedelta(microseconds=row.pop("_time"))
            tags = {"_measurement": self._contract.dataset, **row}
            predicate = " AND ".join(f"{name}={_quoted(value or '')}" for name, value in tags.items())
            self._api.delete(self._contract.dataset, predicate, moment, moment + timedelta(microseconds=1))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
