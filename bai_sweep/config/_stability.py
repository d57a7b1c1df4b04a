"""The detectors' thresholds (docs/metrics.md has the definitions)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from bai_sweep.config._values import Count, Name, NonNegative, Number, Positive, Ratio, Section

Steps = Annotated[int, Field(ge=0), Number]
Level = Annotated[float, Field(allow_inf_nan=False), Number]


class ShiftConfig(Section):
    """A level that leaves its start and stays away: how far, how soon, for how long."""

    baseline: Count
    window: Count
    early_fraction: Ratio
    suspected: Positive
    certain: Positive
    recovered: NonNegative
    hold: Steps
    min_standard_errors: NonNegative

    @model_validator(mode="after")
    def _ordered(self) -> ShiftConfig:
        if not self.recovered < self.suspected <= self.certain:
            raise ValueError(
                f"recovered < suspected <= certain; got {self.recovered:g}, {self.suspected:g}, {self.certain:g}"
            )
        return self


class DipConfig(Section):
    """An early dip, in standard errors of the series' own noise."""

    baseline: Count
    window: Count
    early_fraction: Ratio
    suspected: Positive
    certain: Positive


class LevelConfig(Section):
    """Levels that the median of the last steps must not reach, once `grace` steps are over."""

    window: Count
    grace: Steps
    suspected: Level
    certain: Level

    @model_validator(mode="after")
    def _same_side(self) -> LevelConfig:
        if self.certain == 0.0 or self.certain * self.suspected < 0.0 or abs(self.suspected) > abs(self.certain):
            raise ValueError(
                "certain is further from 0 than suspected, on the same side of it; "
                f"got suspected={self.suspected:g}, certain={self.certain:g}"
            )
        return self


class StabilityConfig(Section):
    """The detectors' thresholds."""

    name: Name
    length_collapse: ShiftConfig
    reward_hockey_stick: DipConfig
    kl_blow_up: LevelConfig
    entropy_collapse: ShiftConfig
    truncation_runaway: ShiftConfig
    repetition: ShiftConfig
    critic_failure: LevelConfig

    @model_validator(mode="after")
    def _on_the_faults_side(self) -> StabilityConfig:
        if self.kl_blow_up.suspected <= 0.0:
            raise ValueError(f"kl_blow_up: budgets are above 0 nats; got suspected={self.kl_blow_up.suspected:g}")
        if self.critic_failure.certain >= 0.0:
            raise ValueError(
                "critic_failure: 0 is what a constant explains, so certain is below it; "
                f"got certain={self.critic_failure.certain:g}"
            )
        return self
