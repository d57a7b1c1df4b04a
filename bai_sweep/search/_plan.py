"""What a study will search, checked before anything is written; imports no Optuna, so that a fault answers at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from bai_sweep.records import UserError
from bai_sweep.search._definition import common_settings
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._objective import check_objective
from bai_sweep.search._points import check_points
from bai_sweep.search._settings import SearchSettings, parse_settings
from bai_sweep.search._space import Space


@dataclass(frozen=True)
class Plan:
    """The sweeper's settings and the search space, both good, and what the sweep leaves the same in all trials."""

    settings: SearchSettings
    space: Space
    common: Mapping[str, Any]


def plan_study(
    arguments: Sequence[str], settings: Mapping[str, Any], config: DictConfig, loader: ConfigLoader
) -> Plan:
    """Checks the settings, the overrides, the points of the search space, and the objective.

    Raises:
        UserError: every fault of the first of these that has any.
    """
    checked = parse_settings(settings)
    space = parse_space([*checked.overrides(), *arguments], loader)
    if checked.is_grid and not space.is_finite:
        endless = ", ".join(f"{d.key}={d.text}" for d in space.dimensions if d.choices is None)
        raise UserError(
            f"an interval has no last point, so a study over {endless} needs a number of trials; "
            "add hydra.sweeper.n_trials=30"
        )
    configs = check_points(space, config, loader)
    check_objective(checked, configs)
    return Plan(checked, space, common_settings(configs))
