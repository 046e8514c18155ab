"""Where schemas are looked up, as the settings say."""

from __future__ import annotations

from flows.wiring import schema_source

__all__ = ["schema_source"]
