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

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from confluent_kafka import Consumer, KafkaException, Producer
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

ENVIRONMENT_PREFIX = "GRIDFLOW_"
CONFIG_VARIABLE = "GRIDFLOW_CONFIG"

# Rejected in the `[kafka.config]` table: a secret in a file that is shown, copied and committed is no secret.
_SECRET_WORDS = ("password", "secret", "token", "pem")


class SettingsError(ValueError):
    """The settings are wrong; the message names the file or variable, the key and the value."""


_MOST_SECONDS = 10 * 366 * 86_400
_Seconds = Annotated[int, Field(gt=0, le=_MOST_SECONDS)]
_SecondsOrNone = Annotated[int, Field(ge=0, le=_MOST_SECONDS)]
_Span = Annotated[float, Field(gt=0, le=_MOST_SECONDS)]  # seconds and parts of them
_SpanOrNone = Annotated[float, Field(ge=0, le=_MOST_SECONDS)]
_Unsigned = Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
_Short = Annotated[int, Field(ge=0, le=0xFFFF)]
_Pattern = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _from_text(value: Any) -> Any:
    """A list or table in a variable: as TOML or JSON, or a list separated by commas."""
    if not isinstance(value, str):
        return value
    if not value.startswith(("[", "{")):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        pass
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"neither JSON nor a TOML value: {error}") from None


def _without_secrets(url: str) -> str:
    """A URL is shown in logs and errors."""
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None or parts.query:
        raise ValueError("give neither user, password nor query in the URL: they would be shown; there are settings")
    return url


_Url = Annotated[str, AfterValidator(_without_secrets)]
_Table = Annotated[dict[str, str | int | float | bool], BeforeValidator(_from_text)]


def _read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"secret file {file}: {error.strerror}") from None
    return value.get_secret_value() if value is not None else None


class KafkaSettings(_Section):
    """Kafka brokers, consumer group and librdkafka settings."""

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Brokers, host:port, separated by commas.")
    group_id: str = Field("gridflow", description="Consumer group to which offsets are committed.")
    start: str = Field(
        "earliest",
        description="Where to start without a stored offset: earliest, latest, committed, or an ISO 8601 time.",
    )
    on_lost_offset: Literal["error", "jump"] = Field(
        "error",
        description="When retention has deleted what a stored offset points to: stop, or jump to the earliest.",
    )
    config: _Table = Field(
        default_factory=dict, description="Any librdkafka setting (security.protocol, ssl.ca.location, ...)."
    )
    consumer_config: _Table = Field(default_factory=dict, description="The same, of consumers only.")
    producer_config: _Table = Field(default_factory=dict, description="The same, of producers only.")
    sasl_password: SecretStr | None = Field(None, description="From the environment only.")
    sasl_password_file: Path | None = Field(None, description="File that holds the SASL password.")
    ssl_key_password: SecretStr | None = Field(None, description="From the environment only.")
    ssl_key_password_file: Path | None = Field(None, description="File that holds the password of ssl.key.location.")
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

    url: _Url = Field("", description="Confluent-compatible API, for example https://registry:8081; empty: local mode.")
    username: str = Field("", description="For basic authentication.")
    password: SecretStr | None = Field(None, description="From the environment only.")
    password_file: Path | None = Field(None, description="File that holds the password.")
    ca_file: Path | None = Field(None, description="Certificates to trust, PEM.")
    timeout_seconds: PositiveFloat = Field(10.0, description="For an answer.")
    auto_register: bool = Field(True, description="Register the schemas of what is written, if they are not yet.")

    def secret(self) -> str | None:
        """The password, or None."""
        return _read_secret(self.password, self.password_file)


