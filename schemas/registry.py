"""Where schemas are known by ids: a Confluent-compatible registry, or the local mode that needs none."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from uuid import UUID

import certifi
import httpx
import structlog

from schemas.avro_types import RULES, without_rules
from schemas.contracts import AvroSchema, Contract, all_contracts
from schemas.errors import RegistryError, SchemaError

_CONTENT = "application/vnd.schemaregistry.v1+json"
_COMPATIBILITY = "BACKWARD_TRANSITIVE"
_log = structlog.get_logger(__name__)


class SchemaSource(Protocol):
    """Knows schemas by id and by GUID, and the id of each contract."""

    def by_id(self, schema_id: int) -> AvroSchema:
        """The schema of an id. Raises SchemaError if there is none."""

    def by_guid(self, guid: UUID) -> AvroSchema:
        """The schema of a GUID. Raises SchemaError if there is none."""

    def id_of(self, contract: Contract) -> int:
        """The id that messages of a contract are written by."""


def fingerprint(avro: AvroSchema) -> bytes:
    """SHA-256 of what of a schema decides how bytes are read: docs do not, nor gridflow's own attributes."""
    bare = without_rules(avro, RULES | {"doc"})
    return hashlib.sha256(json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()).digest()


def local_id(avro: AvroSchema) -> int:
    """The id of a schema in the local mode: positive, 31 bits, the same everywhere."""
    return int.from_bytes(fingerprint(avro)[:4], "big") & 0x7FFFFFFF or 1


def local_guid(avro: AvroSchema) -> UUID:
    """The GUID of a schema in the local mode."""
    return UUID(bytes=fingerprint(avro)[:16])


class LocalRegistry:
    """The local mode: knows gridflow's own contracts by ids made of their fingerprints."""

    def __init__(self) -> None:
        known = [contract.wire for contract in all_contracts().values()]
        self._ids = {local_id(avro): avro for avro in known}
        self._guids = {local_guid(avro): avro for avro in known}

    def by_id(self, schema_id: int) -> AvroSchema:
        """See ``SchemaSource``."""
        try:
            return self._ids[schema_id]
        except KeyError:
            raise SchemaError(f"no schema has the id {schema_id} (local mode, no registry is set)") from None

    def by_guid(self, guid: UUID) -> AvroSchema:
        """See ``SchemaSource``."""
        try:
            return self._guids[guid]
        except KeyError:
            raise SchemaError(f"no schema has the GUID {guid} (local mode, no registry is set)") from None

    def id_of(self, contract: Contract) -> int:
        """See ``SchemaSource``."""
        return local_id(contract.wire)


