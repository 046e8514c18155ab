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
    """Twice the longest usual interval up to a message, once six were seen, most of the long ones about as long.

    Hardly more than once where they are exactly as long.
    """
    longest = intervals = regular = irregular = exact = long_at = since_then = short = 0
    live: int | None = None
    for one, following in pairwise(mine):
        if following.received > last.received:
            break
        gap = following.received - one.received
        late = live is not None and gap > live
        if late and 2 * gap >= 3 * longest:
            continue
        intervals += 1
        if late:
            longest, long_at, since_then, short = gap, following.received, 0, 0
            exact = max(exact - 3, 0)
        elif 8 * gap > 9 * longest:
            longest, regular, irregular, exact = gap, 1, 0, 0
            long_at, since_then, short = following.received, 0, 0
        elif 2 * gap >= longest:
            exact = min(exact + 1, 32) if abs(longest - gap) <= max(longest // 32, 100_000) else max(exact - 3, 0)
            alike = 8 * gap >= 7 * longest
            regular, irregular = (regular + 1, irregular) if alike else (regular, irregular + 1)
            if alike:
                longest = max(gap, longest - (longest - gap) // 64)
            elif exact < 8:
                longest -= longest // 64
            long_at, since_then, short = following.received, 0, 0
        else:
            since_then, short = max(since_then, gap), short + 1
            if short >= 32 and following.received - long_at >= 10 * longest:
                longest, regular, irregular, exact = since_then, 1, 0, 0
                long_at, since_then, short = following.received, 0, 0
        if intervals >= 6 and exact >= 8:
            live = longest + min(longest // 8, 400_000)
        else:
            live = 2 * longest if intervals >= 6 and regular >= max(3, irregular) else None
    return live


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
