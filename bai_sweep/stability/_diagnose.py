"""All detectors over one trial's telemetry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from bai_sweep.config import StabilityConfig
from bai_sweep.records import Diagnosis, StepTelemetry, Verdict
from bai_sweep.stability import _detectors as detectors


def diagnose(telemetry: Sequence[StepTelemetry], config: StabilityConfig, *, steps: int | None = None) -> Diagnosis:
    """Every detector's verdict, the final KL and the length ratio.

    Args:
        telemetry: of the steps so far.
        config: the thresholds.
        steps: of the whole run as it is planned, which says what is early while it is under way; None: those so far.

    Both figures are means over the detector's window at the end of the run; the length ratio divides by the mean
    of the first `baseline` steps. No telemetry (no RL) gives no verdicts and NaN for both.
    """
    if not telemetry:
        return Diagnosis()
    steps = max(steps or 0, len(telemetry))
    over = {
        "length_collapse": lambda x: detectors.length_collapse(x, config.length_collapse, steps),
        "reward_hockey_stick": lambda x: detectors.reward_hockey_stick(x, config.reward_hockey_stick, steps),
        "kl_blow_up": lambda x: detectors.kl_blow_up(x, config.kl_blow_up),
        "entropy_collapse": lambda x: detectors.entropy_collapse(x, config.entropy_collapse, steps),
        "truncation_runaway": lambda x: detectors.truncation_runaway(x, config.truncation_runaway, steps),
        "repetition": lambda x: detectors.repetition(x, config.repetition, steps),
        "critic_failure": lambda x: detectors.critic_failure(x, config.critic_failure),
    }
    lengths = [t.metrics["completions/mean_length"] for t in telemetry]
    kl = [t.metrics["objective/kl"] for t in telemetry]
    window, baseline = config.length_collapse.window, config.length_collapse.baseline
    return Diagnosis(
        verdicts=tuple(_verdict(name, detector, telemetry) for name, detector in over.items()),
        final_kl=_mean(kl[-config.kl_blow_up.window :]),
        length_ratio=_mean(lengths[-window:]) / _mean(lengths[:baseline]),
    )


def _verdict(name: str, detector: Callable[[Sequence[float]], Verdict], telemetry: Sequence[StepTelemetry]) -> Verdict:
    """Of the steps that have the metric as a number; a verdict's steps are the telemetry's."""
    metric = detectors.METRICS[name]
    known = [(t.step, t.metrics[metric]) for t in telemetry if math.isfinite(t.metrics.get(metric, math.nan))]
    if not known:
        return Verdict(name, "none", 0.0, None, None, f"{metric} was not reported")
    verdict = detector([value for _, value in known])
    at = [step for step, _ in known]
    at.append(at[-1] + 1)
    return replace(
        verdict,
        onset=None if verdict.onset is None else at[verdict.onset - 1],
        recovery=None if verdict.recovery is None else at[verdict.recovery - 1],
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
