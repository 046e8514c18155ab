"""A message that is refused, and why."""

from __future__ import annotations

from dataclasses import dataclass

# How much of a value an error message shows.
SHOWN = 80


@dataclass(frozen=True, slots=True)
class DeadRow:
    """A message that is refused.

    Attributes:
        row: its index among the messages polled.
        stage: what refused it: ``framing``, ``decode``, ``validate`` or ``event-time``.
        error_class: class of the error, for counting.
        message: what is wrong; names field and value where there are such.
        schema_id: registry id of the writer's schema, where known.
        time: event time, µs since 1970, where it could be decoded and is not itself in doubt.
    """

    row: int
    stage: str
    error_class: str
    message: str
    schema_id: int | None
    time: int | None = None


def shown(value: object) -> str:
    """A value for an error message, of bounded length."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
