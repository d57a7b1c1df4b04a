"""What one step learns from: responses, and what policy, reference, critic and rewards say of their tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bai_sweep.config import PPOSettings
from bai_sweep.ppo._math import generalized_advantages, kl_estimate, row_sums, token_rewards, whiten
from bai_sweep.ppo._networks import Networks
from bai_sweep.ppo._rollout import ResponseTokens, Rollout


@dataclass(frozen=True)
class Judgement:
    """Per response token, shape (rows, longest response), 0 outside the mask, fp32.

    Args:
        logprobs: The policy's, at rollout and at the sampling temperature.
        reference: The reference's, at the same temperature.
        entropies: The policy's entropy where the token was drawn, nats.
        values: The critic's value of the state before the token.
    """

    logprobs: Float[Tensor, "rows tokens"]
    reference: Float[Tensor, "rows tokens"]
    entropies: Float[Tensor, "rows tokens"]
    values: Float[Tensor, "rows tokens"]


@dataclass(frozen=True)
class Experience:
    """A rollout, judged and rewarded; the advantages are whitened over all tokens if the settings say so."""

    rollout: Rollout
    judgement: Judgement
    scores: Float[Tensor, " rows"]
    non_score_rewards: Float[Tensor, " rows"]
    advantages: Float[Tensor, "rows tokens"]
    returns: Float[Tensor, "rows tokens"]


@torch.no_grad()
def judge(networks: Networks, rollout: Rollout, settings: PPOSettings) -> Judgement:
    """Runs policy, reference and critic over a rollout, in groups of rows of similar length.

    The policy is run again although the sampler knows its log-probabilities: those of old and new policy are then
    rounded in the same way, and their ratio is 1 before the first update in any precision.
    """
    columns = [torch.zeros_like(rollout.sampled_logprobs) for _ in range(4)]
    with networks.computing():
        for rows in rollout.by_length(settings.minibatch_size):
            tokens = rollout.response_tokens(rows)
            policy = networks.policy.score(*tokens, temperature=settings.temperature, entropy=True)
            reference = networks.reference_policy.score(*tokens, temperature=settings.temperature)
            values = networks.critic(tokens.input_ids, tokens.rows, tokens.positions)
            where = _places(rollout, rows, tokens)
            for column, flat in zip(
                columns, (policy.logprobs, reference.logprobs, policy.entropies, values), strict=True
            ):
                column[where] = flat
    return Judgement(*columns)


def _places(
    rollout: Rollout, rows: Int[Tensor, " chosen"], tokens: ResponseTokens
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"]]:
    """Where flat response tokens stand in a (rows, tokens) tensor."""
    row = rows[tokens.rows]
    return row, tokens.positions + 1 - rollout.prompt_lengths[row]


@torch.no_grad()
def experience_of(
    rollout: Rollout, judgement: Judgement, scores: Float[Tensor, " rows"], settings: PPOSettings
) -> Experience:
    """Rewards, advantages and returns of a judged rollout."""
    mask = rollout.mask
    kl = kl_estimate(judgement.logprobs, judgement.reference, settings.kl_estimator)
    penalties = settings.missing_eos_penalty * ~rollout.ended
    rewards = token_rewards(scores - penalties, kl, mask, settings.kl_coef)
    advantages, returns = generalized_advantages(
        rewards, judgement.values, mask, gamma=settings.gamma, gae_lambda=settings.gae_lambda
    )
    if settings.whiten_advantages:
        advantages = torch.zeros_like(advantages).masked_scatter(mask, whiten(advantages[mask]))
    return Experience(
        rollout=rollout,
        judgement=judgement,
        scores=scores,
        non_score_rewards=-settings.kl_coef * row_sums(kl, mask) - penalties,
        advantages=advantages,
        returns=returns,
    )
