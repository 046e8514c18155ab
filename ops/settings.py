"""The settings: one TOML file, overridden by the environment, checked at start.

Every setting has a default that works against local services. A file is named by ``--config`` or by the
variable ``GRIDFLOW_CONFIG``; each key can be overridden by ``GRIDFLOW_<SECTION>__<KEY>``, for example
``GRIDFLOW_KAFKA__BOOTSTRAP_SERVERS=broker:9092``. Secrets are never written into the file: they come from the
environment (``GRIDFLOW_INFLUXDB__TOKEN``) or from a file of their own (``token_file = "/run/secrets/influx"``).

Example:
    >>> settings = load_settings(environ={"GRIDFLOW_KAFKA__GROUP_ID": "trial"})
    >>> settings.kafka.group_id, settings.event_time.window_seconds
    ('trial', 900)
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

ENVIRONMENT_PREFIX = "GRIDFLOW_"
CONFIG_VARIABLE = "GRIDFLOW_CONFIG"

# Rejected in the `[kafka.config]` table: a secret in a file that is shown, copied and committed is no secret.
_SECRET_WORDS = ("password", "secret", "token", "pem")


class SettingsError(ValueError):
    """The settings are wrong; the message names the file or variable, the key and the value."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"secret file {file}: {error.strerror}") from None
    return value.get_secret_value() if value is not None else None


class KafkaSettings(_Section):
    """Kafka brokers, consumer group and librdkafka settings."""

    bootstrap_servers: str = "127.0.0.1:9092"
    group_id: str = "gridflow"
    start: str = Field(
        "earliest",
        description="Where to start without a stored offset: earliest, latest, committed, or an ISO 8601 time.",
    )
    on_lost_offset: Literal["error", "jump"] = Field(
        "error",
        description="When retention has deleted what a stored offset points to: stop, or jump to the earliest.",
    )
    config: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Any librdkafka setting (security.protocol, ssl.ca.location, ...)."
    )
    consumer_config: dict[str, str | int | float | bool] = Field(default_factory=dict)
    producer_config: dict[str, str | int | float | bool] = Field(default_factory=dict)
    sasl_password: SecretStr | None = None
    sasl_password_file: Path | None = None
    ssl_key_password: SecretStr | None = None
    ssl_key_password_file: Path | None = None
    topic_prefix: str = Field("", description="Put before every topic name, to share a cluster.")
    batch_messages: PositiveInt = Field(200_000, description="Most messages taken per poll of one partition.")
    poll_interval_ms: NonNegativeInt = Field(50, description="Pause before polling a drained partition again.")

    @field_validator("start")
    @classmethod
    def _start_is_known(cls, value: str) -> str:
        if value not in ("earliest", "latest", "committed"):
            from datetime import datetime  # noqa: PLC0415

            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError("must be earliest, latest, committed or an ISO 8601 time") from None
            if moment.tzinfo is None:
                raise ValueError("the time needs a UTC offset, for example 2026-01-31T00:00:00Z")
        return value

    @field_validator("config", "consumer_config", "producer_config")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if any(word in key for word in _SECRET_WORDS) and not key.endswith("location"):
                raise ValueError(
                    f"{key} is a secret: set it by sasl_password(_file) or ssl_key_password(_file) instead"
                )
        return value

    def client_config(self) -> dict[str, Any]:
        """The librdkafka settings common to every client, secrets included: never log the result.

        Raises:
            SettingsError: a secret file cannot be read.
        """
        config: dict[str, Any] = {"bootstrap.servers": self.bootstrap_servers, **self.config}
        secrets = {
            "sasl.password": _read_secret(self.sasl_password, self.sasl_password_file),
            "ssl.key.password": _read_secret(self.ssl_key_password, self.ssl_key_password_file),
        }
        return config | {key: secret for key, secret in secrets.items() if secret is not None}

    def topic(self, name: str) -> str:
        """The topic's name on this cluster."""
        return self.topic_prefix + name


class RegistrySettings(_Section):
    """The schema registry. ``url = ""`` is the local mode: ids are made from the schemas' fingerprints."""

    url: str = ""
    username: str = ""
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    timeout_seconds: PositiveFloat = 10.0
    auto_register: bool = True

    def secret(self) -> str | None:
        """The password, or None."""
        return _read_secret(self.password, self.password_file)


class InfluxSettings(_Section):
    """InfluxDB 2.x."""

    url: str = "http://127.0.0.1:8086"
    org: str = "gridflow"
    bucket: str = "gridflow"
    token: SecretStr | None = None
    token_file: Path | None = None
    batch_lines: PositiveInt = Field(5_000, le=50_000)
    timeout_seconds: PositiveFloat = 30.0
    retry_initial_seconds: PositiveFloat = 0.5
    retry_max_seconds: PositiveFloat = 30.0
    verify_tls: bool = True
    ca_file: Path | None = None

    def secret(self) -> str | None:
        """The token, or None."""
        return _read_secret(self.token, self.token_file)


class ParquetSettings(_Section):
    """The Parquet datasets."""

    output: Path = Path("output")
    rows_per_file: PositiveInt = 500_000


SinkName = Literal["kafka", "influxdb", "parquet"]


class OutputSettings(_Section):
    """Which sinks get which record."""

    line_loss: tuple[SinkName, ...] = ("kafka", "influxdb", "parquet")
    meter_energy: tuple[SinkName, ...] = ("parquet",)
    partitions: PositiveInt = Field(2, description="Writers per sink; more than workers is no use.")


