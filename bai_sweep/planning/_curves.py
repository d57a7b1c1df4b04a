"""What earlier trials recorded, as a pruner and the collapse rule would have seen it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bai_sweep.config import StabilityConfig
from bai_sweep.records import StepTelemetry
from bai_sweep.stability import diagnose


@dataclass(frozen=True)
class Curve:
    """One trial.

    Args:
        values: What would have been reported at each step; NaN where the metric was not there.
        collapsed: The step after which the collapse rule ends it, None if it never does.
    """

    values: tuple[float, ...]
    collapsed: int | None

    @property
    def steps(self) -> int:
        """That it took."""
        return len(self.values)

    @property
    def final(self) -> float:
        """The last value that is one."""
        return next((value for value in reversed(self.values) if not math.isnan(value)), math.nan)


def curve_of(
    telemetry: Sequence[StepTelemetry],
    metric: str,
    *,
    window: int,
    detectors: Sequence[str],
    patience: int,
    stability: StabilityConfig,
) -> Curve:
    """A trial's curve.

    Args:
        telemetry: Of all its steps.
        metric: Of docs/metrics.md, of PPO's steps.
        window: Steps whose mean is reported.
        detectors: Those whose certain verdict ends a trial.
        patience: Steps in a row that the verdict has to be certain.
        stability: The detectors' thresholds.
    """
    raw = [step.metrics.get(metric, math.nan) for step in telemetry]
    means = (raw[max(end - window, 0) : end] for end in range(1, len(raw) + 1))
    values = tuple(math.fsum(recent) / len(recent) for recent in means)
    return Curve(values, _collapse(telemetry, detectors, patience, stability))


def _collapse(
    telemetry: Sequence[StepTelemetry], detectors: Sequence[str], patience: int, stability: StabilityConfig
) -> int | None:
    """The step after which a detector has been certain for `patience` steps, of each prefix anew."""
    certain = dict.fromkeys(detectors, 0)
    for end in range(1, len(telemetry) + 1):
        for verdict in diagnose(telemetry[:end], stability, steps=len(telemetry)).verdicts:
            if verdict.detector in certain:
                certain[verdict.detector] = certain[verdict.detector] + 1 if verdict.level == "certain" else 0
        if any(steps >= patience for steps in certain.values()):
            return end
    return None
