"""The study as samplers see it: a trial for each point, with the mean over its seeds.

Replicates of a point are trials of their own in the storage. To a sampler they would be several independent
observations of one place, some of them still running; it learns from the mean instead.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence
from typing import Any, Literal

import optuna
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


def _point(group: Sequence[FrozenTrial]) -> FrozenTrial:
    """Complete with the mean once no replicate is under way and one is complete, else as far as the furthest is."""
    complete = [t for t in group if t.state == TrialState.COMPLETE]
    open_ = [t for t in group if not t.state.is_finished()]
    first = next((t for t in group if t.params), group[0])
    if open_ or not complete:
        running = any(t.state == TrialState.RUNNING for t in group)
        pruned = (t.state for t in group if t.state == TrialState.PRUNED)
        ended = next(pruned, TrialState.FAIL)
        state = TrialState.RUNNING if running or (open_ and complete) else TrialState.WAITING if open_ else ended
        return _changed(first, state=state)
    means = [math.fsum(values) / len(complete) for values in zip(*(t.values for t in complete), strict=True)]
    return _changed(first, state=TrialState.COMPLETE, values=means, constraints=_mean_constraints(complete))


def _mean_constraints(complete: Sequence[FrozenTrial]) -> dict[str, Any]:
    names = dict.fromkeys(name for trial in complete for name in trial.constraints)
    return {
        f"constraints:{name}": math.fsum(t.constraints[name] for t in complete if name in t.constraints)
        / sum(name in t.constraints for t in complete)
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
