"""The study as samplers see it: a trial for each point, with the mean over its seeds.

Replicates of a point are trials of their own in the storage. To a sampler they would be several independent
observations of one place, some of them still running; it learns from the mean instead. And a trial that ended early
has no value: most samplers would not know that it was tried. To them it is as bad as the worst that there is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence
from typing import Any, Literal

import optuna
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

NUMBER = "number"


class PointView(optuna.Study):
    """A study whose trials are its points; what a sampler stores goes to the study itself.

    Args:
        study: the study.
        seeds: trials of each point.
    """

    def __init__(self, study: optuna.Study, seeds: int) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._seeds = seeds

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = super()._get_trials(deepcopy=False, states=None, use_cache=use_cache)
        seen = fold(trials, self._seeds) if self._seeds > 1 else trials
        if not isinstance(self.sampler, TPESampler):  # which ranks them by how far they came
            seen = with_worst(seen, self.directions)
        kept = [trial for trial in seen if states is None or trial.state in states]
        return copy.deepcopy(kept) if deepcopy else kept

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """As `Study.get_trials`, of the points."""
        return self._get_trials(deepcopy, states)


def fold(trials: Sequence[FrozenTrial], seeds: int) -> list[FrozenTrial]:
    """A trial for each point, in place of its first one; trials that belong to no point stay as they are."""
    groups: dict[int | None, list[FrozenTrial]] = {}
    for trial in trials:
        number = trial.user_attrs.get(NUMBER)
        groups.setdefault(None if number is None else number // seeds, []).append(trial)
    others = groups.pop(None, [])
    folded = [_point(group) for group in groups.values()]
    return sorted([*others, *folded], key=lambda trial: trial.number)


def with_worst(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Trials that ended early get the worst value of the complete ones; without any of these, none."""
    complete = [trial.values for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return list(trials)
    worst = [
        min(values) if direction == StudyDirection.MAXIMIZE else max(values)
        for values, direction in zip(zip(*complete, strict=True), directions, strict=True)
    ]
    return [
        _changed(t, state=TrialState.COMPLETE, values=worst) if t.state == TrialState.PRUNED and t.params else t
        for t in trials
    ]


def _point(group: Sequence[FrozenTrial]) -> FrozenTrial:
    """Complete with the mean once no replicate is under way and one is complete, else as far as the furthest is."""
    complete = [t for t in group if t.state == TrialState.COMPLETE]
    open_ = [t for t in group if not t.state.is_finished()]
    first = next((t for t in group if t.params), group[0])
    if open_ or not complete:
        running = any(t.state == TrialState.RUNNING for t in group)
        over = next((t.state for t in group if t.state == TrialState.PRUNED), TrialState.FAIL)
        state = TrialState.RUNNING if running or (open_ and complete) else TrialState.WAITING if open_ else over
        return _changed(first, state=state)
    means = [math.fsum(values) / len(complete) for values in zip(*(t.values for t in complete), strict=True)]
    ended = [t for t in group if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return _changed(first, state=TrialState.COMPLETE, values=means, constraints=_mean_constraints(ended))


def _mean_constraints(ended: Sequence[FrozenTrial]) -> dict[str, Any]:
    names = dict.fromkeys(name for trial in ended for name in trial.constraints)
    return {
        f"constraints:{name}": math.fsum(t.constraints[name] for t in ended if name in t.constraints)
        / sum(name in t.constraints for t in ended)
        for name in names
    }


def _changed(
    trial: FrozenTrial,
    *,
    state: TrialState,
    values: list[float] | None = None,
    constraints: dict[str, Any] | Literal[None] = None,
) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.state = state
    changed.values = values
    if constraints:
        changed.system_attrs = {**trial.system_attrs, **constraints}
    if state.is_finished() and changed.datetime_complete is None:
        changed.datetime_complete = changed.datetime_start
    return changed
