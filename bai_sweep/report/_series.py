"""Telemetry as curves: one metric's series, smoothed, and where the detectors' verdicts stand on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bai_sweep.records import TrialResult, Verdict

Floats = NDArray[np.float64]


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


def series(result: TrialResult, metric: str) -> tuple[Floats, Floats]:
    """Steps and values of a metric, steps without it left out; both of shape (points,)."""
    points = [(step.step, step.metrics[metric]) for step in result.telemetry if metric in step.metrics]
    both = np.array(points, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def smooth(values: Floats) -> Floats:
    """A centred moving mean over 5 points, or a twentieth of a long series; NaN and edges are skipped."""
    if len(values) == 0:  # a trial without RL has no curve
        return values
    window = max(5, len(values) // 20) | 1
    kernel = np.ones(window)
    known = np.isfinite(values)
    half = window // 2
    total = np.convolve(np.where(known, values, 0.0), kernel)[half : half + len(values)]
    count = np.convolve(known.astype(np.float64), kernel)[half : half + len(values)]
    means: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0.5)
    return means


def onsets(result: TrialResult, curve: Curve) -> Iterator[tuple[Verdict, float]]:
    """The faults that began on this curve, with the smoothed value at the onset."""
    steps, values = series(result, curve.metric)
    for verdict in result.diagnosis.verdicts:
        here = verdict.detector == curve.detector and verdict.level != "none"
        if here and verdict.onset is not None and verdict.onset in steps:
            yield verdict, float(smooth(values)[np.flatnonzero(steps == verdict.onset)[0]])