class InfluxSettings(_Section):
    """InfluxDB 2.x."""

    url: _Url = Field("http://127.0.0.1:8086", description="The server.")
    org: str = Field("gridflow", description="Organisation.")
    bucket: str = Field("gridflow", description="Bucket that is written to.")
    token: SecretStr | None = Field(None, description="From the environment only.")
    token_file: Path | None = Field(None, description="File that holds the token.")
    batch_lines: PositiveInt = Field(5_000, le=50_000, description="Most lines of a request.")
    timeout_seconds: PositiveFloat = Field(30.0, description="For an answer.")
    retry_initial_seconds: PositiveFloat = Field(0.5, description="First pause before trying again; it doubles.")
    retry_max_seconds: PositiveFloat = Field(30.0, description="Longest pause; a Retry-After is honoured besides.")
    verify_tls: bool = Field(True, description="Check the server's certificate.")
    ca_file: Path | None = Field(None, description="Certificates to trust, PEM.")

    def secret(self) -> str | None:
        """The token, or None."""
        return _read_secret(self.token, self.token_file)


_Names = Annotated[
    tuple[Literal["line_loss", "meter_energy", "ied_anomaly", "topology_change"], ...], BeforeValidator(_from_text)
]


class ParquetSettings(_Section):
    """The Parquet datasets."""

    output: Path = Field(Path("output"), description="Folder of the datasets.")
    rows_per_file: PositiveInt = Field(500_000, description="At so many rows a file is sealed.")
    keep_revisions: _Names = Field(
        (),
        description="Datasets (line_loss, meter_energy, ied_anomaly, topology_change) that keep all revisions.",
    )


SinkName = Literal["kafka", "influxdb", "parquet"]
_Sinks = Annotated[tuple[SinkName, ...], BeforeValidator(_from_text)]


class OutputSettings(_Section):
    """Which sinks get which record."""

    line_loss: _Sinks = Field(("kafka", "influxdb", "parquet"), description="Any of kafka, influxdb, parquet.")
    meter_energy: _Sinks = Field(("parquet",), description="The same; as many rows as there are readings.")
    ied_anomaly: _Sinks = Field(("kafka", "influxdb", "parquet"), description="As line_loss.")
    topology_change: _Sinks = Field(("kafka", "influxdb", "parquet"), description="As line_loss.")
    partitions: PositiveInt = Field(2, description="Writers per sink; more than workers is no use.")


class EventTimeSettings(_Section):
    """Event time: windows, watermark, lateness."""

    window_seconds: _Seconds = Field(900, description="Length of a window; divides an hour or a day.")
    watermark_delay_seconds: _SecondsOrNone = Field(
        120, description="How far the watermark stays behind the newest reading of the slowest partition."
    )
    allowed_lateness_seconds: _Seconds = Field(
        24 * 3600, description="How late a reading may be and still restate results."
    )
    idle_after_seconds: _Span = Field(
        60.0,
        description="After so long a silence a drained partition holds the watermark back no more; of IEDs see "
        "ied_supervision.idle_after_seconds.",
    )
    future_limit_seconds: _Seconds = Field(
        3600, description="A reading further than this ahead of its received_time is refused."
    )
    network_reach_back_seconds: _SecondsOrNone = Field(
        72 * 3600, description="How far back a new version of the network restates results."
    )

    @model_validator(mode="after")
    def _window_divides_hour(self) -> Self:
        # Windows are aligned to the UTC hour: those longer than an hour to the UTC day.
        if 3600 % self.window_seconds and (86400 % self.window_seconds or self.window_seconds % 3600):
            raise ValueError(f"window_seconds {self.window_seconds} divides neither an hour nor a day")
        return self


