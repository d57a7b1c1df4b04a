"""seeds=3: each point is run with three seeds, and its sampler learns from their mean."""

from __future__ import annotations

import math
import statistics

import pytest
from omegaconf import DictConfig
from optuna.trial import TrialState

from bai_sweep.search import RunningTrial
from bai_sweep.search.control import read_state
from tests.integration.search.studies import Studies, alpha_of

TPE = ("+hydra.sweeper.sampler.n_startup_trials=2", "alpha=interval(0,1)", "hydra.sweeper.n_trials=5")


def test_a_grid_runs_each_point_with_every_seed(studies: Studies) -> None:
    seen: list[tuple[int, float, int]] = []

    def task(trial: RunningTrial, cfg: DictConfig) -> float:
        seen.append((trial.number, cfg.alpha, cfg.seed))
        return float(cfg.alpha) + 0.1 * float(cfg.seed) ** 2

    studies.run("alpha=0.1,0.5", "seeds=3", "seed=7", task=task)
    assert seen == [(0, 0.1, 7), (1, 0.1, 8), (2, 0.1, 9), (3, 0.5, 7), (4, 0.5, 8), (5, 0.5, 9)]
    assert [trial.params for trial in studies.ran][4] == {"alpha": 0.5, "seed": 8}
    best, other = read_state(studies.study()).best
    noise = [0.1 * seed**2 for seed in (7, 8, 9)]
    assert (best.numbers, best.label, best.feasible) == ((3, 4, 5), "alpha=0.5", True)
    assert best.values[0] == pytest.approx(0.5 + statistics.fmean(noise))
    assert best.errors[0] == pytest.approx(statistics.stdev(noise) / math.sqrt(3))
    assert other.values[0] == pytest.approx(0.1 + statistics.fmean(noise))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_sampler_learns_from_means(studies: Studies, sampler: str) -> None:
    def noisy(_trial: RunningTrial, cfg: DictConfig) -> float:
        return float(cfg.alpha) + (0.5 if cfg.seed else -0.5)

    search = [*TPE, f"hydra/sweeper/sampler={sampler}"][0 if sampler == "tpe" else 1 :]
    studies.run(*search, "seeds=2", "study=two", task=noisy)
    assert studies.numbers() == list(range(10))
    studies.run(*search, "study=one", task=alpha_of)
    one = {t.user_attrs["number"]: t.params for t in studies.trials("one")}
    two = {t.user_attrs["number"]: t.params for t in studies.trials("two")}
    assert two == {number: one[number // 2] for number in range(10)}
    assert len({params["alpha"] for params in one.values()}) == 5


def test_a_seed_that_fails_takes_no_other_with_it(studies: Studies) -> None:
    def task(trial: RunningTrial, cfg: DictConfig) -> float:
        if trial.number in (0, 3):
            raise ValueError("this seed")
        return float(cfg.alpha)

    studies.fails(*TPE[:2], "hydra.sweeper.n_trials=2", "seeds=2", code=1, task=task)
    trials = studies.trials()
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL]
    assert trials[0].params == trials[1].params
    assert trials[2].params == trials[3].params
    assert sorted(best.numbers for best in read_state(studies.study()).best) == [(1,), (2,)]


def test_a_resumed_study_runs_the_seeds_that_are_missing(studies: Studies) -> None:
    def stopped(trial: RunningTrial, cfg: DictConfig) -> float:
        if trial.number == 3:
            raise KeyboardInterrupt
        return float(cfg.alpha)

    search = (*TPE[:2], "hydra.sweeper.n_trials=2", "seeds=3")
    studies.fails(*search, code=130, task=stopped)
    assert studies.numbers() == [0, 1, 2, 3]
    studies.run(*search, "resume=true")
    assert studies.numbers() == [3, 4, 5]
    alphas = {t.user_attrs["number"]: t.params["alpha"] for t in studies.trials()}
    assert alphas[0] == alphas[1] == alphas[2] != alphas[3] == alphas[4] == alphas[5]


def test_a_seed_is_swept_or_repeated(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.fails("alpha=0.1,0.5", "seed=0,1", "seeds=2", code=2)
    assert "seeds=2 runs each point with several seeds; seed is swept too" in capsys.readouterr().err
    studies.fails("alpha=0.1,0.5", "seeds=1,2", code=2)
    assert "seeds is a setting of the whole study" in capsys.readouterr().err
    assert list(studies.folder.iterdir()) == []
