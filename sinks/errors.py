"""Errors of the sinks."""

from __future__ import annotations


class SinkError(RuntimeError):
    """A sink cannot write what it was given; the message names destination and cause, no secret."""


class SinkStoppedError(SinkError):
    """A stop was asked for while the destination was away; unwritten rows come again after a restart."""
