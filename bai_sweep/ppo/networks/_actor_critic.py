"""What is called in a training run, each as one module: what shards a module sees every forward pass of it."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from bai_sweep.generation import TokenScorer, TokenScores
from bai_sweep.ppo.networks._scalar import ScalarModel
from bai_sweep.ppo.rollouts import ResponseTokens


@final
class ActorCritic(nn.Module):
    """The two networks that are trained, as one module: what wraps or shards it sees every forward pass of both."""

    def __init__(self, actor: PreTrainedModel, critic: ScalarModel) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self.policy = TokenScorer(actor)

    def forward(
        self, tokens: ResponseTokens, temperature: float, *, entropy: bool = False, policy: bool = True
    ) -> tuple[TokenScores | None, Float[Tensor, " tokens"]]:
        """What the policy says of response tokens, and the values of the states before them.

        Args:
            tokens: The response tokens of some rows.
            temperature: Of the policy.
            entropy: Also the policy's entropies, with gradient where there are gradients.
            policy: False: the values only.
        """
        scores = None
        if policy:
            scores = self.policy.score(
                *tokens, temperature=temperature, entropy=entropy, entropy_grad=entropy and torch.is_grad_enabled()
            )
        return scores, self.critic(tokens.input_ids, tokens.rows, tokens.positions)


@final
class FrozenPolicy(nn.Module):
    """A policy that is only asked: the reference, or a probe."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        model.eval().requires_grad_(False)  # type: ignore[no-untyped-call]
        self.scorer = TokenScorer(model)

    def forward(self, tokens: ResponseTokens, temperature: float) -> Float[Tensor, " tokens"]:
        """The log-probabilities of response tokens."""
        return self.scorer.score(*tokens, temperature=temperature).logprobs
