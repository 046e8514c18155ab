"""Points whose tags have changed between two revisions.

In InfluxDB tags are part of a point's identity. A tag that only describes the element, such as a region, may
differ in a later revision (the network was corrected): written under the new tags, the result would stand
beside the old one. So remember under which tags and over what span of time each element was written, and name
the points that have to go before a row is written under other tags.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from schemas import Contract
from sinks.influx_lines import tag_values

_TIME, _FIRST, _LAST = "_time", "_first", "_last"

State = dict[str, list[Any]]


class SeriesMoves:
    """Remembers series; costs nothing for contracts all of whose tags are identity.

    Args:
        contract: which columns are tags, and which of them identity.
        state: what ``state`` returned before a restart.
    """

    def __init__(self, contract: Contract, state: State | None = None) -> None:
        self._contract = contract
        self._keys = [name for name in contract.tags if name in contract.identity]
        self._describing = [name for name in contract.tags if name not in contract.identity]
        spans = {**dict.fromkeys(contract.tags, pl.String), _FIRST: pl.Int64, _LAST: pl.Int64}
        self._seen = pl.DataFrame(state or {}, schema=spans)

    @property
    def state(self) -> State | None:
        """What to keep over a restart."""
        return self._seen.to_dict(as_series=False) if self._describing else None

    def replaced(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Take note of rows that are about to be written.

        Args:
            frame: the contract's columns, each identity once.

        Returns:
            Identity tags and ``_time`` (Int64, µs since 1970) of the rows of which other tags may be in
            InfluxDB.
        """
        if not self._describing:
            return pl.DataFrame(schema={_TIME: pl.Int64})
        tags = list(self._contract.tags)
        rows = pl.DataFrame(
            [
                *(tag_values(frame.get_column(name)) for name in tags),
                frame.get_column(self._contract.time).dt.timestamp("us").alias(_TIME),
            ]
        )
        spans = rows.group_by(tags).agg(pl.col(_TIME).min().alias(_FIRST), pl.col(_TIME).max().alias(_LAST))
        seen, self._seen = (
            self._seen,
            pl.concat([self._seen, spans]).group_by(tags).agg(pl.col(_FIRST).min(), pl.col(_LAST).max()),
        )
        if self._seen.height == self._seen.select(pl.struct(self._keys).n_unique()).item():
            return rows.head(0).select(*self._keys, _TIME)  # each element under one set of tags, the usual case
        differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_seen")) for name in self._describing)
        return (
            rows.join(seen, on=self._keys, suffix="_seen", nulls_equal=True)
            .filter(differs & pl.col(_TIME).is_between(_FIRST, _LAST))
            .select(*self._keys, _TIME)
            .unique(maintain_order=True)
        )
