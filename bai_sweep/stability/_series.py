"""What the detectors share: smoothing, the noise of a series, and where a change began."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]  # (steps,), one value a PPO step


def trailing_mean(values: Series, window: int) -> Series:
    """Mean of the last `window` values at each step (of all so far where there are fewer).

    Trailing, not centred, so that the value at a step never depends on a later one.
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    smoothed: Series = (total[end] - total[start]) / (end - start)
    return smoothed


def noise(values: Series) -> float:
    """Standard deviation of the step-to-step noise, blind to a trend.

    From the median absolute first difference: for independent normal noise of deviation s the differences have
    deviation s * sqrt(2), and their median absolute value is 0.6745 times that. Where most steps repeat (a sparse
    reward) the median is 0, and the root mean square of the differences takes its place.
    """
    if len(values) < 3:
        return 0.0
    steps = np.diff(values)
    robust = np.median(np.abs(steps)) / 0.6745
    return float((robust or np.sqrt(np.mean(steps**2))) / np.sqrt(2.0))


def standard_error(values: Series, window: int, baseline: int) -> float:
    """Standard error of the difference between a window's mean and the baseline's mean."""
    return noise(values) * float(np.sqrt(1.0 / window + 1.0 / baseline))


def onset_before(smoothed: Series, crossing: int, near_start: float) -> int:
    """The step (from 1) at which the fall that crossed at index `crossing` began.

    It is the one after the last step whose smoothed value still was at `near_start` or above.
    """
    above = np.flatnonzero(smoothed[: crossing + 1] >= near_start)
    return int(above[-1]) + 2 if len(above) else 1
