"""PPO's formulas as pure functions of tensors: KL estimates, advantages and returns, losses, schedules."""

from bai_sweep.ppo.formulas._advantages import (
    explained_variance,
    generalized_advantages,
    length_adaptive_lambda,
    length_mask,
    overlong_penalty,
    row_sums,
    token_rewards,
    whiten,
)
from bai_sweep.ppo.formulas._kl import KLController, kl_estimate
from bai_sweep.ppo.formulas._losses import (
    PolicyTerms,
    aggregation_weights,
    importance_weights,
    policy_loss,
    value_loss,
)
from bai_sweep.ppo.formulas._schedule import learning_rate_factor

__all__ = [
    "KLController",
    "PolicyTerms",
    "aggregation_weights",
    "explained_variance",
    "generalized_advantages",
    "importance_weights",
    "kl_estimate",
    "learning_rate_factor",
    "length_adaptive_lambda",
    "length_mask",
    "overlong_penalty",
    "policy_loss",
    "row_sums",
    "token_rewards",
    "value_loss",
    "whiten",
]
