"""A clean stop on SIGTERM and SIGINT.

Left alone, SIGTERM kills a dataflow without a snapshot. Here a first signal sets an event at which every
source ends: Bytewax then takes its snapshot and exits with status 0. A second signal ends the process at
once.

Example:
    >>> from connectors.stopping import stop_requested
    >>> stop_requested.is_set()
    False
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from types import FrameType

log = logging.getLogger(__name__)

stop_requested = threading.Event()
"""Set when the process is to stop; sources end at it, sinks that wait for their destination give up."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_installed = threading.Event()


def stop_on_sigterm() -> None:
    """From now on, stop cleanly on SIGTERM or SIGINT; a second call changes nothing.

    Python runs signal handlers on its main thread only, and that one waits inside Bytewax while workers run.
    So the handlers' only purpose is to keep the default actions away: the signal's number also arrives
    through the wakeup socket, which a thread of its own reads.

    Raises:
        ValueError: called from another thread than the main one.
    """
    if _installed.is_set():
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    for number in _SIGNALS:
        signal.signal(number, _ignore)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader, writer), name="stop-on-signal", daemon=True).start()
    _installed.set()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Does nothing: see ``stop_on_sigterm``."""


def _listen(reader: socket.socket, _keep_open: socket.socket) -> None:
    while received := reader.recv(16):
        for number in received:
            if number not in _SIGNALS:
                continue
            name = signal.Signals(number).name
            if stop_requested.is_set():
                log.error("%s again: exiting at once, without a snapshot", name)
                os._exit(128 + number)
            log.info("%s: stopping after a snapshot; a second signal exits at once", name)
            stop_requested.set()
