"""Where schemas are looked up, as the settings say."""

from __future__ import annotations

from ops.settings import RegistrySettings
from schemas.registry import LocalRegistry, Registry, SchemaSource


def schema_source(settings: RegistrySettings) -> SchemaSource:
    """The registry that is set; without an address, the local mode.

    Raises:
        SettingsError: the password's file cannot be read.
    """
    if not settings.url:
        return LocalRegistry()
    return Registry(
        settings.url,
        settings.username,
        settings.secret(),
        ca_file=None if settings.ca_file is None else str(settings.ca_file),
        timeout_seconds=settings.timeout_seconds,
        auto_register=settings.auto_register,
    )