class EventTimeSettings(_Section):
    """Event time: windows, watermark, lateness."""

    window_seconds: PositiveInt = 900
    watermark_delay_seconds: NonNegativeInt = 120
    allowed_lateness_seconds: PositiveInt = 24 * 3600
    idle_after_seconds: PositiveFloat = 60.0
    future_limit_seconds: PositiveInt = 3600
    network_reach_back_seconds: NonNegativeInt = 72 * 3600

    @model_validator(mode="after")
    def _window_divides_hour(self) -> Self:
        # Windows are aligned to the UTC hour: those longer than an hour to the UTC day.
        if 3600 % self.window_seconds and (86400 % self.window_seconds or self.window_seconds % 3600):
            raise ValueError(f"window_seconds {self.window_seconds} divides neither an hour nor a day")
        return self


class AlignmentSettings(_Section):
    """Registers to windows."""

    reading_interval_seconds: PositiveInt = Field(
        900, description="How often meters are read; a longer stretch between readings is a gap."
    )
    max_gap_seconds: PositiveInt = Field(
        72 * 3600, description="How far from a reading its interpolation may still reach."
    )
    estimate_from_seconds: PositiveInt = Field(
        3600,
        description="Span before a meter's last reading whose mean power stands in for what is missing.",
    )
    backcast_seconds: NonNegativeInt = Field(
        3600, description="How far before a meter's first reading its energy is estimated."
    )
    forecast_seconds: PositiveInt = Field(
        35 * 86_400, description="How long a silent meter's energy is estimated; max_gap_seconds at least."
    )
    max_power_kw: PositiveFloat = Field(
        100_000.0, description="A register that rises faster than this has jumped, whatever it measures."
    )
    max_power_per_rated_kva: PositiveFloat = Field(
        3.0, description="The same for meters of a transformer area, per kVA of the transformer's rating."
    )
    register_digits: tuple[PositiveInt, ...] = Field(
        (4, 5, 6, 7, 8), description="Digits before the decimal point at which a register may roll over."
    )
    meter_class_percent: NonNegativeFloat = Field(1.0, description="Accuracy class (IEC 62053-21), +- percent.")

    @model_validator(mode="after")
    def _forecast_covers_gap(self) -> Self:
        if self.forecast_seconds < self.max_gap_seconds:
            raise ValueError(f"forecast_seconds {self.forecast_seconds} < max_gap_seconds {self.max_gap_seconds}")
        return self


class LineLossSettings(_Section):
    """The line-loss flow."""

    unknown_meters: Literal["align", "dead-letter"] = Field(
        "align",
        description="A meter that the network does not know: align its energy, or refuse its readings.",
    )
    restate_seconds: NonNegativeFloat = Field(
        1.0, description="Losses are written at most this often; a burst of late readings restates a window once."
    )
    alarm_completeness: float = Field(0.95, ge=0, le=1)
    high_loss_percent: PositiveFloat = Field(10.0, description="HIGH_LOSS above this share of the energy in.")


class RuntimeSettings(_Section):
    """How the dataflow is run."""

    shards: PositiveInt = Field(4, le=1024, description="Units of state; fixed for the life of a recovery store.")
    workers: PositiveInt = 1
    recovery: Path | None = None
    snapshot_seconds: PositiveFloat = 30.0
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port on loopback; 0 is off.")
    metrics_host: str = "127.0.0.1"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"


class Settings(_Section):
    """All settings."""

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    influxdb: InfluxSettings = InfluxSettings()
    parquet: ParquetSettings = ParquetSettings()
    output: OutputSettings = OutputSettings()
    event_time: EventTimeSettings = EventTimeSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    line_loss: LineLossSettings = LineLossSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    network_file: Path | None = Field(
        None, description="Read the network from this Parquet or NDJSON file instead of the topic."
    )


_SECRET_KEYS = frozenset({"token", "password", "sasl_password", "ssl_key_password"})


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        path = name[len(ENVIRONMENT_PREFIX) :].lower().split("__")
        section = Settings.model_fields.get(path[0])
        if section is None:
            raise SettingsError(f"environment variable {name}: there is no setting {path[0]!r}")
        here = found
        for part in path[:-1]:
            here = here.setdefault(part, {})
        # A list or table is written as TOML or comma separated: kafka,parquet
        here[path[-1]] = _parse(path, value)
    return found


def _parse(path: list[str], value: str) -> Any:
    if value.startswith(("[", "{")):
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"setting {'.'.join(path)}: not a TOML value: {error}") from None
    section = Settings.model_fields[path[0]].annotation
    if isinstance(section, type) and issubclass(section, BaseModel) and len(path) == 2:
        field = section.model_fields.get(path[1])
        if field is not None and str(field.annotation).startswith("tuple"):
            return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def load_settings(
    file: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read and check the settings.

    Args:
        file: a TOML file; without one, that named by ``GRIDFLOW_CONFIG``, if any.
        environ: the environment; the process's own by default.
        overrides: nested values that win over file and environment.

    Raises:
        SettingsError: in one line, which key of which file or variable is wrong, and why.
    """
    environ = os.environ if environ is None else environ
    if file is None and environ.get(CONFIG_VARIABLE):
        file = Path(environ[CONFIG_VARIABLE])
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"settings file {file}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"settings file {file}: not TOML: {error}") from None
        for section, table in values.items():
            if isinstance(table, dict):
                for key in _SECRET_KEYS & table.keys():
                    raise SettingsError(
                        f"settings file {file}: {section}.{key} must not be written into the file; use "
                        f"{section}.{key}_file or the variable {ENVIRONMENT_PREFIX}{section.upper()}__{key.upper()}"
                    )
    values = _merge(_merge(values, _from_environment(environ)), overrides or {})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        shown = "" if key.split(".")[-1] in _SECRET_KEYS else f" (got {first['input']!r})"
        origin = f"settings file {file}" if file is not None else "settings"
        raise SettingsError(f"{origin}: {key}: {first['msg']}{shown}") from None
