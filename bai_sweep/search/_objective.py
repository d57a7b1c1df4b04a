"""Whether a study's objectives and constraints are metrics of its trials: a misspelt one would show at the end."""

from __future__ import annotations

from collections.abc import Sequence

from bai_sweep.config import NoRL, StabilityConfig, TrialConfig
from bai_sweep.records import UserError
from bai_sweep.search._settings import SearchSettings


def metric_names(config: TrialConfig) -> tuple[str, ...]:
    """What a trial of this configuration may report at its end (docs/metrics.md; `TrialResult.metrics`)."""
    benchmarks = ("overall", *config.evaluation.benchmarks)
    detectors = (name for name in StabilityConfig.model_fields if name != "name")
    return (
        *(f"eval/{name}" for name in benchmarks),
        *(f"eval_stderr/{name}" for name in benchmarks),
        "objective/final_kl",
        "stability/length_ratio",
        "stability/worst_severity",
        *(f"stability/{name}/severity" for name in detectors),
        *(f"seconds/{stage}" for stage in ("merge", "ppo", "evaluation")),
    )


def check_metrics(settings: SearchSettings, configs: Sequence[TrialConfig]) -> None:
    """Checks objectives and constraints against the points of the search space.

    A point of a grid may be without one; a sampler learns from them, so there every point has them.

    Raises:
        UserError: no point, or with a sampler not every point, can have one.
    """
    known = dict.fromkeys(name for config in configs for name in metric_names(config))
    named = [("objective", name) for name in settings.objective] + [("constraints", c.metric) for c in settings.limits]
    for setting, metric in named:
        if metric not in known:
            raise UserError(
                f"hydra.sweeper.{setting} names metrics of the trials; got {metric!r}; give one of {', '.join(known)}"
            )
        faults = [] if settings.is_grid else [_why_undefined(metric, config) for config in configs]
        if why := next((fault for fault in faults if fault), None):
            raise UserError(
                f"a sampler needs metrics that every trial has; hydra.sweeper.{setting} names {metric}, but {why}"
            )


def _why_undefined(objective: str, config: TrialConfig) -> str | None:
    evaluation = config.evaluation
    if objective not in metric_names(config):
        return f"evaluation={evaluation.name} has no such benchmark; choose another of either"
    if (
        isinstance(config.rl, NoRL)
        and not objective.startswith("eval")
        and objective not in ("seconds/merge", "seconds/evaluation")
    ):
        return f"without RL (rl={config.rl.name}) there is none; choose another of either"
    if objective not in ("eval/overall", "eval_stderr/overall"):
        return None
    if not evaluation.benchmarks:
        return f"evaluation={evaluation.name} has no benchmarks; choose another of either"
    if evaluation.unavailable:
        return (
            f"evaluation={evaluation.name} cannot run {', '.join(evaluation.unavailable)}, and the overall "
            "score needs every benchmark; take one, such as "
            f"hydra.sweeper.objective=eval/{next(iter(evaluation.benchmarks))}"
        )
    return None
