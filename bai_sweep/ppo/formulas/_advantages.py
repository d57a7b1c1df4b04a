"""From scores and values to advantages and returns.

Responses stand one a row, padded on the right; `mask` is True on their tokens, and what stands elsewhere is not read.
What is taken over the tokens of a whole batch takes them flat, shape (tokens,), so that no padding can leak in.

Sources: Schulman et al. 2016 (GAE, arXiv 1506.02438), Ouyang et al. 2022 (KL in the reward, arXiv 2203.02155), Yuan
et al. 2025 (VC-PPO: a lambda each for actor and critic, arXiv 2503.01491), Yue et al. 2025 (VAPO, arXiv 2504.05118),
Yu et al. 2025 (DAPO, arXiv 2503.14476).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Whitening = Literal["none", "mean_std", "std"]

WHITEN_EPSILON = 1e-8
RETURN_RESOLUTION = 1e-5
"""Relative to the largest return or value: a deviation below it is rounding (seen: 1.5e-6 at 16384 tokens)."""


def token_rewards(
    scores: Float[Tensor, " rows"],
    kl: Float[Tensor, "rows tokens"],
    mask: Bool[Tensor, "rows tokens"],
    kl_coef: float,
) -> Float[Tensor, "rows tokens"]:
    """The reward of each token: minus `kl_coef` times its KL, and the row's score on its last token.

    Every row has a token; 0 outside the mask.
    """
    rewards = (-kl_coef * kl).masked_fill(~mask, 0.0)
    last = mask.sum(dim=1) - 1
    return rewards.scatter_add(1, last[:, None], scores[:, None])


def generalized_advantages(
    rewards: Float[Tensor, "rows tokens"],
    values: Float[Tensor, "rows tokens"],
    mask: Bool[Tensor, "rows tokens"],
    *,
    gamma: float,
    gae_lambda: float | Float[Tensor, " rows"],
) -> tuple[Float[Tensor, "rows tokens"], Float[Tensor, "rows tokens"]]:
    """Token-level GAE (Schulman et al. 2016, equation 16).

    `delta_t = r_t + gamma V_{t+1} - V_t` and `A_t = delta_t + gamma lambda A_{t+1}`, with V and A zero after the
    last token, whether the response ended or was cut off.

    With a lambda each for actor and critic (VC-PPO, VAPO), call it twice: the actor takes the advantages of one
    lambda, the critic the returns of the other.

    Args:
        rewards: Reward of each token.
        values: V of the state before each token.
        mask: True on the tokens of each response, which begin at the left; the rest is not read.
        gamma: Discount.
        gae_lambda: Lambda, one for all rows or one a row; 1 gives Monte Carlo returns.

    Returns:
        Advantages, and returns (advantages + values); both 0 outside the mask.
    """
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    # One token of all rows stands together in memory: the recursion below reads it whole.
    deltas = (rewards + gamma * following - values).T.contiguous()
    decay = gamma * torch.as_tensor(gae_lambda, dtype=deltas.dtype, device=deltas.device)
    for t in reversed(range(len(deltas) - 1)):
        deltas[t].addcmul_(decay, deltas[t + 1])
    advantages = deltas.T.contiguous()
    return advantages, advantages + values


def length_adaptive_lambda(lengths: Int[Tensor, " rows"], alpha: float) -> Float[Tensor, " rows"]:
    """VAPO's lambda of a response of `l` tokens: `1 - 1 / (alpha l)` (Yue et al. 2025), within [0, 1].

    The sum of GAE's coefficients, 1 / (1 - lambda), is then `alpha l`: proportional to the length. For responses
    shorter than 1 / alpha (20 tokens at the paper's 0.05) the formula is negative, and GAE would weigh temporal
    differences with alternating signs; there lambda is 0, the one-step advantage.
    """
    return (1.0 - 1.0 / (alpha * lengths.float())).clamp(0.0, 1.0)


def whiten(values: Float[Tensor, " tokens"], variant: Whitening) -> Float[Tensor, " tokens"]:
    """Brings the tokens of a batch to variance 1.

    Args:
        values: Advantages, of all tokens that are trained on.
        variant: `none` returns them as they are. `mean_std` gives mean 0: TRL's `masked_whiten` with shift_mean=True,
            `(x - mean) / sqrt(var + 1e-8)` with the unbiased variance (n - 1). `std` scales in the same way around
            the mean and keeps it, `mean + (x - mean) / sqrt(var + 1e-8)`: TRL's with shift_mean=False. (torchtune's
            `shift_mean` has the opposite sense.)

    Returns:
        A single token has no variance: its deviation from the mean is 0.
    """
    if variant == "none":
        return values
    mean = values.mean()
    centred = values - mean
    if values.numel() > 1:
        centred = centred * torch.rsqrt(values.var(correction=1) + WHITEN_EPSILON)
    return centred if variant == "mean_std" else centred + mean


def overlong_penalty(
    lengths: Int[Tensor, " rows"], *, max_new_tokens: int, buffer: int, penalty: float
) -> Float[Tensor, " rows"]:
    """DAPO's soft overlong punishment (Yu et al. 2025, equation 13), as an amount to subtract from the score.

    Args:
        lengths: Tokens of each response.
        max_new_tokens: L, the longest response.
        buffer: The last tokens before L over which the penalty grows; at 0, as at 1, only a response of L loses.
        penalty: What a response of L tokens or more loses, in the score's unit.

    Returns:
        0 up to L - buffer tokens, then linear in the length up to `penalty` at L; never negative.
    """
    buffer = max(buffer, 1)
    excess = (lengths - (max_new_tokens - buffer)).float() / buffer
    return penalty * excess.clamp(0.0, 1.0)


def explained_variance(values: Float[Tensor, " tokens"], returns: Float[Tensor, " tokens"]) -> float:
    """`1 - Var(R - V) / Var(R)` over the tokens: 1 for a perfect critic, 0 for a constant one; 0 if R is constant.

    Returns that differ by fp32 rounding only are constant: with lambda 1 and the same reward everywhere, `R = A + V`
    still has the rounding of V.
    """
    values, returns = values.double(), returns.double()
    variance = returns.var(correction=0)
    scale = torch.maximum(returns.abs().max(), values.abs().max())
    if variance <= (RETURN_RESOLUTION * scale) ** 2:
        return 0.0
    return float(1.0 - (returns - values).var(correction=0) / variance)


def row_sums(values: Float[Tensor, "rows tokens"], mask: Bool[Tensor, "rows tokens"]) -> Float[Tensor, " rows"]:
    """The sum over each row's tokens."""
    return values.masked_fill(~mask, 0.0).sum(dim=1)


def length_mask(lengths: Int[Tensor, " rows"], longest: int) -> Bool[Tensor, "rows tokens"]:
    """True on the first `lengths[i]` positions of row i."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]
