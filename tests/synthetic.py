"""Invented trials for tests of what comes after a trial: selection, report, notebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bai_sweep.config import SelectionConfig
from bai_sweep.records import (
    Diagnosis,
    EvalReport,
    Level,
    MergeRecipe,
    Score,
    StepTelemetry,
    TrialResult,
    Verdict,
)

RULE = SelectionConfig(
    name="test",
    certain_bars="all",
    suspected_bars=(),
    max_kl=None,
    min_length_ratio=None,
    floors={},
    objective="mean",
    min_seeds=1,
    also=(),
    tie_points=0.0,
    tie_probability=0.2,
    bootstrap=2000,
    confident=0.95,
    power=0.8,
    max_seeds=10,
)
BENCHMARKS = {"knowledge": 120, "arithmetic": 80, "arena": 60}


def score(name: str, items: Sequence[float]) -> Score:
    values = np.asarray(items, dtype=float)
    stderr = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Score(name, float(values.mean()), stderr, len(values), "acc", tuple(map(float, values)))


def verdict(detector: str, level: Level, onset: int | None = None, recovery: int | None = None) -> Verdict:
    severity = 0.0 if level == "none" else 0.5
    return Verdict(detector, level, severity, onset, recovery, f"{detector}: invented for a test")


def trial(
    number: int = 0,
    params: Mapping[str, Any] | None = None,
    *,
    scores: Sequence[Score] = (),
    missing: Mapping[str, str] | None = None,
    verdicts: Sequence[Verdict] = (),
    final_kl: float = 1.0,
    length_ratio: float = 1.0,
    telemetry: Sequence[StepTelemetry] = (StepTelemetry(1, {"objective/kl": 0.0}),),
    weights: Mapping[str, float] | None = None,
) -> TrialResult:
    return TrialResult(
        number=number,
        params={"alpha": number / 10} if params is None else params,
        seed=0,
        recipe=MergeRecipe(weights or {"base": 0.5, "instruct": 0.25, "distilled": 0.25}, {"base": "testbed://base"}),
        telemetry=tuple(telemetry),
        diagnosis=Diagnosis(tuple(verdicts), final_kl, length_ratio),
        report=EvalReport(tuple(scores), missing or {}),
        seconds={"merge": 0.2, "ppo": 55.0, "evaluation": 12.0},
    )


def series(steps: int, *, collapse: bool, seed: int) -> tuple[StepTelemetry, ...]:
    """Reward, length and KL of a run, with the paper's two phenomena if `collapse`."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, steps + 1)
    reward = 0.2 + 0.6 * (1 - np.exp(-t / 18)) - (0.7 * np.exp(-(((t - 7) / 4) ** 2)) if collapse else 0)
    length = 70 - 42 * (1 - np.exp(-t / 5)) if collapse else 62 + 0.35 * t
    kl = (7.0 if collapse else 2.4 + 0.4 * seed) * (1 - np.exp(-t / 20)) + rng.normal(0, 0.05, steps)
    noisy = zip(t, reward + rng.normal(0, 0.08, steps), length + rng.normal(0, 3, steps), kl, strict=True)
    return tuple(
        StepTelemetry(
            int(step), {"objective/scores": float(r), "completions/mean_length": float(n), "objective/kl": float(k)}
        )
        for step, r, n, k in noisy
    )


def realistic(
    number: int, alpha: float, *, skill: float, collapse: bool = False, params: Mapping[str, Any] | None = None
) -> TrialResult:
    """A trial as the testbed gives: noisy series, three benchmarks of 0/100 items, verdicts."""
    rng = np.random.default_rng(number + 10)
    levels = {"knowledge": 0.55 + 0.3 * alpha, "arithmetic": skill, "arena": skill - 0.15}
    drawn = [score(name, 100.0 * (rng.random(n) < levels[name])) for name, n in BENCHMARKS.items()]
    level: Level = "certain" if collapse else "none"
    rest = (1 - alpha) / 2
    return trial(
        number,
        {"alpha": alpha} if params is None else params,
        scores=drawn,
        verdicts=[
            verdict("length_collapse", level, 4 if collapse else None),
            verdict("reward_hockey_stick", level, 3 if collapse else None, 14 if collapse else None),
            verdict("kl_blow_up", "none"),
        ],
        final_kl=6.6 if collapse else 2.2,
        length_ratio=0.42 if collapse else 1.25,
        telemetry=series(50, collapse=collapse, seed=number),
        weights={"base": alpha, "instruct": rest, "distilled": rest},
    )
