"""Samplers, threads, settings and the running trial."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from bai_sweep.records import UserError
from bai_sweep.search import RunningTrial, current_trial
from bai_sweep.search._context import running
from bai_sweep.search._sampler import make_sampler
from bai_sweep.search._settings import parse_settings
from bai_sweep.search._threads import cores, limit_threads, threads_per_worker
from tests.search_settings import RANDOM, raw_settings


def _first_draw(config: dict[str, object], number: int) -> float:
    study = optuna.create_study(sampler=make_sampler(config, number))
    return study.ask().suggest_float("x", 0, 1)


def test_each_trial_has_a_seed_of_its_own_that_its_number_gives() -> None:
    draws = [_first_draw(RANDOM, number) for number in range(4)]
    assert len(set(draws)) == 4
    assert draws == [_first_draw(RANDOM, number) for number in range(4)]
    assert draws != [_first_draw({**RANDOM, "seed": 4}, number) for number in range(4)]


@pytest.mark.filterwarnings("ignore:.*QMCSampler.*:optuna.exceptions.ExperimentalWarning")
def test_quasi_random_trials_belong_to_one_sequence() -> None:
    config = {"_target_": "optuna.samplers.QMCSampler", "seed": 1, "scramble": True}
    study = optuna.create_study(sampler=optuna.samplers.QMCSampler(seed=1, scramble=True))
    space: dict[str, optuna.distributions.BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0, 1)}
    expected = [study.ask(space).params["x"] for _ in range(5)]
    study = optuna.create_study()
    drawn = []
    for number in range(5):
        study.sampler = make_sampler(config, number)
        drawn.append(study.ask(space).params["x"])
    # The first trial of a study has no search space yet and is drawn independently.
    assert drawn[1:] == expected[1:]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "optuna.samplers.NoSuch"}, "cannot be made"),
        ({"_target_": "pathlib.PurePath"}, "is not"),
        ({"_target_": "optuna.samplers.TPESampler", "sed": 1}, "sed"),
    ],
)
def test_bad_sampler_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_sampler(config, 0)


def test_threads_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_per_worker(None, 1) == cores()
    assert threads_per_worker(None, 10 * cores()) == 1
    assert threads_per_worker(7, 10) == 7
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_per_worker(None, 1) == 1
    assert threads_per_worker(7, 1) == 7


def test_limit_reaches_the_environment_and_a_loaded_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "0")
    try:
        limit_threads(3)
        assert torch.get_num_threads() == 3
        assert os.environ["OMP_NUM_THREADS"] == "3"
    finally:
        torch.set_num_threads(before)


def test_settings_faults_come_in_one_message() -> None:
    assert parse_settings(raw_settings(params={"alpha": "0.1,0.5"})).overrides() == ["alpha=0.1,0.5"]
    assert parse_settings(raw_settings(params=["alpha=0.1", "seed=1"])).overrides() == ["alpha=0.1", "seed=1"]
    with pytest.raises(UserError, match=r"(?s)n_trials.*direction.*zzz"):
        parse_settings(raw_settings(n_trials=0, direction="up", zzz=1))


class Silent:
    """A monitor that wants nothing."""

    def step(self, telemetry: object) -> None: ...
    def screened(self, report: object) -> None: ...
    def safe_point(self) -> None: ...


def test_current_trial_ends_with_the_trial() -> None:
    trial = RunningTrial("s", 0, 1, {}, Path(), None, Silent())
    with running(trial):
        assert current_trial() is trial
    assert current_trial() is None


def test_neither_the_plugin_nor_the_package_imports_what_is_slow() -> None:
    code = (
        "import sys, hydra_plugins.bai_sweeper, bai_sweep.search; "
        "print(sorted({'optuna', 'torch', 'mlflow', 'sqlalchemy', 'psutil'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
