"""Every YAML of conf/evaluation composes into a checked configuration."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.config import EvaluationConfig, parse
from bai_sweep.evaluation import check
from bai_sweep.evaluation._catalogue import find_task
from bai_sweep.sources import packaged_dir

GROUP = packaged_dir("conf") / "evaluation"
NINE = {"mmlu_pro", "mmlu", "supergpqa", "livebench", "mixeval_hard", "arenahard", "aime_2024", "math", "mbpp_plus"}


def composed(name: str) -> EvaluationConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", overrides=[f"evaluation={name}"])).evaluation


@pytest.mark.parametrize("name", sorted(path.stem for path in GROUP.glob("*.yaml")))
def test_it_composes_and_every_task_exists(name: str) -> None:
    config = composed(name)
    assert config.name == name
    for benchmark in config.benchmarks.values():
        assert find_task(benchmark.task).spec == benchmark.task


def test_the_papers_nine_are_all_named_once() -> None:
    config = composed("paper")
    assert config.benchmarks.keys() | config.unavailable.keys() == NINE
    assert not config.benchmarks.keys() & config.unavailable.keys()


def test_the_testbed_and_no_benchmarks_can_always_run() -> None:
    check(composed("testbed"), None)
    check(composed("none"), None)
