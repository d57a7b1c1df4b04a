"""How a trained actor is judged, compared and reported: evaluation, detectors, selection, tracking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bai_sweep.config._values import Count, Name, NonNegative, Positive, Ratio, Section


class Benchmark(Section):
    """One benchmark as lm-eval runs it: task, reported metric and filter, shots, chat template, item limit."""

    task: str
    metric: str
    filter: str
    chat_template: bool
    num_fewshot: Annotated[int, Field(ge=0)] | None
    limit: Count | None


class EvaluationConfig(Section):
    """The benchmarks of `eval/<name>` and how the model is run on them."""

    name: Name
    benchmarks: dict[Name, Benchmark]
    unavailable: dict[Name, str]
    allow_missing: bool
    batch_tokens: Count
    max_new_tokens: Count
    think_end: str | None
    seed: int


class LengthCollapseConfig(Section):
    """Thresholds of the sequence-length-collapse detector (docs/metrics.md)."""

    baseline: Count
    window: Count
    early_fraction: Ratio
    suspected_drop: Ratio
    certain_drop: Ratio
    recovery_level: Ratio
    min_standard_errors: NonNegative


class HockeyStickConfig(Section):
    """Thresholds of the reward-hockey-stick detector (docs/metrics.md), in units of the reward's own noise."""

    baseline: Count
    window: Count
    early_fraction: Ratio
    suspected_dip: Positive
    certain_dip: Positive


class KLBlowUpConfig(Section):
    """Budgets of the KL detector, nats per sequence."""

    window: Count
    suspected: Positive
    certain: Positive


class StabilityConfig(Section):
    """The detectors' thresholds."""

    name: Name
    length_collapse: LengthCollapseConfig
    reward_hockey_stick: HockeyStickConfig
    kl_blow_up: KLBlowUpConfig


class TrackingConfig(Section):
    """Where runs are reported; the local journal is always kept."""

    kind: Literal["mlflow", "none"]
    name: Name
    uri: str
    artifacts: str
    experiment: str


class SelectionConfig(Section):
    """What makes a trial eligible, and how surely the winner has to lead to be called one."""

    name: Name
    allow_suspected: bool
    max_kl: Positive | None
    min_length_ratio: NonNegative | None
    bootstrap: Count
    confident: Ratio