def _regular(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


def _with_group(pattern: str) -> str:
    if not re.compile(_regular(pattern)).groups:
        raise ValueError("has no group: put what names the substation in parentheses, as in ^([^-]+)")
    return pattern


_Digits = Annotated[int, Field(ge=1, le=9)]  # what an int64 of µWh holds


class AlignmentSettings(_Section):
    """Registers to windows."""

    reading_interval_seconds: _Seconds = Field(
        900, description="How often meters are read; a longer stretch between readings is a gap."
    )
    max_gap_seconds: _Seconds = Field(
        72 * 3600, description="How far from a reading its interpolation may still reach."
    )
    estimate_from_seconds: _Seconds = Field(
        3600,
        description="Span before a meter's last reading whose mean power stands in for what is missing.",
    )
    backcast_seconds: _SecondsOrNone = Field(
        3600, description="How far before a meter's first reading its energy is estimated."
    )
    forecast_seconds: _Seconds = Field(
        35 * 86_400, description="How long a silent meter's energy is estimated; max_gap_seconds at least."
    )
    max_power_kw: PositiveFloat = Field(
        100_000.0, description="A register that rises faster than this has jumped, whatever it measures."
    )
    max_power_per_rated_kva: PositiveFloat = Field(
        2.0,
        description="The same per kVA that the transformers have whose energy it measures "
        "(IEC 60076-7: a distribution transformer takes twice its rating for a short time).",
    )
    assumed_rated_kva: PositiveFloat = Field(
        3150.0,
        description="A transformer without rated_kva that feeds no others is taken for one of this rating "
        "(the largest distribution transformer of EN 50588-1).",
    )
    register_digits: Annotated[tuple[_Digits, ...], BeforeValidator(_from_text)] = Field(
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
    alarm_completeness: float = Field(0.95, ge=0, le=1, description="No alarm is raised below this completeness.")
    high_loss_percent: PositiveFloat = Field(10.0, description="HIGH_LOSS above this share of the energy in.")
    study_days: PositiveInt = Field(
        10, le=60, description="Days of history from which gains, clocks, expected losses and suspects are learned."
    )
    settle_days: NonNegativeInt = Field(
        2, le=30, description="Days after a window that are waited for before what is learned of it is final."
    )
    study_seconds: _Seconds = Field(
        86_400, description="On a stream, between two studies of all areas; divides a day, a multiple of the window."
    )
    head_class_percent: PositiveFloat = Field(0.5, description="Accuracy class of head meters, +- percent.")
    line_data_percent: PositiveFloat = Field(
        10.0, description="Standard uncertainty of technical losses by the lines' data, percent."
    )
    theft_probability: float = Field(
        0.002, gt=0, lt=1, description="Probability, before looking, that a customer has unregistered energy."
    )
    nominal_volts: PositiveFloat = Field(230.0, description="Phase to neutral, for areas whose meters do not tell it.")


class IedRuleSettings(_Section):
    """A change to rules of the supervision; patterns as of file names."""

    kind: _Pattern = Field("*", description="Which rules, for example SEQUENCE_GAP or HEALTH_*.")
    ied: _Pattern = Field("*", description="Of which devices; of COMMON_CAUSE, of which substations.")
    control_block: _Pattern = Field("*", description="Of which control blocks.")
    mute: bool | None = Field(None, description="Leave their anomalies out.")
    severity: Literal["INFO", "WARNING", "ALARM"] | None = Field(None, description="Another severity.")
    hold_seconds: _Span | None = Field(None, description="How long an anomaly lasts after its last message.")
    limit: float | None = Field(None, ge=0, le=1e9, description="The rule's own limit, in its unit.")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if all(one is None for one in (self.mute, self.severity, self.hold_seconds, self.limit)):
            raise ValueError("changes nothing: give mute, severity, hold_seconds or limit")
        return self


class IedEntrySettings(_Section):
    """What an entry of a data set means whose reference does not say so."""

    control_block: _Pattern = Field(description="Of which control blocks; a pattern as of file names.")
    entry: _Short = Field(description="Its place in the data set, from 0.")
    means: Literal["position", "trip", "pickup", "current", "voltage", "frequency"] = Field(description="What it is.")


class IedExpectedSettings(_Section):
    """What messages are expected to carry, by the station's SCD; patterns as of file names."""

    ied: _Pattern = Field("*", description="Of which devices.")
    control_block: _Pattern = Field("*", description="Of which control blocks.")
    conf_rev: _Unsigned | None = Field(None, description="Configuration revision.")
    num_entries: _Short | None = Field(None, description="Entries of a GOOSE message.")
    app_id: _Short | None = Field(None, description="APPID.")
    source_address: str | None = Field(None, min_length=1, description="Source address of its messages.")
    interval_seconds: _Span | None = Field(
        None, description="Integrity period of a report, interval of a health message."
    )

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        values = self.model_dump(exclude={"ied", "control_block"})
        if all(value is None for value in values.values()):
            raise ValueError(f"expects nothing: give {', '.join(list(values)[:-1])} or {list(values)[-1]}")
        return self


class IedSupervisionSettings(_Section):
    """Supervision of IEDs."""

    watermark_delay_seconds: _SpanOrNone = Field(
        1.0, description="How far the watermark stays behind the newest message of the slowest partition."
    )
    idle_after_seconds: _Span = Field(
        1.0,
        description="After so long a silence a drained partition holds the watermark, and so the silences of devices "
        "in others, back no more.",
    )
    allowed_lateness_seconds: _Seconds = Field(60, description="How late a message may be and still be used.")
    look_ahead_seconds: _Span = Field(
        0.5, description="How often what may still be changed by late messages is looked at."
    )
    station_pattern: Annotated[str, AfterValidator(_with_group)] = Field(
        "^([^-_./]+)",
        description="Regular expression whose group is the substation in an ied_id; those of one go together.",
    )
    entries: tuple[IedEntrySettings, ...] = Field(
        (), description="What entries without references mean, as tables [[ied_supervision.entries]]."
    )
    expected: tuple[IedExpectedSettings, ...] = Field(
        (),
        description="What messages must carry, as tables [[ied_supervision.expected]]; else what they always have.",
    )
    rules: tuple[IedRuleSettings, ...] = Field(
        (), description="Changes to rules, as tables [[ied_supervision.rules]]; of several that apply the last holds."
    )


class TopologySettings(_Section):
    """Who hangs where, and what changed."""

    accept_confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Changes that are at least so probable are accepted, others proposed."
    )
    feedback: bool = Field(True, description="Accepted changes become versions of the network.")
    unit_lateness_seconds: _Seconds = Field(3600, description="How late a value of a feeder terminal unit may come.")
    debounce_seconds: _SpanOrNone = Field(
        1.0, description="How long a switch's position must stand before it is believed."
    )
    switches: _Table = Field(
        default_factory=dict,
        description='Switches by point, "FTU-7/XCBR1.Pos" = "S01-F01-XCBR1", where the network does not tell.',
    )
    look_ahead_seconds: _Span = Field(
        60.0, description="How often what may still be changed by late readings is looked at."
    )


class RuntimeSettings(_Section):
    """How the dataflow is run."""

    shards: PositiveInt = Field(4, le=1024, description="Units of state; fixed for the life of a recovery store.")
    workers: PositiveInt = Field(1, description="Worker threads.")
    recovery: Path | None = Field(None, description="Folder of the recovery store and of journals; none: start anew.")
    snapshot_seconds: PositiveFloat = Field(30.0, description="Between two snapshots of the state.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port on loopback; 0 is off.")
    metrics_host: str = Field("127.0.0.1", description="Address that the metrics are served on.")
    replay_batch_rows: PositiveInt = Field(200_000, description="Most rows that a replay takes at once.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["text", "json"] = Field("text", description="How log lines are written to stderr.")


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,  # lists and tables are TOML here, or comma separated
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    influxdb: InfluxSettings = InfluxSettings()
    parquet: ParquetSettings = ParquetSettings()
    output: OutputSettings = OutputSettings()
    event_time: EventTimeSettings = EventTimeSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    line_loss: LineLossSettings = LineLossSettings()
    ied_supervision: IedSupervisionSettings = IedSupervisionSettings()
    topology: TopologySettings = TopologySettings()
    runtime: RuntimeSettings = RuntimeSettings()
    network_file: Path | None = Field(
        None, description="Read the network from this Parquet or NDJSON file instead of the topic."
    )
    _origin: str = PrivateAttr("settings")

    def error(self, key: str, said: str) -> SettingsError:
        """What is wrong with a key, beside where the settings come from."""
        return SettingsError(f"{self._origin}: {key}: {said}")


# Whose values are not shown in an error.
_SECRET_KEYS = frozenset({"token", "password", "sasl_password", "ssl_key_password"})
_SECTIONS_WITH_SECRETS = frozenset({"kafka", "registry", "influxdb"})
_SHOWN_NEVER = _SECRET_KEYS | {"url"}


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
    variables: Mapping[str, str] = os.environ if environ is None else environ
    if file is None and variables.get(CONFIG_VARIABLE):
        file = Path(variables[CONFIG_VARIABLE])
    written = {} if file is None else _read(file)
    _check_variables(variables)

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - of the process: one was given
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            environment = _Environment(settings_cls, variables)
            return init_settings, environment, InitSettingsSource(settings_cls, init_kwargs=written)

    try:
        settings = Loaded(**(overrides or {}))
    except ValidationError as error:
        raise SettingsError(_explained(error, file, variables)) from None
    if file is not None:
        settings._origin = f"settings file {file}"
    return settings


class _Environment(EnvSettingsSource):
    """Variables of a given environment."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._environ.items()}


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {file}: not TOML: {error}") from None
    for section, table in values.items():
        if isinstance(table, dict):
            known = getattr(Settings.model_fields.get(section), "annotation", None)
            for key in sorted(_SECRET_KEYS & table.keys() & getattr(known, "model_fields", {}).keys()):
                raise SettingsError(
                    f"settings file {file}: {section}.{key} must not be written into the file; use "
                    f"{section}.{key}_file or the variable {_variable((section, key))}"
                )
    return values


def _variable(path: Iterable[str]) -> str:
    return ENVIRONMENT_PREFIX + "__".join(path).upper()


def _check_variables(environ: Mapping[str, str]) -> None:
    """A variable that means nothing is a slip of the pen: pydantic-settings would pass over it."""
    for name in environ:
        if name.startswith(ENVIRONMENT_PREFIX) and name != CONFIG_VARIABLE:
            first = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")[0]
            if first not in Settings.model_fields:
                raise SettingsError(f"environment variable {name}: there is no setting {first!r}")


def _explained(error: ValidationError, file: Path | None, environ: Mapping[str, str]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    variables = [_variable(path[:depth]) for depth in range(len(path), 0, -1)]
    origin = next((f"environment variable {name}" for name in variables if name in environ), None)
    if origin is None:
        origin = "settings" if file is None else f"settings file {file}"
    unknown = first["type"] == "extra_forbidden"
    said = "there is no such setting" if unknown else first["msg"].removeprefix("Value error, ")
    if first["type"] == "tuple_type" and isinstance(first["input"], dict):
        said = f"is a list of tables: write [[{'.'.join(path)}]]"
    # A table may hold secrets that somebody has put into it, and so may what is a secret's misspelt name.
    hidden = (
        _SHOWN_NEVER & set(path)
        or any(part.endswith("config") for part in path)
        or any(word in part for part in path for word in ("pass", "secret", "token", "pem", "cred"))
        or (unknown and path[0] in _SECTIONS_WITH_SECRETS)
        or not isinstance(first["input"], str | int | float)
    )
    shown = "" if hidden else f" (got {first['input']!r})"
    return f"{origin}: {'.'.join(path)}: {said}{shown}"


def check_clients(settings: Settings) -> None:
    """Read the secrets, and have librdkafka look at its settings; nothing is connected to.

    Raises:
        SettingsError: a secret's file cannot be read, or librdkafka does not take a setting.
    """
    settings.registry.secret()
    settings.influxdb.secret()
    common, kafka = settings.kafka.client_config(), settings.kafka
    quiet = {"log_level": 0, "group.id": kafka.group_id}
    for key, more in (("consumer_config", kafka.consumer_config), ("producer_config", kafka.producer_config)):
        kind = Consumer if key == "consumer_config" else Producer
        for name, config in (("config", common), (key, {**common, **more})):
            try:
                client = kind({**config, **quiet})
            except (KafkaException, TypeError, ValueError) as error:
                reason = error.args[0]
                said = reason.str() if hasattr(reason, "str") else str(reason)
                raise settings.error(f"kafka.{name}", said) from None
            if isinstance(client, Consumer):
                client.close()


def explain(settings: Settings) -> Iterator[tuple[str, str, str, str]]:
    """Of each setting its key, its environment variable, the value in force (secrets masked), and what it means."""
    for section, field in type(settings).model_fields.items():
        value = getattr(settings, section)
        if not isinstance(value, BaseModel):
            yield section, _variable((section,)), _plain(value), field.description or ""
            continue
        for key, inner in type(value).model_fields.items():
            shown = _plain(getattr(value, key))
            yield f"{section}.{key}", _variable((section, key)), shown, inner.description or ""


def _plain(value: object) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
