"""The seven detectors, each a shape of `_shapes` on one metric of PPO's steps."""

from __future__ import annotations

from collections.abc import Sequence

from bai_sweep.config import DipConfig, LevelConfig, ShiftConfig
from bai_sweep.records import Verdict
from bai_sweep.stability._shapes import bad_level, dip, shift

METRICS = {
    "length_collapse": "completions/mean_length",
    "reward_hockey_stick": "objective/scores",
    "kl_blow_up": "objective/kl",
    "entropy_collapse": "policy/entropy_avg",
    "truncation_runaway": "completions/clipped_ratio",
    "repetition": "completions/repetition_ratio",
    "critic_failure": "critic/vf_explained_var",
}
"""The series that each detector reads."""


def length_collapse(lengths: Sequence[float], config: ShiftConfig, steps: int | None = None) -> Verdict:
    """Sequence length collapse (paper, figure 3): the mean response length falls early and does not come back.

    Args:
        lengths: `completions/mean_length` by step, tokens.
        config: The thresholds, as fractions of the starting length.
        steps: Of the whole run, where there are only its first; None: there are all.
    """
    return shift("length_collapse", lengths, config, steps, unit=" tokens")


def reward_hockey_stick(rewards: Sequence[float], config: DipConfig, steps: int | None = None) -> Verdict:
    """Reward hockey stick (paper, figure 2): the reward falls early, before it climbs.

    Args:
        rewards: `objective/scores` by step (mean raw reward, higher is better).
        config: The thresholds, in standard errors.
        steps: Of the whole run, where there are only its first; None: there are all.
    """
    return dip("reward_hockey_stick", rewards, config, steps)


def kl_blow_up(kl: Sequence[float], config: LevelConfig) -> Verdict:
    """KL blow-up: the policy leaves its reference by more than a budget.

    Args:
        kl: `objective/kl` by step, nats per sequence, positive when the policy has moved.
        config: The budgets.
    """
    return bad_level("kl_blow_up", kl, config, unit=" nats")


def entropy_collapse(entropies: Sequence[float], config: ShiftConfig, steps: int | None = None) -> Verdict:
    """Entropy collapse: the policy becomes nearly deterministic, and stops to explore.

    Args:
        entropies: `policy/entropy_avg` by step, nats per token.
        config: The thresholds, as fractions of the starting entropy.
        steps: Of the whole run, where there are only its first; None: there are all.
    """
    return shift("entropy_collapse", entropies, config, steps, unit=" nats")


def truncation_runaway(ratios: Sequence[float], config: ShiftConfig, steps: int | None = None) -> Verdict:
    """Truncation runaway: responses grow into the limit, and their ends are never seen.

    Args:
        ratios: `completions/clipped_ratio` by step, 0 to 1.
        config: The thresholds, as differences to the starting ratio.
        steps: Of the whole run, where there are only its first; None: there are all.
    """
    return shift("truncation_runaway", ratios, config, steps, upwards=True, relative=False)


def repetition(ratios: Sequence[float], config: ShiftConfig, steps: int | None = None) -> Verdict:
    """Repetition: the policy gets stuck in loops.

    Args:
        ratios: `completions/repetition_ratio` by step, 0 to 1.
        config: The thresholds, as differences to the starting ratio.
        steps: Of the whole run, where there are only its first; None: there are all.
    """
    return shift("repetition", ratios, config, steps, upwards=True, relative=False)


def critic_failure(explained: Sequence[float], config: LevelConfig) -> Verdict:
    """Critic failure: the values explain less of the returns than a constant would.

    Args:
        explained: `critic/vf_explained_var` by step, 1 for a perfect critic.
        config: The levels, both below 0, and how long the critic may learn.
    """
    return bad_level("critic_failure", explained, config, below=True)
