"""Telemetry as curves: one metric's series, smoothed, and where the detectors' verdicts stand on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bai_sweep.records import TrialResult, Verdict

Floats = NDArray[np.float64]
DRAWN = 400
"""Steps of a curve that are drawn: no more than there are pixels."""


@dataclass(frozen=True)
class Curve:
    """What a panel of training curves shows: the metric, its title and unit, the detector that reads it."""

    metric: str
    title: str
    unit: str
    detector: str


CURVES = (
    Curve("objective/scores", "Reward", "mean score of the batch", "reward_hockey_stick"),
    Curve("completions/mean_length", "Response length", "tokens, mean of the batch", "length_collapse"),
    Curve("objective/kl", "KL to the reference", "nats per sequence", "kl_blow_up"),
)
DYNAMICS = (
    Curve("policy/entropy_avg", "Entropy", "nats per token", "entropy_collapse"),
    Curve("completions/clipped_ratio", "Cut off at the limit", "share of the batch", "truncation_runaway"),
    Curve("completions/repetition_ratio", "Repetition", "share of 4-grams seen before", "repetition"),
    Curve("critic/vf_explained_var", "Critic", "explained variance", "critic_failure"),
)


def series(result: TrialResult, metric: str) -> tuple[Floats, Floats]:
    """Steps and values of a metric, steps without it left out; both of shape (points,)."""
    points = [(step.step, step.metrics[metric]) for step in result.telemetry if metric in step.metrics]
    both = np.array(points, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def smooth(values: Floats, calm: bool = False) -> Floats:
    """A centred moving mean over 5 points, or a twentieth of a long series (`calm`: a fifth); NaN is skipped."""
    if len(values) == 0:  # a trial without RL has no curve
        return values
    window = max(5, len(values) // (5 if calm else 20)) | 1
    kernel = np.ones(window)
    known = np.isfinite(values)
    half = window // 2
    total = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(known.astype(np.float64), kernel)[half : half + len(values)]
    means: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
    return means


def mean_series(results: Sequence[TrialResult], metric: str, calm: bool = False) -> tuple[Floats, Floats]:
    """The mean of the smoothed series at the steps that all of them have; of one trial its own."""
    found = [(steps, smooth(values, calm)) for steps, values in (series(r, metric) for r in results) if len(steps)]
    if not found:
        return np.empty(0), np.empty(0)
    shared = found[0][0]
    for steps, _ in found[1:]:
        shared = np.intersect1d(shared, steps)
    return shared, np.mean([values[np.isin(steps, shared)] for steps, values in found], axis=0)


def thinned(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """At most about DRAWN of them, evenly, the last one among them."""
    if len(steps) <= DRAWN:
        return steps, values
    kept = np.unique(np.linspace(0, len(steps) - 1, DRAWN).round().astype(int))
    return steps[kept], values[kept]


def marks(result: TrialResult, curve: Curve) -> Iterator[tuple[Verdict, int, float]]:
    """Onset and recovery of the faults of this curve: the verdict, the step, and the smoothed value there."""
    steps, values = series(result, curve.metric)
    heights = smooth(values)
    for verdict in result.diagnosis.verdicts:
        if verdict.detector == curve.detector and verdict.level != "none":
            for step in (verdict.onset, verdict.recovery):
                if step is not None and step in steps:
                    yield verdict, step, float(heights[np.flatnonzero(steps == step)[0]])
