"""What the detectors share: levels that single outliers do not move, a series' noise, where a change began."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]  # (steps,), one value a PPO step

_SMALL_SAMPLE = 2.0  # differences


def trailing_median(values: Series, window: int) -> Series:
    """Median of the last `window` values at each step (of all so far where there are fewer).

    Trailing, not centred, so that the value at a step never depends on a later one.
    """
    first = [np.median(values[:end]) for end in range(1, min(window, len(values) + 1))]
    if len(values) < window:
        return np.array(first)
    return np.concatenate([first, np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)])


def baseline_of(values: Series, steps: int) -> float:
    """Median of the first `steps` values."""
    return float(np.median(values[:steps]))


def noise(values: Series) -> float:
    """Standard deviation of the step-to-step noise, blind to a trend, and hardly moved by a jump.

    From the mean absolute first difference: for independent normal noise of deviation s the differences have deviation
    s * sqrt(2), and a mean absolute value of 2 s / sqrt(pi). Of few differences it may come out much too small, so it
    is raised by 2 / n of itself.
    """
    if len(values) < 3:
        return 0.0
    steps = np.abs(np.diff(values))
    return float(steps.mean()) * math.sqrt(math.pi) / 2.0 * (1.0 + _SMALL_SAMPLE / len(steps))


def standard_error(values: Series, window: int, baseline: int) -> float:
    """Standard error of the difference between a window's median and the baseline's.

    The median of n independent normal values has pi / 2 times the variance of their mean (for few it has less).
    """
    return noise(values) * math.sqrt(math.pi / 2.0 * (1.0 / window + 1.0 / baseline))


def onset_before(fall: Series, crossing: int, near_start: float) -> int:
    """The step (from 1) at which the fall that crossed at index `crossing` began.

    It is the one after the last step at which the fall was `near_start` or less.
    """
    small = np.flatnonzero(fall[: crossing + 1] <= near_start)
    return int(small[-1]) + 2 if len(small) else 1
