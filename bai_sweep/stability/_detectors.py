"""The three detectors: sequence length collapse, reward hockey stick, KL blow-up (paper, figures 2 and 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bai_sweep.config import HockeyStickConfig, KLBlowUpConfig, LengthCollapseConfig
from bai_sweep.records import Level, Verdict
from bai_sweep.stability._series import onset_before, standard_error, trailing_mean


def length_collapse(lengths: Sequence[float], config: LengthCollapseConfig, steps: int | None = None) -> Verdict:
    """Sequence length collapse: the mean response length falls early and does not come back.

    With L0 the mean of the first `baseline` steps and S_t the trailing mean, the drop is 1 - min_t S_t / L0, and
    it counts where it exceeds `min_standard_errors`. The verdict is `certain` for a drop of `certain_drop` that
    was crossed within `early_fraction` of the run and has not recovered to `recovery_level`, else `suspected`
    from `suspected_drop` on.

    Args:
        lengths: `completions/mean_length` by step, tokens.
        config: the thresholds.
        steps: of the whole run, where there are only its first; None: there are all.

    Returns:
        The verdict; its severity is the drop as a fraction of L0.
    """
    name = "length_collapse"
    values = np.asarray(lengths, dtype=np.float64)
    if len(values) < config.baseline + config.window:
        return _too_short(name, len(values), config.baseline + config.window)
    start = float(values[: config.baseline].mean())
    smoothed = trailing_mean(values, config.window)
    drops = 1.0 - smoothed / start
    drops[: config.baseline] = 0.0
    lowest = int(drops.argmax())
    drop = float(drops[lowest])
    significant = drop * start >= config.min_standard_errors * standard_error(values, config.window, config.baseline)
    if drop < config.suspected_drop or not significant:
        return Verdict(
            name,
            "none",
            max(drop, 0.0),
            None,
            None,
            f"largest drop {max(drop, 0.0):.0%} of {start:.1f} tokens",
        )
    # the start of the fall that holds the lowest point: an earlier dip that recovered is not this one
    high = np.flatnonzero(drops[:lowest] < config.suspected_drop)
    crossing = int(high[-1]) + 1 if len(high) else 0
    onset = onset_before(smoothed, crossing, near_start=0.95 * start)
    back = np.flatnonzero(smoothed[lowest:] >= config.recovery_level * start)
    recovery = int(back[0]) + lowest + 1 if len(back) else None
    early = crossing < config.early_fraction * (steps or len(values))
    level: Level = "certain" if drop >= config.certain_drop and early and recovery is None else "suspected"
    fate = f"back at step {recovery}" if recovery else "not recovered"
    reason = f"from {start:.1f} to {smoothed[lowest]:.1f} tokens by step {lowest + 1} (-{drop:.0%}), {fate}"
    return Verdict(name, level, drop, onset, recovery, reason)


def reward_hockey_stick(rewards: Sequence[float], config: HockeyStickConfig, steps: int | None = None) -> Verdict:
    """Reward hockey stick: the reward falls early, before it climbs.

    With R0 the mean of the first `baseline` steps, S_t the trailing mean and se the standard error of their
    difference, the dip is max_t (R0 - S_t) / se over the first `early_fraction` of the run.

    Args:
        rewards: `objective/scores` by step (mean raw reward, higher is better).
        config: the thresholds, in standard errors.
        steps: of the whole run, where there are only its first; None: there are all.

    Returns:
        The verdict; its severity is the depth of the dip over the whole later climb from its bottom (1 where the
        reward never got above its start again).
    """
    name = "reward_hockey_stick"
    values = np.asarray(rewards, dtype=np.float64)
    if len(values) < config.baseline + config.window:
        return _too_short(name, len(values), config.baseline + config.window)
    start = float(values[: config.baseline].mean())
    smoothed = trailing_mean(values, config.window)
    early = max(int(config.early_fraction * (steps or len(values))), config.baseline + config.window)
    lowest = config.baseline + int(smoothed[config.baseline : early].argmin())
    depth = start - float(smoothed[lowest])
    error = standard_error(values, config.window, config.baseline)
    # a constant series has depths of its rounding errors only
    size = depth / error if error > 0 and depth > 1e-9 * max(1.0, abs(start)) else 0.0
    if size < config.suspected_dip:
        return Verdict(name, "none", 0.0, None, None, f"no early dip below {start:.3f} beyond noise")
    climb = float(smoothed[lowest:].max() - smoothed[lowest])
    back = np.flatnonzero(smoothed[lowest:] >= start)
    recovery = int(back[0]) + lowest + 1 if len(back) else None
    level: Level = "certain" if size >= config.certain_dip else "suspected"
    onset = onset_before(smoothed, lowest, near_start=start - error)
    fate = f"back at step {recovery}" if recovery else "not recovered"
    reason = f"from {start:.3f} to {smoothed[lowest]:.3f} by step {lowest + 1} ({size:.1f} standard errors), {fate}"
    return Verdict(name, level, depth / max(depth, climb), onset, recovery, reason)


def kl_blow_up(kl: Sequence[float], config: KLBlowUpConfig) -> Verdict:
    """KL blow-up: the policy leaves its reference by more than a budget.

    Args:
        kl: `objective/kl` by step, nats per sequence, positive when the policy has moved.
        config: the budgets.

    Returns:
        The verdict; its severity is the largest windowed mean over the `certain` budget, at most 1.
    """
    values = np.asarray(kl, dtype=np.float64)
    smoothed = trailing_mean(values, config.window)
    peak = float(smoothed.max(initial=0.0))
    level: Level = "certain" if peak >= config.certain else "suspected" if peak >= config.suspected else "none"
    severity = min(peak / config.certain, 1.0)
    reason = f"largest mean KL over {config.window} steps {peak:.2f} nats"
    if level == "none":
        return Verdict("kl_blow_up", level, severity, None, None, reason)
    onset = int(np.flatnonzero(smoothed >= config.suspected)[0]) + 1
    last = int(np.flatnonzero(smoothed >= config.suspected)[-1]) + 1
    return Verdict("kl_blow_up", level, severity, onset, last + 1 if last < len(values) else None, reason)


def _too_short(name: str, steps: int, needed: int) -> Verdict:
    return Verdict(name, "none", 0.0, None, None, f"{steps} steps are too few to tell ({needed} needed)")
