"""Errors of the sinks."""

from __future__ import annotations

from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)


class SinkError(RuntimeError):
    """A sink cannot write what it was given; the message names destination and cause, no secret."""


class SinkStoppedError(SinkError):
    """A stop was asked for while the destination was away; unwritten rows come again after a restart."""


def close_with(write: Callable[[], None], *, failed: bool) -> None:
    """Write what is left when a writer is closed, which may be because the flow ends with an error.

    A second error would abort the process before the first was told: so what has failed is not tried again, and an
    error here is logged. A snapshot comes before every regular end, and that raises.
    """
    if failed:
        return
    try:
        write()
    except (SinkError, OSError) as error:
        _log.error("not written at the end", error=str(error))
