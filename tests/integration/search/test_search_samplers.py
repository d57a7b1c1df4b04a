"""Every sampler and pruner of conf/ in a study, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from optuna.trial import TrialState

from bai_sweep.records import EvalReport, Score, StepTelemetry
from bai_sweep.search import RunningTrial, TrialOutcome
from bai_sweep.signals import TrialPruned
from bai_sweep.sources import packaged_dir
from tests.integration.search.studies import Studies

SWEEPER = packaged_dir("conf") / "hydra/sweeper"
SPACE = ("alpha=interval(0,1)", "rl.steps=int(interval(3,5))", "hydra.sweeper.n_trials=4")
NEEDS = {"cmaes": "cmaes", "botorch": "optuna_integration"}
STARTUP = {"tpe": "+hydra.sweeper.sampler.n_startup_trials=2", "gp": "+hydra.sweeper.sampler.n_startup_trials=2"}


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (SWEEPER / group).glob("*.yaml"))


@pytest.mark.parametrize("name", [name for name in _names("sampler") if name not in ("auto", "grid")])
def test_every_sampler_asks_for_points(studies: Studies, name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    extra = [STARTUP[name]] if name in STARTUP else []
    studies.run(*SPACE, f"hydra/sweeper/sampler={name}", *extra)
    points = [trial.params for trial in studies.ran]
    assert len({point["alpha"] for point in points}) == 4
    assert all(0 <= point["alpha"] <= 1 and point["rl.steps"] in (3, 4, 5) for point in points)


def test_the_grid_sampler_tries_no_point_twice(studies: Studies) -> None:
    studies.run("alpha=0.1,0.5,0.9", "seed=1,2", "hydra.sweeper.n_trials=4", "hydra/sweeper/sampler=grid")
    points = [tuple(trial.params.values()) for trial in studies.ran]
    assert len(set(points)) == 4


def test_what_optunahub_brings_is_asked_for(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("optunahub") is not None:
        pytest.skip("optunahub is installed, and would fetch its sampler")
    studies.fails(*SPACE, "hydra/sweeper/sampler=auto", code=2)
    said = capsys.readouterr().err
    assert "AutoSampler comes from OptunaHub; install it: pip install optunahub cmaes scipy" in said
    assert list(studies.folder.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), list(NEEDS.items()))
def test_a_sampler_whose_package_is_missing_is_refused(
    studies: Studies, name: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    studies.fails(*SPACE, f"hydra/sweeper/sampler={name}", code=2)
    said = capsys.readouterr().err
    assert "hydra.sweeper.sampler 'opt" in said
    assert package in said
    assert list(studies.folder.iterdir()) == []


def _train(trial: RunningTrial, cfg: DictConfig) -> TrialOutcome:
    """Four steps that score alpha, then a cheap evaluation."""
    telemetry: list[StepTelemetry] = []
    try:
        for step in range(1, 5):
            metrics = {"completions/mean_length": 9.0, "objective/scores": float(cfg.alpha), "objective/kl": 0.1}
            telemetry.append(StepTelemetry(step, metrics))
            trial.monitor.step(telemetry)
        points = tuple(100 * float(cfg.alpha) - item for item in range(9))
        trial.monitor.screened(EvalReport((Score("b", sum(points) / 9, 1.0, 9, "acc", items=points),)))
    except TrialPruned as ended:
        return TrialOutcome({"objective/final_kl": 0.1}, str(ended))
    return TrialOutcome({"eval/overall": float(cfg.alpha), "objective/final_kl": 0.1}, run_id=f"run{trial.number}")


PRUNERS: dict[str, list[str]] = {
    "median": ["hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.pruner.n_warmup_steps=1"],
    "percentile": ["hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.pruner.n_warmup_steps=1"],
    "halving": ["hydra.sweeper.pruner.min_resource=1", "hydra.sweeper.pruner.reduction_factor=2"],
    "hyperband": ["hydra.sweeper.pruner.min_resource=1", "rl.steps=4"],
    "wilcoxon": ["hydra.sweeper.report.metric=eval/items", "hydra.sweeper.screen=9"],
    "none": [],
}
SURE = {"median", "percentile", "halving", "wilcoxon"}


@pytest.mark.parametrize("name", _names("pruner"))
def test_every_pruner_ends_what_is_bad(studies: Studies, name: str) -> None:
    studies.run("alpha=0.9,0.8,0.2,0.1", f"hydra/sweeper/pruner={name}", *PRUNERS[name], task=_train)
    trials = studies.trials()
    assert trials[0].state == TrialState.COMPLETE
    assert trials[0].user_attrs["run_id"] == "run0"
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert bool(pruned) == (name in SURE) or name == "hyperband"
    if name in SURE:
        assert trials[3] in pruned
    where = "after the cheap evaluation" if name == "wilcoxon" else "at step "
    for trial in pruned:
        assert f"Pruner {where}" in trial.user_attrs["reason"]
        assert "is behind other trials'" in trial.user_attrs["reason"]
        assert trial.values is None
    assert not list(studies.folder.glob("results/default/trials/*/failure.txt"))
    studies.numbers()
    studies.run("alpha=0.9,0.8,0.2,0.1", f"hydra/sweeper/pruner={name}", *PRUNERS[name], "resume=true", task=_train)
    assert studies.numbers() == []  # pruned is finished


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.sweeper.sampler._target_=optuna.samplers.Nope"], "sampler 'optuna.samplers.Nope' cannot be made"),
        (["+hydra.sweeper.sampler.sed=1"], "unexpected keyword argument 'sed'"),
        (["hydra.sweeper.sampler={_target_: pathlib.PurePath}"], "sampler"),
        (["hydra.sweeper.pruner._target_=optuna.pruners.Nope"], "pruner 'optuna.pruners.Nope' cannot be made"),
        (["hydra.sweeper.pruner._target_=builtins.dict"], "pruner is an Optuna pruner; 'builtins.dict' is not"),
        (["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=-1"], "n_startup_trials"),
        (["hydra/sweeper/pruner=wilcoxon", "hydra.sweeper.report.metric=eval/items"], "hydra.sweeper.screen=50"),
    ],
)
def test_a_bad_sampler_or_pruner_is_refused_before_anything_is_written(
    studies: Studies, overrides: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.fails(*SPACE, *overrides, code=2)
    assert said in capsys.readouterr().err
    assert studies.numbers() == []
    assert list(studies.folder.iterdir()) == []


def test_every_file_of_conf_is_covered() -> None:
    assert set(_names("pruner")) == PRUNERS.keys()
    targets: Any = [Path(SWEEPER / "sampler" / f"{name}.yaml").read_text() for name in _names("sampler")]
    assert all("_target_: " in text for text in targets)
