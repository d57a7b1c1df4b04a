"""Which points a study tries: simplexes, conditions, enqueued points and what other studies have found."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from bai_sweep.search import RunningTrial
from bai_sweep.search._queue import POINT
from bai_sweep.search._sampler import make_sampler
from bai_sweep.search._simplex import shares
from bai_sweep.search.control import read_state
from tests.integration.search.studies import Studies
from tests.unit.search.test_search_prior import save_result

CONDITIONS = 'hydra.sweeper.conditions={rl.steps: "rl=ppo"}'
Seen = list[dict[str, Any]]


def _watched(seen: Seen, *keys: str) -> Any:
    """A task that keeps some of each trial's configuration."""

    def task(_trial: RunningTrial, cfg: DictConfig) -> float:
        found = {key: OmegaConf.select(cfg, key) for key in keys}
        seen.append({k: OmegaConf.to_container(v) if isinstance(v, DictConfig) else v for k, v in found.items()})
        return float(cfg.alpha)

    return task


def test_weights_of_a_sampled_simplex_reach_the_configuration(studies: Studies) -> None:
    seen: Seen = []
    task = _watched(seen, "weights", "actor.weights")
    studies.run("weights=tag(simplex, interval(0,1))", "hydra.sweeper.n_trials=3", task=task)
    drawn = [shares(("instruct", "distilled"), [t.params["weights/instruct"]]) for t in studies.trials()]
    assert [cfg["weights"] for cfg in seen] == drawn
    assert [cfg["actor.weights"] for cfg in seen] == drawn
    assert [trial.params for trial in studies.ran] == [{"weights": weights} for weights in drawn]
    assert [t.user_attrs[POINT] for t in studies.trials()] == [{"weights": weights} for weights in drawn]
    assert len({weights["instruct"] for weights in drawn}) == 3
    assert all(abs(math.fsum(weights.values()) - 1) < 1e-12 for weights in drawn)