class Registry:
    """A schema registry with Confluent's API (Confluent, Apicurio's ccompat, Karapace, ...).

    What was found is kept; what was not is asked for again after a minute. When the registry does not answer,
    or answers 429 or 5xx, it is asked again, with growing pauses, for ``patience_seconds``.

    Args:
        url: its base address.
        username: for basic authentication; none if empty.
        password: the same.
        ca_file: certificates that vouch for it, instead of the system's.
        timeout_seconds: of one request.
        patience_seconds: how long it may be away.
        auto_register: whether ``id_of`` registers a contract that is not known yet.
        sleep: pauses between tries; replaced in tests.

    Raises:
        RegistryError: from any method, when it cannot be reached or refuses.
    """

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str | None = None,
        *,
        ca_file: str | None = None,
        timeout_seconds: float = 10.0,
        patience_seconds: float = 60.0,
        auto_register: bool = True,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        context = ssl.create_default_context(cafile=ca_file if ca_file else certifi.where())
        self._client = httpx.Client(
            auth=(username, password or "") if username else None,
            headers={"Accept": _CONTENT, "Content-Type": _CONTENT},
            timeout=timeout_seconds,
            verify=context,
            # A proxy of the environment has no business on loopback.
            trust_env=httpx.URL(url).host not in ("127.0.0.1", "::1", "localhost"),
            transport=transport,
            # Calls are few, since answers are kept: no connection need stay open between them.
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._patience = patience_seconds
        self._auto_register = auto_register
        self._sleep = sleep
        self._lock = threading.Lock()
        self._found: dict[int | UUID, AvroSchema] = {}
        self._missing: dict[int | UUID, float] = {}
        self._ids: dict[str, int] = {}

    def close(self) -> None:
        """Let go of the connections; it answers no more."""
        self._client.close()

    def by_id(self, schema_id: int) -> AvroSchema:
        """See ``SchemaSource``."""
        return self._lookup(schema_id, f"/schemas/ids/{schema_id}", f"the id {schema_id}")

    def by_guid(self, guid: UUID) -> AvroSchema:
        """See ``SchemaSource``."""
        return self._lookup(guid, f"/schemas/guids/{guid}", f"the GUID {guid}")

    def id_of(self, contract: Contract) -> int:
        """The contract's id under its subject, registering it where that is allowed.

        Raises:
            SchemaError: it is not registered and may not be, or is incompatible with what is.
        """
        with self._lock:
            known = self._ids.get(contract.topic)
        if known is None:
            found = self._call("POST", f"/subjects/{contract.subject}", _payload(contract), missing_ok=True)
            if found is not None:
                known = int(found["id"])
            elif self._auto_register:
                known = self.register(contract)
            else:
                raise SchemaError(
                    f"{contract.subject}: this version is not registered; run `gridflow schemas register`"
                )
            with self._lock:
                self._ids[contract.topic] = known
        return known

    def register(self, contract: Contract) -> int:
        """Register a contract under its subject, which is set to BACKWARD_TRANSITIVE.

        Returns:
            The id; that of before if it is registered already.

        Raises:
            SchemaError: it is incompatible with an earlier version.
        """
        # First the rule, so that the registry itself holds this version to it.
        self._call("PUT", f"/config/{contract.subject}", {"compatibility": _COMPATIBILITY})
        answer = self._call("POST", f"/subjects/{contract.subject}/versions", _payload(contract))
        assert answer is not None
        return int(answer["id"])

    def versions(self, contract: Contract) -> list[AvroSchema]:
        """All registered versions of a contract, the oldest first; none if the subject is unknown."""
        base = f"/subjects/{contract.subject}/versions"
        numbers = self._call("GET", base, missing_ok=True) or []
        found = []
        for number in numbers:
            answer = self._call("GET", f"{base}/{number}")
            assert answer is not None
            found.append(json.loads(answer["schema"]))
        return found

    def _lookup(self, reference: int | UUID, path: str, named: str) -> AvroSchema:
        with self._lock:
            found = self._found.get(reference)
            missing_until = self._missing.get(reference, 0.0)
        if found is not None:
            return found
        answer = None
        if time.monotonic() >= missing_until:
            answer = self._call("GET", path, missing_ok=True)
        if answer is None or answer.get("schemaType", "AVRO") != "AVRO":
            with self._lock:
                if len(self._missing) > 10_000:  # garbage for ids must not fill the memory
                    self._missing.clear()
                self._missing.setdefault(reference, time.monotonic() + 60.0)
            raise SchemaError(f"no Avro schema has {named}")
        try:
            avro: AvroSchema = json.loads(answer["schema"])
        except (KeyError, ValueError):
            raise RegistryError(f"{self._url}{path}: the answer holds no schema") from None
        with self._lock:
            self._found[reference] = avro
            self._missing.pop(reference, None)
        return avro

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, missing_ok: bool = False) -> Any:
        pause, waited = 0.2, 0.0
        while True:
            problem = ""
            try:
                response = self._client.request(
                    method, self._url + path, content=None if body is None else json.dumps(body)
                )
            except httpx.TransportError as error:
                problem = str(error) or type(error).__name__
            else:
                if response.is_success:
                    return response.json()
                message = _message_of(response)
                if missing_ok and response.status_code == httpx.codes.NOT_FOUND:
                    return None
                if response.status_code in (httpx.codes.CONFLICT, httpx.codes.UNPROCESSABLE_ENTITY):
                    raise SchemaError(f"{self._url}{path}: {message}")
                problem = f"HTTP {response.status_code}: {message}"
                if response.status_code < 500 and response.status_code not in (408, 429):
                    raise RegistryError(f"schema registry {self._url}{path}: {problem}")
            if waited >= self._patience:
                raise RegistryError(f"schema registry {self._url}{path}: {problem}")
            _log.warning("schema registry does not answer, waiting", url=self._url, problem=problem)
            self._sleep(pause)
            waited += pause
            pause = min(pause * 2, 5.0)


def _payload(contract: Contract) -> dict[str, Any]:
    return {"schema": contract.wire_json, "schemaType": "AVRO"}


def _message_of(response: httpx.Response) -> str:
    try:
        return " ".join(str(response.json()["message"]).split())
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200] or response.reason_phrase
