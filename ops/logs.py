"""Logging: one form for everything that is logged, on stderr, as text or as JSON lines.

Our own modules log through structlog or plain ``logging``, libraries through ``logging`` or as warnings. All of it goes
through one handler, so that a line looks the same whoever wrote it.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from ops.settings import RuntimeSettings

_COMMON: tuple[Any, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class _JsonFormatter(structlog.stdlib.ProcessorFormatter):
    """One JSON object per line, with event, level, logger and timestamp."""


def set_up_logging(settings: RuntimeSettings) -> None:
    """Log to stderr in the settings' form, from their level on."""
    kind: type[structlog.stdlib.ProcessorFormatter]
    render: tuple[Any, ...]
    if settings.log_format == "json":
        kind = _JsonFormatter
        render = (structlog.processors.format_exc_info, structlog.processors.JSONRenderer())
    else:
        kind = structlog.stdlib.ProcessorFormatter
        # The default shows local variables with a traceback: there may be secrets in them.
        traceback = structlog.dev.plain_traceback
        render = (structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=traceback),)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        kind(
            foreign_pre_chain=_COMMON,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def stderr_is_json() -> bool:
    """Whether JSON lines are what is expected on stderr."""
    return any(isinstance(handler.formatter, _JsonFormatter) for handler in logging.getLogger().handlers)
