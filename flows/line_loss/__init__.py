"""Regional line losses by energy balance (IEC TR 63353, 7.4).

``python -m bytewax.run flows.line_loss`` runs the dataflow with the settings that ``GRIDFLOW_CONFIG`` and the
environment give.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Bytewax asks the module for `flow`; building it opens no connection but needs the settings, so not at import.
    if name == "flow":
        import ops  # noqa: F401, PLC0415 - first, it says how many threads Polars is to start
        from flows.line_loss.wiring import kafka_flow  # noqa: PLC0415

        return kafka_flow()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
