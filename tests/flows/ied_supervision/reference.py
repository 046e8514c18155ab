"""What the supervision of a station must find, message by message: slow, and as obvious as can be.

It knows publishers that are alone under their reference. Each finding is (block, kind, start, end, messages).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tests.flows.ied_supervision.station import SECOND, START, Message

Finding = tuple[str, str, int, int | None, int]

_GRACE = SECOND // 2


def findings(messages: list[Message]) -> set[Finding]:
    """All findings, times in µs."""
    distinct = set(messages)
    newest = max(one.received for one in distinct)
    found: set[Finding] = set()
    for block in {one.block for one in distinct}:
        mine = sorted((one for one in distinct if one.block == block), key=lambda one: one.received)
        # What a test set sends does not speak for the device.
        own = [one for one in mine if not one.simulation]
        found |= _silences(block, own, newest)
        found |= _gaps(block, mine, newest)
        simulated = [one.received for one in mine if one.simulation]
        found |= _held(block, "SIMULATION", simulated, mine, 10 * SECOND, newest)
        for kind, told in (
            ("NEEDS_COMMISSIONING", lambda one: one.nds_com),
            ("BEH", lambda one: None if one.beh is None else one.beh != 1),
            ("HEALTH_ALARM", lambda one: None if one.health is None else one.health == 3),
        ):
            found |= _until_gone(block, own, kind, told, newest)
    return found


def _silences(block: str, mine: list[Message], newest: int) -> set[Finding]:
    """Each is (since, until); from the fourth on that follow one another within a minute they are the third's."""
    silences: list[tuple[int, int | None]] = []
    for one, following in pairwise([*mine, None]):
        assert one is not None
        live = one.live * 1_000 if one.live is not None else _learned(mine, one)
        if live is None:
            continue
        raised = one.received + live + _GRACE
        if following is not None and following.received > raised:
            silences.append((one.received, following.received))
        elif following is None and raised < newest + 1:
            silences.append((one.received, None))
    anomalies: list[list[tuple[int, int | None]]] = []
    nth = 0
    before: int | None = None
    for since, until in silences:
        nth = nth + 1 if before is not None and since - before <= 300 * SECOND else 1
        if nth > 10:
            anomalies[-1].append((since, until))
        else:
            anomalies.append([(since, until)])
        before = until
    return {
        (block, "SILENCE", START + some[0][0], None if some[-1][1] is None else START + some[-1][1], len(some))
        for some in anomalies
    }


