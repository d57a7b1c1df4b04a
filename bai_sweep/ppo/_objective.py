"""What actor and critic minimise on some response tokens, and the figures that are reported of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bai_sweep.config import PPOSettings
from bai_sweep.generation import TokenScores
from bai_sweep.ppo._experience import Experience
from bai_sweep.ppo.formulas import aggregation_weights, kl_estimate, policy_loss, value_loss
from bai_sweep.ppo.rollouts import Places

Figures = dict[str, Tensor]
RATIO_MAX = "val/ratio_max"
STATISTICS = (
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "policy/clipfrac_low",
    "policy/clipfrac_high",
    "val/ratio",
)


@dataclass(frozen=True)
class Weights:
    """What each token of a minibatch counts, shape (rows of the batch, longest response).

    Made for the whole minibatch, so that how it is split into passes and over processes changes nothing.

    Args:
        loss: In the losses.
        positive: In the NLL of completions with a positive score.
        shares: In the statistics: one over the minibatch's tokens, however the losses aggregate.
    """

    loss: Float[Tensor, "rows tokens"]
    positive: Float[Tensor, "rows tokens"]
    shares: Float[Tensor, "rows tokens"]

    @classmethod
    def of(cls, experience: Experience, rows: Int[Tensor, " chosen"], settings: PPOSettings) -> Weights:
        """Those of a minibatch."""
        learned, longest = experience.learned[rows], settings.max_new_tokens
        positive = learned & (experience.scores[rows] > settings.positive_score)[:, None]

        def spread(chosen: Float[Tensor, "chosen tokens"]) -> Float[Tensor, "rows tokens"]:
            return torch.zeros_like(experience.advantages).index_copy_(0, rows, chosen.to(experience.advantages.dtype))

        return cls(
            loss=spread(aggregation_weights(learned, settings.loss_aggregation, constant=longest)),
            positive=spread(aggregation_weights(positive, settings.loss_aggregation, constant=longest)),
            shares=spread(aggregation_weights(learned, "token", constant=longest)),
        )

    def nothing(self) -> Weights:
        """Weights with which the same tokens count nothing."""
        return Weights(torch.zeros_like(self.loss), torch.zeros_like(self.positive), torch.zeros_like(self.shares))


def figure_names(settings: PPOSettings, *, policy: bool) -> tuple[str, ...]:
    """The figures that add up over the parts of a minibatch; terms that are switched off have none."""
    if not policy:
        return ("loss/value_avg",)
    switched = {
        "loss/kl_avg": settings.kl_loss_coef,
        "loss/nll_avg": settings.positive_nll_coef,
        "loss/entropy_avg": settings.entropy_coef,
    }
    return ("loss/value_avg", "loss/policy_avg", *(name for name, coef in switched.items() if coef), *STATISTICS)


def actor_loss(
    scores: TokenScores, experience: Experience, weights: Weights, places: Places, settings: PPOSettings
) -> tuple[Float[Tensor, ""], Figures]:
    """`policy + kl_loss_coef * KL + positive_nll_coef * NLL - entropy_coef * entropy` of some response tokens.

    Each is a sum with the minibatch's weights. A term whose coefficient is 0 is not computed.

    Args:
        scores: What the policy says of the tokens now; entropies where `entropy_coef` is not 0.
        experience: What they are trained on.
        weights: The minibatch's.
        places: Where the tokens stand in the batch.
        settings: Coefficients and clips.

    Returns:
        The loss, and its figures without gradients.
    """
    weight, logprobs = weights.loss[places], scores.logprobs
    terms = policy_loss(
        logprobs,
        experience.judgement.logprobs[places],
        experience.advantages[places],
        weight,
        clip_low=settings.clip_range_low,
        clip_high=settings.clip_range_high,
        dual_clip=settings.dual_clip,
        importance=None if experience.importance is None else experience.importance[places],
        shares=weights.shares[places],
    )
    loss, parts = terms.loss, {"loss/policy_avg": terms.loss}
    if settings.kl_loss_coef:
        kl = kl_estimate(logprobs, experience.judgement.reference[places], settings.kl_loss_estimator)
        parts["loss/kl_avg"] = (weight * kl).sum()
        loss = loss + settings.kl_loss_coef * parts["loss/kl_avg"]
    if settings.positive_nll_coef:
        parts["loss/nll_avg"] = -(weights.positive[places] * logprobs).sum()
        loss = loss + settings.positive_nll_coef * parts["loss/nll_avg"]
    if scores.entropies is not None:
        parts["loss/entropy_avg"] = (weight * scores.entropies).sum()
        loss = loss - settings.entropy_coef * parts["loss/entropy_avg"]
    parts |= {
        "policy/approxkl_avg": terms.approx_kl,
        "policy/clipfrac_avg": terms.clip_fraction,
        "policy/clipfrac_low": terms.clip_fraction_low,
        "policy/clipfrac_high": terms.clip_fraction_high,
        "val/ratio": terms.ratio,
        RATIO_MAX: terms.ratio_max,
    }
    return loss, {name: part.detach() for name, part in parts.items()}


def critic_loss(
    values: Float[Tensor, " tokens"], experience: Experience, weights: Weights, places: Places, settings: PPOSettings
) -> tuple[Float[Tensor, ""], Figures]:
    """The value loss of some response tokens, and its figure without gradients."""
    loss = value_loss(
        values,
        experience.judgement.values[places],
        experience.returns[places],
        weights.loss[places],
        clip_range=settings.clip_range_value,
    )
    return loss, {"loss/value_avg": loss.detach()}
