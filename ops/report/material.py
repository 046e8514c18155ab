"""All that the report is made of: what was read, and the sums that several sections need."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from ops.report.data import NO_POINTS, Results, Truth
from ops.report.topology import Grid
from ops.report.totals import Span, areas_of, per_element, per_step


@dataclass(frozen=True)
class Material:
    """All that the report is made of.

    Attributes:
        results: what a flow has written.
        span: what it covers; None where there are no losses.
        grid: the network, where it is given.
        truth: what was simulated.
        findings: what was injected beside what was found, where it is given.
        points: usage points and their meters, where the network is given.
    """

    results: Results
    span: Span | None
    grid: Grid | None
    truth: Truth
    findings: pl.DataFrame | None
    points: pl.DataFrame = field(default_factory=NO_POINTS.clone)

    @cached_property
    def totals(self) -> pl.DataFrame:
        """Losses per element."""
        return per_element(self.results.losses)

    @cached_property
    def steps(self) -> pl.DataFrame:
        """Losses per element and step."""
        assert self.span is not None
        return per_step(self.results.losses, self.span)

    @cached_property
    def areas(self) -> pl.DataFrame:
        """Losses per transformer area."""
        return areas_of(self.totals, self._transformers)

    @cached_property
    def area_steps(self) -> pl.DataFrame:
        """Losses per transformer area and step."""
        return self.steps.join(self.areas.select("element_id"), on="element_id", how="semi")

    @property
    def _transformers(self) -> frozenset[str]:
        if self.grid is not None:
            return self.grid.stations()
        return frozenset(self.truth.meters.get_column("transformer_id").drop_nulls())
