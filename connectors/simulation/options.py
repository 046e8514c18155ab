"""What is simulated, and what goes wrong in it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, field_validator, model_validator

Preset = Literal["clean", "field", "trouble"]
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PerDay = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


class Faults(BaseModel):
    """What goes wrong; zero is never. A rate that is not zero hits at least once, if there is anybody left to hit.

    A customer has one trouble of a kind at most, and with everything at its highest rate not all find someone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    late_rate: Rate = Field(0, description="Readings that arrive 16 min to 12 h late.")
    duplicate_rate: Rate = Field(0, description="Readings that arrive twice, the copy up to 1 h later.")
    missing_rate: Rate = Field(0, description="Readings that never arrive.")
    out_of_order_rate: Rate = Field(0, description="Readings that the meter's next one overtakes.")

    class_error_percent: NonNegativeFloat = Field(
        0, le=5, description="Gain error of customers' registers, standard deviation."
    )
    head_class_error_percent: NonNegativeFloat = Field(0, le=5, description="The same of the head meters.")
    voltage_error_percent: NonNegativeFloat = Field(0, le=5, description="Gain error of voltages, standard deviation.")
    voltage_noise_v: NonNegativeFloat = Field(0, le=10, description="Noise of each voltage, standard deviation.")
    clock_offset_rate: Rate = Field(0, description="Meters whose clock is 30 s to 10 min off.")
    clock_drift_rate: Rate = Field(0, description="Meters whose clock drifts by 20 to 400 ppm.")
    rollover_rate: Rate = Field(0, description="Meters whose import register passes its last digit.")
    exchange_rate: Rate = Field(0, description="Usage points whose meter is exchanged, with a record.")

    theft_partial_rate: Rate = Field(0, description="Customers whose meter counts 30 to 70 % from some time on.")
    theft_night_rate: Rate = Field(0, description="The same, nothing between 22:00 and 06:00 local time.")
    theft_bypass_rate: Rate = Field(0, description="The same, nothing at all.")
    moved_rate: Rate = Field(0, description="Customers moved to a neighbouring transformer without a record.")
    rephased_rate: Rate = Field(0, description="Single-phase customers moved to another phase without a record.")
    wrong_transformer_rate: Rate = Field(0, description="Usage points recorded at a neighbouring transformer.")
    wrong_phase_rate: Rate = Field(0, description="Single-phase usage points recorded on another phase.")

    switching_per_day: PerDay = Field(0, description="Planned re-supplies over an open point, per substation.")
    faults_per_day: PerDay = Field(0, description="Cable faults on feeders, per substation.")

    ied_silence_per_day: PerDay = Field(0, description="IEDs that fall silent for minutes, per IED.")
    ied_restart_per_day: PerDay = Field(0, description="IEDs that restart, per IED.")
    ied_time_loss_per_day: PerDay = Field(0, description="IEDs that lose their time source, per IED.")
    ied_false_publisher_per_day: PerDay = Field(0, description="GOOSE streams that somebody else imitates, per IED.")
    ied_config_change_per_day: PerDay = Field(0, description="IEDs whose data set changes, per IED.")
    ied_outage_per_day: PerDay = Field(0, description="Outages of a station network, per substation.")


_FIELD = {
    "late_rate": 0.03,
    "duplicate_rate": 0.005,
    "missing_rate": 0.005,
    "out_of_order_rate": 0.005,
    "class_error_percent": 0.35,
    "head_class_error_percent": 0.1,
    "voltage_error_percent": 0.25,
    "voltage_noise_v": 0.08,
    "clock_offset_rate": 0.003,
    "clock_drift_rate": 0.003,
}
_TROUBLE = {
    **_FIELD,
    "rollover_rate": 0.001,
    "exchange_rate": 0.001,
    "theft_partial_rate": 0.001,
    "theft_night_rate": 0.0005,
    "theft_bypass_rate": 0.0005,
    "moved_rate": 0.002,
    "rephased_rate": 0.002,
    "wrong_transformer_rate": 0.002,
    "wrong_phase_rate": 0.005,
    "switching_per_day": 0.5,
    "faults_per_day": 0.5,
    "ied_silence_per_day": 0.02,
    "ied_restart_per_day": 0.02,
    "ied_time_loss_per_day": 0.02,
    "ied_false_publisher_per_day": 0.02,
    "ied_config_change_per_day": 0.02,
    "ied_outage_per_day": 0.1,
}
_PRESETS: dict[str, dict[str, float]] = {"clean": {}, "field": _FIELD, "trouble": _TROUBLE}


def preset(name: Preset, **changed: float | None) -> Faults:
    """A preset, with some rates changed; those that are None are left.

    Args:
        name: clean (nothing goes wrong), field (everyday delivery and accuracy), trouble (everything).
        changed: fields of ``Faults``.

    Raises:
        pydantic.ValidationError: a rate out of its range.
    """
    return Faults(**{**_PRESETS[name], **{key: value for key, value in changed.items() if value is not None}})


class Options(BaseModel):
    """What is simulated.

    A seed, with the same options, gives the same bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    meters: int = Field(2_000, ge=1, le=2_000_000, description="Customers' meters; head meters come on top.")
    days: float = Field(1.0, gt=0, le=1100, allow_inf_nan=False, description="Length; a whole number of intervals.")
    seed: int = Field(1, ge=0, le=2**63 - 1, description="Another seed, another city.")
    start: datetime = Field(datetime(2026, 3, 16, tzinfo=UTC), description="First reading; no zone means UTC.")
    interval_minutes: int = Field(15, description="Between two readings of a meter; divides an hour.")
    register_step_kwh: float = Field(0.001, gt=0, le=1, description="Registers are cut to whole steps.")
    voltage_step_v: float = Field(0.1, gt=0, le=10, description="Voltages are rounded to whole steps.")
    goose_heartbeat_seconds: float = Field(10.0, ge=0.1, le=60, description="Between GOOSE without a change of state.")
    report_seconds: int = Field(60, ge=1, le=3600, description="Integrity period of the IEDs' reports.")
    faults: Faults = Faults()

    @field_validator("start")
    @classmethod
    def _in_utc(cls, start: datetime) -> datetime:
        return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)

    @model_validator(mode="after")
    def _whole_intervals(self) -> Self:
        if self.interval_minutes < 1 or 60 % self.interval_minutes:
            raise ValueError(f"interval_minutes {self.interval_minutes} does not divide an hour")
        if self.start.timestamp() % (60 * self.interval_minutes):
            raise ValueError(f"start {self.start.isoformat()} is not a whole interval of {self.interval_minutes} min")
        if not datetime(1990, 1, 2, tzinfo=UTC) <= self.start <= datetime(2190, 1, 1, tzinfo=UTC):
            raise ValueError(f"start {self.start.isoformat()} is not between 1990 and 2190")
        steps = self.days * 1440 / self.interval_minutes
        if abs(steps - round(steps)) > 0.01 or round(steps) < 1:
            raise ValueError(f"days {self.days:g} is not a whole number of intervals of {self.interval_minutes} min")
        return self

    @property
    def steps(self) -> int:
        """Number of intervals."""
        return round(self.days * 1440 / self.interval_minutes)

    @property
    def start_us(self) -> int:
        """The first reading, µs since 1970."""
        return round(self.start.timestamp()) * 1_000_000

    @property
    def interval_us(self) -> int:
        """Length of an interval, µs."""
        return self.interval_minutes * 60_000_000

    @property
    def end_us(self) -> int:
        """The last reading, µs since 1970."""
        return self.start_us + self.steps * self.interval_us
