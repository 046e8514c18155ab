"""Writing beside the flow: a thread that does one thing after the other.

Compressing and writing a file takes long and needs no Python: meanwhile the flow goes on. What was handed over is
done, or has failed, when ``settle`` returns; a snapshot waits for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_MOST_WAITING = 2


class BackgroundWriter:
    """Does what it is given in order, in a thread of its own; holds the caller up when too much waits."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._open: deque[Future[Any]] = deque()
        self.failed = False
        """Whether something has failed."""

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have something done.

        Raises:
            Exception: what something handed over earlier has raised.
        """
        while len(self._open) >= _MOST_WAITING or (self._open and self._open[0].done()):
            self._wait_for_first()
        self._open.append(self._pool.submit(function, *arguments))

    def settle(self) -> None:
        """Wait until all is done.

        Raises:
            Exception: what one of the things has raised.
        """
        while self._open:
            self._wait_for_first()

    def close(self) -> None:
        """Settle, and end the thread."""
        try:
            self.settle()
        finally:
            self._pool.shutdown()

    def _wait_for_first(self) -> None:
        try:
            self._open.popleft().result()
        except BaseException:
            self.failed = True
            raise