def test_weights_of_a_lattice_are_a_grid(studies: Studies) -> None:
    seen: Seen = []
    studies.run("weights=tag(simplex, range(0, 1, 0.5))", task=_watched(seen, "weights"))
    assert [tuple(cfg["weights"].values()) for cfg in seen] == [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    assert studies.ran[1].params == {"weights": {"instruct": 0.5, "distilled": 0.5}}
    label = read_state(studies.study()).best[0].label
    assert label.startswith("weights={instruct: ")


def test_a_key_that_does_not_count_keeps_its_configured_value(studies: Studies) -> None:
    seen: Seen = []
    grid = ("rl=ppo,none", "rl.steps=5,6", "seed=4", CONDITIONS)
    studies.run(*grid, task=_watched(seen, "rl.name", "rl.steps", "seed"))
    assert seen == [
        {"rl.name": "ppo", "rl.steps": 5, "seed": 4},
        {"rl.name": "ppo", "rl.steps": 6, "seed": 4},
        {"rl.name": "none", "rl.steps": None, "seed": 4},
    ]
    assert [trial.params for trial in studies.ran][2] == {"rl": "none"}
    seen.clear()
    studies.run(
        "rl=ppo,vapo",
        "rl.steps=5,6",
        CONDITIONS,
        "study=b",
        "rl.steps=7,8",
        task=_watched(seen, "rl.name", "rl.steps"),
    )
    configured = seen[2]["rl.steps"]
    assert [tuple(cfg.values()) for cfg in seen] == [("ppo", 7), ("ppo", 8), ("vapo", configured)]
    assert configured not in (7, 8)  # what conf/rl/vapo.yaml says


def test_a_sampler_learns_of_conditional_keys_in_groups(studies: Studies) -> None:
    startup = "+hydra.sweeper.sampler.n_startup_trials=4"
    conditions = 'hydra.sweeper.conditions={rl.ppo_epochs: "rl=ppo", alpha: "rl=vapo"}'
    studies.run(
        "alpha=interval(0,1)",
        "rl=ppo,vapo",
        "rl.ppo_epochs=int(interval(1,3))",
        conditions,
        startup,
        "hydra.sweeper.n_trials=10",
    )
    points = [trial.params for trial in studies.ran]
    assert [t.params for t in studies.trials()] == points
    assert {tuple(sorted(point)) for point in points} == {("rl", "rl.ppo_epochs"), ("alpha", "rl")}
    assert all(("alpha" in point) == (point["rl"] == "vapo") for point in points)


def test_enqueued_points_come_first_whole_or_in_part(studies: Studies) -> None:
    enqueue = "hydra.sweeper.enqueue=[{alpha: 0.25, actor: stage1}, {alpha: 0.75}]"
    search = ("alpha=interval(0,1)", "actor=bai,stage1", enqueue, "hydra.sweeper.n_trials=3")
    studies.run(*search)
    points = [trial.params for trial in studies.ran]
    assert points[0] == {"alpha": 0.25, "actor": "stage1"}
    assert points[1]["alpha"] == 0.75
    assert points[1]["actor"] in ("bai", "stage1")
    assert points[2]["alpha"] not in (0.25, 0.75)
    # The sampler of the third point knows the two.
    alone = optuna.create_study(direction="maximize")
    for trial in studies.trials()[:2]:
        alone.add_trial(trial)
    alone.sampler = make_sampler({"_target_": "optuna.samplers.TPESampler", "seed": 0, "multivariate": True}, 2)
    assert alone.ask(studies.trials()[2].distributions).params == studies.trials()[2].params


def test_enqueued_weights_are_what_the_trial_has(studies: Studies) -> None:
    seen: Seen = []
    enqueue = "hydra.sweeper.enqueue=[{weights: {instruct: 0.3, distilled: 0.7}}]"
    search = ("weights=tag(simplex, interval(0,1))", enqueue, "hydra.sweeper.n_trials=1")
    studies.run(*search, task=_watched(seen, "weights"))
    assert seen == [{"weights": pytest.approx({"instruct": 0.3, "distilled": 0.7}, abs=1e-12)}]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.sweeper.enqueue=[{alpha: 2}]"], "enqueue has a point outside the search space: alpha is from 0"),
        (["hydra.sweeper.enqueue=[{beta: 2}]"], "beta is not swept; swept are alpha"),
        (["hydra.sweeper.warm_start=nowhere"], "warm_start names folders of studies"),
        (['hydra.sweeper.conditions={alpha: "beta=1"}'], "beta is not swept; swept are alpha"),
        (["hydra.sweeper.collapse.detectors=[nope]"], "collapse.detectors are some of length_collapse"),
    ],
)
def test_what_lies_outside_is_refused_before_anything_is_written(
    studies: Studies, overrides: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    studies.fails("alpha=interval(0,1)", "hydra.sweeper.n_trials=2", *overrides, code=2)
    assert said in capsys.readouterr().err
    assert list(studies.folder.iterdir()) == []


def test_a_grid_takes_no_points_to_begin_with(studies: Studies, capsys: pytest.CaptureFixture[str]) -> None:
    studies.fails("alpha=0.1,0.5", "hydra.sweeper.enqueue=[{alpha: 0.1}]", code=2)
    assert "hydra.sweeper.enqueue is for samplers, and a grid has every point" in capsys.readouterr().err


def test_what_other_studies_found_is_known_and_counted_nowhere(
    studies: Studies, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, alpha in enumerate([0.2, 0.4, 0.6, 7.0]):
        save_result(studies.folder / "old", number, {"alpha": alpha}, 100 - 100 * alpha)
    startup = "+hydra.sweeper.sampler.n_startup_trials=3"
    search = ("alpha=interval(0,1)", "hydra.sweeper.warm_start=old", "hydra.sweeper.objective=eval/knowledge", startup)
    studies.fails(*search, "hydra.sweeper.n_trials=2", code=2)  # old has eval/b and eval/overall
    assert "none lies in this search space with a value of eval/knowledge" in capsys.readouterr().err
    search = (*search[:2], startup)
    studies.run(*search, "hydra.sweeper.n_trials=2")
    assert studies.numbers() == [0, 1]
    prior = [t for t in studies.trials() if "number" not in t.user_attrs]
    assert [(t.values, t.user_attrs) for t in prior] == [([value], {"source": "old"}) for value in (80.0, 60.0, 40.0)]
    state = read_state(studies.study())
    assert (state.total, len(state.finished), len(state.best)) == (2, 2, 2)
    # The first point is the sampler's, not a start-up draw: Optuna alone, told the same, asks the same.
    alone = optuna.create_study(direction="maximize")
    for trial in prior:
        alone.add_trial(trial)
    sampler = {"_target_": "optuna.samplers.TPESampler", "seed": 0, "multivariate": True, "n_startup_trials": 3}
    alone.sampler = make_sampler(sampler, 0)
    first = next(t for t in studies.trials() if t.user_attrs.get("number") == 0)
    assert alone.ask(first.distributions).params == first.params
    studies.run(*search, "hydra.sweeper.n_trials=3", "resume=true")  # they are not added again
    assert studies.numbers() == [2]
    assert [t.state for t in studies.trials()] == [TrialState.COMPLETE] * 6
