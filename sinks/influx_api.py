"""InfluxDB 2.x over HTTP: write and delete, trying again for as long as the server is away."""

from __future__ import annotations

import gzip
import math
import random
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import structlog

from sinks.errors import SinkError, SinkStoppedError
from sinks.metrics import SINK_RETRIES
from sinks.outbox import never

_log = structlog.get_logger(__name__)

_LONGEST_RETRY_AFTER = 3600.0
_NAP = 0.2  # how long a stop may go unnoticed while waiting
_MESSAGE_LENGTH = 1_000


class InfluxApi:
    """One server, organisation and bucket.

    Connection failures, time-outs, 408, 429 and 5xx are tried again without end: at exponentially growing
    intervals with jitter, and not before ``Retry-After``. Any other refusal is an error.

    Args:
        url: such as ``http://127.0.0.1:8086``.
        org: organisation.
        bucket: bucket.
        token: API token; in no log and no error.
        timeout_seconds: of one request.
        retry_initial_seconds: pause after the first failure.
        retry_max_seconds: longest pause, unless the server asks for a longer one.
        verify_tls: whether to check the server's certificate.
        ca_file: certificates to check it against, instead of the system's.
        should_stop: whether a stop was asked for.
        stop_grace_seconds: after a stop was asked for, how long to wait for an absent server still.
        log_every_seconds: how often to say that it waits.
    """

    def __init__(
        self,
        url: str,
        org: str,
        bucket: str,
        token: str | None,
        *,
        timeout_seconds: float = 30.0,
        retry_initial_seconds: float = 0.5,
        retry_max_seconds: float = 30.0,
        verify_tls: bool = True,
        ca_file: Path | None = None,
        should_stop: Callable[[], bool] = never,
        stop_grace_seconds: float = 5.0,
        log_every_seconds: float = 10.0,
    ) -> None:
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"InfluxDB url {url!r} must look like http://host:8086")
        # What errors and logs show: a URL may carry a password.
        self.address = f"{parsed.scheme}://{parsed.netloc.decode()}"
        self._token = token
        self._target = {"org": org, "bucket": bucket}
        self._retry_initial = retry_initial_seconds
        self._retry_max = retry_max_seconds
        self._should_stop = should_stop
        self._stop_grace = stop_grace_seconds
        self._log_every = log_every_seconds
        self._client = httpx.Client(
            base_url=parsed,
            headers={"Authorization": f"Token {token}"} if token else {},
            timeout=timeout_seconds,
            verify=ssl.create_default_context(cafile=ca_file) if verify_tls else False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def write(self, measurement: str, lines: bytes) -> None:
        """Write lines whose timestamps are microseconds; returns when the server has them.

        Raises:
            SinkError: the server refuses them (a partial write included), or does not know token or bucket.
            SinkStoppedError: a stop was asked for while the server was away.
        """
        # The fastest level: a sixth of the default one's time for lines a quarter longer.
        body = gzip.compress(lines, compresslevel=1, mtime=0)
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"}
        self._post("/api/v2/write", measurement, params={"precision": "us"}, content=body, headers=headers)

    def delete(self, measurement: str, predicate: str, start: datetime, stop: datetime) -> None:
        """Delete the points that a predicate selects, from start to stop.

        Raises:
            SinkError: the server refuses.
            SinkStoppedError: a stop was asked for while the server was away.
        """
        span = {"start": start.isoformat(), "stop": stop.isoformat()}
        self._post("/api/v2/delete", measurement, json={**span, "predicate": predicate})

    def _post(self, path: str, measurement: str, params: dict[str, str] | None = None, **content: Any) -> None:
        outage = _Outage(self.address, measurement, self._log_every)
        while True:
            trouble, asked = self._attempt(path, measurement, {**self._target, **(params or {})}, content)
            if trouble is None:
                return outage.end()
            SINK_RETRIES.labels("influxdb").inc()
            outage.failed(trouble)
            pause = min(self._retry_max, self._retry_initial * 2.0 ** min(outage.failures - 1, 30))
            pause *= random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret
            self._wait(max(pause, asked), outage)

    def _wait(self, seconds: float, outage: _Outage) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._should_stop() and outage.seconds >= self._stop_grace:
                raise SinkStoppedError(
                    f"InfluxDB {self.address}, {outage.measurement}: stopped while waiting: {outage.trouble}"
                )
            outage.say_if_due()
            time.sleep(min(_NAP, left))

    def _attempt(
        self, path: str, measurement: str, params: dict[str, str], content: dict[str, Any]
    ) -> tuple[str | None, float]:
        """What went wrong that may pass (None: nothing), and how many seconds the server asks to wait."""
        try:
            response = self._client.post(path, params=params, **content)
        except httpx.TransportError as error:
            cause = f"{type(error).__name__}: {error}"
            if "CERTIFICATE_VERIFY_FAILED" in cause:  # will not pass by waiting
                raise SinkError(f"InfluxDB {self.address}: {cause}") from None
            return cause, 0.0
        if response.is_success:
            return None, 0.0
        cause = f"{response.status_code} {self._message(response)}"
        if response.status_code in (408, 429) or response.status_code >= 500:
            return cause, _retry_after(response.headers.get("Retry-After", ""))
        raise SinkError(f"InfluxDB {self.address}, {measurement}: {cause}")

    def _message(self, response: httpx.Response) -> str:
        try:
            text = str(response.json()["message"])
        except (ValueError, KeyError, TypeError):
            text = response.text or response.reason_phrase
        if self._token:
            text = text.replace(self._token, "***")
        return " ".join(text[:_MESSAGE_LENGTH].split())


class _Outage:
    """The failures of one request, and when they were last spoken of."""

    def __init__(self, address: str, measurement: str, log_every_seconds: float) -> None:
        self.measurement = measurement
        self.failures = 0
        self.trouble = ""
        self._address = address
        self._log_every = log_every_seconds
        self._started = time.monotonic()
        self._said = -math.inf

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def failed(self, trouble: str) -> None:
        self.failures += 1
        self.trouble = trouble
        self.say_if_due()

    def say_if_due(self) -> None:
        now = time.monotonic()
        if now - self._said >= self._log_every:
            self._said = now
            _log.warning("influxdb: away, waiting", cause=self.trouble, **self._facts())

    def end(self) -> None:
        if self.failures:
            _log.info("influxdb: answers again", **self._facts())

    def _facts(self) -> dict[str, Any]:
        return {
            "address": self._address,
            "measurement": self.measurement,
            "failures": self.failures,
            "seconds": round(self.seconds, 1),
        }


def _retry_after(value: str) -> float:
    """Seconds to wait by a ``Retry-After`` header, a number or an HTTP date; 0 if it is neither."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(seconds, _LONGEST_RETRY_AFTER) if seconds > 0 else 0.0  # nan is not
