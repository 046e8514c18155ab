"""The whole flow over a topic, stopped when all of it has been taken and written. Prints what it took as JSON."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import resource
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from prometheus_client import REGISTRY

from connectors.kafka_part import KafkaPart
from connectors.stopping import stop_requested
from flows.line_loss.wiring import kafka_flow
from ops.settings import load_settings

# What a stage's own time is attributed to, by a part of the path of the code.
STAGES = {
    "consume": ("kafka_part", "confluent_kafka"),
    "decode and validate": ("decode", "avro_", "framing", "validate", "assemble", "resolve", "records"),
    "shards": ("streaming/shards", "identifiers.py", "flow.py"),
    "registers": ("registers.py", "position.py"),
    "alignment": ("alignment.py",),
    "restatement": ("restatement.py",),
    "contributions": ("contributions.py", "placement.py", "roles.py", "sums.py", "energies.py", "refusals.py"),
    "studies": ("areas/", "investigation.py", "history.py"),
    "balance": ("balance.py", "window_table.py", "network.py"),
    "sinks": ("sinks/", "encode.py"),
}


def main(total: int, recovery: Path, profile: bool) -> None:
    """Run the flow until ``total`` messages have been taken, then let it stop and flush."""
    begin = {"wall": 0.0, "cpu": 0.0}

    def watch() -> None:
        while True:
            taken = _taken()
            if taken and not begin["wall"]:
                begin["wall"], begin["cpu"] = time.perf_counter(), _cpu()
            if taken >= total:
                stop_requested.set()
                return
            time.sleep(0.005)

    settings = load_settings()
    flow = kafka_flow(settings)
    recovery.mkdir()
    init_db_dir(recovery, 1)
    threading.Thread(target=watch, daemon=True).start()
    profiler = cProfile.Profile()
    beside: list[float] = []
    if profile:
        _time_decoding(beside)
        profiler.enable()
    cli_main(
        flow,
        epoch_interval=timedelta(seconds=settings.runtime.snapshot_seconds),
        recovery_config=RecoveryConfig(str(recovery), timedelta(0)),
    )
    profiler.disable()
    result = {"wall": time.perf_counter() - begin["wall"], "cpu": _cpu() - begin["cpu"], "taken": _taken()}
    print(json.dumps(result | ({"stages": _stages(profiler, sum(beside))} if profile else {})), flush=True)  # noqa: T201
    os._exit(0)  # no teardown in the figures of the next run


def _taken() -> int:
    labels = {"flow": "line-loss", "topic": "grid.meter.v1", "outcome": "in"}
    return int(REGISTRY.get_sample_value("gridflow_readings_total", labels) or 0)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _time_decoding(seconds: list[float]) -> None:
    """Note the CPU seconds of decoding, which goes on beside the flow, in threads that no profiler sees."""
    decode = KafkaPart._decode

    def timed(part: KafkaPart, held: Any) -> Any:
        begin = time.thread_time()
        try:
            return decode(part, held)
        finally:
            if threading.current_thread().name.startswith("decode"):
                seconds.append(time.thread_time() - begin)

    KafkaPart._decode = timed  # type: ignore[method-assign, assignment]


def _stages(profiler: cProfile.Profile, decoding: float) -> dict[str, float]:
    """Share of each stage in the time of our own functions and what they call outside the project."""
    spent = dict.fromkeys(STAGES, 0.0)
    spent["decode and validate"] = decoding
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (path, _, _), (_, _, own, _, callers) in stats.items():
        for name, parts in STAGES.items():
            if any(part in path for part in parts):
                spent[name] += own
                break
        else:
            for (caller, _, _), (_, _, of_caller, _) in callers.items():
                for name, parts in STAGES.items():
                    if any(part in caller for part in parts):
                        spent[name] += of_caller
                        break
    whole = sum(spent.values()) or 1.0
    return {name: round(seconds / whole, 3) for name, seconds in spent.items()}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), "profile" in sys.argv[3:])
