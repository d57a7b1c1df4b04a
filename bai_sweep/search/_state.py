"""A study's state, read from its storage alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search._grid import GRID
from bai_sweep.search._queue import OUTCOME, POINT, REASON, STOP, TOTAL, WITHDRAWN
from bai_sweep.search._view import NUMBER, fold

OBJECTIVES, SEEDS = "objectives", "seeds"  # a study's attributes
_SHOWN = 5


@dataclass(frozen=True)
class Best:
    """A point among the best: the mean of each objective over its seeds, and the standard error of that mean.

    Args:
        numbers: of its finished trials.
        label: the point as people write it.
        values: by objective.
        errors: by objective; NaN for a single seed.
        feasible: whether the means keep to the constraints.
    """

    numbers: tuple[int, ...]
    label: str
    values: tuple[float, ...]
    errors: tuple[float, ...]
    feasible: bool

    @staticmethod
    def label_of(trial: FrozenTrial) -> str:
        """`alpha=0.5, weights={instruct: 0.3, distilled: 0.7}`."""
        return ", ".join(f"{key}={_short(value)}" for key, value in trial.user_attrs.get(POINT, trial.params).items())


@dataclass(frozen=True)
class StudyState:
    """Where a study is; the last of several Optuna trials of one number tells.

    Args:
        total: trials owed in all.
        finished: those with a result, early or not.
        pruned: of these, the ones that ended early.
        running: those that some worker holds.
        failures: reasons by number.
        objectives: names of the metrics.
        directions: of the objectives.
        best: the best points, or those that no other one dominates.
        stopped: why no further trial begins; empty while the study goes on.
    """

    total: int
    finished: tuple[FrozenTrial, ...]
    pruned: tuple[FrozenTrial, ...]
    running: tuple[FrozenTrial, ...]
    failures: Mapping[int, str]
    objectives: tuple[str, ...]
    directions: tuple[StudyDirection, ...]
    best: tuple[Best, ...]
    stopped: str


def read_state(study: optuna.Study) -> StudyState:
    """Reads it."""
    attrs = study.user_attrs
    trials = [t for t in study.get_trials(deepcopy=False) if NUMBER in t.user_attrs]
    finished = tuple(t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED))
    ended = {t.user_attrs[NUMBER] for t in finished}
    failed = {t.user_attrs[NUMBER]: t for t in trials if t.user_attrs.get(OUTCOME) in ("failed", "exhausted")}
    without = set(attrs.get(WITHDRAWN, [])) - ended - failed.keys()
    alive = {t.user_attrs[NUMBER] for t in trials if not t.state.is_finished()}
    return StudyState(
        total=attrs.get(TOTAL, 0) - len(without),
        finished=finished,
        pruned=tuple(t for t in finished if t.state == TrialState.PRUNED),
        running=tuple(t for t in trials if t.state == TrialState.RUNNING),
        failures={n: t.user_attrs[REASON] for n, t in sorted(failed.items()) if n not in ended | alive},
        objectives=tuple(attrs.get(OBJECTIVES, ["objective"])),
        directions=tuple(study.directions),
        best=tuple(_best(study, trials, attrs.get(SEEDS, 1))),
        stopped=attrs.get(STOP, ""),
    )


def add_points(study: optuna.Study, more: int) -> int:
    """Makes a search owe `more` points than it does; how many it has then.

    Raises:
        UserError: the study is a grid, which has all its points.
    """
    from bai_sweep.records import UserError

    attrs = study.user_attrs
    if attrs.get(GRID):
        raise UserError(
            f"study {study.study_name} is a grid and has all its points; a larger one is another search space: "
            "resume it with the new space and force=true"
        )
    seeds = attrs.get(SEEDS, 1)
    total = attrs.get(TOTAL, 0) + more * seeds
    study.set_user_attr(TOTAL, total)
    return int(total // seeds)


def request_stop(study: optuna.Study, reason: str) -> None:
    """Lets no further trial begin, and running ones end at their next safe point."""
    study.set_user_attr(STOP, reason)


def take_stop_back(study: optuna.Study) -> None:
    """Lets trials begin again."""
    study.set_user_attr(STOP, "")


def _best(study: optuna.Study, trials: Sequence[FrozenTrial], seeds: int) -> list[Best]:
    points = [t for t in fold(trials, seeds) if t.state == TrialState.COMPLETE]
    feasible = [t for t in points if all(value <= 0 for value in t.constraints.values())]
    kept = feasible or points
    signs = [1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in study.directions]
    scores = {t.number: [s * v for s, v in zip(signs, t.values, strict=True)] for t in kept}
    front = [t for t in kept if not any(_dominates(scores[o.number], scores[t.number]) for o in kept)]
    ranked = sorted(front if len(signs) > 1 else kept, key=lambda t: scores[t.number], reverse=True)
    return [_summary(t, trials, seeds, bool(feasible)) for t in ranked[:_SHOWN]]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and list(one) != list(other)


def _summary(point: FrozenTrial, trials: Sequence[FrozenTrial], seeds: int, feasible: bool) -> Best:
    index = point.user_attrs[NUMBER] // seeds
    own = [t for t in trials if t.state == TrialState.COMPLETE and t.user_attrs[NUMBER] // seeds == index]
    errors = tuple(standard_error(values) for values in zip(*(t.values for t in own), strict=True))
    numbers = tuple(sorted(t.user_attrs[NUMBER] for t in own))
    return Best(numbers, Best.label_of(own[0]), tuple(point.values), errors, feasible)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of independent values, from their sample variance; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
