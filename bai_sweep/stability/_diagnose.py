"""All detectors over one trial's telemetry."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bai_sweep.config import StabilityConfig
from bai_sweep.records import Diagnosis, StepTelemetry
from bai_sweep.stability._detectors import kl_blow_up, length_collapse, reward_hockey_stick


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
    lengths = [t.metrics["completions/mean_length"] for t in telemetry]
    rewards = [t.metrics["objective/scores"] for t in telemetry]
    kl = [t.metrics["objective/kl"] for t in telemetry]
    window, baseline = config.length_collapse.window, config.length_collapse.baseline
    return Diagnosis(
        verdicts=(
            length_collapse(lengths, config.length_collapse, steps),
            reward_hockey_stick(rewards, config.reward_hockey_stick, steps),
            kl_blow_up(kl, config.kl_blow_up),
        ),
        final_kl=_mean(kl[-config.kl_blow_up.window :]),
        length_ratio=_mean(lengths[-window:]) / _mean(lengths[:baseline]),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
