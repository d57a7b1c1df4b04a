"""The optimizer steps on one batch of experience."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bai_sweep.config import PPOSettings
from bai_sweep.ppo._errors import DivergenceError
from bai_sweep.ppo._experience import Experience
from bai_sweep.ppo._objective import RATIO_MAX, Figures, Weights, actor_loss, critic_loss, figure_names
from bai_sweep.ppo.checkpoints import States, by_parameter, load_optimizer_state
from bai_sweep.ppo.formulas import learning_rate_factor
from bai_sweep.ppo.networks import Networks
from bai_sweep.ppo.processes import Processes


@final
class Updater:
    """Holds the optimizer: AdamW over actor and critic, each with its own learning rate and gradient norm."""

    def __init__(
        self, networks: Networks, settings: PPOSettings, generator: torch.Generator, processes: Processes
    ) -> None:
        self.networks, self.settings, self.generator, self.processes = networks, settings, generator, processes
        groups = [
            {"params": networks.actor_parameters(), "lr": settings.actor_learning_rate},
            {"params": networks.critic_parameters(), "lr": settings.critic_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, betas=settings.adam_betas, weight_decay=settings.weight_decay, fused=True
        )
        self.zero = networks.zero
        if self.zero is not None:
            self.zero.take(self.optimizer, networks.actor.device)

    def states(self) -> States:
        """What the optimizer remembers of each parameter; called by all processes."""
        return self.optimizer.state if self.zero is None else self.zero.states()

    def load_states(self, saved: Mapping[str, Tensor]) -> None:
        """Goes on from what `states` gave, by names, once the weights are those of then."""
        if self.zero is None:
            load_optimizer_state(self.networks.module, self.optimizer, saved)
        else:
            self.zero.load(by_parameter(self.networks.module, saved))

    def update(self, experience: Experience, *, step: int) -> dict[str, float]:
        """`ppo_epochs` passes over the batch in random minibatches, one optimizer step a minibatch.

        In the first `critic_warmup_steps` steps the critic alone is trained, and no figure of the policy is given.
        Their rollouts are not used again: each step learns from its own only. A minibatch without a token to learn
        from (all cut off, under `mask_truncated`) is passed over.

        Returns:
            The means over the minibatches of losses, ratio, clip fractions, approximate KL and gradient norms (of
            `val/ratio_max` the largest), and the learning rates.

        Raises:
            DivergenceError: A loss or a gradient is not finite.
        """
        rates = self._set_learning_rates(step)
        policy = step > self.settings.critic_warmup_steps
        seen = []
        for _ in range(self.settings.ppo_epochs):
            order = torch.randperm(len(experience.scores), generator=self.generator).to(experience.scores.device)
            for chosen in torch.split(order, self.settings.minibatch_size):
                learnable = chosen[experience.learned[chosen].any(dim=1)]
                if len(learnable):
                    seen.append(self._minibatch(experience, chosen, learnable, step=step, policy=policy))
        means = {name: math.fsum(figures[name] for figures in seen) / len(seen) for name in (seen[0] if seen else ())}
        if RATIO_MAX in means:
            means[RATIO_MAX] = max(figures[RATIO_MAX] for figures in seen)
        return means | rates

    def _set_learning_rates(self, step: int) -> dict[str, float]:
        """The schedules of both networks; the actor's begins once the critic is warm."""
        warmup = self.settings.critic_warmup_steps
        actor = learning_rate_factor(self.settings, step - warmup, self.settings.steps - warmup)
        critic = learning_rate_factor(self.settings, step, self.settings.steps)
        rates = (self.settings.actor_learning_rate * actor, self.settings.critic_learning_rate * critic)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        return {"lr": 0.0 if step <= warmup else rates[0], "lr/critic": rates[1]}

    def _minibatch(
        self,
        experience: Experience,
        rows: Int[Tensor, " chosen"],
        learnable: Int[Tensor, " some"],
        *,
        step: int,
        policy: bool,
    ) -> dict[str, float]:
        """One optimizer step; actor and its figures are left out in the critic's warm-up."""
        weights = Weights.of(experience, rows, self.settings)
        figures = self._losses(experience, learnable, weights, policy=policy) | self._clip(policy=policy)
        # The only time that the host waits for what a GPU has computed.
        values = torch.stack([value.double() for value in figures.values()]).tolist()
        named = dict(zip(figures, values, strict=True))
        self._check_finite(named, step)
        if self.zero is None:
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        else:
            self.zero.step(policy=policy)
        return named

    def _losses(
        self, experience: Experience, rows: Int[Tensor, " some"], weights: Weights, *, policy: bool
    ) -> Figures:
        """Forward and backward over the response tokens of some rows, shared among the processes."""
        # Every count-th of the rows by length, so that the shares are alike.
        order = rows[experience.rollout.totals[rows].argsort(descending=True, stable=True)]
        mine = order[self.processes.rank :: self.processes.count]
        names = figure_names(self.settings, policy=policy)
        sums = torch.zeros(len(names), dtype=torch.float64, device=rows.device)
        largest = torch.zeros((), device=rows.device)
        groups = experience.rollout.by_length(mine, self.settings.micro_batch_tokens)
        passes = list(self.networks.passes(groups, rows[:1], self.processes))
        for number, (chosen, counts) in enumerate(passes, 1):
            loss, part = self._one_pass(experience, chosen, weights if counts else weights.nothing(), policy=policy)
            if self.zero is None:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                self.zero.backward(loss, last=number == len(passes))
            sums += torch.stack([part[name].double() for name in names])
            largest = torch.maximum(largest, part.get(RATIO_MAX, largest))
        self.processes.sum(sums)
        self.processes.max(largest)
        if self.zero is None:
            self.processes.sum_gradients([p for group in self._trained(policy=policy).values() for p in group])
        return dict(zip(names, sums, strict=True)) | ({RATIO_MAX: largest} if policy else {})

    def _one_pass(
        self, experience: Experience, rows: Int[Tensor, " chosen"], weights: Weights, *, policy: bool
    ) -> tuple[Float[Tensor, ""], Figures]:
        """One forward pass; loss and figures are these rows' share of the minibatch's."""
        settings = self.settings
        tokens, places = experience.rollout.response_tokens(rows)
        with self.networks.computing():
            scores, values = self.networks.module(
                tokens, settings.temperature, entropy=settings.entropy_coef != 0.0, policy=policy
            )
        loss, figures = critic_loss(values, experience, weights, places, settings)
        if scores is not None:
            actor, of_actor = actor_loss(scores, experience, weights, places, settings)
            loss, figures = loss + actor, figures | of_actor
        return loss, figures

    def _trained(self, *, policy: bool) -> dict[str, list[nn.Parameter]]:
        actor, critic = self.networks.actor_parameters(), self.networks.critic_parameters()
        return {"actor": actor, "critic": critic} if policy else {"critic": critic}

    def _clip(self, *, policy: bool) -> dict[str, Float[Tensor, ""]]:
        """Clips the gradient norm of each trained network, and returns the norms before."""
        limit = self.settings.max_grad_norm
        if self.zero is not None:
            networks = {"actor": 0, "critic": 1} if policy else {"critic": 1}
            return {f"grad_norm/{name}": self.zero.clip(number, limit) for name, number in networks.items()}
        trained = self._trained(policy=policy).items()
        norms = {f"grad_norm/{name}": nn.utils.clip_grad_norm_(group, limit) for name, group in trained}
        return {name: norm.full_tensor() if isinstance(norm, DTensor) else norm for name, norm in norms.items()}

    @staticmethod
    def _check_finite(figures: Mapping[str, float], step: int) -> None:
        bad = {name: value for name, value in figures.items() if not math.isfinite(value)}
        if bad:
            what = ", ".join(f"{name} = {value}" for name, value in bad.items())
            raise DivergenceError(
                f"PPO's losses and gradients stay finite; at step {step}: {what}; lower rl.actor_learning_rate or "
                "rl.critic_learning_rate, or use rl.precision=fp32"
            )
