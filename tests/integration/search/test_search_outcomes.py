"""Trials that end early, keep to bounds or have several objectives, in whole studies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig
from optuna.study import StudyDirection
from optuna.trial import TrialState

from bai_sweep.records import StepTelemetry
from bai_sweep.search import RunningTrial, TrialOutcome
from bai_sweep.search.control import read_state, request_stop, take_stop_back
from bai_sweep.signals import TrialPruned
from tests.integration.search.studies import Studies

SEARCH = ("alpha=interval(0,1)", "hydra.sweeper.n_trials=6")
BOUND = 'hydra.sweeper.constraints={objective/final_kl: "<= 5", stability/length_ratio: ">= 0.25"}'
BOTH = ("hydra.sweeper.objective=[eval/overall,objective/final_kl]", "hydra.sweeper.direction=[maximize,minimize]")
SMALL = {
    "tpe": "+hydra.sweeper.sampler.n_startup_trials=2",
    "gp": "+hydra.sweeper.sampler.n_startup_trials=2",
    "nsga2": "hydra.sweeper.sampler.population_size=2",
}


def _outcome(trial: RunningTrial, cfg: DictConfig) -> TrialOutcome:
    """Higher alphas score better and drift further; trial 1 does not say how long its responses are."""
    metrics = {"eval/overall": float(cfg.alpha), "objective/final_kl": 10 * float(cfg.alpha)}
    return TrialOutcome(
        metrics if trial.number == 1 else {**metrics, "stability/length_ratio": 1.0 - float(cfg.alpha)}
    )


@pytest.mark.parametrize("sampler", SMALL)
def test_samplers_hear_how_far_outside_a_trial_is(studies: Studies, sampler: str) -> None:
    studies.run(*SEARCH, BOUND, f"hydra/sweeper/sampler={sampler}", SMALL[sampler], task=_outcome)
    trials = studies.trials()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    for number, trial in enumerate(trials):
        alpha = trial.params["alpha"]
        length = 1e9 if number == 1 else 0.25 - (1 - alpha)
        assert trial.constraints == pytest.approx(
            {"objective/final_kl": 10 * alpha - 5, "stability/length_ratio": length}
        )
    good = [t.params["alpha"] for n, t in enumerate(trials) if t.params["alpha"] <= 0.5 and n != 1]
    best = read_state(studies.study()).best
    if good:
        assert all(point.feasible for point in best)
        assert [point.values[0] for point in best] == sorted(good, reverse=True)[:5]
    else:
        assert not any(point.feasible for point in best)


def test_with_no_trial_inside_the_bounds_the_best_is_said_to_be_outside(studies: Studies) -> None:
    constraint = 'hydra.sweeper.constraints={objective/final_kl: "<= -1"}'
    studies.run("alpha=0.2,0.4", constraint, task=_outcome)
    best = read_state(studies.study()).best
    assert [(point.values, point.feasible) for point in best] == [((0.4,), False), ((0.2,), False)]


def _two(_trial: RunningTrial, cfg: DictConfig) -> TrialOutcome:
    alpha = float(cfg.alpha)
    return TrialOutcome({"eval/overall": alpha, "objective/final_kl": abs(alpha - 0.5)})


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", pytest.param("gp", marks=pytest.mark.slow)])
def test_several_objectives_each_in_its_direction(studies: Studies, sampler: str) -> None:
    studies.run(*SEARCH, *BOTH, f"hydra/sweeper/sampler={sampler}", SMALL[sampler], task=_two)
    assert studies.study().directions == [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    values = list(studies.values().values())
    assert len(values) == 6
    front = [v for v in values if not any(o[0] >= v[0] and o[1] <= v[1] and o != v for o in values)]
    state = read_state(studies.study())
    assert state.objectives == ("eval/overall", "objective/final_kl")
    assert sorted(list(point.values) for point in state.best) == sorted(front)[-5:]


def test_one_objective_that_is_missing_fails_the_trial_alone(studies: Studies) -> None:
    def task(trial: RunningTrial, cfg: DictConfig) -> TrialOutcome:
        outcome = _two(trial, cfg)
        return TrialOutcome({**outcome.metrics, "objective/final_kl": math.nan}) if trial.number == 0 else outcome

    studies.fails("alpha=interval(0,1)", "hydra.sweeper.n_trials=3", *BOTH, code=1, task=task)
    first, *others = studies.trials()
    assert "the objective objective/final_kl is not a number" in first.user_attrs["reason"]
    assert [t.state for t in others] == [TrialState.COMPLETE] * 2


def test_objectives_without_a_direction_each_are_refused(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.fails(*SEARCH, BOTH[0], code=2)
    assert "each objective has a direction; got 2" in capsys.readouterr().err
    studies.fails(*SEARCH, *BOTH, "hydra/sweeper/pruner=median", code=2)
    assert "Optuna's pruners compare trials by one objective" in capsys.readouterr().err
    studies.fails(*SEARCH, 'hydra.sweeper.constraints={objective/kl: "<= 5"}', code=2)
    assert "hydra.sweeper.constraints names metrics of the trials; got 'objective/kl'" in capsys.readouterr().err
    assert list(studies.folder.iterdir()) == []


def _training(lengths: Callable[[float], list[float]]) -> Any:
    def task(trial: RunningTrial, cfg: DictConfig) -> TrialOutcome:
        telemetry: list[StepTelemetry] = []
        try:
            for step, length in enumerate(lengths(float(cfg.alpha)), 1):
                metrics = {"completions/mean_length": length, "objective/scores": 0.0, "objective/kl": 0.1}
                telemetry.append(StepTelemetry(step, metrics))
                trial.monitor.step(telemetry)
        except TrialPruned as ended:
            return TrialOutcome({}, str(ended))
        return TrialOutcome({"eval/overall": float(cfg.alpha), "objective/final_kl": float(step)})

    return task


def test_a_collapsed_trial_is_ended_in_a_search_of_two_objectives(studies: Studies) -> None:
    task = _training(lambda alpha: [100.0] * 4 + [20.0 if alpha == 0.25 else 100.0] * 20)
    studies.run(
        "alpha=interval(0,1)",
        "hydra.sweeper.n_trials=2",
        "hydra.sweeper.enqueue=[{alpha: 0.25}, {alpha: 0.75}]",
        "hydra.sweeper.collapse.detectors=[length_collapse]",
        *BOTH,
        task=task,
    )
    ended, whole = studies.trials()
    assert ended.state == TrialState.PRUNED  # and no failure, though a sampler has no value of it
    assert ended.user_attrs["reason"].startswith(
        "length_collapse is certain at step 18, and was for 3 steps: from 100"
    )
    assert whole.values == [0.75, 24.0]
    assert not list(studies.folder.glob("results/default/trials/*/failure.txt"))


def test_a_stop_that_is_asked_for_elsewhere_ends_running_trials_too(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(trial: RunningTrial, cfg: DictConfig) -> float:
        if trial.number == 1 and len(studies.ran) == 2:
            request_stop(studies.study(), "asked by hand")
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                trial.monitor.safe_point()
        return float(cfg.alpha)

    grid = ("alpha=0.1,0.5,0.9", "hydra.sweeper.lease_seconds=0.6")  # looks three times as often
    studies.fails(*grid, code=1, task=task)
    assert studies.numbers() == [0, 1]
    said = capsys.readouterr().err
    assert "unfinished: trials 1-2; the study was stopped: asked by hand; the same command with resume=true" in said
    state = read_state(studies.study())
    assert (state.stopped, len(state.finished), state.running) == ("asked by hand", 1, ())
    studies.run(*grid, "resume=true")
    assert studies.numbers() == [1, 2]
    request_stop(studies.study(), "again")
    take_stop_back(studies.study())
    assert read_state(studies.study()).stopped == ""
