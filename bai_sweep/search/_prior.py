"""What a search knows before its first trial: finished trials of other studies, from their folders or from MLflow.

They become trials of the study without a number: its sampler learns from them, and nothing else counts them.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from bai_sweep.config import TrackingConfig
from bai_sweep.records import TrialResult, UserError
from bai_sweep.search._settings import SearchSettings
from bai_sweep.search._space import Space

MLFLOW = "mlflow:"

_log = logging.getLogger(__name__)


def read_prior(settings: SearchSettings, space: Space, tracking: TrackingConfig) -> list[FrozenTrial]:
    """The trials of `warm_start` that lie in the search space and have the objectives.

    Args:
        settings: the sweeper's.
        space: what is searched.
        tracking: where MLflow's runs are.

    Raises:
        UserError: a source is not there, or has no such trial.
    """
    found: list[FrozenTrial] = []
    for source in settings.warm_start:
        from_mlflow = source.startswith(MLFLOW)
        finished = list(_from_mlflow(source, space, tracking) if from_mlflow else _from_folder(source))
        usable = [trial for point, metrics in finished if (trial := _trial(point, metrics, settings, space, source))]
        if not usable:
            raise UserError(
                f"hydra.sweeper.warm_start: of the {len(finished)} finished trials of {source} none lies in this "
                f"search space with a value of {', '.join(settings.objective)}; take another study, or leave it out"
            )
        _log.info("warm start: %d of %d trials of %s", len(usable), len(finished), source)
        found += usable
    return found


def _trial(
    point: Mapping[str, Any], metrics: Mapping[str, float], settings: SearchSettings, space: Space, source: str
) -> FrozenTrial | None:
    values = [metrics.get(name, math.nan) for name in settings.objective]
    if any(map(math.isnan, values)):
        return None
    swept = {d.key for d in space.dimensions}
    if point.keys() - swept - {"seed"}:
        return None
    try:
        params = space.encode(space.active({key: value for key, value in point.items() if key in swept}))
    except (KeyError, ValueError):  # it lacks a key, or is elsewhere
        return None
    distributions = space.distributions()
    constraints = {f"constraints:{c.metric}": min(c.violation(metrics), 1e9) for c in settings.limits}
    return optuna.trial.create_trial(
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        values=values,
        user_attrs={"source": source},
        system_attrs=constraints,
    )


def _from_folder(source: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, float]]]:
    trials = Path(source).expanduser() / "trials"
    if not trials.is_dir():
        raise UserError(
            f"hydra.sweeper.warm_start names folders of studies (results/<study>) or {MLFLOW}<run id>; {source} holds "
            "no trials"
        )
    for path in sorted(trials.glob("*/result.json")):
        result = TrialResult.load(path.parent)
        if result.pruned is None:
            yield result.params, result.metrics()


def _from_mlflow(
    source: str, space: Space, tracking: TrackingConfig
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, float]]]:
    from bai_sweep.tracking import finished_trials

    try:
        for params, metrics in finished_trials(tracking, source.removeprefix(MLFLOW)):
            yield {d.key: _value(d.key, params) for d in space.dimensions}, metrics
    except UserError as error:
        raise UserError(f"hydra.sweeper.warm_start: {error}") from error


def _value(key: str, params: Mapping[str, str]) -> Any:
    """A swept key's value among the texts that MLflow has of a whole configuration."""
    for name in (key, f"{key}.name"):  # a config group goes by the name of what was chosen
        if name in params:
            return _parsed(params[name])
    return {name.removeprefix(f"{key}."): _parsed(text) for name, text in params.items() if name.startswith(f"{key}.")}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
