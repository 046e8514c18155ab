"""The environment that lets a command work on the test's Kafka, with topic names of the test's own."""

from __future__ import annotations

import uuid

from ops.services import Services


def kafka_environment(services: Services) -> dict[str, str]:
    """Settings of a command, with a new prefix for topics and group."""
    prefix = f"{uuid.uuid4().hex[:8]}."
    return {
        "GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS": services.kafka_bootstrap,
        "GRIDFLOW_KAFKA__TOPIC_PREFIX": prefix,
        "GRIDFLOW_KAFKA__GROUP_ID": f"{prefix}group",
        "COLUMNS": "200",
    }


def prefix_of(environment: dict[str, str]) -> str:
    """The prefix of the topics."""
    return environment["GRIDFLOW_KAFKA__TOPIC_PREFIX"]
