"""Errors of what comes in."""

from __future__ import annotations


class InputError(ValueError):
    """The user's input is wrong; the message is one line that names the file, the field and the value."""


class SourceError(RuntimeError):
    """A source cannot be read; the message names topic, partition and broker, never a secret."""


class LostOffsetError(SourceError):
    """The messages that a stored offset points to are gone from the topic."""


class PublishError(RuntimeError):
    """Kafka did not take a message; the message names the topic and the reason."""
