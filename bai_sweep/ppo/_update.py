"""The optimizer steps on one batch of experience."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor, nn

from bai_sweep.config import PPOSettings
from bai_sweep.ppo._experience import Experience
from bai_sweep.ppo._math import policy_loss, value_loss
from bai_sweep.ppo._networks import Networks
from bai_sweep.records import UserError


class DivergenceError(UserError):
    """Training left the finite numbers; the message names the step and the quantity."""


@final
class Updater:
    """Holds the two optimizers: AdamW without weight decay, a constant learning rate each."""

    def __init__(self, networks: Networks, settings: PPOSettings, generator: torch.Generator) -> None:
        self.networks, self.settings, self.generator = networks, settings, generator
        self.actor_optimizer = self._optimizer(networks.actor, settings.actor_learning_rate)
        self.critic_optimizer = self._optimizer(networks.critic, settings.critic_learning_rate)

    def _optimizer(self, network: nn.Module, learning_rate: float) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            network.parameters(), lr=learning_rate, betas=self.settings.adam_betas, weight_decay=0.0, fused=True
        )

    def update(self, experience: Experience, *, step: int) -> dict[str, float]:
        """`ppo_epochs` passes over the batch in random minibatches, one step of each optimizer a minibatch.

        Returns:
            The means over all minibatches of losses, ratio, clip fraction, approximate KL and gradient norms.

        Raises:
            DivergenceError: A loss or a gradient is not finite.
        """
        rows = len(experience.scores)
        seen = []
        for _ in range(self.settings.ppo_epochs):
            order = torch.randperm(rows, generator=self.generator).to(experience.scores.device)
            for chosen in torch.split(order, self.settings.minibatch_size):
                seen.append(self._minibatch(experience, chosen, step))
        return {name: math.fsum(figures[name] for figures in seen) / len(seen) for name in seen[0]}

    def _minibatch(self, experience: Experience, rows: Int[Tensor, " chosen"], step: int) -> dict[str, float]:
        figures = self._losses(experience, rows)
        self._finite(figures, step)
        norms = {
            "grad_norm/actor": self._apply(self.actor_optimizer, self.networks.actor),
            "grad_norm/critic": self._apply(self.critic_optimizer, self.networks.critic),
        }
        self._finite(norms, step)
        return figures | norms

    def _losses(self, experience: Experience, rows: Int[Tensor, " chosen"]) -> dict[str, float]:
        """Forward and backward of both networks over the response tokens of some rows."""
        settings, mask = self.settings, experience.rollout.mask[rows]
        old, advantages, old_values, returns = (
            column[rows][mask]
            for column in (
                experience.judgement.logprobs,
                experience.advantages,
                experience.judgement.values,
                experience.returns,
            )
        )
        tokens = experience.rollout.response_tokens(rows)
        with self.networks.computing():
            logprobs = self.networks.policy.score(*tokens, temperature=settings.temperature).logprobs
            values = self.networks.critic(tokens.input_ids, tokens.rows, tokens.positions)
        policy = policy_loss(logprobs, old, advantages, settings.clip_range)
        value = value_loss(values, old_values, returns, settings.clip_range_value)
        torch.autograd.backward([policy.loss, value])
        return {
            "loss/policy_avg": float(policy.loss.detach()),
            "loss/value_avg": float(value.detach()),
            "policy/approxkl_avg": float(policy.approx_kl),
            "policy/clipfrac_avg": float(policy.clip_fraction),
            "val/ratio": float(policy.ratio),
        }

    def _apply(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> float:
        """Clips the gradient's norm, takes a step unless the norm is not finite, and returns the norm before."""
        norm = float(nn.utils.clip_grad_norm_(network.parameters(), self.settings.max_grad_norm))
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

    @staticmethod
    def _finite(figures: Mapping[str, float], step: int) -> None:
        bad = {name: value for name, value in figures.items() if not math.isfinite(value)}
        if bad:
            what = ", ".join(f"{name} = {value}" for name, value in bad.items())
            raise DivergenceError(
                f"PPO's losses and gradients stay finite; at step {step}: {what}; lower rl.actor_learning_rate or "
                "rl.critic_learning_rate, or use rl.precision=fp32"
            )
