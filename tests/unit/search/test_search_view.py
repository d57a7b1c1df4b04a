"""Replicates of a point, folded for the sampler: the expected means are written out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from bai_sweep.search._view import NUMBER, PointView, fold

COMPLETE, RUNNING, WAITING, FAIL, PRUNED = (
    TrialState.COMPLETE,
    TrialState.RUNNING,
    TrialState.WAITING,
    TrialState.FAIL,
    TrialState.PRUNED,
)


def _trial(
    index: int,
    number: int | None,
    state: TrialState,
    *,
    values: list[float] | None = None,
    x: float | None = 0.5,
    constraints: Mapping[str, float] | None = None,
) -> FrozenTrial:
    """Optuna's trial `index`; ours has `number`, or none."""
    trial = optuna.trial.create_trial(
        state=state,
        values=values,
        params={} if x is None else {"x": x},
        distributions={} if x is None else {"x": FloatDistribution(0, 1)},
        user_attrs={} if number is None else {NUMBER: number},
        system_attrs={f"constraints:{name}": value for name, value in (constraints or {}).items()},
    )
    trial.number = index
    return trial


def test_finished_replicates_are_one_trial_with_their_mean() -> None:
    trials = [
        _trial(0, 0, COMPLETE, values=[1.0, 10.0], constraints={"kl": -1.0}),
        _trial(1, 1, COMPLETE, values=[2.0, 20.0], constraints={"kl": 4.0}),
        _trial(2, 2, COMPLETE, values=[6.0, 60.0], constraints={"kl": 0.0}),
        _trial(3, 3, COMPLETE, values=[7.0, 7.0], x=0.25),
    ]
    first, second = fold(trials, 3)
    assert (first.state, first.values, first.params) == (COMPLETE, [3.0, 30.0], {"x": 0.5})
    assert first.constraints == {"kl": 1.0}
    assert first.number == 0
    assert (second.values, second.params, second.constraints) == ([7.0, 7.0], {"x": 0.25}, {})
    assert trials[0].values == [1.0, 10.0]  # the storage's own trials stay as they are
    assert trials[0].constraints == {"kl": -1.0}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([COMPLETE, COMPLETE], COMPLETE),
        ([COMPLETE, RUNNING], RUNNING),
        ([COMPLETE, WAITING], RUNNING),
        ([RUNNING, WAITING], RUNNING),
        ([FAIL, RUNNING], RUNNING),
        ([WAITING, WAITING], WAITING),
        ([FAIL, WAITING], WAITING),
        ([COMPLETE, FAIL], COMPLETE),
        ([FAIL, COMPLETE], COMPLETE),
        ([COMPLETE, PRUNED], COMPLETE),
        ([FAIL, FAIL], FAIL),
        ([PRUNED, PRUNED], PRUNED),
        ([PRUNED, FAIL], PRUNED),
        ([FAIL, PRUNED], PRUNED),
    ],
)
def test_a_point_is_as_far_as_its_replicates(states: list[TrialState], expected: TrialState) -> None:
    trials = [
        _trial(index, index, state, values=[4.0] if state == COMPLETE else None) for index, state in enumerate(states)
    ]
    (point,) = fold(trials, 2)
    assert point.state == expected
    assert point.values == ([4.0] if expected == COMPLETE else None)


def test_attempts_that_were_lost_belong_to_their_point_and_priors_to_none() -> None:
    trials = [
        _trial(0, None, COMPLETE, values=[9.0], x=0.9),  # from another study
        _trial(1, 0, FAIL, x=None),  # lost before it chose
        _trial(2, 1, COMPLETE, values=[1.0], x=0.3),
        _trial(3, 2, WAITING, x=None),
        _trial(4, 0, COMPLETE, values=[3.0], x=0.3),
    ]
    seen = fold(trials, 2)
    assert [(t.number, t.state, t.values) for t in seen] == [
        (0, COMPLETE, [9.0]),
        (2, COMPLETE, [2.0]),
        (3, WAITING, None),
    ]
    assert seen[1].params == {"x": 0.3}


@pytest.mark.parametrize("kind", ["memory", "journal"])
def test_the_view_is_a_study_of_points(kind: str, tmp_path: object) -> None:
    from bai_sweep.search._storage import StorageAddress

    storage = None if kind == "memory" else StorageAddress(tmp_path, None).open()  # type: ignore[arg-type]
    study = optuna.create_study(storage=storage, direction="minimize")
    study.add_trial(optuna.trial.create_trial(values=[5.0]))
    for number, value in enumerate([1.0, 2.0, 0.0, 0.5]):
        study.add_trial(optuna.trial.create_trial(values=[value], user_attrs={NUMBER: number}))
    view = PointView(study, 2)
    assert [t.values for t in view.trials] == [[5.0], [1.5], [0.25]]
    assert view.get_trials(states=(RUNNING,)) == []
    assert len(view.get_trials(deepcopy=False, states=(COMPLETE,))) == 3
    assert [t.values for t in PointView(study, 1).trials] == [[5.0], [1.0], [2.0], [0.0], [0.5]]
    view.trials[0].values = [math.inf]
    assert view.trials[0].values == [5.0]


def test_samplers_that_ignore_early_ends_see_them_as_the_worst_there_is() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for values in ([1.0, 5.0], [3.0, 2.0]):
        trial = study.ask()
        trial.suggest_float("alpha", 0, 1)
        study.tell(trial, values)
    early = study.ask()
    early.suggest_float("alpha", 0, 1)
    study._storage.set_trial_state_values(early._trial_id, TrialState.PRUNED)
    seen = {}
    for sampler in (optuna.samplers.NSGAIISampler(seed=0), optuna.samplers.TPESampler(seed=0)):
        view = PointView(study, 1)
        view.sampler = sampler
        seen[type(sampler).__name__] = view.get_trials()[2]
    assert (seen["NSGAIISampler"].state, seen["NSGAIISampler"].values) == (TrialState.COMPLETE, [1.0, 5.0])
    assert seen["TPESampler"].state == TrialState.PRUNED
    assert study.trials[2].state == TrialState.PRUNED  # the study itself is as it was


def test_a_replicate_that_ended_early_counts_in_its_points_constraints() -> None:
    def replicate(number: int, state: TrialState, violation: float) -> FrozenTrial:
        trial = optuna.trial.create_trial(
            state=state,
            value=1.0 if state == TrialState.COMPLETE else None,
            user_attrs={"number": number},
            system_attrs={"constraints:collapse": violation},
        )
        trial.number = number
        return trial

    (point,) = fold([replicate(0, TrialState.COMPLETE, -0.2), replicate(1, TrialState.PRUNED, 0.6)], 2)
    assert point.state == TrialState.COMPLETE
    assert point.constraints == {"collapse": pytest.approx(0.2)}
