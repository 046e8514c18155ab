"""What meters measure for, and so what they contribute to the balances."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flows.line_loss.meters import MeterEnergies, MeterRegisters
from flows.line_loss.restatement import Pairs
from flows.line_loss.roles import Moments, Roles
from flows.line_loss.rules import LossRules
from flows.line_loss.sums import Sums
from flows.streaming.alignment import micro_wh_per_us
from flows.streaming.network import NetworkTable
from flows.streaming.ratings import Ratings
from flows.streaming.registers import MICRO_WH_PER_KWH, Ints

_VARIANCE = 1e9  # units per kWh²
_GAP_SHARE = 0.5  # standard uncertainty of an energy that was estimated or interpolated, as a share of it
_RESOLUTION_KWH = 0.001


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the rows of a store stand in the network.

    Attributes:
        rules: the rules.
        segments: for what each row measures.
        claims: for what any version of the network has ever said that it measures.
        versions: when the versions of the network begin that bear on where each is.
        limit: the greatest power that each can have, µWh/µs.
        limit_facts: on how many facts of the network that rests.
    """

    rules: LossRules
    segments: Roles
    claims: Roles
    versions: Moments
    limit: npt.NDArray[np.float64]
    limit_facts: Ints

    @classmethod
    def of(
        cls, rules: LossRules, network: NetworkTable, ratings: Ratings, meters: list[str], codes: dict[str, int]
    ) -> Placement:
        """Look meters up; elements without a code get the next ones."""
        segments = [network.segments(meter) for meter in meters]
        claims = [network.claims(meter) for meter in meters]
        power = np.full(len(meters), rules.alignment.limit_kw)
        facts = np.zeros(len(meters), np.int64)
        for row, claimed in enumerate(claims):
            rating, facts[row] = ratings.of_claims(claimed)
            if rating is not None:
                power[row] = min(power[row], rating * rules.power_per_kva)
        return cls(
            rules,
            Roles.of(segments, codes),
            Roles.of(claims, codes),
            Moments.of([network.versions_about(meter) for meter in meters]),
            micro_wh_per_us(power),
            facts,
        )

    def plus(self, more: Placement) -> Placement:
        """These rows, followed by more."""
        return Placement(
            self.rules,
            self.segments.plus(more.segments),
            self.claims.plus(more.claims),
            self.versions.plus(more.versions),
            np.concatenate([self.limit, more.limit]),
            np.concatenate([self.limit_facts, more.limit_facts]),
        )

    def stated(self, pairs: Pairs, aligned: MeterEnergies) -> MeterEnergies:
        """The energies as they are stated of the meters themselves; the revision counts the network's versions, too.

        Of a meter that the network has taken out nothing is estimated: it takes nothing any more.
        """
        width = self.rules.window
        end = (pairs.window + 1) * width
        facts = aligned.facts + self.versions.before(pairs.row, end)
        guessed = np.flatnonzero((aligned.measured == 0) & (self.versions.size[pairs.row] > 0))
        there = self.segments.overlap(pairs.row[guessed], end[guessed] - width, end[guessed])
        if there.all():
            return replace(aligned, facts=facts)
        imported, exported = aligned.imported.copy(), aligned.exported.copy()
        imported[guessed[~there]] = exported[guessed[~there]] = 0
        return replace(aligned, imported=imported, exported=exported, facts=facts)

    def contribute(self, meters: MeterRegisters, pairs: Pairs, aligned: MeterEnergies, sign: int, totals: Sums) -> None:
        """Add (or take away) the pairs' contributions to the elements for which the meters measure.

        Args:
            meters: their registers.
            pairs: meters and windows.
            aligned: their energies.
            sign: 1 or -1.
            totals: receives the contributions.
        """
        width, roles, claims = self.rules.window, self.segments, self.claims
        if not len(pairs):
            return
        earliest, latest = int(pairs.window.min()) * width, (int(pairs.window.max()) + 1) * width
        which, segment = roles.expand(pairs.row)
        if len(segment) and roles.latest_begin <= earliest and roles.earliest_end >= latest:
            self._add_role(segment, pairs.window[which], aligned.take(which), width, sign, totals)
        elif len(segment):
            begin = pairs.window[which] * width
            low, high = np.maximum(roles.begin[segment], begin), np.minimum(roles.end[segment], begin + width)
            whole = (high - low) == width
            full, cut = np.flatnonzero(whole), np.flatnonzero((high > low) & ~whole)
            row, window, aligned_each = pairs.row[which], pairs.window[which], aligned.take(which)
            self._add_role(segment[full], window[full], aligned_each.take(full), width, sign, totals)
            # A meter that came or went within the window: its part of the window counts.
            cut = cut[meters.imports.count[row[cut]] > 0]
            if len(cut):
                part = meters.align(self.limit, self.limit_facts, row[cut], low[cut], high[cut])
                self._add_role(segment[cut], window[cut], part, high[cut] - low[cut], sign, totals)
        which, claim = claims.expand(pairs.row)
        window, facts, started = pairs.window[which], aligned.facts[which], aligned.started[which]
        if claims.latest_begin >= earliest + width:
            applies = np.flatnonzero(claims.begin[claim] < (window + 1) * width)
            claim, window, facts, started = claim[applies], window[applies], facts[applies], started[applies]
        totals.add(claims.element[claim], window, sign, {"facts": facts, "started": started.astype(np.int64)})

    def _add_role(
        self, segment: Ints, window: Ints, aligned: MeterEnergies, span: Ints | int, sign: int, totals: Sums
    ) -> None:
        element, head = self.segments.element[segment], self.segments.head[segment]
        taken, given = aligned.imported, aligned.exported
        exports = bool(given.any())
        kwh2 = (taken / MICRO_WH_PER_KWH) ** 2
        if exports:
            kwh2 += (given / MICRO_WH_PER_KWH) ** 2
        # A class limit is the half-width of a rectangular distribution (GUM, 4.3.7); so is a register's step.
        heads = np.flatnonzero(head)
        kwh2[heads] *= (self.rules.head_class_percent / self.rules.class_percent) ** 2
        systematic = np.ceil(kwh2 * (_VARIANCE * (self.rules.class_percent / 100) ** 2 / 3)).astype(np.int64)
        if aligned.estimated.any():
            doubtful = (aligned.estimated / MICRO_WH_PER_KWH * _GAP_SHARE) ** 2
            random = np.ceil((doubtful + _RESOLUTION_KWH**2 / 6) * _VARIANCE).astype(np.int64)
        else:
            random = np.full(len(taken), int(np.ceil(_RESOLUTION_KWH**2 / 6 * _VARIANCE)))
        measured = aligned.measured >= span
        known, customer = aligned.known, ~head
        values = {
            "customers_out": taken * customer,
            "variance_systematic": systematic,
            "variance_random": random * known,
            "customers_measured": (measured & customer).astype(np.int64),
            "customers_us": aligned.measured * customer,
        }
        if exports:
            values["customers_in"] = given * customer
        totals.add(element, window, sign, values)
        if len(heads):
            values = {
                "head_in": taken[heads],
                "head_out": given[heads],
                "heads_known": known[heads].astype(np.int64),
                "heads_measured": measured[heads].astype(np.int64),
                "heads_us": aligned.measured[heads],
            }
            totals.add(element[heads], window[heads], sign, values)
