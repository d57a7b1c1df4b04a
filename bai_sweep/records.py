"""The frozen records that pass between stages; this module imports no other module of ours.

Units, once for all: scores are points from 0 to 100 as in the paper's tables; lengths are tokens; KL and
entropy are nats per sequence (`objective/...`) unless docs/metrics.md says otherwise; steps count from 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Level = Literal["none", "suspected", "certain"]


class PermanentError(Exception):
    """What would come again if the same trial were run again."""


class UserError(PermanentError):
    """Bad input, said in one message: the rule, the value, the fix. Shown without a traceback."""


@dataclass(frozen=True)
class MergeRecipe:
    """What made an actor.

    Args:
        weights: Of each checkpoint, the paper's two stages flattened; a linear merge is their weighted sum.
        sources: Of each checkpoint, a hub id with its commit.
        method: The merging method (`actor/merge`), `linear` where it is the paper's.
        settings: The method's own.
        inputs: The SHA-256 of every file that the merge depends on, by model and file name; a trial has it.
        digest: Of the merged weights, see `merging.digest_of`; a trial has it.
    """

    weights: Mapping[str, float]
    sources: Mapping[str, str]
    method: str = "linear"
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    digest: str | None = None

    def formula(self) -> str:
        """The merge as one line: `0.5*base + 0.25*instruct + 0.25*distilled`, or `ties(...; density=0.5)`."""
        total = " + ".join(f"{weight:g}*{name}" for name, weight in self.weights.items())
        if self.method == "linear":
            return total
        listed = ", ".join(f"{key}={_short(value)}" for key, value in self.settings.items() if value is not None)
        return f"{self.method}({total}; {listed})" if listed else f"{self.method}({total})"


@dataclass(frozen=True)
class StepTelemetry:
    """What one PPO step measured; `metrics` has the names of docs/metrics.md."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """What one detector says of a telemetry series.

    Args:
        detector: `length_collapse`, `reward_hockey_stick`, ...
        level: how sure the detector is.
        severity: the relative size of the fault, 0 for none (a collapse from 100 to 40 tokens has 0.6).
        onset: first step of the fault, None if there is none.
        recovery: step at which the series was back, None if it never was.
        reason: one sentence with the numbers.
    """

    detector: str
    level: Level
    severity: float
    onset: int | None
    recovery: int | None
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """Every detector's verdict over one trial, and the two figures people ask for first.

    `length_ratio` is the mean response length at the end over that at the start; `final_kl` the mean
    `objective/kl` of the last steps (k1 estimate, policy against reference, nats per sequence). Both are NaN
    for a trial without RL.
    """

    verdicts: tuple[Verdict, ...] = ()
    final_kl: float = math.nan
    length_ratio: float = math.nan

    @property
    def worst(self) -> Level:
        """The most serious level of any verdict."""
        order: tuple[Level, ...] = ("none", "suspected", "certain")
        return max((v.level for v in self.verdicts), key=order.index, default="none")

    @property
    def worst_severity(self) -> float:
        """The largest severity of any detector, 0 for none; NaN for a trial without RL."""
        return max((v.severity for v in self.verdicts), default=math.nan)

    def summary(self) -> str:
        """`stable`, or the faults with their levels, for tags and tables."""
        faults = [f"{v.detector} ({v.level})" for v in self.verdicts if v.level != "none"]
        return ", ".join(faults) or "stable"


@dataclass(frozen=True)
class Score:
    """One benchmark's score in points (0 to 100, higher is better) with its standard error over items.

    Args:
        items: Per-item points, in the benchmark's order, for paired comparisons.
        weights: What each item counts in `value`; none: all alike.
        clusters: Which items were drawn together; none: each is its own.
        figures: What the benchmark reports beside its score, under its own names, times 100: sub-scores, the error
            that a subset adds, a judge's bias.
    """

    benchmark: str
    value: float
    stderr: float
    n: int
    metric: str
    items: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    clusters: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvalReport:
    """The scores of one model; `missing` names the benchmarks that were asked for and not run, with the reason."""

    scores: tuple[Score, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def overall(self) -> float:
        """The plain mean of the benchmarks (as in the paper's tables), NaN unless every one was run."""
        if not self.scores or self.missing:
            return math.nan
        return math.fsum(s.value for s in self.scores) / len(self.scores)

    @property
    def overall_stderr(self) -> float:
        """Standard error of `overall`, the benchmarks' item samples being independent."""
        if not self.scores or self.missing:
            return math.nan
        return math.sqrt(math.fsum(s.stderr**2 for s in self.scores)) / len(self.scores)


@dataclass(frozen=True)
class TrialResult:
    """A finished trial, whole: written as result.json in its folder and enough to report and select from."""

    number: int
    params: Mapping[str, Any]  # the swept parameters under their config names
    seed: int
    recipe: MergeRecipe
    telemetry: tuple[StepTelemetry, ...]
    diagnosis: Diagnosis
    report: EvalReport
    seconds: Mapping[str, float]  # wall time by stage: merge, ppo, evaluation
    run_id: str | None = None  # MLflow's
    pruned: str | None = None  # why the trial was ended early; then what it was not asked for any more is not there

    @property
    def label(self) -> str:
        """The trial's name for people: its swept parameters, `alpha=0.1`, or its number if nothing was swept."""
        return label_of(self.params) or f"trial {self.number}"

    def metrics(self) -> dict[str, float]:
        """The trial's final figures under their metric names; what is not a finite number is left out."""
        values = {f"eval/{s.benchmark}": s.value for s in self.report.scores}
        values |= {f"eval_stderr/{s.benchmark}": s.stderr for s in self.report.scores}
        for score in self.report.scores:
            values |= {f"eval/{score.benchmark}/{name}": figure for name, figure in score.figures.items()}
        values |= {"eval/overall": self.report.overall, "eval_stderr/overall": self.report.overall_stderr}
        values |= {
            "objective/final_kl": self.diagnosis.final_kl,
            "stability/length_ratio": self.diagnosis.length_ratio,
            "stability/worst_severity": self.diagnosis.worst_severity,
        }
        values |= {f"stability/{v.detector}/severity": v.severity for v in self.diagnosis.verdicts}
        values |= {f"seconds/{stage}": seconds for stage, seconds in self.seconds.items()}
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def save(self, folder: Path) -> Path:
        """Writes result.json into `folder`, complete or not at all."""
        path = folder / "result.json"
        partial = path.with_suffix(".json.partial")
        partial.write_text(json.dumps(asdict(self), indent=1, default=_jsonable), encoding="utf-8")
        return partial.replace(path)

    @classmethod
    def load(cls, folder: Path) -> TrialResult:
        """Reads what `save` wrote."""
        raw = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        diagnosis = raw["diagnosis"]
        report = raw["report"]
        return cls(
            **{
                **raw,
                "recipe": MergeRecipe(**raw["recipe"]),
                "telemetry": tuple(StepTelemetry(**t) for t in raw["telemetry"]),
                "diagnosis": Diagnosis(
                    **{**diagnosis, "verdicts": tuple(Verdict(**v) for v in diagnosis["verdicts"])}
                ),
                "report": EvalReport(
                    tuple(_score(raw_score) for raw_score in report["scores"]),
                    report["missing"],
                ),
            }
        )


@dataclass(frozen=True)
class Standing:
    """A point's place in a comparison.

    Args:
        number: of its first trial.
        trials: of all its trials, one a seed.
        label: its swept parameters, without the seed.
        seeds: how many replicates it has, those of other studies (`selection.also`) included.
        value, low, high: its objective with the 95 % interval; NaN where it was not compared.
        behind, behind_low, behind_high: the leader's objective less its own. These intervals hold for all points
            together in 95 of 100 studies, whichever point leads; 0 for the leader.
        best_probability: that its objective is the best of the eligible ones.
        reason: why it is not recommended; empty for the winner.
        eligible: whether it may win.
    """

    number: int
    trials: tuple[int, ...]
    label: str
    seeds: int
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    behind: float = math.nan
    behind_low: float = math.nan
    behind_high: float = math.nan
    best_probability: float = 0.0
    reason: str = ""
    eligible: bool = True


@dataclass(frozen=True)
class NextTrials:
    """A grid of trials that would tell more.

    Args:
        overrides: swept keys with their values, as the command line takes them: `alpha=0.1,0.5`, `seed=3,4`.
        trials: how many they are.
        purpose: what they are for, one sentence.
        command: to paste; with the study's own settings where its command is known.
    """

    overrides: tuple[str, ...]
    trials: int
    purpose: str
    command: str


@dataclass(frozen=True)
class Proposal:
    """A value between the tried ones that a smooth model takes for better; a guess until it is tried.

    Args:
        key: the swept parameter.
        value: of it.
        predicted, low, high: the objective there with the model's 95 % interval.
        gain: over the recommended point, by the model.
        gain_probability: that there is any gain, by the model.
        reason: says so in words.
        confirm: the trials that would tell.
    """

    key: str
    value: float
    predicted: float
    low: float
    high: float
    gain: float
    gain_probability: float
    reason: str
    confirm: NextTrials


@dataclass(frozen=True)
class Choice:
    """Which trial to take, how surely, and why.

    Args:
        winner: number of the recommended trial, None if no trial is eligible.
        ranking: the eligible trials' numbers, the recommended first, then by objective.
        best_probability: of every trial, the probability that its point's objective is the best of the eligible ones
            (over items, and over training seeds as far as the study has replicates); 0 if ineligible.
        ineligible: the reason, by number, of each trial that may not win.
        reason: one paragraph for people.
        clear: whether the winner leads surely enough (`selection.confident`) and has `selection.min_seeds`.
        objective: what was compared, in words.
        standings: every point, in the order of `ranking`, those that may not win last.
        seed_noise: standard deviation between training seeds of one point's objective, pooled over points, without the
            part that items explain; NaN without replicates.
        equal: numbers of the points that are surely within `selection.tie_points` of the winner.
        evidence: what is missing for a clear winner, or that nothing affordable would give one; empty if it is clear.
        next_trials: what to run for it.
        proposal: a value between the tried ones.
    """

    winner: int | None
    ranking: tuple[int, ...]
    best_probability: Mapping[int, float]
    ineligible: Mapping[int, str]
    reason: str
    clear: bool
    objective: str = "mean of the benchmarks"
    standings: tuple[Standing, ...] = ()
    seed_noise: float = math.nan
    equal: tuple[int, ...] = ()
    evidence: str = ""
    next_trials: tuple[NextTrials, ...] = ()
    proposal: Proposal | None = None


def _score(raw: Mapping[str, Any]) -> Score:
    return Score(**{**raw, **{name: tuple(raw.get(name, ())) for name in ("items", "weights", "clusters")}})


def label_of(params: Mapping[str, Any]) -> str:
    """A point for people: `alpha=0.1, rl.kl_coef=0.05`; floats to four significant digits, empty for no parameters."""
    return ", ".join(f"{name}={_short(value)}" for name, value in params.items())


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _jsonable(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a trial record holds {type(value).__name__}, which JSON cannot; store plain values")
