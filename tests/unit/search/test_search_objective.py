"""The objective, checked against what trials really report."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from bai_sweep.config import TrialConfig, parse
from bai_sweep.records import EvalReport, MergeRecipe, Score, StepTelemetry, TrialResult, UserError
from bai_sweep.search._objective import check_metrics, metric_names
from bai_sweep.search._settings import SearchSettings
from bai_sweep.sources import packaged_dir
from bai_sweep.stability import diagnose
from tests.search_settings import search_settings


def _config(*overrides: str) -> TrialConfig:
    with initialize_config_dir(str(packaged_dir("conf")), version_base="1.3"):
        return parse(compose("config", list(overrides)))


def _settings(objective: str, n_trials: int | None) -> SearchSettings:
    return search_settings(objective=objective, n_trials=n_trials)


def test_names_are_those_of_a_real_result() -> None:
    config = _config()
    step = {"completions/mean_length": 9.0, "objective/scores": 1.0, "objective/kl": 0.1}
    result = TrialResult(
        number=0,
        params={},
        seed=0,
        recipe=MergeRecipe({}, {}),
        telemetry=(telemetry := tuple(StepTelemetry(n, step) for n in range(1, 40))),
        diagnosis=diagnose(telemetry, config.stability),
        report=EvalReport(tuple(Score(name, 1.0, 1.0, 1, "acc") for name in config.evaluation.benchmarks)),
        seconds={"merge": 1.0, "ppo": 1.0, "evaluation": 1.0},
    )
    assert set(metric_names(config)) == set(result.metrics())


@pytest.mark.parametrize(
    ("objective", "n_trials", "overrides", "message"),
    [
        ("eval/overal", None, [], r"got 'eval/overal'; give one of eval/overall, eval/knowledge"),
        ("eval/mmlu", 3, [], r"got 'eval/mmlu'; give one of"),
        ("eval/overall", 3, ["evaluation=none"], "evaluation=none has no benchmarks"),
        (
            "eval/overall",
            3,
            ["evaluation=paper", "+evaluation.unavailable.supergpqa=gone"],
            "cannot run supergpqa.*hydra.sweeper.objective=eval/mmlu_pro",
        ),
        ("objective/final_kl", 3, ["rl=none"], "without RL"),
    ],
)
def test_objective_that_trials_cannot_have_is_refused(
    objective: str, n_trials: int | None, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_metrics(_settings(objective, n_trials), [_config(*overrides)])


def test_objective_may_be_missing_at_points_of_a_grid_only() -> None:
    configs = [_config("evaluation=none"), _config()]
    check_metrics(_settings("eval/overall", None), configs)
    check_metrics(_settings("eval/arena", None), configs)
    check_metrics(_settings("eval/overall", 3), configs[1:])
    check_metrics(_settings("seconds/ppo", 3), configs)
    check_metrics(_settings("seconds/evaluation", 3), [_config("rl=none")])
    with pytest.raises(UserError, match="evaluation=none has no such benchmark"):
        check_metrics(_settings("eval/arena", 3), configs)
