"""A dataflow that never ends by itself, to be stopped by signals: run as a process by ``test_stopping``."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.stopping import stop_on_sigterm, stop_requested

stop_on_sigterm()


class _Numbers(StatefulSourcePartition[tuple[str, int], int]):
    def __init__(self, name: str, number: int) -> None:
        self._name, self._number = name, number

    def next_batch(self) -> list[tuple[str, int]]:
        if stop_requested.is_set():
            raise StopIteration
        self._number += 1
        return [(self._name, self._number)]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(milliseconds=50)

    def snapshot(self) -> int:
        return self._number


class _Source(FixedPartitionedSource[tuple[str, int], int]):
    def list_parts(self) -> list[str]:
        return ["a", "b", "c"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Numbers:
        return _Numbers(for_part, resume_state or 0)


class _Printer(StatelessSinkPartition[tuple[str, int]]):
    def write_batch(self, items: list[tuple[str, int]]) -> None:
        for name, number in items:
            # One call, so that the lines of two workers stay apart.
            os.write(1, f"{name} {number}\n".encode())


class _Sink(DynamicSink[tuple[str, int]]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Printer:
        return _Printer()


flow = Dataflow("endless")
op.output("print", op.input("numbers", flow, _Source()), _Sink())
