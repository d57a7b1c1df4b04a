"""What conf/hydra/sweeper/bai.yaml may say; the defaults are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bai_sweep.records import UserError
from bai_sweep.search._constraints import Constraint, parse_constraint

Direction = Literal["maximize", "minimize"]


def _plain(value: object) -> object:
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def _listed(value: object) -> object:
    value = _plain(value)
    return [value] if isinstance(value, str) else value


def _mapping(value: object) -> object:
    return {} if value is None else _plain(value)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReportSettings(_Section):
    """What a pruner compares between trials (conf/hydra/sweeper/bai.yaml explains each)."""

    metric: str
    direction: Direction
    window: Annotated[int, Field(ge=1)]

    @property
    def by_item(self) -> bool:
        """Whether the items of the cheap evaluation are compared, one by one."""
        return self.metric == "eval/items"

    @property
    def by_step(self) -> bool:
        """Whether the telemetry of PPO's steps is compared."""
        return not self.metric.startswith("eval/")


class WarningSettings(_Section):
    """When a trial is ended because it will probably collapse, as the study's other trials have taught."""

    after: Annotated[int, Field(ge=1)]
    probability: Annotated[float, Field(gt=0.5, lt=1.0)]
    skill: Annotated[float, Field(ge=0.0, lt=1.0)]


class CollapseSettings(_Section):
    """When a trial is ended because it has collapsed, or will."""

    detectors: tuple[str, ...]
    patience: Annotated[int, Field(ge=1)]
    warning: WarningSettings | None


class SearchSettings(_Section):
    """The sweeper's settings, checked."""

    params: Annotated[dict[str, Any] | list[str] | None, BeforeValidator(_plain)]
    conditions: Annotated[dict[str, str | list[str]], BeforeValidator(_mapping)]
    n_trials: Annotated[int, Field(ge=1)] | None
    objective: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)]
    direction: Annotated[tuple[Direction, ...], Field(min_length=1), BeforeValidator(_listed)]
    constraints: Annotated[dict[str, str], BeforeValidator(_mapping)]
    sampler: Annotated[dict[str, Any], BeforeValidator(_plain)]
    pruner: Annotated[dict[str, Any] | None, BeforeValidator(_plain)]
    report: Annotated[ReportSettings, BeforeValidator(_plain)]
    collapse: Annotated[CollapseSettings, BeforeValidator(_plain)]
    screen: Annotated[int, Field(ge=1)] | None
    enqueue: Annotated[list[dict[str, Any]], BeforeValidator(_plain)]
    warm_start: Annotated[list[str], BeforeValidator(_listed)]
    storage: str | None
    storage_patience: Annotated[float, Field(ge=0)]
    max_attempts: Annotated[int, Field(ge=1)]
    retries: Annotated[int, Field(ge=0)]
    max_failures: Annotated[int, Field(ge=1)] | None
    lease_seconds: Annotated[float, Field(gt=0)]
    study_functions: str | None
    mode: Literal["run", "join", "plan"]
    calibrate: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _a_direction_each(self) -> SearchSettings:
        if len(self.objective) != len(self.direction):
            raise ValueError(
                f"each objective has a direction; got {len(self.objective)} ({', '.join(self.objective)}) and "
                f"{len(self.direction)} of direction ({', '.join(self.direction)})"
            )
        if len(set(self.objective)) < len(self.objective):
            raise ValueError(f"objectives differ; got {', '.join(self.objective)}")
        return self

    @model_validator(mode="after")
    def _a_pruner_has_what_it_compares(self) -> SearchSettings:
        if self.pruner is None or self.pruner.get("_target_") == "optuna.pruners.NopPruner":
            return self
        if len(self.objective) > 1:
            raise ValueError(
                "Optuna's pruners compare trials by one objective; got "
                f"{len(self.objective)}; take hydra/sweeper/pruner=none (collapse.detectors prunes with any number)"
            )
        if not self.report.by_step and self.screen is None:
            raise ValueError(
                f"report.metric={self.report.metric} is of the cheap evaluation; give it a size, as in "
                "hydra.sweeper.screen=50"
            )
        return self

    @property
    def is_grid(self) -> bool:
        """Whether every point is tried, so that no trial's objective decides about another trial."""
        return self.n_trials is None

    @property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints, parsed."""
        return tuple(parse_constraint(metric, text) for metric, text in self.constraints.items())

    def overrides(self) -> list[str]:
        """`params` as overrides; the command line's come after them and win."""
        if isinstance(self.params, dict):
            return [f"{key}={value}" for key, value in self.params.items()]
        return list(self.params or [])


def parse_settings(raw: Mapping[str, Any]) -> SearchSettings:
    """Checks the sweeper's settings.

    Raises:
        UserError: names every fault with its key and value.
    """
    try:
        settings = SearchSettings.model_validate(dict(raw))
        _ = settings.limits
    except ValidationError as error:
        faults = [_described(fault) for fault in error.errors()]
        raise UserError("bad sweeper settings:\n" + "\n".join(faults)) from None
    return settings


def _described(fault: Any) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return f"  - hydra.sweeper: {message}"
    return f"  - hydra.sweeper.{'.'.join(map(str, fault['loc']))}: {message} (got {fault['input']!r})"
