"""The losses of actor and critic, as weighted sums over tokens.

A loss is `sum(weights * token losses)`, and one call of `aggregation_weights` gives the weights of a whole minibatch.
Its parts (micro-batches, processes) then need no averages of their own: their sums, and the sums of their gradients,
are the minibatch's, however it is cut.

Sources: Schulman et al. 2017 (PPO, arXiv 1707.06347), Ye et al. 2020 (dual clip, arXiv 1912.09729), Yu et al. 2025
(DAPO: clip-higher, token-level loss, arXiv 2503.14476), Liu et al. 2025 (Dr. GRPO, arXiv 2503.20783).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Aggregation = Literal["token", "sequence", "constant"]
ImportanceCorrection = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


def aggregation_weights(
    mask: Bool[Tensor, "rows tokens"], aggregation: Aggregation, *, constant: int
) -> Float[Tensor, "rows tokens"]:
    """What each token of a minibatch counts in a loss.

    Args:
        mask: True on the tokens to train on. A row without any (a truncated response, say) weighs nothing.
        aggregation: `token`: the mean over all tokens (DAPO). `sequence`: the mean over rows of each row's mean;
            rows without tokens are not among them. `constant`: the sum over tokens divided by `constant`, averaged
            over all rows (Dr. GRPO), so that a token counts the same in every minibatch.
        constant: The divisor of `constant`, max_new_tokens in Dr. GRPO; read by no other.

    Returns:
        0 outside the mask. `token` and `sequence` sum to 1, `constant` to 1 or less; all to 0 for an empty mask.
    """
    lengths = mask.sum(dim=1, keepdim=True)
    match aggregation:
        case "token":
            divisor = lengths.sum()
        case "sequence":
            divisor = lengths * (lengths > 0).sum()
        case "constant":
            divisor = torch.full_like(lengths, len(mask) * constant)
    return mask / divisor.clamp(min=1)


@torch.no_grad()
def importance_weights(
    trainer_logprobs: Float[Tensor, "rows tokens"],
    sampled_logprobs: Float[Tensor, "rows tokens"],
    mask: Bool[Tensor, "rows tokens"],
    correction: ImportanceCorrection,
    cap: float,
) -> Float[Tensor, "rows tokens"]:
    """Weights for tokens that another program than the trainer drew from the same parameters.

    An inference engine's probabilities differ from the trainer's by rounding and kernels, so that its samples are
    slightly off-policy. The weight is `pi_trainer / pi_sampler`, of the token or, as the product over the row's
    tokens, of the whole response; `truncate` cuts it at the cap (Yao et al. 2025, "Your efficient RL framework
    secretly brings you off-policy RL training", fengyao.notion.site/off-policy-rl), `mask` drops what exceeds the
    cap. The names and the meanings are those of TRL's `vllm_importance_sampling_mode`.

    Args:
        trainer_logprobs: The policy's at rollout, computed by the trainer.
        sampled_logprobs: The sampler's, of the same tokens. NaN says that it does not know; the token's ratio is
            then 1, as in TRL.
        mask: True on the tokens of each response.
        correction: Token or sequence, truncate or mask; `none` weighs every token 1.
        cap: The largest weight.

    Returns:
        Constants (no gradient), 0 outside the mask.
    """
    if correction == "none":
        return mask.to(trainer_logprobs.dtype)
    known = mask & ~sampled_logprobs.isnan()
    log_ratio = (trainer_logprobs - sampled_logprobs).masked_fill(~known, 0.0)
    if correction in ("sequence_truncate", "sequence_mask"):
        log_ratio = log_ratio.sum(dim=1, keepdim=True)
    ratio = log_ratio.exp()
    if correction in ("token_truncate", "sequence_truncate"):
        ratio = ratio.clamp(max=cap)
    else:
        ratio = ratio.masked_fill(ratio > cap, 0.0)
    return ratio.expand_as(trainer_logprobs).masked_fill(~mask, 0.0)


class PolicyTerms(NamedTuple):
    """The policy loss (with gradient) and what is reported beside it (without).

    The loss is a sum with its weights, the statistics but `ratio_max` are sums with `shares`, so that those of
    micro-batches and processes add up. Of `ratio_max`, take the maximum.

    Args:
        loss: The loss.
        approx_kl: `(logprobs - old_logprobs)^2 / 2`, an estimate of KL(old, new), nats per token.
        clip_fraction_low: Tokens with A < 0 whose ratio is below 1 - clip_low.
        clip_fraction_high: Tokens with A > 0 whose ratio is above 1 + clip_high.
        clip_fraction: Tokens that a clip left without gradient: those two, and those at the dual clip.
        ratio: The probability ratio of new to old policy.
        ratio_max: Its maximum over the tokens with a weight; 0 if there are none.
    """

    loss: Float[Tensor, ""]
    approx_kl: Float[Tensor, ""]
    clip_fraction_low: Float[Tensor, ""]
    clip_fraction_high: Float[Tensor, ""]
    clip_fraction: Float[Tensor, ""]
    ratio: Float[Tensor, ""]
    ratio_max: Float[Tensor, ""]


def policy_loss(
    logprobs: Float[Tensor, " tokens"],
    old_logprobs: Float[Tensor, " tokens"],
    advantages: Float[Tensor, " tokens"],
    weights: Float[Tensor, " tokens"],
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None,
    importance: Float[Tensor, " tokens"] | None,
    shares: Float[Tensor, " tokens"] | None = None,
) -> PolicyTerms:
    """Clipped surrogate (Schulman et al. 2017, equation 7), negated: lower is better.

    `sum(weights * importance * max(-A rho, -A clip(rho, 1 - clip_low, 1 + clip_high)))` with `rho = exp(logprobs -
    old_logprobs)`. With a dual clip (Ye et al. 2020) the loss of a token with A < 0 is at most
    `-A dual_clip`: a token that became far likelier although it was bad no longer dominates.

    A token that a clip holds has no gradient at all, also where its ratio overflows; an overflow that no clip holds
    makes the loss infinite, which the trainer reports.

    Args:
        logprobs: The policy's, with gradient.
        old_logprobs: The policy's at rollout.
        advantages: Positive where the token was better than expected.
        weights: From `aggregation_weights`; a token of weight 0 is not read.
        clip_low: How far the ratio is followed below 1.
        clip_high: How far it is followed above 1.
        dual_clip: Largest ratio that counts for A < 0, above 1; None for none.
        importance: From `importance_weights`; None for 1.
        shares: What each token counts in the statistics; one over the minibatch's tokens makes them means over
            tokens, whatever the aggregation. None: the weights.
    """
    log_ratio = (logprobs - old_logprobs).masked_fill(weights == 0, 0.0)
    with torch.no_grad():
        ratio = log_ratio.exp()
        low = (advantages < 0) & (ratio < 1.0 - clip_low)
        high = (advantages > 0) & (ratio > 1.0 + clip_high)
        held, limit = low | high, ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
        if dual_clip is not None:
            dual = (advantages < 0) & (ratio > dual_clip)
            held, limit = held | dual, limit.masked_fill(dual, dual_clip)
    # A ratio that is held is never exponentiated with gradient: 0 times an infinite derivative would be NaN.
    surrogate = torch.where(held, limit, log_ratio.masked_fill(held, 0.0).exp())
    scale = weights if importance is None else weights * importance.detach()
    loss = -(scale * advantages * surrogate).sum()
    shares = weights if shares is None else shares
    with torch.no_grad():
        return PolicyTerms(
            loss=loss,
            approx_kl=0.5 * (shares * log_ratio.square()).sum(),
            clip_fraction_low=(shares * low).sum(),
            clip_fraction_high=(shares * high).sum(),
            clip_fraction=(shares * held).sum(),
            ratio=(shares * ratio).sum(),
            ratio_max=torch.cat([ratio[weights > 0], ratio.new_zeros(1)]).max(),
        )


def value_loss(
    values: Float[Tensor, " tokens"],
    old_values: Float[Tensor, " tokens"],
    returns: Float[Tensor, " tokens"],
    weights: Float[Tensor, " tokens"],
    *,
    clip_range: float | None,
) -> Float[Tensor, ""]:
    """Squared error of the critic, clipped (TRL's): `sum(weights * max((V - R)^2, (clip(V) - R)^2)) / 2`.

    V is clipped to within `clip_range` of the value at rollout; None leaves `(V - R)^2` alone.
    """
    errors = (values - returns).square()
    if clip_range is not None:
        clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
        errors = torch.maximum(errors, (clipped - returns).square())
    return 0.5 * (weights * errors).sum()
