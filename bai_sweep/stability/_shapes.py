"""The three shapes of a fault, each a pure function of a series: a shift that stays, an early dip, a bad level.

A prefix of a run gets the verdict that an observer would have had at that step. Definitions: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bai_sweep.config import DipConfig, LevelConfig, ShiftConfig
from bai_sweep.records import Level, Verdict
from bai_sweep.stability._series import baseline_of, onset_before, standard_error, trailing_median

_ROUNDING = 1e-9


def shift(
    name: str,
    values: Sequence[float],
    config: ShiftConfig,
    steps: int | None,
    *,
    upwards: bool = False,
    relative: bool = True,
    unit: str = "",
) -> Verdict:
    """A level that leaves its start and does not come back.

    With x0 the median of the first `baseline` values and S_t the trailing median, the shift at t is
    (x0 - S_t) / x0, or S_t - x0 where it is `upwards` and not `relative`; it counts where it is at least
    `min_standard_errors` of its own error.

    Args:
        name: Of the detector.
        values: By step.
        config: The thresholds.
        steps: Of the whole run, where there are only its first; None: there are all.
        upwards: Whether a rise is the fault.
        relative: Whether shifts are fractions of x0.
        unit: Of the values, for people.

    Returns:
        The verdict; its severity is the largest shift, at most 1.
    """
    series = np.asarray(values, dtype=np.float64)
    first = config.baseline + config.window // 2  # before it a window holds more of the start than of what follows
    if len(series) <= first:
        return _too_short(name, len(series), first + 1)
    start = baseline_of(series, config.baseline)
    scale = start if relative else 1.0
    if scale <= 0.0:
        return Verdict(name, "none", 0.0, None, None, f"starts at {start:.3g}{unit}, from which nothing can fall")
    level = trailing_median(series, config.window)
    shifts = (level - start if upwards else start - level) / scale
    shifts[:first] = np.minimum(shifts[:first], 0.0)
    peak = int(shifts.argmax())
    largest = max(float(shifts[peak]), 0.0)
    error = standard_error(series, config.window, config.baseline) / scale
    if largest < config.suspected or largest < config.min_standard_errors * error:
        reason = f"largest {'rise' if upwards else 'fall'} {_size(largest, relative)} from {start:.3g}{unit}"
        return Verdict(name, "none", min(largest, 1.0), None, None, reason)
    # the start of the shift that holds the peak: an earlier one that recovered is not this one
    crossing = _last(shifts[:peak] < config.suspected) + 1
    back = np.flatnonzero(shifts[peak:] <= config.recovered)
    recovery = int(back[0]) + peak + 1 if len(back) else None
    lasted = len(series) - crossing >= config.hold
    early = crossing < config.early_fraction * (steps or len(series))
    sure: Level = "certain" if largest >= config.certain and lasted and early and recovery is None else "suspected"
    fate = f"back at step {recovery}" if recovery else "not recovered"
    sign = "+" if upwards else "-"
    reason = (
        f"from {start:.3g} to {level[peak]:.3g}{unit} by step {peak + 1} ({sign}{_size(largest, relative)}), {fate}"
    )
    return Verdict(name, sure, min(largest, 1.0), onset_before(shifts, crossing, config.recovered), recovery, reason)


def dip(name: str, values: Sequence[float], config: DipConfig, steps: int | None) -> Verdict:
    """A value that falls early, before it climbs.

    With x0 and S_t as for `shift` and se the standard error of their difference, the dip is max_t (x0 - S_t) / se
    over the first `early_fraction` of the run.

    Args:
        name: Of the detector.
        values: By step, higher is better.
        config: The thresholds, in standard errors.
        steps: Of the whole run, where there are only its first; None: there are all.

    Returns:
        The verdict; its severity is the depth of the dip over the larger of it and the later climb from its bottom (1
        where the series never got above its start again).
    """
    series = np.asarray(values, dtype=np.float64)
    first = config.baseline + config.window // 2
    if len(series) <= first:
        return _too_short(name, len(series), first + 1)
    start = baseline_of(series, config.baseline)
    level = trailing_median(series, config.window)
    early = max(int(config.early_fraction * (steps or len(series))), first + 1)
    lowest = first + int(level[first:early].argmin())
    depth = start - float(level[lowest])
    error = standard_error(series, config.window, config.baseline)
    # a constant series has depths of its rounding errors only
    size = depth / error if error > 0 and depth > _ROUNDING * max(1.0, abs(start)) else 0.0
    if size < config.suspected:
        return Verdict(name, "none", 0.0, None, None, f"no early dip below {start:.3f} beyond noise")
    climb = float(level[lowest:].max() - level[lowest])
    back = np.flatnonzero(level[lowest:] >= start)
    recovery = int(back[0]) + lowest + 1 if len(back) else None
    sure: Level = "certain" if size >= config.certain else "suspected"
    onset = onset_before(start - level, lowest, error)
    fate = f"back at step {recovery}" if recovery else "not recovered"
    reason = f"from {start:.3f} to {level[lowest]:.3f} by step {lowest + 1} ({size:.1f} standard errors), {fate}"
    return Verdict(name, sure, depth / max(depth, climb), onset, recovery, reason)


def bad_level(
    name: str, values: Sequence[float], config: LevelConfig, *, below: bool = False, unit: str = ""
) -> Verdict:
    """A level beyond a budget: S_t, the trailing median of what follows the first `grace` steps.

    Args:
        name: Of the detector.
        values: By step.
        config: The budgets; reaching one is beyond it.
        below: Whether low values are the fault.
        unit: Of the values, for people.

    Returns:
        The verdict. Its severity is the worst level's part of the way from 0 to the `certain` budget, 0 to 1.
    """
    series = np.asarray(values, dtype=np.float64)[config.grace :]
    needed = config.window // 2 + 1
    if len(series) < needed:
        return _too_short(name, len(values), config.grace + needed)
    level = trailing_median(series, config.window)[needed - 1 :]
    offset = config.grace + needed
    worst = float(level.min() if below else level.max())
    faulty, certain = (level <= b if below else level >= b for b in (config.suspected, config.certain))
    sure: Level = "certain" if certain.any() else "suspected" if faulty.any() else "none"
    severity = float(np.clip(worst / config.certain, 0.0, 1.0))
    reason = f"{'lowest' if below else 'largest'} median over {config.window} steps {worst:.3g}{unit}"
    if sure == "none":
        return Verdict(name, sure, severity, None, None, reason)
    at = np.flatnonzero(faulty) + offset
    onset, last = int(at[0]), int(at[-1])
    return Verdict(name, sure, severity, onset, last + 1 if last < len(values) else None, reason)


def _last(flags: NDArray[np.bool_]) -> int:
    """The index of the last True, -1 without one."""
    found = np.flatnonzero(flags)
    return int(found[-1]) if len(found) else -1


def _size(value: float, relative: bool) -> str:
    return f"{value:.0%}" if relative else f"{value:.2f}"


def _too_short(name: str, steps: int, needed: int) -> Verdict:
    return Verdict(name, "none", 0.0, None, None, f"{steps} steps are too few to tell ({needed} needed)")
