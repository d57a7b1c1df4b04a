"""What one step learns from: responses, and what policy, reference, critic and rewards say of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bai_sweep.config import PPOSettings
from bai_sweep.ppo.formulas import (
    generalized_advantages,
    importance_weights,
    kl_estimate,
    length_adaptive_lambda,
    overlong_penalty,
    row_sums,
    token_rewards,
    whiten,
)
from bai_sweep.ppo.networks import Networks
from bai_sweep.ppo.processes import Processes
from bai_sweep.ppo.rollouts import ResponseTokens, Rollout


@dataclass(frozen=True)
class Judgement:
    """Per response token, shape (rows, longest response), 0 outside the mask, fp32 (fp64 of fp64 networks).

    Args:
        logprobs: The policy's, at rollout and at the sampling temperature.
        reference: The reference's, at the same temperature.
        entropies: The policy's entropy where the token was drawn, nats.
        values: The critic's value of the state before the token.
        probes: Further frozen policies' log-probabilities, by name.
    """

    logprobs: Float[Tensor, "rows tokens"]
    reference: Float[Tensor, "rows tokens"]
    entropies: Float[Tensor, "rows tokens"]
    values: Float[Tensor, "rows tokens"]
    probes: Mapping[str, Float[Tensor, "rows tokens"]]


@dataclass(frozen=True)
class Experience:
    """A rollout, judged and rewarded.

    Args:
        rollout: Prompts and responses.
        judgement: What the networks say of them.
        scores: Shape (rows,), the weighted sum of the reward functions.
        penalties: Shape (rows,) each: what a penalty takes from the score, 0 or more; those that are switched on.
        non_score_rewards: Shape (rows,), what KL and penalties add to the score (they take away).
        advantages: Shape (rows, longest response), whitened as the settings say.
        returns: Shape (rows, longest response), what the critic learns.
        importance: Shape (rows, longest response), weights that correct for the sampler's mismatch; None without.
        learned: Shape (rows, longest response), the tokens that the losses are about.
    """

    rollout: Rollout
    judgement: Judgement
    scores: Float[Tensor, " rows"]
    penalties: Mapping[str, Float[Tensor, " rows"]]
    non_score_rewards: Float[Tensor, " rows"]
    advantages: Float[Tensor, "rows tokens"]
    returns: Float[Tensor, "rows tokens"]
    importance: Float[Tensor, "rows tokens"] | None
    learned: Bool[Tensor, "rows tokens"]


@torch.no_grad()
def judge(networks: Networks, rollout: Rollout, settings: PPOSettings, processes: Processes) -> Judgement:
    """Runs policy, reference, critic and probes over a rollout, in groups of rows of similar length.

    A group has no more padded tokens than a minibatch may have in training, or `micro_batch_tokens`.

    Each process runs its share of the rows and gets all. The policy is run again although the sampler knows its
    log-probabilities: those of old and new policy are then rounded in the same way, and their ratio is 1 before the
    first update in any precision.
    """
    share = processes.share_of(len(rollout.lengths))
    budget = settings.micro_batch_tokens or settings.minibatch_size * rollout.input_ids.shape[1]
    dtype = torch.promote_types(networks.actor.dtype, torch.float32)
    mine = torch.arange(len(rollout.lengths), device=rollout.input_ids.device)[share]
    columns = {
        name: torch.zeros_like(rollout.sampled_logprobs, dtype=dtype)
        for name in ("logprobs", "reference", "entropies", "values", *networks.probes)
    }
    with networks.computing():
        for rows, counts in networks.passes(rollout.by_length(mine, budget), mine[:1], processes):
            tokens, places = rollout.response_tokens(rows)
            scores = _scores(networks, tokens, settings.temperature)
            if counts:
                for name, flat in scores.items():
                    columns[name][places] = flat
    if processes.count > 1:
        parts = processes.gather(lambda: {name: column[share].cpu() for name, column in columns.items()})
        columns = {name: torch.cat([part[name] for part in parts]).to(mine.device) for name in columns}
    probes = {name: columns.pop(name) for name in networks.probes}
    return Judgement(**columns, probes=probes)


def _scores(networks: Networks, tokens: ResponseTokens, temperature: float) -> dict[str, Float[Tensor, " tokens"]]:
    policy, values = networks.module(tokens, temperature, entropy=True)
    return {
        "logprobs": policy.logprobs,
        "entropies": policy.entropies,
        "values": values,
        "reference": networks.reference_logprobs(tokens, temperature),
        **{name: networks.probe_logprobs(name, tokens, temperature) for name in networks.probes},
    }


@torch.no_grad()
def experience_of(
    rollout: Rollout, judgement: Judgement, scores: Float[Tensor, " rows"], settings: PPOSettings, kl_coef: float
) -> Experience:
    """Rewards, advantages and returns of a judged rollout; `kl_coef` is the controller's."""
    mask, scores = rollout.mask, scores.to(judgement.values.dtype)
    kl = kl_estimate(judgement.logprobs, judgement.reference, settings.kl_estimator)
    penalties = _penalties(rollout, settings)
    taken = sum(penalties.values(), torch.zeros_like(scores))
    rewards = token_rewards(scores - taken, kl, mask, kl_coef)
    learned = mask & rollout.ended[:, None] if settings.mask_truncated else mask
    advantages, returns = _advantages(rewards, judgement.values, rollout, settings)
    whitened = whiten(advantages[learned], settings.whitening)
    return Experience(
        rollout=rollout,
        judgement=judgement,
        scores=scores,
        penalties=penalties,
        non_score_rewards=-kl_coef * row_sums(kl, mask) - taken,
        advantages=torch.zeros_like(advantages).masked_scatter(learned, whitened),
        returns=returns,
        importance=_importance(rollout, judgement, settings),
        learned=learned,
    )


def _penalties(rollout: Rollout, settings: PPOSettings) -> dict[str, Float[Tensor, " rows"]]:
    """What each penalty of the response's length takes from the score; those that are switched on."""
    penalties = {}
    if settings.missing_eos_penalty:
        penalties["missing_eos"] = settings.missing_eos_penalty * ~rollout.ended
    if settings.overlong_penalty:
        penalties["overlong"] = overlong_penalty(
            rollout.lengths,
            max_new_tokens=settings.max_new_tokens,
            buffer=settings.overlong_buffer,
            penalty=settings.overlong_penalty,
        )
    return penalties


def _importance(rollout: Rollout, judgement: Judgement, settings: PPOSettings) -> Float[Tensor, "rows tokens"] | None:
    correction, cap = settings.importance_correction, settings.importance_cap
    if correction == "none":
        return None
    return importance_weights(judgement.logprobs, rollout.sampled_logprobs, rollout.mask, correction, cap)


def _advantages(
    rewards: Float[Tensor, "rows tokens"],
    values: Float[Tensor, "rows tokens"],
    rollout: Rollout,
    settings: PPOSettings,
) -> tuple[Float[Tensor, "rows tokens"], Float[Tensor, "rows tokens"]]:
    """The actor's advantages and the critic's returns, each from its own lambda (VC-PPO)."""
    actor: float | Tensor = settings.gae_lambda
    if settings.gae_length_alpha is not None:
        actor = length_adaptive_lambda(rollout.lengths, settings.gae_length_alpha)
    critic = settings.gae_lambda_critic
    advantages, returns = generalized_advantages(rewards, values, rollout.mask, gamma=settings.gamma, gae_lambda=actor)
    if critic is not None:
        _, returns = generalized_advantages(rewards, values, rollout.mask, gamma=settings.gamma, gae_lambda=critic)
    return advantages, returns
