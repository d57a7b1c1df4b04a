"""The figures of one step under the names of docs/metrics.md."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch

from bai_sweep.ppo._experience import Experience
from bai_sweep.ppo._math import explained_variance, kl_estimate, row_sums
from bai_sweep.ppo._rollout import Rollout


@torch.no_grad()
def describe(experience: Experience) -> dict[str, float]:
    """What is known of a batch before anything is learned from it; KL and entropy in nats per sequence."""
    judgement, mask = experience.judgement, experience.rollout.mask
    kl, kl_k3 = (kl_estimate(judgement.logprobs, judgement.reference, k) for k in ("k1", "k3"))
    scores, others = experience.scores.double(), experience.non_score_rewards.double()
    return {
        "objective/kl": float(row_sums(kl, mask).double().mean()),
        "objective/kl_k3": float(row_sums(kl_k3, mask).double().mean()),
        "objective/entropy": float(row_sums(judgement.entropies, mask).double().mean()),
        "objective/scores": float(scores.mean()),
        "objective/scores_std": float(scores.std(correction=1)) if len(scores) > 1 else 0.0,
        "objective/non_score_reward": float(others.mean()),
        "objective/rlhf_reward": float((scores + others).mean()),
        "critic/vf_explained_var": explained_variance(judgement.values[mask], experience.returns[mask]),
        "sampling/sampling_logp_difference/mean": float(
            (judgement.logprobs - experience.rollout.sampled_logprobs)[mask].abs().mean()
        ),
        **_lengths(experience.rollout),
    }


def _lengths(rollout: Rollout) -> dict[str, float]:
    lengths = rollout.lengths.double()
    ended = lengths[rollout.ended]
    return {
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float((~rollout.ended).double().mean()),
        "completions/mean_terminated_length": float(ended.mean()) if len(ended) else 0.0,
    }


def timings(clock: Sequence[float], new_tokens: int) -> dict[str, float]:
    """Seconds between four readings of a clock, and tokens over them: all that differs between equal runs."""
    rollout, scoring, training = (end - start for start, end in pairwise(clock))
    return {
        "seconds/rollout": rollout,
        "seconds/scoring": scoring,
        "seconds/training": training,
        "tokens_per_second/rollout": new_tokens / rollout,
        "tokens_per_second/step": new_tokens / (clock[-1] - clock[0]),
    }
