"""Errors of the contracts and of the registry."""

from __future__ import annotations


class SchemaError(LookupError):
    """A contract or schema is unknown, malformed or incompatible; the message is one line."""


class RegistryError(RuntimeError):
    """The schema registry cannot be reached or refuses; the message names its address and no secret."""
