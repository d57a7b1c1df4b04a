"""How a trained actor is judged, compared and reported: evaluation, detectors, selection, tracking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bai_sweep.config._values import Count, Name, NonNegative, Number, Positive, Ratio, Section, Seed


class Benchmark(Section):
    """One benchmark as lm-eval runs it: task, reported metric and filter, shots, chat template, item limit.

    The settings with a default are for benchmarks that need them; left out, the task's own YAML decides.

    Args:
        task: A name under evaluators/ or of lm-eval, or the path of a task's YAML.
        limit: The first items of each of its tasks, at most.
        data: The name under which `evaluation.data_dir` has its files; null: the task loads its own.
        needs: What its scoring uses.
        repeats: Responses to each item, whose scores are averaged: avg@k.
        temperature: Of the responses; 0 is greedy.
        top_p: Share of the probability that tokens are drawn from.
    """

    task: str
    metric: str
    filter: str
    chat_template: bool
    num_fewshot: Annotated[int, Field(ge=0)] | None
    limit: Count | None
    data: str | None = None
    needs: tuple[Literal["judge", "sandbox"], ...] = ()
    repeats: Count | None = None
    temperature: NonNegative | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0), Number] | None = None

    @model_validator(mode="after")
    def _sampling_is_random(self) -> Benchmark:
        if self.top_p is not None and not self.temperature:
            raise ValueError(f"top_p is for sampling and needs a temperature above 0; got top_p={self.top_p:g}")
        if (self.repeats or 1) > 1 and self.temperature == 0.0:
            raise ValueError(f"greedy responses are all alike: repeats={self.repeats} needs a temperature above 0")
        return self


class EvaluationConfig(Section):
    """The benchmarks of `eval/<name>` and how the model is run on them; conf/evaluation/none.yaml explains each."""

    name: Name
    benchmarks: dict[Name, Benchmark]
    unavailable: dict[Name, str]
    allow_missing: bool
    subset: Count | None
    data_dir: str | None
    partial_data: bool
    cache_dir: str
    isolation: Literal["auto", "bubblewrap", "namespaces", "process"]
    scoring_threads: Count
    batch_tokens: Count
    max_new_tokens: Count
    think_end: str | None
    seed: Seed

    @model_validator(mode="after")
    def _subset_or_limit(self) -> EvaluationConfig:
        limited = [name for name, benchmark in self.benchmarks.items() if benchmark.limit is not None]
        if self.subset is not None and limited:
            raise ValueError(
                f"items are chosen by subset or by limit; got subset={self.subset} and a limit of {limited[0]}"
            )
        return self


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
