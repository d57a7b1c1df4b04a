"""PPO's formulas as pure functions of tensors.

Responses stand one a row, padded on the right; `mask` is True on their tokens. What is summed over the tokens of a
whole batch takes them flat, shape (tokens,), so that no padding can leak in. Log-probabilities are in nats.

Sources: Schulman et al. 2016 (GAE, arXiv 1506.02438), Schulman et al. 2017 (PPO, arXiv 1707.06347), Schulman 2020
("Approximating KL divergence", joschu.net/blog/kl-approx.html), Ouyang et al. 2022 (arXiv 2203.02155).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

WHITEN_EPSILON = 1e-8


def kl_estimate(
    logprobs: Float[Tensor, "*shape"], reference: Float[Tensor, "*shape"], estimator: Literal["k1", "k3"]
) -> Float[Tensor, "*shape"]:
    """Per-token estimates of KL(policy || reference) from tokens that the policy drew.

    With `r = log pi - log ref`: k1 = r (unbiased, either sign), k3 = exp(-r) - 1 + r (unbiased, never negative,
    less variance near 0). Both are large and positive where the policy has moved away: a penalty subtracts them.
    """
    log_ratio = logprobs - reference
    if estimator == "k1":
        return log_ratio
    return torch.expm1(-log_ratio) + log_ratio


def token_rewards(
    scores: Float[Tensor, " rows"],
    kl: Float[Tensor, "rows tokens"],
    mask: Bool[Tensor, "rows tokens"],
    kl_coef: float,
) -> Float[Tensor, "rows tokens"]:
    """The reward of each token: minus `kl_coef` times its KL, and the row's score on its last token."""
    rewards = -kl_coef * kl * mask
    last = mask.sum(dim=1) - 1
    return rewards.scatter_add(1, last[:, None], scores[:, None])


def generalized_advantages(
    rewards: Float[Tensor, "rows tokens"],
    values: Float[Tensor, "rows tokens"],
    mask: Bool[Tensor, "rows tokens"],
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "rows tokens"], Float[Tensor, "rows tokens"]]:
    """Token-level GAE (Schulman et al. 2016, equation 16).

    `delta_t = r_t + gamma V_{t+1} - V_t` and `A_t = delta_t + gamma lambda A_{t+1}`, with V and A zero after the
    last token, whether the response ended or was cut off.

    Args:
        rewards: Reward of each token.
        values: V of the state before each token.
        mask: True on the tokens of each response; the rest of `rewards` and `values` is not read.
        gamma: Discount.
        gae_lambda: Lambda; 1 gives Monte Carlo returns.

    Returns:
        Advantages, and returns (advantages + values); both 0 outside the mask.
    """
    rewards, values = rewards * mask, values * mask
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    deltas = (rewards + gamma * following - values) * mask
    advantages = torch.empty_like(deltas)
    running = deltas.new_zeros(len(deltas))
    for t in reversed(range(deltas.shape[1])):
        running = deltas[:, t] + gamma * gae_lambda * running
        advantages[:, t] = running
    return advantages, advantages + values


def whiten(values: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Mean 0 and variance 1 over the tokens of a batch.

    TRL's `masked_whiten` with shift_mean=True: unbiased variance (n - 1), `(x - mean) / sqrt(var + 1e-8)`. A
    single token has no variance and becomes 0.
    """
    centred = values - values.mean()
    if values.numel() < 2:
        return centred
    return centred * torch.rsqrt(values.var(correction=1) + WHITEN_EPSILON)


class PolicyTerms(NamedTuple):
    """The policy loss (with gradient) and what is reported beside it (without)."""

    loss: Float[Tensor, ""]
    approx_kl: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    ratio: Float[Tensor, ""]


def policy_loss(
    logprobs: Float[Tensor, " tokens"],
    old_logprobs: Float[Tensor, " tokens"],
    advantages: Float[Tensor, " tokens"],
    clip_range: float,
) -> PolicyTerms:
    """Clipped surrogate (Schulman et al. 2017, equation 7), negated, as the mean over tokens.

    `mean(max(-A rho, -A clip(rho, 1 - clip_range, 1 + clip_range)))` with `rho = exp(logprobs - old_logprobs)`.

    Returns:
        The loss; `mean((logprobs - old)^2) / 2`, an estimate of KL(old || new); the share of tokens on which the
        clipped term is the larger; the mean ratio.
    """
    log_ratio = logprobs - old_logprobs
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
    loss = torch.maximum(plain, clipped).mean()
    with torch.no_grad():
        approx_kl = 0.5 * log_ratio.square().mean()
        clip_fraction = (clipped > plain).float().mean()
        return PolicyTerms(loss, approx_kl, clip_fraction, ratio.mean())


def value_loss(
    values: Float[Tensor, " tokens"],
    old_values: Float[Tensor, " tokens"],
    returns: Float[Tensor, " tokens"],
    clip_range: float,
) -> Float[Tensor, ""]:
    """Clipped value loss (TRL's and Ouyang et al.'s): `mean(max((V - R)^2, (clip(V) - R)^2)) / 2`.

    V is clipped to within `clip_range` of the value at rollout.
    """
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square()).mean()


def explained_variance(values: Float[Tensor, " tokens"], returns: Float[Tensor, " tokens"]) -> float:
    """`1 - Var(R - V) / Var(R)` over the tokens: 1 for a perfect critic, 0 for a constant one; 0 if R is constant."""
    variance = returns.double().var(correction=0)
    if variance == 0.0:
        return 0.0
    return float(1.0 - (returns - values).double().var(correction=0) / variance)


def row_sums(values: Float[Tensor, "rows tokens"], mask: Bool[Tensor, "rows tokens"]) -> Float[Tensor, " rows"]:
    """The sum over each row's tokens."""
    return (values * mask).sum(dim=1)


def length_mask(lengths: Int[Tensor, " rows"], longest: int) -> Bool[Tensor, "rows tokens"]:
    """True on the first `lengths[i]` positions of row i."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
