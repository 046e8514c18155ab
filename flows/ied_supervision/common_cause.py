"""Devices of one substation that fall silent together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flows.ied_supervision.blocks import Blocks
from flows.ied_supervision.episode import Episode, Revision
from flows.ied_supervision.moments import Moments
from flows.ied_supervision.numbers import Ints
from flows.ied_supervision.policy import Policy
from flows.ied_supervision.rules.common_cause import RULE
from flows.ied_supervision.rules.silence import RULE as SILENCE
from flows.ied_supervision.seen import shown
from flows.ied_supervision.silences import Fallen, Heard
from flows.ied_supervision.state import State, Together

_LEAST = 3
_HEARD_US = 3_600_000_000  # devices not heard for longer are no longer there


@dataclass(frozen=True, slots=True)
class Spoke:
    """A device of which a block had fallen silent has been heard by any of its blocks: when, µs since 1970."""

    time: int
    block: int


@dataclass(slots=True)
class CommonCauses:
    """Walks through the silences of a round in the order of event time.

    Attributes:
        state: after the round, but for its stations and silences, which are changed.
        blocks: all blocks.
        policy: how the rules are tuned.
        moments: the round's messages by time.
        genuine: which are the publishers' own: another one's say nothing of a device; [n].
        last_before: when each block's publisher was heard last before the round; [blocks].
        joined: stations whose common cause has more members than was said: when, and after how many messages.
        appeared: see ``_appeared``.
        own: as ``moments``, of the genuine messages.
    """

    state: State
    blocks: Blocks
    policy: Policy
    moments: Moments
    genuine: npt.NDArray[np.bool_]
    last_before: Ints
    joined: dict[int, tuple[int, int]] = field(default_factory=dict)
    appeared: dict[int, Ints] = field(default_factory=dict)
    own: Moments = field(init=False)

    def rows(self, fallen: list[Fallen], heard: list[Heard]) -> Iterator[tuple[Episode, int]]:
        """Each silence, its end, and what they have in common, as (anomaly as it is now, revision)."""
        m = self.moments.messages
        if fallen or heard or any(one.silent for one in self.state.stations.values()):
            self.own = Moments(m.take(self.genuine), self.moments.base, self.moments.settled)
            of_block = np.array(self.blocks.station)[m.block]
            events: list[Fallen | Heard | Spoke] = [*fallen, *heard, *self._spoke(fallen)]
            stations = {self.blocks.station[one.block] for one in events}
            arrived = {station: np.sort(m.received[of_block == station]) for station in stations}
            # At the same time silences first: a message that ends one comes after it.
            events.sort(
                key=lambda one: (one.time, not isinstance(one, Fallen), self.blocks.names[one.block], one.block)
            )
            for event in events:
                station = self.blocks.station[event.block]
                together = self.state.stations.setdefault(station, Together())
                messages = together.heard + int(np.searchsorted(arrived[station], event.time, side="right"))
                if isinstance(event, Fallen):
                    yield from self._fallen(event, station, together, messages)
                elif isinstance(event, Heard):
                    yield self._heard(event)
                else:
                    yield from self._spoken(event, station, together, messages)
            for station, (time, count) in self.joined.items():
                together = self.state.stations[station]
                if together.episode is not None:
                    yield self._grown(together.episode, station, together, time, count)
        counts = np.bincount(np.array(self.blocks.station, np.int64)[m.block], minlength=len(self.blocks.stations))
        for station in np.flatnonzero(counts).tolist():
            self.state.stations.setdefault(station, Together()).heard += int(counts[station])

    # --------------------------------------------------------------------- fallen

    def _fallen(self, event: Fallen, station: int, together: Together, messages: int) -> Iterator[tuple[Episode, int]]:
        episode, device = event.episode, self.blocks.device[event.block]
        self.state.open[event.block, SILENCE.kind] = episode
        self.state.ended.pop(event.block, None)
        episode.count += 1
        episode.end = episode.group_id = None
        episode.last, episode.updated, episode.last_message = event.last, event.time, event.last_message
        episode.evidence = {**episode.evidence, "seen": "none"}
        if episode.count > 1:
            episode.evidence = {**episode.evidence, "times": str(episode.count)}
        ordinal = self.moments.ordinal(event.block, event.time)
        yield episode, self.moments.revision(event.block, ordinal, timer=True)
        since = self._heard_last(device, event.time)
        if since > episode.last + 1_000_000 and device not in together.silent:  # another block of it still speaks
            return
        again = device not in together.silent
        together.silent[device] = since
        together.slack[device] = event.unseen
        limit = round(self.policy.of(RULE, self.blocks.stations[station], "").limit * 1e6)
        common = together.episode
        if common is not None:
            if device in together.members:
                together.still += again
                yield from self._linked([event.block], common)
                return
            near = {device}
            if abs(since - together.began) > limit + together.slack[device]:
                # What has begun at some devices may go on to others, which fall silent together, too.
                near = self._near(together, device, limit)
                if len(near) < _LEAST:
                    return
            fresh = near - together.members
            together.members |= fresh
            together.still += len(fresh)
            self.joined[station] = event.time, messages
            for member in sorted(fresh, key=lambda one: self.blocks.devices[one]):
                yield from self._linked(self.blocks.of_device[member], common)
            return
        there = int(np.searchsorted(self._appeared(station), event.time, side="right"))
        # Most silent devices are few silent devices: what is costly is left for when it may matter.
        if len(together.silent) < _LEAST or 3 * len(together.silent) < there:
            return
        near = self._near(together, device, limit)
        gone = sum(at < since - _HEARD_US for at in together.silent.values())
        if len(near) < _LEAST or 2 * len(near) < there - gone:
            return
        start = min(together.silent[one] for one in near)
        name = self.blocks.stations[station]
        common, hold = together.ended, self.policy.of(RULE, name, "").hold
        if common is None or common.end is None or start - common.end > hold:
            common = Episode(RULE.kind, name, None, start, event.time, event.time, event.time, 0, 0, {})
        common.count, common.end = common.count + 1, None
        together.episode, together.members, together.still = common, near, len(near)
        together.began, together.ended = start, None
        yield self._grown(common, station, together, event.time, messages)
        for member in sorted(near, key=lambda one: self.blocks.devices[one]):
            yield from self._linked(self.blocks.of_device[member], common)

    def _near(self, together: Together, device: int, limit: int) -> set[int]:
        """The silent devices that fell silent with one, itself among them."""
        since, slack = together.silent, together.slack
        return {one for one, at in since.items() if abs(at - since[device]) <= limit + max(slack[one], slack[device])}

    def _grown(
        self, common: Episode, station: int, together: Together, time: int, messages: int
    ) -> tuple[Episode, int]:
        """A common cause with all its members."""
        common.evidence = self._evidence(together.members, station, time)
        if common.count > 1:
            common.evidence["times"] = str(common.count)
        common.updated = time
        return common, self._station_revision(station, messages, more=len(together.members))

    def _appeared(self, station: int) -> Ints:
        """When the devices of a station were heard first, in order, µs since 1970."""
        if station not in self.appeared:
            first = self.state.first
            times = [min(int(first[b]) for b in self.blocks.of_device[d] if first[b]) for d in self._known(station)]
            self.appeared[station] = np.sort(np.array(times, np.int64))
        return self.appeared[station]

    def _known(self, station: int) -> list[int]:
        first, of_device = self.state.first, self.blocks.of_device
        return [device for device in self.blocks.in_station[station] if any(first[b] for b in of_device[device])]

    def _linked(self, blocks: list[int], common: Episode) -> Iterator[tuple[Episode, int]]:
        """Silences of blocks, once more, with the group."""
        if self.policy.of(RULE, common.ied_id, "").mute:
            return  # an id that nobody is told
        for block in blocks:
            episode = self.state.open.get((block, SILENCE.kind))
            if episode is not None and episode.group_id is None:
                episode.group_id = common.anomaly_id
                yield (
                    episode,
                    self.moments.revision(block, self.moments.ordinal(block, episode.updated), timer=True, more=1),
                )

    def _evidence(self, members: set[int], station: int, time: int) -> dict[str, str]:
        names = sorted(self.blocks.devices[one] for one in members)
        there = int(np.searchsorted(self._appeared(station), time, side="right"))
        return {
            "expected": "devices that fail one by one",
            "seen": f"{len(names)} of {there} devices",
            "devices": ", ".join(names[:50]),
            "latest": shown(time),
        }

    # ---------------------------------------------------------------------- heard

    def _heard(self, event: Heard) -> tuple[Episode, int]:
        episode = event.episode
        del self.state.open[event.block, SILENCE.kind]
        self.state.ended[event.block] = episode
        episode.end = episode.updated = event.time
        episode.evidence = {**episode.evidence, "seen": f"none for {(event.time - episode.last) / 1e6:.3f} s"}
        return episode, self.moments.revision(event.block, self.moments.ordinal(event.block, event.time))

    def _spoken(self, event: Spoke, station: int, together: Together, messages: int) -> Iterator[tuple[Episode, int]]:
        device = self.blocks.device[event.block]
        if together.silent.pop(device, None) is None:
            return
        del together.slack[device]
        common = together.episode
        if common is None or device not in together.members:
            return
        together.still -= 1
        if 2 * together.still < len(together.members):
            if station in self.joined:
                yield self._grown(common, station, together, *self.joined.pop(station))
            common.end = common.updated = event.time
            yield common, self._station_revision(station, messages, message=True)
            together.episode, together.members, together.still, together.ended = None, set(), 0, common

    def _spoke(self, fallen: list[Fallen]) -> Iterator[Spoke]:
        """When devices that are silent, or fall silent in this round, are heard next."""
        since = {device: [0] for one in self.state.stations.values() for device in one.silent}
        for one in fallen:
            since.setdefault(self.blocks.device[one.block], []).append(one.time)
        speaking = set(np.unique(np.array(self.blocks.device, np.int64)[self.own.messages.block]).tolist())
        for device, times in since.items():
            for time in times if device in speaking else ():
                following = []
                for block in self.blocks.of_device[device]:
                    low, high = self.own.span(block)
                    at = low + self.own.until(block, time)
                    if at < high:
                        following.append((int(self.own.messages.received[at]), block))
                if following:
                    yield Spoke(*min(following))

    # ------------------------------------------------------------------ revisions

    def _station_revision(self, station: int, messages: int, *, more: int = 0, message: bool = False) -> int:
        settled = None
        if self.moments.settled is not None:
            known = self.moments.settled.stations.get(station)
            settled = 0 if known is None else known.heard
        return Revision(settled).of(messages, timer=not message, more=more)

    # ----------------------------------------------------------------------- when

    def _heard_last(self, device: int, time: int) -> int:
        """When a device was heard last up to a time, µs since 1970."""
        latest, received = 0, self.own.messages.received
        for block in self.blocks.of_device[device]:
            low, since = self.own.span(block)[0], self.own.until(block, time)
            latest = max(latest, int(received[low + since - 1] if since else self.last_before[block]))
        return latest
