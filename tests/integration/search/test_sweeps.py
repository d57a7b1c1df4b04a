"""The studies in sweeps/: each composes, is good at its own size, is documented, and runs on the embedded family."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bai_sweep.__main__ import _run as hydra_main
from bai_sweep.records import TrialResult
from bai_sweep.report import StudyReport
from bai_sweep.search import Plan, plan_study
from bai_sweep.search._sampler import make_pruner, make_sampler
from bai_sweep.sources import packaged_dir

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
SWEEPS = [file.stem for file in FILES]

# model.ppo and not rl: the testbed's settings for every trainer, also where an actor takes rl=none.
TINY = [
    "tracking=none",
    *("model.ppo.steps=2", "model.ppo.batch_size=4", "model.ppo.minibatch_size=4", "model.ppo.max_new_tokens=12"),
    "evaluation.max_new_tokens=12",
    *(f"evaluation.benchmarks.{name}.limit=2" for name in ("knowledge", "arithmetic", "arena")),
]

# What makes each as small as it can be and still ask its question, and the trials it then has.
SMALL: Mapping[str, tuple[int, list[str]]] = {
    "table1_paradigms": (4, []),
    "table2_alpha": (2, ["alpha=0.1,0.9"]),
    "fig2_generation_length": (4, ["rl.max_new_tokens=8,12"]),
    "fig3_length": (2, []),
    "seeds_robustness": (2, ["alpha=choice(0.5)", "seeds=2"]),
    "alpha_tpe": (
        3,
        [
            *("hydra.sweeper.n_trials=3", "hydra.sweeper.pruner.n_startup_trials=1"),
            "hydra.sweeper.enqueue=[{alpha: 0.1}, {alpha: 0.9}]",
        ],
    ),
    "alpha_gp_constrained": (3, ["hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.n_startup_trials=2"]),
    "weights_alpha_nsga2": (3, ["hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.population_size=2"]),
    "depth_alpha_cmaes": (6, ["hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.popsize=4"]),
    "alpha_rl_joint": (
        2,
        [
            *(
                "hydra.sweeper.n_trials=2",
                "rl.critic_warmup_steps=choice(1)",
                "hydra.sweeper.pruner.min_resource=1",
            ),
            "hydra.sweeper.enqueue=[{rl: ppo}, {rl: vc_ppo}]",
        ],
    ),
}
QUICK = ("table2_alpha", "fig3_length", "seeds_robustness")


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Iterator[Plan]:
    """The study of a file at its own size, checked as before a study begins."""
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        arguments = [f"+sweep={request.param}"]
        config = compose("config", arguments, return_hydra_config=True)
        settings = {str(k): v for k, v in config.hydra.sweeper.items() if k not in ("_target_", "_recursive_")}
        yield plan_study(arguments, settings, config, GlobalHydra.instance().config_loader())


@pytest.mark.parametrize(("plan", "name"), [(name, name) for name in SWEEPS], indirect=["plan"])
def test_each_is_a_good_study_of_as_many_trials_as_it_says(plan: Plan, name: str) -> None:
    text = (ROOT / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8")

    assert text.startswith("# @package _global_\n")
    assert f"python -m bai_sweep -m +sweep={name}\n" in text
    assert OmegaConf.create(text).study == name
    cost = re.search(r"^# Costs (?:.* = |at most )?(\d+) trials", text, re.MULTILINE)
    assert cost is not None
    assert int(cost[1]) == plan.points * plan.seeds
    assert make_sampler(plan.settings.sampler, 0)
    assert make_pruner(plan.settings.pruner)


def test_the_guide_has_a_row_for_each_and_for_no_other() -> None:
    guide = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| `(\w+)` \|.*\b(\d+) trials", guide, re.MULTILINE)

    costs = [re.search(r"(\d+) trials", file.read_text(encoding="utf-8")) for file in FILES]
    assert sorted(rows) == [(name, cost[1]) for name, cost in zip(SWEEPS, costs, strict=True) if cost]


def no_figures(_study: StudyReport, folder: Path) -> list[Path]:
    """Drawing takes longer than all else here, and has tests of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return []


@pytest.mark.parametrize("name", [s if s in QUICK else pytest.param(s, marks=pytest.mark.slow) for s in SWEEPS])
def test_each_runs_to_its_report(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials, small = SMALL[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bai_sweep.report.write_figures", no_figures)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # limit_threads writes it
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    version.setbase("1.3")
    search_path = create_config_search_path(str(packaged_dir("conf")))
    hydra = Hydra.create_main_hydra2(task_name="bai_sweep", config_search_path=search_path)
    try:
        hydra.multirun("config", hydra_main.__wrapped__, [f"+sweep={name}", *TINY, *small])
    finally:
        GlobalHydra.instance().clear()
        root.handlers[:], root.level = handlers, level

    folder = tmp_path / "results" / name
    results = [TrialResult.load(path.parent) for path in sorted(folder.glob("trials/*/result.json"))]
    assert [result.number for result in results] == list(range(trials))
    assert len({result.label for result in results}) == trials
    assert all(result.pruned or result.report.scores for result in results)
    assert (folder / "report.html").is_file()
