"""The services that gridflow works with, for development and tests: Kafka, a schema registry, InfluxDB.

They are the real ones, on loopback and on free ports, with their data in a folder of one's choice: by Docker
Compose where an engine answers, else as plain processes of programs that are obtained once and cached.

Example:
    >>> from pathlib import Path
    >>> with Services(Path(".gridflow/services")) as services:  # doctest: +SKIP
    ...     print(services.kafka_bootstrap)
    127.0.0.1:21234
"""

from ops.services.base import ServiceError, Status
from ops.services.manager import Services

__all__ = ["ServiceError", "Services", "Status"]
