"""What a study will search, checked before anything is written; imports no Optuna, so that a fault answers at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from pydantic import ValidationError

from bai_sweep.config import EvaluationConfig, NoRL, StabilityConfig, TrialConfig
from bai_sweep.records import UserError
from bai_sweep.search._definition import common_settings
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._objective import check_metrics
from bai_sweep.search._points import check_points
from bai_sweep.search._settings import SearchSettings, parse_settings
from bai_sweep.search._space import Space


@dataclass(frozen=True)
class Plan:
    """The sweeper's settings and the search space, both good, and what the sweep leaves the same in all trials.

    Args:
        settings: the sweeper's.
        space: what is searched.
        seeds: how often each point is run.
        common: the settings that all trials have, by dotted key.
        configs: those of the points that were checked.
    """

    settings: SearchSettings
    space: Space
    seeds: int
    common: Mapping[str, Any]
    configs: tuple[TrialConfig, ...]

    @property
    def points(self) -> int:
        """How many points are tried."""
        return self.settings.n_trials or len(self.space.grid())


def plan_study(
    arguments: Sequence[str], settings: Mapping[str, Any], config: DictConfig, loader: ConfigLoader
) -> Plan:
    """Checks the settings, the overrides, the points of the search space, and what trials are compared by.

    Raises:
        UserError: every fault of the first of these that has any.
    """
    checked = parse_settings(settings)
    space = parse_space([*checked.overrides(), *arguments], loader, config, checked.conditions)
    if checked.is_grid and not space.is_finite:
        endless = ", ".join(f"{d.key}={d.text}" for d in space.dimensions if d.choices is None)
        raise UserError(
            f"an interval has no last point, so a study over {endless} needs a number of trials; "
            "add hydra.sweeper.n_trials=30"
        )
    configs = check_points(space, config, loader)
    seeds = configs[0].seeds
    _check_seeds(space, seeds)
    check_metrics(checked, configs)
    _check_early_ends(checked, configs)
    _check_enqueued(checked, space)
    return Plan(checked, space, seeds, common_settings(configs), tuple(configs))


def _check_seeds(space: Space, seeds: int) -> None:
    if seeds > 1 and any(d.key == "seed" for d in space.dimensions):
        raise UserError(f"seeds={seeds} runs each point with several seeds; seed is swept too; take one of the two")


def _check_early_ends(settings: SearchSettings, configs: Sequence[TrialConfig]) -> None:
    known = [name for name in StabilityConfig.model_fields if name != "name"]
    if strange := [name for name in settings.collapse.detectors if name not in known]:
        raise UserError(f"hydra.sweeper.collapse.detectors are some of {', '.join(known)}; got {strange[0]}")
    if settings.screen is None:
        return
    for config in configs:
        evaluation = config.evaluation
        try:
            EvaluationConfig.model_validate({**evaluation.model_dump(), "subset": settings.screen})
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UserError(f"hydra.sweeper.screen={settings.screen} cannot be had: {why}") from None
        if not evaluation.benchmarks:
            raise UserError(
                f"hydra.sweeper.screen is a cheap evaluation; evaluation={evaluation.name} has no benchmarks"
            )
    if all(isinstance(config.rl, NoRL) for config in configs) and settings.report.by_step:
        raise UserError(
            f"without RL there is no {settings.report.metric} to report; take hydra.sweeper.report.metric=eval/overall"
        )


def _check_enqueued(settings: SearchSettings, space: Space) -> None:
    given = {"enqueue": settings.enqueue, "warm_start": settings.warm_start}
    if settings.is_grid and (useless := [name for name, value in given.items() if value]):
        raise UserError(
            f"hydra.sweeper.{useless[0]} is for samplers, and a grid has every point; add hydra.sweeper.n_trials=..."
        )
    if settings.n_trials is not None and len(settings.enqueue) > settings.n_trials:
        raise UserError(
            f"hydra.sweeper.enqueue has {len(settings.enqueue)} points, more than n_trials={settings.n_trials}; "
            "raise that"
        )
    for point in settings.enqueue:
        try:
            space.encode(point)
        except ValueError as error:
            raise UserError(f"hydra.sweeper.enqueue has a point outside the search space: {error}") from None
