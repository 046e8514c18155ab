"""Messages of ``grid.ied.v1`` in columns, in the order of their event time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from flows.ied_supervision.numbers import UNKNOWN, Ints
from flows.ied_supervision.values import MEASURED, PARTS, EntryMeaning, Values
from flows.streaming.event_time import to_micros

GOOSE, REPORT, HEALTH = range(3)
KINDS = ("GOOSE", "REPORT", "HEALTH")

_HASH_SEED = 63353
_OF_VALUES = frozenset(
    {"position", "trip", "pickup", "fault", "current", "odd", "odd_means", "odd_value", "measured", "parts"}
)
_NUMBERS = (
    "st_num",
    "sq_num",
    "time_allowed_to_live_ms",
    "conf_rev",
    "app_id",
    "num_entries",
    "simulation",
    "nds_com",
    "buffer_overflow",
    "clock_failure",
    "clock_not_synchronized",
    "beh",
    "health",
    "phy_health",
)


@dataclass(frozen=True, slots=True)
class Messages:
    """n messages by block, received_time, and their own content; all [n], int64, ``UNKNOWN`` where null.

    Attributes:
        block: index of the control block.
        received: capture, µs since 1970.
        time: the message's own ``t``, µs since 1970.
        address: number of the source address.
        payload: hash of the data set's values, 0 where there is none.
        announced: entries that the message announces, less those that it carries, 0 where either is unknown.
        entry: report's entry id as a number.
        st_num: state number.
        sq_num: sequence number.
        time_allowed_to_live_ms: ms.
        conf_rev: configuration revision.
        app_id: APPID.
        num_entries: as announced.
        simulation: 0 or 1, as all that follow.
        nds_com: needs commissioning.
        buffer_overflow: of a report.
        clock_failure: the device's clock has failed.
        clock_not_synchronized: it is not synchronised.
        beh: IEC 61850-7-4 Beh, 1 to 5.
        health: 1 to 3.
        phy_health: 1 to 3.
        position: of the breaker: 0 intermediate, 1 off, 2 on, 3 bad.
        trip: 1 where the protection trips.
        pickup: 1 where a protection function has started.
        fault: 1 where one has that only a fault current starts.
        current: greatest phase current, mA.
        odd: place in the data set of a value that no grid can have.
        odd_means: what it means, see ``Values``.
        odd_value: it, in thousandths, see ``Values``.
        measured: the first measurements, see ``Values``; [n, ``values.MEASURED``].
        parts: a byte of each of the first entries; [n, ``values.PARTS``].
    """

    block: Ints
    received: Ints
    time: Ints
    address: Ints
    payload: Ints
    announced: Ints
    entry: Ints
    st_num: Ints
    sq_num: Ints
    time_allowed_to_live_ms: Ints
    conf_rev: Ints
    app_id: Ints
    num_entries: Ints
    simulation: Ints
    nds_com: Ints
    buffer_overflow: Ints
    clock_failure: Ints
    clock_not_synchronized: Ints
    beh: Ints
    health: Ints
    phy_health: Ints
    position: Ints
    trip: Ints
    pickup: Ints
    fault: Ints
    current: Ints
    odd: Ints
    odd_means: Ints
    odd_value: Ints
    measured: Ints
    parts: Ints

    def __len__(self) -> int:
        return len(self.block)

    @classmethod
    def none(cls) -> Messages:
        """No messages."""
        flat = {one.name: np.zeros(0, np.int64) for one in fields(cls)}
        none = {"measured": np.zeros((0, MEASURED), np.int64), "parts": np.zeros((0, PARTS), np.int64)}
        return cls(**{**flat, **none})

    @classmethod
    def of(cls, frame: pl.DataFrame, block: Ints, address: Ints, meanings: Sequence[EntryMeaning] = ()) -> Messages:
        """From a frame of the contract's columns, in any order.

        Args:
            frame: the messages.
            block: of each the index of its control block; [n].
            address: of each the number of its source address; [n].
            meanings: what entries mean whose references do not say so.
        """
        carried = frame.get_column("data").list.len()
        announced = frame.get_column("num_entries").cast(pl.Int64) - carried.cast(pl.Int64)
        payload = frame.get_column("data").hash(_HASH_SEED).reinterpret(signed=True)
        # The last 60 bits of it.
        entry = frame.get_column("entry_id").str.tail(15).str.to_integer(base=16, strict=False, dtype=pl.Int64)
        hashes = np.where(carried.is_null().to_numpy(), 0, payload.to_numpy())
        values = Values.of(frame, hashes, meanings)
        numbers = {name: _numbers(frame.get_column(name)) for name in _NUMBERS}
        told = {name: getattr(values, name) for name in _OF_VALUES}
        return cls(
            block=block,
            received=to_micros(frame.get_column("received_time")),
            time=to_micros(frame.get_column("time")),
            address=address,
            payload=hashes,
            announced=announced.fill_null(0).to_numpy(),
            entry=_numbers(entry),
            **numbers,
            **told,
        )

    def told_by(self, genuine: npt.NDArray[np.bool_]) -> Messages:
        """The same, but of the others nothing is told by their values, nor of their device's behaviour."""
        if genuine.all():
            return self
        nothing = {
            name: np.where(genuine, getattr(self, name), UNKNOWN)
            for name in (_OF_VALUES | {"beh"}) - {"measured", "parts"}
        }
        return replace(self, measured=np.where(genuine[:, None], self.measured, UNKNOWN), **nothing)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Messages:
        """Some of the messages."""
        return Messages(*(getattr(self, one.name)[rows] for one in fields(self)))

    def before(self, time: int) -> Messages:
        """Those that were received before a time, µs since 1970; in the usual case, all or none, without a copy."""
        early = self.received < time
        return self if early.all() else self.take(early) if early.any() else Messages.none()

    def since(self, time: int) -> Messages:
        """The others."""
        late = self.received >= time
        return self if late.all() else self.take(late) if late.any() else Messages.none()

    @classmethod
    def joined(cls, several: Sequence[Messages]) -> Messages:
        """All of several, in no order."""
        if len(several) == 1:
            return several[0]
        if not several:
            return cls.none()
        return cls(*(np.concatenate([getattr(one, f.name) for one in several]) for f in fields(cls)))

    def ordered(self) -> Messages:
        """By block and event time, each distinct message once; what is received at once is told apart by content."""
        if not len(self):
            return self
        # The values are told by the payload.
        keys = [getattr(self, one.name) for one in fields(self) if one.name not in _OF_VALUES]
        # The last key of lexsort is the first one: block, received, then the numbers and all the rest.
        order = np.lexsort((*keys[2:7], *keys[9:], self.sq_num, self.st_num, self.received, self.block))
        table = self.take(order)
        differs = np.ones(len(self), bool)
        differs[1:] = False
        for one in fields(self):
            if one.name not in _OF_VALUES:
                values = getattr(table, one.name)
                differs[1:] |= values[1:] != values[:-1]
        return table if differs.all() else table.take(differs)


def _numbers(column: pl.Series) -> Ints:
    values = column.cast(pl.Int64)
    return (values.fill_null(UNKNOWN) if values.null_count() else values).to_numpy()
