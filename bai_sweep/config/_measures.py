"""How a trained actor is judged, compared and reported: evaluation, detectors, selection, tracking."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bai_sweep.config._formula import Formula
from bai_sweep.config._values import Count, Name, NonNegative, Number, Positive, Section, Seed


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


class Floor(Section):
    """What a benchmark's score must not fall below: a number, or a reference's score less `slack` points.

    Args:
        min: Points.
        reference: The folder of another trial (it holds result.json), or swept values that name a trial of the same
            study, such as {actor: paradigm1}.
        slack: How many points below the reference are allowed.
    """

    min: Annotated[float, Field(allow_inf_nan=False), Number] | None = None
    reference: str | dict[str, Any] | None = None
    slack: NonNegative | None = None

    @model_validator(mode="after")
    def _number_or_reference(self) -> Floor:
        if (self.min is None) == (self.reference is None):
            raise ValueError("a floor has either min or reference (with slack)")
        if self.min is not None and self.slack is not None:
            raise ValueError(f"slack goes with a reference; got min={self.min:g} and slack={self.slack:g}")
        if isinstance(self.reference, dict) and not self.reference:
            raise ValueError("a reference in the same study is named by swept values, such as {actor: paradigm1}")
        return self


Detectors = Literal["all"] | tuple[Name, ...]


class SelectionConfig(Section):
    """What makes a trial eligible, what is compared, and how surely the winner has to lead; docs/selection.md."""

    name: Name
    certain_bars: Detectors
    suspected_bars: Detectors
    max_kl: Positive | None
    min_length_ratio: NonNegative | None
    floors: dict[Name, Floor]
    objective: str | dict[Name, NonNegative]
    min_seeds: Count
    also: tuple[str, ...]
    tie_points: NonNegative
    tie_probability: Annotated[float, Field(ge=0.0, le=0.5), Number]
    bootstrap: Annotated[int, Field(ge=100), Number]
    confident: Annotated[float, Field(gt=0.5, lt=1.0), Number]
    power: Annotated[float, Field(gt=0.5, lt=1.0), Number]
    max_seeds: Count

    @model_validator(mode="after")
    def _objective_is_one(self) -> SelectionConfig:
        if isinstance(self.objective, dict) and not sum(self.objective.values()) > 0.0:
            raise ValueError("objective: a mapping gives benchmarks their weights, one at least above 0")
        if isinstance(self.objective, str) and self.objective != "mean":
            Formula(self.objective)
        return self

    def faults(self, benchmarks: Collection[str], detectors: Collection[str]) -> list[str]:
        """Names that a study with these benchmarks and detectors does not know, each as `key: fault`."""
        scores = ", ".join(benchmarks) or "none"
        found = [
            f"floors.{name}: no such benchmark; evaluation.benchmarks has {scores}"
            for name in self.floors
            if name not in benchmarks
        ]
        if isinstance(self.objective, dict):
            unknown = [name for name in self.objective if name not in benchmarks]
            found += [f"objective.{name}: no such benchmark; evaluation.benchmarks has {scores}" for name in unknown]
        elif self.objective != "mean":
            known = {alias for name in benchmarks for alias in (name, f"eval/{name}")} | {*QUANTITIES}
            known |= {f"stability/{name}/severity" for name in detectors}
            unknown = [name for name in Formula(self.objective).names if name not in known]
            named = f"known are {', '.join([*benchmarks, *QUANTITIES])}, stability/<detector>/severity"
            found += [f"objective: {name} is no quantity of a trial; {named}" for name in unknown]
        for key, listed in (("certain_bars", self.certain_bars), ("suspected_bars", self.suspected_bars)):
            strange = [name for name in listed if name not in detectors] if listed != "all" else []
            found += [f"{key}: no detector {name}; there are {', '.join(detectors)}" for name in strange]
        return found


QUANTITIES = ("overall", "eval/overall", "length_ratio", "stability/length_ratio", "final_kl", "objective/final_kl")
"""What an expression may use beside benchmarks (`name` or `eval/name`)."""
