"""Finished trials of other studies: from folders of result.json files, and from a real MLflow store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial

from bai_sweep.config import TrackingConfig, TrialConfig, parse
from bai_sweep.records import Diagnosis, EvalReport, MergeRecipe, Score, TrialResult, UserError
from bai_sweep.search._grammar import parse_space
from bai_sweep.search._prior import read_prior
from bai_sweep.search._simplex import shares
from bai_sweep.search._space import Space
from bai_sweep.sources import packaged_dir
from bai_sweep.tracking import open_tracker
from tests.search_settings import search_settings
from tests.tracking_store import shared_config

NO_TRACKING = TrackingConfig(kind="none", name="none", uri="", artifacts="", experiment="x")
CONFIG = OmegaConf.create({"weights": {"instruct": 0.5, "distilled": 0.5}})
ParseSpace = Callable[..., Space]


@pytest.fixture
def space_of(loader: ConfigLoader) -> ParseSpace:
    def parse_all(*overrides: str, conditions: Mapping[str, str] | None = None) -> Space:
        return parse_space(overrides, loader, CONFIG, conditions or {})

    return parse_all


def save_result(
    study: Path, number: int, params: Mapping[str, Any], value: float, *, kl: float = 1.0, pruned: str | None = None
) -> None:
    folder = study / "trials" / str(number)
    folder.mkdir(parents=True)
    TrialResult(
        number=number,
        params=params,
        seed=0,
        recipe=MergeRecipe({}, {}),
        telemetry=(),
        diagnosis=Diagnosis(final_kl=kl),
        report=EvalReport((Score("b", value, 1.0, 1, "acc"),)),
        seconds={},
        pruned=pruned,
    ).save(folder)


def _prior(space: Space, sources: Sequence[str], tracking: TrackingConfig = NO_TRACKING, **changes: Any) -> list[Any]:
    settings = search_settings(n_trials=3, warm_start=list(sources), **changes)
    return [_seen(trial) for trial in read_prior(settings, space, tracking)]


def _seen(trial: FrozenTrial) -> tuple[dict[str, Any], list[float]]:
    assert "number" not in trial.user_attrs  # what makes a trial one of the study's own
    return trial.params, trial.values


def test_trials_of_a_folder_that_lie_in_the_space(space_of: ParseSpace, tmp_path: Path) -> None:
    space = space_of("alpha=interval(0,0.9)", "rl.steps=int(interval(1,9))", "actor=bai,stage1")
    good = {"alpha": 0.5, "rl.steps": 3, "actor": "bai"}
    points: list[Mapping[str, Any]] = [
        good,
        {**good, "alpha": 0.95},
        {**good, "alpha": "x"},
        {**good, "alpha": True},
        {**good, "rl.steps": 2.5},
        {**good, "rl.steps": 4.0, "seed": 7},  # a seed among seeds is no key of the space
        {**good, "actor": "paradigm1"},
        {**good, "rl.lr": 1.0},  # another study's key, elsewhere for us
        {"alpha": 0.5, "actor": "bai"},  # which number of steps it had is not known
    ]
    for number, point in enumerate(points):
        save_result(tmp_path, number, point, 10.0 * number)
    save_result(tmp_path, 20, good, 99.0, pruned="collapsed")
    (tmp_path / "trials/21").mkdir()  # failed
    seen = _prior(space, [str(tmp_path)])
    assert seen == [(good, [0.0]), ({**good, "rl.steps": 4}, [50.0])]
    assert isinstance(seen[1][0]["rl.steps"], int)


def test_constraints_and_every_objective_come_along(space_of: ParseSpace, tmp_path: Path) -> None:
    save_result(tmp_path, 0, {"alpha": 0.5}, 7.0, kl=12.0)
    settings = search_settings(
        n_trials=3,
        warm_start=str(tmp_path),
        objective=["eval/b", "objective/final_kl"],
        direction=["maximize", "minimize"],
        constraints={"objective/final_kl": "<= 10", "eval/c": ">= 1"},
    )
    (trial,) = read_prior(settings, space_of("alpha=interval(0,1)"), NO_TRACKING)
    assert trial.values == [7.0, 12.0]
    assert trial.constraints == {"objective/final_kl": 2.0, "eval/c": 1e9}
    assert trial.user_attrs == {"source": str(tmp_path)}


def test_keys_that_do_not_count_are_left_out(space_of: ParseSpace, tmp_path: Path) -> None:
    space = space_of("rl=none,ppo", "rl.steps=5,6", conditions={"rl.steps": "rl=ppo"})
    for number, point in enumerate([{"rl": "none"}, {"rl": "ppo", "rl.steps": 5}, {"rl": "ppo"}]):
        save_result(tmp_path, number, point, float(number))
    assert _prior(space, [str(tmp_path)]) == [({"rl": "none"}, [0.0]), ({"rl": "ppo", "rl.steps": 5}, [1.0])]


def test_weights_of_a_simplex_become_its_parameters(space_of: ParseSpace, tmp_path: Path) -> None:
    weights = shares(("instruct", "distilled"), [0.36])
    save_result(tmp_path, 0, {"weights": weights}, 1.0)
    (seen,) = _prior(space_of("weights=tag(simplex, interval(0,1))"), [str(tmp_path)])
    assert seen[0] == pytest.approx({"weights/instruct": 0.36})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", r"names folders of studies .* nowhere holds no trials"),
        (".", r"of the 2 finished trials of \. none lies in this search space with a value of eval/overall"),
    ],
)
def test_a_source_without_a_trial_is_refused(
    source: str, message: str, space_of: ParseSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_result(tmp_path, 0, {"alpha": 2.0}, 1.0)
    save_result(tmp_path, 1, {"alpha": 3.0}, 1.0)
    with pytest.raises(UserError, match=message):
        _prior(space_of("alpha=interval(0,1)"), [source])


def _config(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", list(overrides)))


@pytest.fixture
def mlflow_study(tmp_path: Path) -> tuple[TrackingConfig, str]:
    """Three finished trials and a failed one."""
    tracking = shared_config(tmp_path)
    tracker = open_tracker(tracking)
    parent = tracker.start_study("old")
    assert parent is not None
    variants = [
        ("alpha=0.25", "rl=none", "actor=stage1"),
        ("alpha=0.5", "rl.steps=6", "weights={instruct:0.25,distilled:0.75}"),
        ("alpha=0.75", "rl.steps=7", "save_merge=true"),
    ]
    for number, overrides in enumerate(variants):
        folder = tmp_path / str(number)
        with tracker.trial(number, f"t{number}", parent, config=_config(*overrides), folder=folder) as run:
            run.log_metrics({"eval/overall": 10.0 * number, "objective/final_kl": 1.0})
    with (
        suppress(ValueError),
        tracker.trial(3, "t3", parent, config=_config(), folder=tmp_path / "3") as run,
    ):
        run.log_metrics({"eval/overall": 99.0})
        raise ValueError
    tracker.finish(parent)
    return tracking, f"mlflow:{parent}"


def test_trials_of_mlflow(space_of: ParseSpace, mlflow_study: tuple[TrackingConfig, str]) -> None:
    tracking, source = mlflow_study

    def prior(*overrides: str, conditions: Mapping[str, str] | None = None) -> list[Any]:
        return sorted(_prior(space_of(*overrides, conditions=conditions), [source], tracking), key=lambda s: s[1])

    assert prior("alpha=interval(0,1)") == [
        ({"alpha": 0.25}, [0.0]),
        ({"alpha": 0.5}, [10.0]),
        ({"alpha": 0.75}, [20.0]),
    ]
    assert prior("alpha=0.5,0.25", "actor=bai,stage1", "save_merge=true,false") == [
        ({"alpha": 0.25, "actor": "stage1", "save_merge": False}, [0.0]),
        ({"alpha": 0.5, "actor": "bai", "save_merge": False}, [10.0]),
    ]
    assert prior("rl.steps=int(interval(1,6))") == [({"rl.steps": 6}, [10.0])]
    assert prior("rl=none,ppo", "rl.steps=range(6,8)", conditions={"rl.steps": "rl=ppo"}) == [
        ({"rl": "none"}, [0.0]),
        ({"rl": "ppo", "rl.steps": 6}, [10.0]),
        ({"rl": "ppo", "rl.steps": 7}, [20.0]),
    ]
    weights = prior("weights=tag(simplex, interval(0,1))")
    assert [seen[0]["weights/instruct"] for seen in weights] == pytest.approx([0.5, 0.75, 0.5])


def test_a_run_that_is_not_there_is_refused(space_of: ParseSpace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hydra\.sweeper\.warm_start: MLflow at .* has no study of run nope"):
        _prior(space_of("alpha=interval(0,1)"), ["mlflow:nope"], shared_config(tmp_path))