def _learned(mine: list[Message], last: Message) -> int | None:
    """When a message is due after one, less that: what its period says, else twice the longest usual interval."""
    kept = _Period()
    moment = 0
    for one in mine:
        if one.received > last.received:
            break
        moment = kept.after(one.received)
    if moment:
        return moment - last.received
    longest = intervals = regular = irregular = lasted = long_at = since_then = short = overlong = 0
    live: int | None = None
    for one, following in pairwise(mine):
        if following.received > last.received:
            break
        gap = following.received - one.received
        if live is not None and gap > live:
            lasted = max(lasted - min(gap, 100 * longest), 0)
            overlong += 1
            if overlong < 3:
                continue
            longest = lasted = gap
            regular, irregular, overlong = 3, 0, 0
            long_at, since_then, short = following.received, 0, 0
        else:
            intervals += 1
            if 8 * gap > 9 * longest:
                longest = lasted = gap
                regular, irregular, overlong = 1, 0, 0
                long_at, since_then, short = following.received, 0, 0
            elif 2 * gap >= longest:
                alike = 8 * gap >= 7 * longest
                regular, irregular = (regular + 1, irregular) if alike else (regular, irregular + 1)
                lasted += gap if alike else 0
                longest, overlong = max(gap, longest - longest // 64), 0
                long_at, since_then, short = following.received, 0, 0
            else:
                since_then, short = max(since_then, gap), short + 1
                if short >= 32 and following.received - long_at >= 10 * longest:
                    longest = lasted = since_then
                    regular, irregular = 1, 0
                    long_at, since_then, short = following.received, 0, 0
        known = intervals >= 6 and lasted >= 60 * SECOND and regular >= max(3, irregular)
        live = 2 * longest if known else None
    return live


class _Period:
    """The period of messages, as its description in words says."""

    def __init__(self) -> None:
        self.times: list[int] = []  # the latest first
        self.period = self.moment = self.score = self.kept = self.streak = self.spread = self.widest = 0

    def after(self, now: int) -> int:
        """When the period's next message must have come; 0 where that is not known."""
        if now not in self.times[:1]:
            if self.period:
                self._go_on(now)
            if not self.period:
                self._find(now)
            self.times = [now, *self.times][:32]
        if not self.period or self.score < 8 or self.kept < 60 * SECOND or self.streak < 2:
            return 0
        moment = self.moment + self.period
        while moment <= now:
            moment += self.period
        return moment + self._margin()

    def _margin(self) -> int:
        return min(max(8 * self.spread, self.widest * 3 // 2, 50_000), self.period // 8)

    def _go_on(self, now: int) -> None:
        period, margin = self.period, self._margin()
        steps = (now - self.moment + period // 2) // period
        off = now - self.moment - steps * period
        if steps >= 1 and -margin <= off <= max(margin, period // 8):
            missed = steps - 1
            self.spread += (abs(off) - self.spread) // 16
            self.widest = max(min(abs(off), 2 * SECOND), self.widest - self.widest // 256)
            self.moment += steps * period + off // 2
            self.period += off // (16 * steps)
            some = self.times[:32]
            dense = 8 * margin * (len(some) - 1) > now - some[-1]
            self.score = min(self.score + (off <= margin and not missed and not dense), 16)
            self.kept = min(self.kept + period, 86_400 * SECOND)
            self.streak = 1 if missed else self.streak + 1
        else:
            missed = max((now - self.moment - period // 8) // period, 0)
            self.moment += missed * period
            self.streak = 0 if missed else self.streak
        if missed:
            self.score -= 3
            self.kept = max(self.kept - min(missed, 100) * period, 0)
        if self.score < 0:
            self.period = 0
        elif self.streak == 0 and any(abs(now - before - period) <= margin for before in self.times):
            self.moment, self.streak = now, 1

    def _find(self, now: int) -> None:
        for place, first in enumerate(self.times):
            step = now - first
            if step < 50_000:
                continue
            loose = step // 16
            chain = [first]
            if place == 0:
                following = self.times[1:5]
                while len(chain) < 4 and following and abs(chain[-1] - following[0] - step) <= loose:
                    chain.append(following.pop(0))
            else:
                tight = min(max(step // 256, 50_000), loose)
                for other in self.times[place + 1 :]:
                    if len(chain) < 4 and abs(chain[-1] - other - step) <= tight:
                        chain.append(other)
            if len(chain) == 4:
                offs = [abs(one - two - step) for one, two in pairwise(chain)]
                self.period, self.moment, self.kept = (now - chain[-1]) // 4, now, now - chain[-1]
                self.score, self.streak, self.spread, self.widest = 4, 1, max(offs), max(offs)
                return


def _gaps(block: str, mine: list[Message], newest: int) -> set[Finding]:
    shown = [
        following.received
        for one, following in pairwise(mine)
        if one.st is not None
        and one.sq is not None
        and following.st is not None
        and following.sq is not None
        and (
            (following.st == one.st and following.sq > one.sq + 1)
            or following.st > one.st + 1
            or (following.st == one.st + 1 and following.sq > (0 if _from_zero(mine, following) else 1))
        )
    ]
    return _held(block, "SEQUENCE_GAP", shown, mine, 60 * SECOND, newest)


def _from_zero(mine: list[Message], state: Message) -> bool:
    """Whether the last state that was seen to begin before has begun with sqNum 0."""
    zero = False
    for one, two in pairwise(mine):
        if two.received >= state.received:
            break
        if None not in (one.st, two.st) and one.st != two.st:
            zero = two.st == one.st + 1 and two.sq == 0  # type: ignore[operator]
    return zero


def _held(block: str, kind: str, shown: list[int], mine: list[Message], hold: int, newest: int) -> set[Finding]:
    """What every message shows lasts; it is over when one does not, and the hold has passed."""
    found: list[Finding] = []
    others = [one.received for one in mine if one.received not in set(shown)]
    while shown:
        episode = [shown.pop(0)]
        while shown and (shown[0] - episode[-1] <= hold or not any(episode[-1] < one < shown[0] for one in others)):
            episode.append(shown.pop(0))
        over = (episode[-1] + hold < newest + 1 and any(one > episode[-1] for one in others)) or bool(shown)
        end = START + episode[-1] if over else None
        found.append((block, kind, START + episode[0], end, len(episode)))
    return _together(found, hold)


def _until_gone(
    block: str, mine: list[Message], kind: str, told: Callable[[Message], bool | None], newest: int
) -> set[Finding]:
    """Messages say that it is so, that it is not, or nothing; it is over when it has not been so for 10 s."""
    found: list[Finding] = []
    episode: list[int] = []
    gone: int | None = None
    for one in mine:
        if told(one) is None:
            continue
        if told(one):
            if gone is not None and one.received - gone > 10 * SECOND:
                found.append((block, kind, START + episode[0], START + gone, len(episode)))
                episode = []
            gone = None
            episode.append(one.received)
        elif episode and gone is None:
            gone = one.received
    if episode:
        over = gone is not None and newest - gone > 10 * SECOND
        end = START + gone if over and gone is not None else None
        found.append((block, kind, START + episode[0], end, len(episode)))
    return _together(found, 0)


def _together(found: list[Finding], hold: int) -> set[Finding]:
    """From the fourth on (of alarms, the eleventh) that soon follow one another they are the one before's."""
    joined: list[Finding] = []
    nth = 0
    for one in found:
        before = joined[-1] if joined else None
        soon = before is not None and before[3] is not None and one[2] - before[3] <= hold + 300 * SECOND
        nth = nth + 1 if soon else 1
        if before is not None and nth > (10 if one[1].endswith("ALARM") else 3):
            joined[-1] = (*before[:3], one[3], before[4] + one[4])
        else:
            joined.append(one)
    return set(joined)
