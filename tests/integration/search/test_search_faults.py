"""Faults of trials, and studies that go on changed."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import DictConfig
from optuna.trial import TrialState

from bai_sweep.records import UserError
from bai_sweep.search import RunningTrial
from bai_sweep.search._queue import ATTEMPT, FAULTS, OUTCOME
from bai_sweep.search.control import read_state
from tests.integration.search.studies import Studies

GRID = "alpha=0.1,0.5,0.9"


def _failing(error: type[Exception], times: int, numbers: set[int]) -> Any:
    """A task that raises the first `times` times it runs one of `numbers`."""
    ran: dict[int, int] = {}

    def task(trial: RunningTrial, cfg: DictConfig) -> float:
        ran[trial.number] = ran.get(trial.number, 0) + 1
        if trial.number in numbers and ran[trial.number] <= times:
            raise error(f"time {ran[trial.number]}")
        return float(cfg.alpha)

    return task


def test_a_fault_that_passes_is_no_failure(studies: Studies) -> None:
    studies.run(GRID, "hydra.sweeper.retries=1", task=_failing(ValueError, 1, {1}))
    assert studies.numbers() == [0, 1, 1, 2]
    assert studies.values() == {0: [0.1], 1: [0.5], 2: [0.9]}
    assert not list(studies.folder.glob("results/default/trials/*/failure.txt"))
    _, first, again, _ = sorted(studies.trials(), key=lambda t: (t.user_attrs["number"], t.number))
    assert first.user_attrs[OUTCOME] == "retried"
    assert first.user_attrs["reason"] == "ValueError: time 1"
    assert again.user_attrs[FAULTS] == 1
    assert again.params == first.params


@pytest.mark.parametrize(
    ("error", "retries", "runs"), [(ValueError, 1, 2), (ValueError, 0, 1), (ValueError, 2, 3), (UserError, 1, 1)]
)
def test_a_fault_that_stays_fails_after_its_retries(
    studies: Studies, error: type[Exception], retries: int, runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.fails(GRID, f"hydra.sweeper.retries={retries}", code=1, task=_failing(error, 9, {1}))
    assert studies.numbers() == [0, *[1] * runs, 2]
    own = [t for t in studies.trials() if t.user_attrs["number"] == 1]
    assert [t.user_attrs.get(FAULTS, 0) for t in own] == list(range(runs))
    assert [t.user_attrs[ATTEMPT] for t in own] == [1] * runs  # no worker was lost
    assert f"1 of 3 trials failed (failure.txt in each folder):\n  1: {error.__name__}: time {runs}" in (
        capsys.readouterr().err
    )
    text = (studies.folder / "results/default/trials/1/failure.txt").read_text()
    assert text.startswith(f"{error.__name__}: time {runs}\n\nTraceback")


def test_a_failure_is_written_at_once_and_told_at_the_end(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[bool] = []

    def task(trial: RunningTrial, cfg: DictConfig) -> float:
        seen.append((studies.folder / "results/default/trials/0/failure.txt").exists())
        if trial.number == 0:
            raise ValueError("no")
        if trial.number == 1:
            return float("nan")  # hydra#3451: neither kills the sweep
        return float(cfg.alpha)

    studies.fails("alpha=interval(0,1)", "hydra.sweeper.n_trials=4", code=1, task=task)
    assert seen == [False, True, True, True]
    assert list(studies.values()) == [2, 3]
    said = capsys.readouterr().err.rstrip().splitlines()
    assert said[-3] == "2 of 4 trials failed (failure.txt in each folder):"
    assert said[-2] == "  0: ValueError: no"
    assert said[-1].startswith("  1: the objective eval/overall is not a number")


def test_too_many_failures_stop_the_study_which_can_go_on(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("alpha=0.1,0.2,0.3,0.4,0.5,0.6", "hydra.sweeper.max_failures=2")
    studies.fails(*grid, code=1, task=_failing(ValueError, 9, {0, 2, 3}))
    assert studies.numbers() == [0, 1, 2]
    said = capsys.readouterr().err
    why = "the study was stopped: 2 trials have failed (max_failures=2)"
    assert f"unfinished: trials 3-5; 2 failed; {why}; the same command with resume=true goes on" in said
    assert read_state(studies.study()).stopped == "2 trials have failed (max_failures=2)"
    studies.fails(*grid, "resume=true", code=1, task=_failing(ValueError, 9, {3}))
    assert studies.numbers() == [3, 4, 5]
    assert "3 of 6 trials failed" in capsys.readouterr().err


def test_a_changed_grid_is_gone_on_with_by_force_alone(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    def stopped(trial: RunningTrial, cfg: DictConfig) -> float:
        if trial.number == 2:
            raise KeyboardInterrupt
        return float(cfg.alpha)

    studies.fails("alpha=0.1,0.5,0.7", code=130, task=stopped)
    studies.numbers()
    changed = ("alpha=0.1,0.3,0.9", "resume=true")
    studies.fails(*changed, code=2)
    said = capsys.readouterr().err
    assert "alpha: 0.1,0.5,0.7 before, 0.1,0.3,0.9 now" in said
    assert "add force=true to go on all the same" in said
    studies.run(*changed, "force=true")
    assert [(t.number, t.params["alpha"]) for t in studies.ran] == [(3, 0.3), (4, 0.9)]
    assert "goes on changed, by force:" in capsys.readouterr().err
    studies.numbers()
    assert studies.values() == {0: [0.1], 1: [0.5], 3: [0.3], 4: [0.9]}
    state = read_state(studies.study())
    assert (state.total, len(state.finished), state.failures) == (4, 4, {})
    studies.run(*changed)  # now it is the definition
    assert studies.numbers() == []
    studies.run("alpha=0.7,0.1", "resume=true", "force=true")  # the withdrawn one comes back under its number
    assert [(t.number, t.params["alpha"]) for t in studies.ran] == [(2, 0.7)]


def test_a_changed_search_goes_on_by_force_with_what_it_knows(studies: Studies) -> None:
    search = ("hydra.sweeper.n_trials=2", "+hydra.sweeper.sampler.n_startup_trials=2")
    studies.run("alpha=interval(0,0.5)", *search)
    studies.numbers()
    wider = ("alpha=interval(0.5,1)", "rl.steps=7", search[1], "hydra.sweeper.n_trials=4", "resume=true", "force=true")
    studies.run(*wider)
    assert studies.numbers() == [2, 3]
    values = studies.values()
    assert all(values[number][0] <= 0.5 for number in (0, 1))
    assert all(values[number][0] >= 0.5 for number in (2, 3))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seeds=2"], "seeds: 1 before, 2 now"),
        (["hydra.sweeper.n_trials=3"], "hydra.sweeper.n_trials: none, the full grid before, a number now"),
        (["hydra.sweeper.direction=minimize"], "hydra.sweeper.direction: maximize before, minimize now"),
        (["hydra.sweeper.objective=eval/knowledge"], "hydra.sweeper.objective: eval/overall before, eval/knowledge"),
    ],
)
def test_what_results_are_made_of_does_not_change_by_force_either(
    studies: Studies, overrides: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.run(GRID)
    journal = (studies.folder / "results/default/study.log").read_text()
    studies.fails(GRID, *overrides, "resume=true", "force=true", code=2)
    said = capsys.readouterr().err
    assert line in said
    assert "stay what they were; start a new study without resume=true" in said
    assert (studies.folder / "results/default/study.log").read_text() == journal


def test_states_of_optuna_are_what_became_of_the_trials(studies: Studies) -> None:
    studies.fails(GRID, code=1, task=_failing(ValueError, 9, {2}))
    assert [t.state for t in studies.trials()] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    state = read_state(studies.study())
    assert (state.total, len(state.finished), state.failures) == (3, 2, {2: "ValueError: time 1"})
