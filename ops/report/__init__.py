"""The report: what a flow has found, as one HTML page to look at."""

from __future__ import annotations

from ops.report.write import write_report

__all__ = ["write_report"]
