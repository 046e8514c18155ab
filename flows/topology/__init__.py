"""Topology of the grid (IEC TR 63353, 7.2): who hangs where, and what changed.

``python -m bytewax.run flows.topology`` runs the dataflow with the settings that ``GRIDFLOW_CONFIG`` and the
environment give.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Bytewax asks the module for `flow`; building it opens no connection but needs the settings, so not at import.
    if name == "flow":
        import ops  # noqa: F401, PLC0415 - first, it says how many threads Polars is to start
        from flows.topology.wiring import kafka_flow  # noqa: PLC0415

        return kafka_flow()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
